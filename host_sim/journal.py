"""What really happened: every reading the firmware handed to the library, kept outside the device.

Stored rows are matched to it one to one. The device's own counters are never believed; they are compared.
"""

from __future__ import annotations

import ast
import copy
import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

Identity = tuple[str, str, Any, tuple[tuple[str, str], ...]]

# A reading may be stored this far from the moment it was taken and still be itself.
TOLERANCE_MS = 1500


@dataclass(frozen=True)
class Reading:
    """One reading: `true_ms` is when it was taken, `stamp_ms` the timestamp it was given, if any."""

    source_id: str | None
    cls: str
    metric: str
    value: Any
    tags: dict[str, str]
    true_ms: int
    stamp_ms: int | None = None

    def key(self) -> Identity:
        return key_of(self.cls, self.metric, self.value, self.tags)

    def expected_ms(self) -> int:
        return self.true_ms if self.stamp_ms is None else self.stamp_ms


def key_of(cls: str, metric: str, value: Any, tags: dict[str, str]) -> Identity:
    """What a reading is, time aside. 3 and 3.0 are one number, True is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        value = json.dumps(value, sort_keys=True)
    return cls, metric, value, tuple(sorted(tags.items())) if tags else ()


@dataclass
class Row:
    """What the gateway stored."""

    cls: str
    metric: str
    value: Any
    tags: dict[str, str]
    timestamp_ms: int

    @property
    def guessed(self) -> bool:
        """The device says that it does not know the time: its boot never met a gateway."""
        return self.tags.get("clock") == "estimated"

    def key(self) -> Identity:
        tags = (
            {name: value for name, value in self.tags.items() if name != "clock"}
            if self.guessed
            else self.tags
        )
        return key_of(self.cls, self.metric, self.value, tags)


_SUMS = ["accepted", "stored", "pending", "lost", "duplicates", "resent", "dropped", "rejected", "miscounted"]


@dataclass
class Verdict:
    """The comparison. `spurious` and `missing` hold the rows and readings that were not matched."""

    accepted: int = 0
    stored: int = 0
    pending: int = 0
    lost: int = 0
    duplicates: int = 0
    resent: int = 0
    dropped: int = 0
    rejected: int = 0
    miscounted: int = 0
    time_error_ms: int = 0
    missing: list[Reading] = field(default_factory=list)
    spurious: list[Row] = field(default_factory=list)

    def add(self, other: Verdict) -> None:
        """Take another board's verdict in."""
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.time_error_ms = max(self.time_error_ms, other.time_error_ms)
        self.missing += other.missing
        self.spurious += other.spurious

    def counts(self) -> dict[str, int]:
        """The sums by name, for one line of JSON."""
        return {name: getattr(self, name) for name in _SUMS}

    @property
    def clean(self) -> bool:
        return not (self.lost or self.duplicates or self.miscounted)


class Journal:
    """Hears of every `send` before and after; see `Board.recorder`."""

    def __init__(self) -> None:
        self.accepted: list[Reading] = []
        self.maybe: list[Reading] = []
        self._open: list[list[Reading]] = []

    def begin(self, true_ms: int, method: str, arguments: Any) -> None:
        """`arguments`: positional and named ones, or their `repr`."""
        self._open.append(_readings(true_ms, method, arguments))

    def end(self, accepted: bool) -> None:
        readings = self._open.pop()
        if accepted:
            self.accepted += readings

    def cut(self) -> None:
        """The power went: what was being sent may be stored or not."""
        for readings in self._open:
            self.maybe += readings
        self._open.clear()


def _readings(true_ms: int, method: str, arguments: Any) -> list[Reading]:
    """The readings of a call, [] for arguments that no gateway could store (the library refuses them)."""
    try:
        positional, named = ast.literal_eval(arguments) if isinstance(arguments, str) else arguments
    except (ValueError, SyntaxError):
        return []
    try:
        bound = _SIGNATURES[method](*positional, **named)
    except (TypeError, ValueError):
        return []
    return [_reading(true_ms, *one) for one in bound]


def _send(
    metric: str, value: Any, timestamp: Any = None, tags: Any = None, data_class: Any = None
) -> list[tuple[Any, ...]]:
    return [(metric, value, timestamp, tags, data_class)]


def _send_batch(points: list[Any], timestamp: Any = None, tags: Any = None) -> list[tuple[Any, ...]]:
    return [(p[0], p[1], p[2] if len(p) > 2 else timestamp, tags, None) for p in points]


