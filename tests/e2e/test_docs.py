"""Every command and every snippet of README and docs is executed."""

import fcntl
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import urllib.request

import pytest

from host_sim.scenario import load_scenario
from host_sim.world import ROOT
from tests.e2e.simulation import FIRMWARE, KEYS, VMS, program, simulate
from tests.serial_board.running import running_board

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
# What others run is indented: test_tls_docs.py, test_partition_tool.py, test_circuitpython_port.py, test_chaos.py
# and test_pytest_plugin.py do.
INDENTED = {"tls.md", "partition.md", "circuitpython.md", "chaos.md", "testing-your-firmware.md"}

SIMULATIONS = tuple(f".venv/bin/python -m host_sim {name}" for name in ("run", "chaos", "fleet"))


def blocks(language, documents=DOCUMENTS):
    found = []
    for document in documents:
        for kind, text in BLOCK.findall(document.read_text()):
            if kind == language:
                found.append(pytest.param(text, id=f"{document.name}-{text.split(chr(10))[0][:40]}"))
    return found


def commands(*documents):
    return [
        line
        for block in blocks("sh", documents or DOCUMENTS)
        for line in block.values[0].splitlines()
        if line
    ]


def test_no_block_is_of_a_kind_that_nothing_executes():
    kinds = {kind for document in DOCUMENTS for kind, _ in BLOCK.findall(document.read_text())}
    assert kinds <= {"sh", "python", "json", "toml", "text"}
    assert len(blocks("text")) == len(checks()), "text is what board_check prints"


def test_indented_commands_are_where_others_run_them():
    found = {d.name for d in DOCUMENTS if re.search(r"^(?:    |\t)\S", BLOCK.sub("", d.read_text()), re.M)}
    assert found == INDENTED


def test_links_lead_somewhere():
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#]+)", document.read_text()):
            if not target.startswith("https://"):
                assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_the_readme_links_every_document():
    found = set(re.findall(r"\]\((docs/[^)#]+)", DOCUMENTS[0].read_text()))
    assert found == {f"docs/{document.name}" for document in DOCUMENTS[1:]}


def test_commands_in_the_midst_of_a_line_exist():
    """`make X`, `tools/X.py`, `host_sim X`."""
    text = "\n".join(re.findall(r"`([^`\n]+)`", "\n".join(d.read_text() for d in DOCUMENTS)))
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"^make ([a-z]+)", text, re.M)) <= targets
    subcommands = set(re.findall(r"^  ([a-z]+)  ", run(".venv/bin/python -m host_sim --help").stdout, re.M))
    assert set(re.findall(r"host_sim ([a-z]+)", text)) <= subcommands
    tools = set(re.findall(r"tools/\w+\.py", text))
    assert len(tools) >= 3 and all((ROOT / tool).exists() for tool in tools)


@pytest.mark.parametrize("vm", VMS)
@pytest.mark.parametrize("source", blocks("python"))
def test_python_snippets_store_what_they_send(source, vm, tmp_path):
    if "from camera import" in source:
        (tmp_path / "camera.py").write_bytes((ROOT / "tests" / "e2e" / "fake_camera.py").read_bytes())
    outcome = simulate(program(tmp_path, source), vm, 30)
    assert "Traceback" not in outcome.console
    # What goes on sending at the end has readings of the last seconds waiting.
    assert outcome.verdict.clean and outcome.verdict.stored > 0 and outcome.verdict.pending <= 4


@pytest.mark.parametrize("source", blocks("toml"))
def test_scenarios_load(source, tmp_path):
    path = tmp_path / "scenario.toml"
    path.write_text(source)
    assert load_scenario(path).events


def run(command, **environment):
    """A command of the documentation, with the interpreter that runs the tests."""
    command = command.replace(".venv/bin/python", shlex.quote(sys.executable))
    # As from a shell, also when make runs the tests: a make within a make has more to say.
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")} | environment
    result = subprocess.run(
        command, shell=True, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120
    )
    assert not KEYS.search(result.stdout + result.stderr), "a key was printed"
    return result


@pytest.mark.parametrize("command", [c for c in commands() if c.startswith(SIMULATIONS)])
def test_run_commands(command):
    result = run(command)
    assert result.returncode == 0, result.stdout + result.stderr


