"""The numbers of docs/memory.md are those that tools/size.py measures."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]


def _numbers(markdown: str) -> dict[str, list[int]]:
    """The numbers of each row of the tables, by the row's label; a label that occurs twice gets a number."""
    rows: dict[str, list[int]] = {}
    for line in markdown.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        numbers = [int(cell) for cell in cells[1:] if re.fullmatch(r"-?\d+", cell)]
        if numbers:
            label = cells[0] if cells[0] not in rows else f"{cells[0]} {len(rows)}"
            rows[label] = numbers
    return rows


def test_documented_numbers_are_measured_ones() -> None:
    command = [sys.executable, str(_ROOT / "tools" / "size.py"), "--print"]
    measured = _numbers(
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
    )
    document = (_ROOT / "docs" / "memory.md").read_text(encoding="utf-8")
    documented = _numbers(document.split("<!-- size: make size")[1])  # what stands before it is by hand
    assert documented.keys() == measured.keys(), "run: make size"
    for label, numbers in measured.items():
        for now, then in zip(numbers, documented[label], strict=True):
            # Small ones change by much with a few lines.
            assert abs(now - then) <= max(0.05 * then, 100), (
                f"{label}: {now}, documented {then}; run: make size"
            )
