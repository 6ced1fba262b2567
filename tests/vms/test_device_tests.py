"""The tests of `tests/device` on every MicroPython there is: the WebAssembly build, and executables if named."""

from __future__ import annotations

import importlib
import os
import sys
from functools import cache
from pathlib import Path

import pytest

from host_sim.vms.bare import WITHOUT_SOCKETS, run_bare

_ROOT = Path(__file__).resolve().parents[2]
_TREES = {"/lib": _ROOT / "lib", "/tests/device": _ROOT / "tests" / "device"}
_PATH = ("/lib", "/tests")
# Of a file. The longest takes 20 s of one core, and took 126 s on two that five others shared.
_TIMEOUT_S = 240.0
_FILES = sorted(path.stem for path in _TREES["/tests/device"].glob("test_*.py"))
_VMS = {"webassembly": None} | {
    name.lower(): os.environ[name] for name in ("MICROPYTHON", "CIRCUITPYTHON") if os.environ.get(name)
}


@cache
def _names(file: str) -> tuple[str, ...]:
    """The tests that CPython sees in a file."""
    if str(_ROOT / "tests") not in sys.path:
        sys.path.insert(0, str(_ROOT / "tests"))
    runner = importlib.import_module("device.runner")
    return tuple(runner.names(importlib.import_module(f"device.{file}")))


@pytest.mark.parametrize("file", _FILES)
@pytest.mark.parametrize("vm", _VMS)
def test_file(vm: str, file: str) -> None:
    """Every test of the file passes there, and none that CPython knows is missing."""
    names = _names(file)
    load = f"import plexus_mp\nfrom device import runner\nmodule = runner.load({file!r})"
    count = "print(len(runner.names(module)), 'tests')"
    # One snippet a test: garbage is collected between snippets only.
    tests = [f"runner.run_one(module, {name!r})" for name in names]
    result = run_bare(
        [WITHOUT_SOCKETS + load, count, *tests], _TREES, _PATH, timeout_s=_TIMEOUT_S, executable=_VMS[vm]
    )
    lines = result.stdout.splitlines()
    assert result.ok and not any(line.startswith("FAIL") for line in lines), result.stdout
    assert f"{len(names)} tests" in lines, result.stdout
    # An older release of somebody's own may lack what some tests are about; the one that everybody gets may not.
    done = ("PASS ",) if vm == "webassembly" else ("PASS ", "SKIP ")
    assert [line.split()[1] for line in lines if line.startswith(done)] == list(names)
