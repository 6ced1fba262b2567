"""Plays a history and says which promise did not hold."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..director import Director
from ..journal import Journal, Reading, Verdict
from ..world import Placement, World
from .history import History

FIRMWARE = Path(__file__).resolve().parent / "firmware"
# Every value of that firmware is its own, so a reading is known whatever its time. (A number of years.)
_ANY_TIME_MS = 1 << 41
# What is not stored at the end of the calm must be younger: a page of files waits a minute after trouble, HTTP serves
# with pauses of a minute and a quarter.
_YOUNG_MS = 200_000
# Reading the ticks, rounding, and a slice of the link between the call and its stamp.
_CLOCK_SLACK_MS = 15
# Without a claim: half of the slowest round trip drawn, and what a crystal that nobody knows may be off (clock.py).
_TIME_MAX_MS = 6_000
_DRIFT_MAX = 250e-6
_WINDOW = 4  # frames under way over a WebSocket
_POINT_BYTES = 48  # of JSON, at least


@dataclass
class Outcome:
    """What came of a history. `complaints` are pairs of a kind and what is wrong, empty when all promises held."""

    history: History
    verdict: Verdict = field(default_factory=Verdict)
    complaints: list[tuple[str, str]] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    digests: dict[str, str] = field(default_factory=dict)
    board_s: float = 0.0
    wall_s: float = 0.0
    claims: int = 0  # readings that told how wrong their time could be

    def kinds(self) -> set[str]:
        return {kind for kind, _ in self.complaints}


def play(history: History, firmware: Path = FIRMWARE, vm: str = "cpython") -> Outcome:
    """Play `history` on `vm` in virtual time: as fast as it goes, the same each time."""
    started = time.monotonic()
    world = World(history.seed, virtual=True, route=history.gateway)
    if not history.plain:
        world.tolerance_ms = _ANY_TIME_MS
    console: list[str] = []
    outcome = Outcome(history)

    async def run() -> tuple[Director, dict[str, int]]:
        await world.start()
        with TemporaryDirectory() as folder:
            board_file = Path(folder) / "board.py"
            board_file.write_text(history.board)
            placement = world.add_board(firmware, board_file, vm, console=console.append)
        director = world.direct(placement, history.scenario(), history.seconds)
        placement.board.power_on()
        await asyncio.sleep(history.seconds)
        told = _told(placement)
        outcome.verdict = await world.finish()
        return director, told

    director, told = world.kernel.run(run())
    world.kernel.close()
    outcome.faults = director.kinds
    outcome.digests = world.digests()
    outcome.board_s = world.kernel.now_us() / 1e6
    outcome.complaints = list(_Judge(outcome, world, director, told, "".join(console)).complaints())
    outcome.wall_s = time.monotonic() - started
    return outcome


def _told(placement: Placement) -> dict[str, int]:
    """What the device says of itself, where its objects are in this process."""
    modules = getattr(placement.board._vm, "modules", {})
    clients = getattr(modules.get("_start"), "_clients", [])
    if len(clients) != 1:
        return {}
    client, journal = clients[0], placement.witness.journal
    recorder = client._recorder
    return {
        "accepted": recorder.accepted + recorder.pending,
        "sent": len(journal.accepted) - journal.at_boot,
        "waiting": client.buffer_size(),
    }


class _Judge:
    def __init__(
        self, outcome: Outcome, world: World, director: Director, told: dict[str, int], console: str
    ) -> None:
        self._outcome = outcome
        self._history = outcome.history
        self._world = world
        self._told = told
        self._console = console
        self._placement = world.placements[0]
        calm_us = int((self._history.seconds - self._history.calm_s) * 1e6)
        self._calm = director.last_us <= calm_us

    def complaints(self) -> Iterator[tuple[str, str]]:
        verdict, board = self._outcome.verdict, self._placement.board
        if board.error is not None:
            yield "board", repr(board.error)
        if "Traceback" in self._console:
            yield "firmware", self._console[self._console.index("Traceback") :][:2000]
        if verdict.lost:
            yield "lost", f"{verdict.lost} readings, the first {verdict.missing[0]}"
        if verdict.duplicates:
            yield "duplicates", f"{verdict.duplicates} rows too many, the first {verdict.spurious[0]}"
        if verdict.miscounted > self._in_flight():
            yield "miscounted", f"{verdict.miscounted} claimed as dropped or rejected, and not missing"
        if verdict.dropped and not self._placement.witness.overflowed:
            yield "dropped", f"{verdict.dropped} readings, though the ring never was full"
        if verdict.rejected:
            yield "rejected", f"{verdict.rejected} readings that were right"
        yield from self._delivery()
        yield from self._counters()
        if not self._history.plain and not self._history.skews():
            yield from self._times()

    def _in_flight(self) -> int:
        """How many readings the device may count as dropped though they are stored: those whose answer was lost.

        A window of frames for each time that a full ring gave up its oldest readings.
        """
        frame = re.search(r"^FRAME_BYTES = (\d+)", self._history.board, re.M)
        window = _WINDOW * int(frame[1]) // _POINT_BYTES if frame else 0
        missing = set(map(id, self._outcome.verdict.missing))
        gone = [id(reading) in missing for reading in self._placement.witness.journal.accepted]
        overflows = sum(here and not before for before, here in zip([False, *gone], gone, strict=False))
        return window * (overflows + 1) if self._outcome.verdict.dropped else 0

    def _delivery(self) -> Iterator[tuple[str, str]]:
        """In the calm at the end all is delivered but what is new."""
        verdict, journal = self._outcome.verdict, self._placement.witness.journal
        since_ms = self._world.kernel.unix_ms() - _YOUNG_MS
        young = sum(reading.true_ms >= since_ms for reading in journal.accepted)
        if self._calm and verdict.pending > young:
            yield "stuck", f"{verdict.pending} readings wait at the end, {young} of them may"
        if not verdict.stored and verdict.accepted > young:
            yield "stuck", "nothing was stored"

    def _counters(self) -> Iterator[tuple[str, str]]:
        told = self._told
        if told and told["accepted"] != told["sent"]:
            yield "counters", f"the device accepted {told['accepted']}, it was sent {told['sent']}"
        if told and told["waiting"] < self._outcome.verdict.pending - (told["sent"] == 0):
            yield (
                "counters",
                f"the device says that {told['waiting']} wait, not {self._outcome.verdict.pending}",
            )

    def _times(self) -> Iterator[tuple[str, str]]:
        """Each reading at its time, as far as the device knows it; a claim of its own must be true."""
        journal = self._placement.witness.journal
        taken = _by_value(journal)
        loose_ms = _TIME_MAX_MS + self._history.seconds * 1000 * _DRIFT_MAX
        worst: dict[str, tuple[int, str]] = {}
        for row in self._world.store.rows() if self._world.store else ():
            reading = taken.get((row.metric, _value(row.value)))
            if reading is None or row.tags.get("clock") == "estimated" or reading.stamp_ms is not None:
                continue
            bound_ms, kind = loose_ms, "time"
            if row.metric == "clock_error":
                bound_ms, kind = row.value["ms"] + _CLOCK_SLACK_MS, "claim"
                self._outcome.claims += 1
            error_ms = _off(row.timestamp_ms, reading.true_ms, journal.took_ms(reading))
            if error_ms > bound_ms:
                text = f"{row.metric} {row.value} is off by {error_ms} ms, at most {bound_ms:.0f}"
                worst[kind] = max(worst.get(kind, (0, "")), (error_ms, text))
        for kind, (_, text) in worst.items():
            yield kind, text


def _by_value(journal: Journal) -> dict[Any, Reading]:
    return {(reading.metric, _value(reading.value)): reading for reading in journal.accepted}


def _value(value: Any) -> Any:
    return value["n"] if isinstance(value, dict) else value


def _off(stamp_ms: int, begun_ms: int, took_ms: int) -> int:
    """How far a timestamp lies outside of the call that took it."""
    return max(begun_ms - stamp_ms, stamp_ms - begun_ms - took_ms, 0)
