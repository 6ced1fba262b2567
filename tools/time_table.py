"""How well readings are dated: writes the table of docs/time.md, or prints it with --print. Takes some minutes.

Plays the runs of tests/sim/time_runs.py on the `cpython` VM in virtual time; tests/sim/test_time.py plays shorter ones
on both VMs. The same seeds give the same figures.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from written import Part, write_table

from host_sim.world import ROOT
from tests.sim.time_boards import Row
from tests.sim.time_runs import EXPERIMENTS

PART = Part(ROOT / "docs" / "time.md", "<!-- tools/time_table.py writes from here -->", "<!-- to here -->")
_HEAD = "| what | allowed, ms | worst error, ms | bound told, ms | beside |\n|---|--:|--:|--:|---|\n"
_HEAP_TEST = "tests/device/test_memory.py"


def line(row: Row) -> str:
    bound = "" if row.bound_ms is None else row.bound_ms
    return f"| {row.what} | {row.allowed_ms:g} | {row.error_ms:g} | {bound} | {row.beside} |"


def _allocates_nothing() -> Row:
    """The tests with a locked heap, on the real MicroPython. CalledProcessError when one fails."""
    tests = ["-m", "pytest", "-q", "tests/vms/test_device_tests.py", "-k", "test_memory"]
    subprocess.run([sys.executable, *tests], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return Row("`send()` under a locked heap", 0, 0, None, f"allocates nothing: {_HEAP_TEST}")


def table() -> str:
    rows = [row for experiment in EXPERIMENTS.values() for row in experiment("cpython")]
    return _HEAD + "\n".join(map(line, [*rows, _allocates_nothing()])) + "\n"


def documented() -> list[list[str]]:
    """The cells of each row that docs/time.md has now."""
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in PART.text().splitlines()[2:]]


def main() -> None:
    write_table("Play the runs and write the table of docs/time.md.", PART, table)


if __name__ == "__main__":
    main()
