"""Snippets on a VM without a board."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from host_sim.vms.bare import run_bare

# Any interpreter stands for an executable: what is tested is how it is called.
_EXECUTABLES = pytest.mark.parametrize(
    "executable", [None, sys.executable], ids=["webassembly", "executable"]
)


@pytest.fixture
def trees(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "tree" / "package").mkdir(parents=True)
    (tmp_path / "tree" / "package" / "__init__.py").write_text("NAME = 'package'\n")
    (tmp_path / "data.txt").write_text("data é")
    (tmp_path / "single.py").write_text("NAME = 'single'\n")
    return {"/lib": tmp_path / "tree", "/more/single.py": tmp_path / "single.py"}


@_EXECUTABLES
def test_snippets_share_names_and_find_files(executable: str | None, trees: dict[str, Path]) -> None:
    snippets = ["import package\nx = 'é'", "import single\nprint(package.NAME, single.NAME, x)"]
    result = run_bare(snippets, trees, ["/lib", "/more"], executable=executable)
    assert result.ok and result.stdout.splitlines() == ["package single é"]


@_EXECUTABLES
def test_an_error_ends_the_run(executable: str | None) -> None:
    result = run_bare(["print('before')", "1 / 0", "print('after')"], {}, executable=executable)
    assert not result.ok
    assert "before" in result.stdout and "ZeroDivisionError" in result.stdout and "after" not in result.stdout
    assert len(result.stdout) < 5000


@_EXECUTABLES
def test_a_vm_that_hangs_is_killed(executable: str | None) -> None:
    result = run_bare(["print('before')", "while True:\n    pass"], {}, timeout_s=1, executable=executable)
    assert not result.ok and "killed" in result.stdout


def test_garbage_is_collected_between_snippets() -> None:
    read = "print(gc.mem_alloc())"
    result = run_bare(
        ["import gc\ngc.collect()", read, "x = bytearray(50000)\ndel x\ngc.collect()", read],
        {},
    )
    before, after = map(int, result.stdout.split())
    assert result.ok and after - before < 1000


def test_the_heap_is_as_large_as_asked() -> None:
    """What is free includes what the heap may grow by, the same each time."""
    sizes = (1 << 18, 1 << 20)
    free = [int(run_bare(["import gc\nprint(gc.mem_free())"], {}, heap_bytes=n).stdout) for n in sizes]
    assert 0.9 < (free[1] - free[0]) / (sizes[1] - sizes[0]) <= 1