_SIGNATURES: dict[str, Callable[..., list[tuple[Any, ...]]]] = {"send": _send, "send_batch": _send_batch}


def _reading(true_ms: int, metric: str, value: Any, timestamp: Any, tags: Any, cls: Any) -> Reading:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number:
        value = copy.deepcopy(value)  # the firmware may go on to change it
    stamp_ms = None
    if timestamp is not None:
        stamp_ms = round(timestamp * 1000) if timestamp < 1e12 else int(timestamp)
    cls = cls or ("metric" if number else "event")
    return Reading(None, cls, metric, value, dict(tags or ()), true_ms, stamp_ms)


def compare(
    journal: Journal, rows: Iterable[Row], held: Iterable[Row] = (), dropped: int = 0, rejected: int = 0
) -> Verdict:
    """Match `rows` with the journal, then what is unmatched with what the board still `held`.

    `dropped` and `rejected` are what the device says it gave up; what they do not cover is lost, what
    they claim beyond the readings that are missing is `miscounted`.
    """
    verdict = Verdict(accepted=len(journal.accepted), dropped=dropped, rejected=rejected)
    by_key: dict[Any, list[Row]] = defaultdict(list)
    guessed: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        (guessed if row.guessed else by_key)[row.key()].append(row)
        verdict.stored += 1
    sure = _grouped(journal.accepted)
    maybe = _grouped(journal.maybe)
    for key in by_key.keys() | sure.keys() | guessed.keys():
        missing, spurious, error_ms = _match(sure.get(key, []), by_key.get(key, []))
        missing, unmatched = _match_guessed(missing, guessed.get(key, []))
        spurious += unmatched
        verdict.missing += missing
        verdict.spurious += _match(maybe.get(key, []), spurious)[1]
        verdict.time_error_ms = max(verdict.time_error_ms, error_ms)
    verdict.duplicates = len(verdict.spurious)
    unstored = len(verdict.missing)
    verdict.missing = _without_held(verdict.missing, held)
    verdict.pending = unstored - len(verdict.missing)
    given_up = dropped + rejected
    verdict.lost = max(0, len(verdict.missing) - given_up)
    verdict.miscounted = max(0, given_up - len(verdict.missing))
    return verdict


def _grouped(readings: list[Reading]) -> dict[Any, list[Reading]]:
    """By key. Readings that were given one timestamp and say the same are one reading."""
    found: dict[Any, list[Reading]] = defaultdict(list)
    stamped = set()
    for reading in readings:
        key = reading.key()
        if reading.stamp_ms is not None:
            if (key, reading.stamp_ms) in stamped:
                continue
            stamped.add((key, reading.stamp_ms))
        found[key].append(reading)
    return found


def _match(readings: list[Reading], rows: list[Row]) -> tuple[list[Reading], list[Row], int]:
    """Readings without a row, rows without a reading, and the largest error in time of the pairs.

    Both in the order of time; each row takes the earliest reading that is near enough, which matches as
    many as can be matched.
    """
    readings = sorted(readings, key=Reading.expected_ms)
    rows = sorted(rows, key=lambda row: row.timestamp_ms)
    missing, spurious = [], []
    i = error_ms = 0
    for row in rows:
        while i < len(readings) and readings[i].expected_ms() < row.timestamp_ms - TOLERANCE_MS:
            missing.append(readings[i])
            i += 1
        if i < len(readings) and readings[i].expected_ms() <= row.timestamp_ms + TOLERANCE_MS:
            error_ms = max(error_ms, abs(readings[i].expected_ms() - row.timestamp_ms))
            i += 1
        else:
            spurious.append(row)
    return missing + readings[i:], spurious, error_ms


def _match_guessed(readings: list[Reading], rows: list[Row]) -> tuple[list[Reading], list[Row]]:
    """As `_match`, by order alone: the oldest readings are those that were taken before the time was known."""
    readings = sorted(readings, key=Reading.expected_ms)
    return readings[len(rows) :], sorted(rows, key=lambda row: row.timestamp_ms)[len(readings) :]


def _without_held(missing: list[Reading], held: Iterable[Row]) -> list[Reading]:
    """What is missing and not on the board either."""
    on_board: dict[Any, list[Row]] = defaultdict(list)
    for row in held:
        on_board[row.key()].append(row)
    gone: list[Reading] = []
    for key, readings in _grouped(missing).items():
        gone += _match(readings, on_board.get(key, []))[0]
    return gone
