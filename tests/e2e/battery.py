"""A battery's day: a board that wakes every minute, sends, and sleeps deeply; the gateway is there one hour in six."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from host_sim.board.board import Board
from host_sim.journal import Verdict
from host_sim.world import ROOT, World

FIRMWARE = """
import time
from plexus_mp import Plexus

px = Plexus(source_id="battery", tick_ms=0)
px.send("woken_s", time.time())
px.suspend(60_000)
"""
# boards/X.py, what replaces lines of it, and whether what is in RAM outlives a reset there.
RINGS = {
    "a flash partition": ("esp32_flash_ring", {}),
    "files": ("esp32", {}),
    "RAM and RTC memory": (
        "esp32_ram_ring",
        {"SECTOR_BYTES = 1024": "SECTOR_BYTES = 2048", "PAGE_BYTES = 512": "PAGE_BYTES = 1792"},
    ),
}  # fmt: skip
HOUR_S = 3600
SETTLE_S = 1200  # after the last hour: a board that sleeps asks every 15 minutes


@dataclass
class Day:
    """What a day came to. Awake times in ms of board time, of wakes with and without a gateway.

    `searches_ms` are those of wakes with the radio on and no gateway, `dark_ms` those with the radio off.
    """

    hours: int
    verdict: Verdict
    wakes: int
    flash_programs: int
    flash_erases: int
    file_changes: int
    awake_ms: dict[bool, list[float]] = field(default_factory=dict)
    searches_ms: list[float] = field(default_factory=list)
    dark_ms: list[float] = field(default_factory=list)
    time_error_ms: int = 0
    console: str = ""

    def median_ms(self, reachable: bool) -> float:
        found = sorted(self.awake_ms[reachable])
        return found[len(found) // 2] if found else 0.0

    @property
    def awake_s(self) -> float:
        return sum(map(sum, self.awake_ms.values())) / 1000


class Meter:
    """Notes when `board` wakes and sleeps, and every change of its files."""

    def __init__(self, board: Board, world: World) -> None:
        self.wakes = self.file_changes = 0
        self.awake_ms: dict[bool, list[float]] = {False: [], True: []}
        self.searches_ms: list[float] = []
        self.dark_ms: list[float] = []
        self._board, self._world = board, world
        self._woken_us = self._attempts = 0
        boot, reset, begin = board._boot, board.reset, board.files.begin

        def boots(cause: int) -> None:
            self.wakes += 1
            self._woken_us = board.now_us()
            self._attempts = len(board.wifi.attempts)
            boot(cause)

        def resets(cause: int, after_us: int = 0) -> None:
            self._note()
            reset(cause, after_us)

        def changes() -> bool | None:
            self.file_changes += 1
            return begin()

        board._boot, board.reset, board.files.begin = boots, resets, changes  # type: ignore[method-assign]

    def _note(self) -> None:
        ms = (self._board.now_us() - self._woken_us) / 1000
        reachable = self._world.gateway_runs
        self.awake_ms[reachable].append(ms)
        if len(self._board.wifi.attempts) == self._attempts:
            self.dark_ms.append(ms)
        elif not reachable:
            self.searches_ms.append(ms)


def board_file(ring: str, folder: Path) -> Path:
    name, changes = RINGS[ring]
    text = (ROOT / "boards" / f"{name}.py").read_text()
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    path = folder / f"{name}.py"
    path.write_text(text)
    return path


def play(ring: str, vm: str, hours: int, folder: Path, hour_s: int = HOUR_S, settle_s: int = SETTLE_S) -> Day:
    """`hours` of it, of `hour_s` each; in every sixth the gateway can be reached, and at the end."""
    world = World(1, virtual=True)
    console: list[str] = []
    board_path = board_file(ring, folder)
    folder = folder / "firmware"
    folder.mkdir()
    (folder / "boot.py").write_text("# the library connects the Wi-Fi when there is something to send\n")
    (folder / "main.py").write_text(FIRMWARE)

    async def run() -> tuple[Verdict, Meter, Board]:
        await world.start()
        placement = world.add_board(folder, board_path, vm, console=console.append)
        meter = Meter(placement.board, world)
        placement.board.power_on()
        await _gateway_hours(world, hours, hour_s)
        await asyncio.sleep(settle_s)
        return await world.finish(), meter, placement.board

    verdict, meter, board = world.kernel.run(run())
    world.kernel.close()
    assert board.error is None
    erases = sum(board.flash.wear)
    told = "".join(line for line in console if not line.startswith("plexus: ring of"))
    return Day(
        hours, verdict, meter.wakes, board.flash.operations - erases, erases, meter.file_changes, meter.awake_ms,
        meter.searches_ms, meter.dark_ms, verdict.time_error_ms, told,
    )  # fmt: skip


async def _gateway_hours(world: World, hours: int, hour_s: int) -> None:
    for hour in range(hours):
        if hour % 6 == 1:
            world.stop_gateway()
        elif hour % 6 == 0 and hour:
            world.restart_gateway()
        await asyncio.sleep(hour_s)
    if not world.gateway_runs:
        world.restart_gateway()
