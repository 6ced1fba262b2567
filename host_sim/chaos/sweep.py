"""Many seeds on all cores, and what came of them in sum."""

from __future__ import annotations

import logging
import math
import multiprocessing
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ..journal import Verdict
from .history import DAY_S, History, draw
from .play import FIRMWARE, Outcome, play
from .shrink import PLAYS_MAX, shrink

_SUMS = ("accepted", "stored", "pending", "lost", "duplicates", "resent", "dropped", "rejected")
_MORE = ("miscounted", "at_cut")


@dataclass(frozen=True)
class Orders:
    """What every seed of a sweep has in common. Firmware other than chaos's own may repeat values."""

    seconds: float = DAY_S
    vm: str = "cpython"
    board: Path | None = None
    firmware: Path = FIRMWARE

    def history(self, seed: int) -> History:
        return draw(seed, self.seconds, self.board, not _known(self.firmware))


def _known(firmware: Path) -> bool:
    """Whether it is chaos's own, with whatever library."""
    main = firmware / "main.py"
    return main.is_file() and main.read_bytes() == (FIRMWARE / "main.py").read_bytes()


@dataclass
class Report:
    """One history, without its readings: small enough to come from another process."""

    seed: int
    counts: dict[str, int]
    complaints: list[tuple[str, str]]
    faults: Counter[str] = field(default_factory=Counter)
    board_s: float = 0.0
    claims: int = 0
    digest: str = ""


@dataclass
class Sums:
    """All reports together."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    failed: list[int] = field(default_factory=list)
    board_s: float = 0.0
    seeds: int = 0

    def add(self, report: Report) -> None:
        self.seeds += 1
        self.counts.update(report.counts)
        self.faults.update(report.faults)
        self.board_s += report.board_s
        if report.complaints:
            self.failed.append(report.seed)

    def line(self, wall_s: float) -> dict[str, object]:
        """For JSON, as DESIGN names the keys."""
        return {
            **{name: self.counts[name] for name in (*_SUMS, *_MORE)},
            "board_s": round(self.board_s, 1),
            "wall_s": round(wall_s, 1),
            "failed": self.failed,
            "faults": dict(sorted(self.faults.items())),
        }


def quieten() -> None:
    """A gateway that is made to hang is cancelled in the end, which its server would report as an error."""
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)


def report_on(orders: Orders, seed: int) -> Report:
    """Play one seed; what breaks the simulator itself is a complaint too."""
    quieten()
    try:
        return _report(play(orders.history(seed), orders.firmware, orders.vm))
    except Exception as e:
        return Report(seed, Verdict().counts(), [("simulator", f"{type(e).__name__}: {e}")])


def _report(outcome: Outcome) -> Report:
    # Not of the flash: the certificates on it are new in each process.
    digest = "".join(outcome.digests[name][:16] for name in ("frames", "rows"))
    return Report(
        outcome.history.seed,
        outcome.verdict.counts(),
        outcome.complaints,
        outcome.faults,
        outcome.board_s,
        outcome.claims,
        digest,
    )


def sweep(orders: Orders, seeds: Iterable[int], jobs: int) -> Iterator[Report]:
    """A report for each seed, in their order, from `jobs` processes; with one, from this one."""
    if jobs == 1:
        yield from map(partial(report_on, orders), seeds)
        return
    # A new process each time: a board that lost its power stays in memory for good (kernel.Fibre).
    with multiprocessing.Pool(jobs, maxtasksperchild=8) as pool:
        yield from pool.imap(partial(report_on, orders), seeds)


def shrunk(orders: Orders, seed: int, seconds: float) -> tuple[History, int]:
    """The shortest history found in so many seconds that fails as `seed` does; and how many were played."""
    return shrunk_from(orders.history(seed), orders.firmware, orders.vm, seconds)


def shrunk_from(
    history: History,
    firmware: Path = FIRMWARE,
    vm: str = "cpython",
    seconds: float = math.inf,
    plays_max: int = PLAYS_MAX,
) -> tuple[History, int]:
    """As `shrunk`, of any history that fails. The same promise has to be broken all the way."""
    quieten()
    kinds = play(history, firmware, vm).kinds()
    plays = 0

    def fails(candidate: History) -> bool:
        nonlocal plays
        plays += 1
        return bool(kinds & play(candidate, firmware, vm).kinds())

    return shrink(history, fails, plays_max, seconds), plays
