"""The pytest plugin, as a project that uses it sees it: in a pytest of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from host_sim.world import ROOT

LIMIT_S = 170
GREENHOUSE = Path("examples/greenhouse")


def run_pytest(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--durations=0", *options, "."]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    env.pop("PYTEST_ADDOPTS", None)
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=LIMIT_S)


def counts(result: subprocess.CompletedProcess[str]) -> dict[str, int]:
    last = result.stdout.strip().splitlines()[-1]
    return {kind: int(n) for n, kind in re.findall(r"(\d+) (passed|failed|error)", last)}


@pytest.fixture
def greenhouse(tmp_path):
    """A copy of the example, beside the driver that it takes from the firmware folder."""
    shutil.copytree(ROOT / GREENHOUSE, tmp_path / GREENHOUSE, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "firmware", tmp_path / "firmware")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return tmp_path / GREENHOUSE


def test_the_example_passes(greenhouse):
    result = run_pytest(greenhouse)
    assert counts(result) == {"passed": 4}, result.stdout


def test_the_example_passes_on_the_real_micropython(greenhouse):
    result = run_pytest(greenhouse, "--plexus-vm", "micropython", "-k", "router")
    assert counts(result) == {"passed": 1}, result.stdout


@pytest.mark.parametrize(
    ("name", "old", "new", "failing"),
    [
        ("board.py", "OPEN_C = 26", "OPEN_C = 36", "test_the_vent_opens"),
        ("main.py", "time.sleep(10)", "time.sleep(11)", "test_every_reading"),
    ],
)
def test_the_example_finds_mistakes(greenhouse, name, old, new, failing):
    source = (greenhouse / name).read_text()
    assert old in source
    (greenhouse / name).write_text(source.replace(old, new))
    result = run_pytest(greenhouse, "-k", failing)
    assert counts(result) == {"failed": 1}, result.stdout


def test_who_does_not_use_it_does_not_load_it(tmp_path):
    (tmp_path / "test_other.py").write_text(
        "import sys\nimport pytest\n"
        "@pytest.fixture\ndef board(): return 'mine'\n"
        "@pytest.fixture\ndef gateway(board): return board + ' too'\n"
        "def test_other(board, gateway):\n"
        "    assert (board, gateway) == ('mine', 'mine too')\n"
        "    found = {'host_sim.world', 'host_sim.scenario', 'starlette', 'greenlet'} & set(sys.modules)\n"
        "    assert 'host_sim.pytest_plugin' in sys.modules and not found\n"
    )
    result = run_pytest(tmp_path)
    assert counts(result) == {"passed": 1}, result.stdout


MISUSE = """
import pytest
from host_sim.guard import FirmwareHangs
from host_sim.scenario import ScenarioError

def test_before_the_run(board, gateway):
    for ask in (lambda: board.report, lambda: board.boots, gateway.rows):
        with pytest.raises(RuntimeError, match="nothing has run"):
            ask()

def test_twice(board, tmp_path):
    board.run("main.py", virtual=1)
    with pytest.raises(RuntimeError, match="once"):
        board.run("main.py", virtual=1)
    assert board.console == "hello from 7\\n" and board.report.accepted == 0
    assert board.read("/main.py").startswith(b"import")

def test_mistakes(board, scenario):
    with pytest.raises(FileNotFoundError, match="nowhere.py"):
        board.put("/x", __import__("pathlib").Path("nowhere.py"))
    with pytest.raises(FileNotFoundError, match="nowhere.toml"):
        scenario("nowhere.toml")
    with pytest.raises(ScenarioError, match="wifi"):
        scenario(fault="wifi", at="1m", speed=3)
    scenario("everything")

def test_a_failure_is_seen(board):
    board.put("/config.py", "NUMBER = 1 / 0")
    board.run("main.py", virtual=1)
    assert "ZeroDivisionError" in board.console
"""


def test_mistakes_are_told(tmp_path):
    (tmp_path / "test_misuse.py").write_text(MISUSE)
    (tmp_path / "main.py").write_text("import config\nprint('hello from', config.NUMBER)\n")
    (tmp_path / "conftest.py").write_text(
        "import pytest\n@pytest.fixture(autouse=True)\n"
        "def config(board):\n    board.put('/config.py', 'NUMBER = 7')\n"
    )
    result = run_pytest(tmp_path)
    assert counts(result) == {"passed": 4}, result.stdout


def test_the_document_shows_the_example():
    document = (ROOT / "docs" / "testing-your-firmware.md").read_text()
    shown = textwrap.dedent(
        "\n".join(line for line in document.split("\n") if line.startswith("    ") or not line)
    )
    shown_tests = [part for part in re.split(r"\n\n+", shown.strip()) if part]
    tests = (ROOT / GREENHOUSE / "tests" / "test_main.py").read_text()
    assert len(shown_tests) == 2 and all(test.strip() in tests for test in shown_tests)
