"""What a fleet does, as numbers for a table that lives."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..world import World

_WORST = 5


@dataclass(frozen=True)
class Look:
    """One look at the fleet. Rates per second since the look before, lags in seconds of board time.

    A board's lag is how old the newest of its readings is that the gateway has, 0 when none waits.
    """

    board_s: float
    boards_on: int
    accepted: int
    stored: int
    repeated: int
    accepted_rate: float
    stored_rate: float
    lags: tuple[float, float, float]  # median, of 95 in 100, longest
    worst: tuple[tuple[str, float, int], ...]  # source, lag, readings that are not stored

    @property
    def waiting(self) -> int:
        return self.accepted - self.stored


class Meter:
    """Watches the store and the journals of `world`, whose boards may come later."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._stored: Counter[str] = Counter()
        self._newest_ms: dict[str, int] = {}
        self._before = (0.0, 0, 0)
        self._watch_store()

    def _watch_store(self) -> None:
        store: Any = self._world.store
        insert = store.insert

        def watched(points: Sequence[Any], received_ms: int) -> Any:
            result = insert(points, received_ms)
            for point in points:
                source = point.source_id
                self._stored[source] += 1
                self._newest_ms[source] = max(self._newest_ms.get(source, 0), point.timestamp_ms)
            return result

        store.insert = watched

    def look(self) -> Look:
        world = self._world
        assert world.store is not None
        now_ms, now_s = world.kernel.unix_ms(), world.kernel.now_us() / 1e6
        boards: list[tuple[float, str, int]] = []
        accepted = 0
        for placement in world.placements:
            journal = placement.witness.journal.accepted
            accepted += len(journal)
            for source in placement.witness.source_ids:
                waiting = len(journal) - self._stored[source]
                newest_ms = self._newest_ms.get(source, world.kernel.epoch_ms)
                lag_s = max(0, now_ms - newest_ms) / 1000 if waiting > 0 else 0.0
                boards.append((lag_s, source, waiting))
        boards.sort(reverse=True)
        repeated = world.store.repeated_total
        stored = self._stored.total() - repeated
        then_s, accepted_then, stored_then = self._before
        self._before = now_s, accepted, stored
        elapsed_s = max(now_s - then_s, 1e-6)
        return Look(
            now_s,
            sum(placement.board.powered for placement in world.placements),
            accepted,
            stored,
            repeated,
            (accepted - accepted_then) / elapsed_s,
            (stored - stored_then) / elapsed_s,
            _quantiles([lag_s for lag_s, _, _ in boards]),
            tuple((source, lag_s, waiting) for lag_s, source, waiting in boards[:_WORST]),
        )


def _quantiles(longest_first: list[float]) -> tuple[float, float, float]:
    if not longest_first:
        return 0.0, 0.0, 0.0
    n = len(longest_first)
    return longest_first[n // 2], longest_first[n // 20], longest_first[0]


HEAD = "   board s   boards   accepted     stored    waiting   again    /s in   /s stored   lag s: half    95 %     all"


def row(look: Look) -> str:
    """A line of the table."""
    half_s, most_s, all_s = look.lags
    return (
        f"{look.board_s:>10.0f} {look.boards_on:>8} {look.accepted:>10} {look.stored:>10} {look.waiting:>10}"
        f" {look.repeated:>7} {look.accepted_rate:>8.0f} {look.stored_rate:>11.0f} {half_s:>13.1f}"
        f" {most_s:>7.1f} {all_s:>7.1f}"
    )


class Table:
    """On a terminal a table that is drawn anew each time, elsewhere a line each time."""

    def __init__(self) -> None:
        self._lines = 0
        self._live = sys.stdout.isatty()

    def show(self, look: Look) -> None:
        if not self._live:
            lines = [row(look)] if self._lines else [HEAD, row(look)]
            self._lines = 1
        else:
            up = f"\x1b[{self._lines}A\x1b[J" if self._lines else ""
            lines = [up + HEAD, row(look), "  the slowest:"]
            lines += [
                f"    {source:<28} {lag_s:>7.1f} s, {waiting} wait" for source, lag_s, waiting in look.worst
            ]
            self._lines = len(lines)
        print("\n".join(lines), flush=True)
