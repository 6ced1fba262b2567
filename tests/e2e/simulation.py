"""Firmware on a simulated board in virtual time, for a test."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from host_sim.journal import Verdict
from host_sim.world import ROOT, Placement, World

BOARD = ROOT / "boards" / "esp32.py"
FIRMWARE = ROOT / "firmware"
VMS = ("cpython", "micropython")
# Every key that a test uses looks like this, those of simulated worlds too.
KEYS = re.compile(r"plx_[0-9A-Za-z]{16,}")

COUNTER = """
import time
from plexus_mp import Plexus
px = Plexus(source_id="counter"{arguments})
n = 0
try:
    n = int(open("/n").read())
except (OSError, ValueError):
    pass
while True:
    n += 1
    with open("/n", "w") as f:
        f.write(str(n))
    px.send("n", n)
    time.sleep(1)
"""

# For programs that print what a call does on a board.
ATTEMPT = """
def attempt(function, *arguments):
    try:
        return function(*arguments)
    except OSError as e:
        return "OSError %d" % e.errno
    except ValueError:
        return "ValueError"
"""


@dataclass
class Outcome:
    """What came of a run. `ring_lines` are what the library told of its ring at each boot, `console` is the rest."""

    world: World
    verdict: Verdict
    console: str
    ring_lines: list[str]

    def rows(self) -> list:
        assert self.world.store is not None
        return list(self.world.store.rows())

    def values(self, metric: str) -> list:
        return [row.value for row in self.rows() if row.metric == metric]


During = Callable[[World, Placement], Awaitable[None]]


def outage(after_s: float, gone_s: float) -> During:
    """What `simulate` does during a run: the gateway is gone for `gone_s`, from `after_s` on."""

    async def during(world: World, placement: Placement) -> None:
        await asyncio.sleep(after_s)
        world.stop_gateway()
        await asyncio.sleep(gone_s)
        world.restart_gateway()

    return during


def simulate(
    firmware: Path,
    vm: str,
    seconds: float,
    during: During | None = None,
    board_file: Path = BOARD,
    seed: int = 1,
    prepare: Callable[[Placement], None] | None = None,
) -> Outcome:
    """Run `firmware` for `seconds` of board time; `prepare` sees the board before its power-on, `during` after."""
    world = World(seed, virtual=True)
    console: list[str] = []

    async def run() -> Verdict:
        await world.start()
        placement = world.add_board(firmware, board_file, vm, console=console.append)
        if prepare is not None:
            prepare(placement)
        placement.board.power_on()
        disturbance = asyncio.ensure_future(during(world, placement)) if during else None
        await asyncio.sleep(seconds)
        if disturbance is not None:
            assert disturbance.done(), "the disturbance takes longer than the run"
            disturbance.result()
        return await world.finish()

    verdict = world.kernel.run(run())
    world.kernel.close()
    assert world.placements[0].board.error is None
    assert not KEYS.search("".join(console)), "a key was printed"
    ring_lines, rest = apart("".join(console))
    return Outcome(world, verdict, rest, ring_lines)


def apart(console: str) -> tuple[list[str], str]:
    """(the lines that the library prints of its ring when it starts, what else was printed)."""
    lines = console.splitlines(keepends=True)
    told = [line for line in lines if line.startswith("plexus: ring of ")]
    return told, "".join(line for line in lines if line not in told)


def program(folder: Path, source: str) -> Path:
    """A firmware folder with the project's boot.py and `source` as main.py."""
    (folder / "boot.py").write_bytes((FIRMWARE / "boot.py").read_bytes())
    (folder / "main.py").write_text(source)
    return folder


def counter(folder: Path, arguments: str = "") -> Path:
    """A firmware that sends each number once, over all its boots; `arguments`, if any, begin with a comma."""
    return program(folder, COUNTER.replace("{arguments}", arguments))
