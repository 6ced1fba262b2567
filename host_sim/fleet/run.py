"""A fleet from its first boot to its verdict."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from ..board.board import Board
from ..faults import FAULTS, GATEWAY
from ..journal import Verdict
from ..scenario import ROUTES, Scenario
from ..world import ROOT, Placement, World
from .meter import Look, Meter

FIRMWARE = Path(__file__).resolve().parent / "firmware"
BOARD = ROOT / "boards" / "esp32_flash_ring.py"
BOARDS_MAX = 10_000
_PERIOD_S = 2.0
# Boards come on one after the other in this time, as no fleet is switched on at once.
_START_S = 10.0
# At the end no more readings are taken for so long, so that all can arrive.
_QUIET_S = 20.0
# Boards that look at the network once a second instead of five times cost half as much.
_RARELY = "TICK_MS = 1000\n"
_LOOK_S = 1.0  # of real time
_LOOK_BOARD_S = 2.0
# A socket for each board, and one more while it changes from one to another.
_CONNECTIONS_A_BOARD = 2
_CONNECTIONS = 64


@dataclass(frozen=True)
class FleetOptions:
    """`seconds` of real time, or of board time as fast as it goes when `virtual`."""

    boards: int
    seconds: float
    seed: int = 0
    virtual: bool = True
    firmware: Path = FIRMWARE
    board_file: Path = BOARD
    scenario: Scenario | None = None


@dataclass
class FleetResult:
    """What came of it. `uneven` names boards whose own readings were not stored once each."""

    verdict: Verdict
    look: Look
    board_s: float
    wall_s: float
    cpu_s: float
    board_bytes: int  # resident memory of a board that has started, the gateway's share of it included
    uneven: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def boards_a_core(self, boards: int) -> float:
        """How many boards one core of this machine carries in real time."""
        return boards * self.board_s / self.cpu_s if self.cpu_s else 0.0


class Fleet:
    """Runs `options`; `show` is called with a `Look` about once a second of real time."""

    def __init__(self, options: FleetOptions, show: Callable[[Look], None] = lambda look: None) -> None:
        self._options = options
        self._show = show
        self._start_s = min(_START_S, options.seconds / 4)
        self._quiet_s = min(_QUIET_S, options.seconds / 4)
        route = ROUTES[0] if options.scenario is None else options.scenario.gateway
        connections = options.boards * _CONNECTIONS_A_BOARD + _CONNECTIONS
        self.world = World(
            options.seed, virtual=options.virtual, route=route, limits={"connections_max": connections}
        )
        self._meter = Meter(self.world)
        self._rng = random.Random(f"{options.seed}/fleet")
        self._console: list[str] = []

    def run(self) -> FleetResult:
        """Raises `ValueError` for firmware that gives all boards one name."""
        started_s, started_cpu_s = time.monotonic(), time.process_time()
        verdict, look, board_bytes = self.world.kernel.run(self._run())
        cpu_s, wall_s = time.process_time() - started_cpu_s, time.monotonic() - started_s
        placements = self.world.placements
        result = FleetResult(verdict, look, self.world.kernel.now_us() / 1e6, wall_s, cpu_s, board_bytes)
        result.uneven = [placement.board.config.name for placement in placements if not self._even(placement)]
        result.errors = [repr(p.board.error) for p in placements if p.board.error is not None]
        result.errors += [text for text in self._console if "Traceback" in text][:1]
        self.world.kernel.close()
        return result

    async def _run(self) -> tuple[Verdict, Look, int]:
        world, options = self.world, self._options
        await world.start()
        before = resident_bytes()
        self._add_boards()
        self._direct()
        await self._watch(self._start_s + 1)
        board_bytes = (resident_bytes() - before) // options.boards
        self._check_names()
        await self._watch(options.seconds)
        look = self._meter.look()
        self._show(look)
        return await world.finish(), look, board_bytes

    def _add_boards(self) -> None:
        options = self._options
        samples = int((options.seconds - self._start_s - self._quiet_s) / _PERIOD_S)
        with TemporaryDirectory() as folder:
            board_file = Path(folder) / f"{options.board_file.stem}.py"
            more = _RARELY if options.board_file == BOARD else ""
            board_file.write_text(f"{options.board_file.read_text()}\n{more}FLEET_SAMPLES = {samples}\n")
            for number in range(options.boards):
                placement = self.world.add_board(
                    options.firmware, board_file, "cpython", console=self._console.append
                )
                placement.board.config.name = f"board {number}"
                after_us = int(self._rng.uniform(0, self._start_s) * 1e6)
                self.world.later(after_us, placement.board.power_on)

    def _direct(self) -> None:
        """Faults of the gateway come once, those of boards to each board."""
        scenario, world = self._options.scenario, self.world
        if scenario is None:
            return
        shared = [event for event in scenario.events if FAULTS[event.fault].needs == GATEWAY]
        own = [event for event in scenario.events if FAULTS[event.fault].needs != GATEWAY]
        for placement in world.placements:
            events = own + shared if placement is world.placements[0] else own
            world.direct(placement, replace(scenario, events=events), self._options.seconds)

    async def _watch(self, until_s: float) -> None:
        kernel = self.world.kernel
        shown_s = time.monotonic()
        while (left_s := until_s - kernel.now_us() / 1e6) > 0:
            await asyncio.sleep(min(left_s, _LOOK_BOARD_S if kernel.virtual else _LOOK_S))
            if time.monotonic() - shown_s >= _LOOK_S:
                shown_s = time.monotonic()
                self._show(self._meter.look())

    def _check_names(self) -> None:
        owners: dict[str, Board] = {}
        for placement in self.world.placements:
            for source_id in placement.witness.source_ids:
                if owners.setdefault(source_id, placement.board) is not placement.board:
                    raise ValueError(
                        f"two boards are called {source_id!r}: leave source_id out, the chip has its own"
                    )

    def _even(self, placement: Placement) -> bool:
        return self.world.judge(placement.witness).clean


def resident_bytes() -> int:
    """Memory of this process, 0 where there is no /proc."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
    except OSError:
        return 0
