"""The tools that measure run and find what they measure sound. How fast it is is for `make bench`."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from host_sim.world import ROOT


@pytest.mark.parametrize(
    ("command", "lines"),
    [
        (
            "bench.py --days 0.01 --hours 0.02",
            [r"\| cpython \| 0.01 d \| 1296 \| clean", r"\| micropython \|.*\| clean"],
        ),
        ("bench_send.py", [r"\| send ram \| [\d.]+ \| [\d.]+ \|"]),
        (
            "bench_drain.py --readings 2000",
            [r"us a reading, [\d.]+ of json.dumps", r"^ +\d+ bytes of heap a frame"],
        ),
        (
            "bench_backlog.py --readings 200",
            [r"\| by the timer \| WebSocket \| [\d,]+ \| [\d,]+ \| [\d,]+ \|"],
        ),
    ],
    ids=lambda value: value.split(".")[0] if isinstance(value, str) else "",
)
def test_bench(command: str, lines: list[str]) -> None:
    name, *arguments = command.split()
    tool = str(ROOT / "tools" / name)
    done = subprocess.run([sys.executable, tool, *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "NOT CLEAN" not in done.stdout
    for line in lines:
        assert re.search(line, done.stdout, re.MULTILINE), done.stdout