def checks():
    """Commands that check a board file, each with what the document shows of its output."""
    text = (ROOT / "docs" / "boards.md").read_text()
    return re.findall(r"^```sh\n([^\n]*board_check[^\n]*)\n```\n+```text\n(.*?)^```", text, re.M | re.S)


@pytest.mark.parametrize(("command", "shown"), checks())
def test_board_checks_print_what_is_shown(command, shown):
    """All but the figures, which are as good as the library of the day."""
    result = run(command)
    assert result.returncode == 0, result.stderr
    labels = [[line[:20] for line in text.splitlines()] for text in (result.stdout, shown)]
    assert labels[0] == labels[1]
    assert result.stdout.splitlines()[:2] == shown.splitlines()[:2]


def test_make_demo():
    assert "make demo" in commands()
    result = run("make demo SECONDS=12 VM=cpython")
    assert result.returncode == 0, result.stdout + result.stderr
    assert json.loads(result.stdout.splitlines()[-1])["stored"] > 0


def test_make_test_is_what_ci_runs():
    assert "make test" in commands()
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-1] == "exec make test"


def test_the_gateway_command(tmp_path):
    [command] = [c for c in commands() if "host_sim gateway" in c]
    arguments = shlex.split(command)
    key = arguments.pop(0).removeprefix("PLEXUS_API_KEY=")
    arguments[0] = sys.executable
    env = dict(os.environ, PLEXUS_API_KEY=key, PYTHONPATH=str(ROOT))
    process = subprocess.Popen(arguments, cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True)
    try:
        address = next(line for line in process.stdout if line.startswith("gateway")).split()[1]
        with urllib.request.urlopen(address.split("#")[0] + "health", timeout=10) as answer:
            assert json.load(answer)["status"] == "ok"
        assert key not in address
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        process.stdout.close()


@pytest.fixture
def mpy():
    """`make mpy` has run, and another process with tests of this file does not run it meanwhile."""
    with (ROOT / "build" / "mpy.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = run("make mpy")
        assert result.returncode == 0, result.stdout + result.stderr
        yield


def test_what_the_readme_copies_to_a_board_runs(tmp_path, mpy):
    """The real mpremote copies it to a simulated board that keeps its files."""
    (tmp_path / "plexus.json").write_text(blocks("json")[0].values[0])
    with running_board(tmp_path, "--dir", tmp_path / "state") as running:
        for command in commands(ROOT / "README.md"):
            if command.startswith("mpremote") and command != "mpremote reset":
                running.mpremote(*command.replace(" plexus.json", f" {tmp_path}/plexus.json").split()[1:])
    board = tmp_path / "state" / "files"
    assert (board / "lib/plexus_mp/client.mpy").exists() and not list(board.glob("lib/plexus_mp/*.py"))
    assert (board / "plexus_board.py").read_bytes() == (ROOT / "boards/esp32.py").read_bytes()
    assert {path.name for path in FIRMWARE.glob("*.py")} <= {path.name for path in board.iterdir()}
    outcome = simulate(board, "micropython", 30)
    assert outcome.console == "" and outcome.verdict.clean and outcome.verdict.stored > 30


def test_the_commands_for_a_simulated_board(tmp_path, mpy):
    """Those of docs/mpremote.md, in their order, with the real mpremote."""
    start, *rest = [c for c in commands(ROOT / "docs" / "mpremote.md") if not c.startswith("make ")]
    assert start == ".venv/bin/python -m host_sim board --dir build/board --link build/tty"
    with running_board(tmp_path, "--dir", tmp_path / "state") as running:
        for command in rest:
            prefix, *arguments = command.split("mpremote connect build/tty ")
            assert prefix == "" and len(arguments) == 1
            running.mpremote(*shlex.split(arguments[0]))
        names = running.mpremote("ls")
        assert "main.py" in names and "lib" not in names


def test_every_command_is_executed_by_one_of_these_tests():
    known = (
        "make demo",
        "make test",
        "make mpy",
        "mpremote cp ",
        "mpremote mip install ",
        "mpremote reset",
        "mpremote romfs ",  # test_romfs.py
        "mpremote connect build/tty ",
        ".venv/bin/python -m host_sim board --dir",
        *SIMULATIONS,
        ".venv/bin/python tools/board_check.py",
    )
    rest = [c for c in commands() if not c.startswith(known) and "host_sim gateway" not in c]
    assert rest == []
