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
from operator import attrgetter
from typing import Any, NamedTuple

Identity = tuple[str, str, Any, tuple[tuple[str, str], ...]]

_stored_ms = attrgetter("timestamp_ms")
# A reading may be stored this far from the moment it was taken and still be itself.
TOLERANCE_MS = 1500
# By how much of itself a float32 may change when it is printed in seven digits, computed in single precision.
_PRINTED = 2.0**-22
_NO_TAGS: dict[str, str] = {}  # one for all
_NUMBERS = (float, int)


class Reading(NamedTuple):  # there may be millions: a tuple is made in a third of a dataclass's time
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
    if not _is_number(value):
        value = json.dumps(value, sort_keys=True)
    return cls, metric, value, tuple(sorted(tags.items())) if tags else ()


def _is_number(value: Any) -> bool:
    return type(value) in _NUMBERS or (isinstance(value, (int, float)) and not isinstance(value, bool))


class Row(NamedTuple):
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
        tags = self.tags
        if tags and self.guessed:
            tags = {name: value for name, value in tags.items() if name != "clock"}
        return key_of(self.cls, self.metric, self.value, tags)


_SUMS = ["accepted", "stored", "pending", "lost", "duplicates", "resent", "dropped", "rejected", "miscounted"]
_SUMS += ["at_cut"]


@dataclass
class Verdict:
    """The comparison. `spurious` and `missing` hold the rows and readings that were not matched.

    `at_cut` readings were in the page that the board file allows when the power went, and went with it; the
    oldest had been there for `at_cut_ms`.
    """

    accepted: int = 0
    stored: int = 0
    pending: int = 0
    lost: int = 0
    duplicates: int = 0
    resent: int = 0
    dropped: int = 0
    rejected: int = 0
    miscounted: int = 0
    at_cut: int = 0
    time_error_ms: int = 0
    at_cut_ms: int = 0
    missing: list[Reading] = field(default_factory=list)
    spurious: list[Row] = field(default_factory=list)

    def add(self, other: Verdict) -> None:
        """Take another board's verdict in."""
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.time_error_ms = max(self.time_error_ms, other.time_error_ms)
        self.at_cut_ms = max(self.at_cut_ms, other.at_cut_ms)
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
        self.at_boot = 0  # of those accepted, how many before the last cut or reset
        self._open: list[list[Reading]] = []
        self._page: list[Reading] = []  # in the order in which they go to the ring, those of open calls too
        self._took_ms: dict[int, int] = {}  # by the id of a reading
        self._at_cut: dict[int, int] = {}  # Unix ms of the cut, by the id of a reading that was in the page

    def begin(self, true_ms: int, method: str, arguments: Any, paged: bool = False) -> None:
        """`arguments`: positional and named ones, and the tags of the run they are in, or the `repr` of all that.

        `paged`: they wait in RAM for a `commit`.
        """
        readings = _readings(true_ms, method, arguments)
        self._open.append(readings)
        if paged:
            self._page += readings

    def end(self, accepted: bool, true_ms: int | None = None) -> None:
        readings = self._open.pop()
        if accepted:
            if readings and true_ms is not None and true_ms > readings[0].true_ms:
                took_ms = true_ms - readings[0].true_ms
                for reading in readings:
                    self._took_ms[id(reading)] = took_ms
            self.accepted += readings
        elif self._page:
            refused = set(map(id, readings))
            self._page = [reading for reading in self._page if id(reading) not in refused]

    def commit(self, points: int) -> None:
        """The oldest `points` of the page outlive a power cut from now on."""
        del self._page[:points]

    def cut(self, true_ms: int) -> None:
        """The power went: what was being sent, or was in the page, may be stored or not."""
        for readings in self._open:
            self.maybe += readings
        self._open.clear()
        self.at_boot = len(self.accepted)
        self._at_cut.update((id(reading), true_ms) for reading in self._page)
        self._page.clear()

    def sure(self) -> list[Reading]:
        """Accepted readings that no cut excuses."""
        return [reading for reading in self.accepted if id(reading) not in self._at_cut]

    def at_cut(self) -> list[Reading]:
        """Accepted readings that were in the page when the power went."""
        return [reading for reading in self.accepted if id(reading) in self._at_cut]

    def told(self) -> None:
        """The board has told what it holds in RAM: what is not there is not excused by the end of the run."""
        self._page.clear()

    def took_ms(self, reading: Reading) -> int:
        """How long the call took that recorded it: it was taken then, a timer may have had its turn before."""
        return self._took_ms.get(id(reading), 0)

    def age_ms(self, reading: Reading) -> int:
        """For how long one of `at_cut` had been in the page."""
        return self._at_cut[id(reading)] - reading.true_ms


def _readings(true_ms: int, method: str, arguments: Any) -> list[Reading]:
    """The readings of a call, [] for arguments that no gateway could store (the library refuses them)."""
    try:
        given = ast.literal_eval(arguments) if isinstance(arguments, str) else arguments
        positional, named = given[:2]
    except (ValueError, SyntaxError):
        return []
    try:
        bound = _SIGNATURES[method](*positional, **named)
    except (TypeError, ValueError, LookupError):  # points that are none
        return []
    within = given[2] if len(given) > 2 else {}
    try:
        return [
            _reading(true_ms, metric, value, timestamp, {**within, **(tags or {})} if within else tags, cls)
            for metric, value, timestamp, tags, cls in bound
        ]
    except (TypeError, ValueError, OverflowError):  # a timestamp that is none
        return []


def _send(
    metric: str, value: Any, timestamp: Any = None, tags: Any = None, data_class: Any = None
) -> list[tuple[Any, ...]]:
    return [(metric, value, timestamp, tags, data_class)]


def _send_batch(points: list[Any], timestamp: Any = None, tags: Any = None) -> list[tuple[Any, ...]]:
    return [(p[0], p[1], p[2] if len(p) > 2 else timestamp, tags, None) for p in points]


_SIGNATURES: dict[str, Callable[..., list[tuple[Any, ...]]]] = {"send": _send, "send_batch": _send_batch}


def _reading(true_ms: int, metric: str, value: Any, timestamp: Any, tags: Any, cls: Any) -> Reading:
    number = _is_number(value)
    if not number:
        value = copy.deepcopy(value)  # the firmware may go on to change it
    stamp_ms = None
    if timestamp is not None:
        stamp_ms = round(timestamp * 1000) if timestamp < 1e12 else int(timestamp)
    cls = cls or ("metric" if number else "event")
    return Reading(None, cls, metric, value, dict(tags) if tags else _NO_TAGS, true_ms, stamp_ms)


def compare(
    journal: Journal,
    rows: Iterable[Row],
    held: Iterable[Row] = (),
    dropped: int = 0,
    rejected: int = 0,
    undecided: int = 0,
    tolerance_ms: int = TOLERANCE_MS,
) -> Verdict:
    """Match `rows` with the journal, then what is unmatched with what the board still `held`.

    `dropped` and `rejected` are what the device says it gave up; what they do not cover is lost, what
    they claim beyond the readings that are missing is `miscounted`. `undecided` ones are in a frame under way and have
    no other place: they are stored, or wait. A row may be so far off in time.
    """
    verdict = Verdict(accepted=len(journal.accepted), dropped=dropped, rejected=rejected)
    at_cut, unsure = _match_rows(verdict, journal, rows, tolerance_ms)
    held = _as_printed(journal, held, tolerance_ms)
    unstored = len(verdict.missing) + len(at_cut)
    verdict.missing = _without_held(verdict.missing, held, tolerance_ms)
    at_cut = _without_held(at_cut, held, tolerance_ms)
    verdict.pending = unstored - len(verdict.missing) - len(at_cut)
    verdict.at_cut_ms = max((journal.age_ms(reading) for reading in at_cut), default=0)
    given_up = dropped + rejected
    unknown = max(0, len(verdict.missing) - given_up)
    verdict.lost = max(0, unknown - undecided)
    verdict.pending += unknown - verdict.lost
    excess = max(0, given_up - len(verdict.missing))
    # What was written while the power went may have been given up later.
    verdict.at_cut = max(0, len(at_cut) - excess)
    verdict.miscounted = max(0, excess - len(at_cut) - unsure)
    return verdict


def _as_printed(journal: Journal, held: Iterable[Row], tolerance_ms: int) -> list[Row]:
    """`held`, with the values that the board told when it recorded them.

    It tells them as text. Where its firmware prints a float in fewer digits than it has (MicroPython up to 1.26), what
    lies in the ring is another number: that of no reading, and near that of one taken at the time.
    """
    rows = list(held)
    values = {row.value for row in rows if isinstance(row.value, float)}
    told_of = [
        reading
        for reading in (*journal.accepted, *journal.maybe)
        if type(reading.value) in _NUMBERS and reading.value in values
    ]
    known = {reading.key() for reading in told_of}
    strange = [row for row in rows if isinstance(row.value, float) and row.key() not in known]
    if not strange:
        return rows
    taken: dict[Any, list[Reading]] = defaultdict(list)
    for reading in journal.accepted:
        if isinstance(reading.value, float):
            taken[_place(reading)].append(reading)

    def told(row: Row) -> Row:
        near = [
            reading.value
            for reading in taken[_place(row)]
            if abs(reading.expected_ms() - row.timestamp_ms) <= tolerance_ms
            and abs(reading.value - row.value) <= _PRINTED * abs(row.value)
        ]
        return row._replace(value=min(near, key=lambda value: abs(value - row.value))) if near else row

    odd = set(map(id, strange))
    return [told(row) if id(row) in odd else row for row in rows]


def _place(of: Reading | Row) -> Identity:
    """What a reading is, value aside."""
    return key_of(of.cls, of.metric, None, of.tags)


def _match_rows(
    verdict: Verdict, journal: Journal, rows: Iterable[Row], tolerance_ms: int
) -> tuple[list[Reading], int]:
    """Put what is missing and what is spurious into `verdict`.

    The readings without a row that were in the page at a cut, and how many that were being sent.
    """
    by_key: dict[Any, list[Row]] = defaultdict(list)
    guessed: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        (guessed if row.tags and row.guessed else by_key)[row.key()].append(row)
        verdict.stored += 1
    sure, at_cut, maybe = map(_grouped, (journal.sure(), journal.at_cut(), journal.maybe))
    gone: list[Reading] = []
    unsure = 0
    for key in by_key.keys() | guessed.keys() | sure.keys() | at_cut.keys() | maybe.keys():
        spurious, guesses = by_key.get(key, []), guessed.get(key, [])
        missing, spurious, guesses, error_ms = _match_both(sure.get(key, []), spurious, guesses, tolerance_ms)
        gone_here, spurious, guesses, _ = _match_both(at_cut.get(key, []), spurious, guesses, tolerance_ms)
        unsure_here, spurious, guesses, _ = _match_both(maybe.get(key, []), spurious, guesses, tolerance_ms)
        verdict.missing += missing
        verdict.spurious += spurious + guesses
        verdict.time_error_ms = max(verdict.time_error_ms, error_ms)
        gone += gone_here
        unsure += len(unsure_here)
    verdict.duplicates = len(verdict.spurious)
    return gone, unsure


def _match_both(
    readings: list[Reading], rows: list[Row], guessed: list[Row], tolerance_ms: int
) -> tuple[list[Reading], list[Row], list[Row], int]:
    """`_match`, then what is missing with rows of which the device guessed the time."""
    if not readings:  # most keys have rows of one kind only
        return readings, rows, guessed, 0
    missing, spurious, error_ms = _match(readings, rows, tolerance_ms)
    missing, unmatched = _match_guessed(missing, guessed)
    return missing, spurious, unmatched, error_ms


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


def _match(
    readings: list[Reading], rows: list[Row], tolerance_ms: int = TOLERANCE_MS
) -> tuple[list[Reading], list[Row], int]:
    """Readings without a row, rows without a reading, and the largest error in time of the pairs.

    Both in the order of time; each row takes the earliest reading that is near enough, which matches as
    many as can be matched.
    """
    readings = sorted(readings, key=Reading.expected_ms)
    expected_ms = [reading.expected_ms() for reading in readings]
    missing, spurious = [], []
    i, n, error_ms = 0, len(readings), 0
    for row in sorted(rows, key=_stored_ms):
        stored_ms = row.timestamp_ms
        while i < n and expected_ms[i] < stored_ms - tolerance_ms:
            missing.append(readings[i])
            i += 1
        if i < n and expected_ms[i] <= stored_ms + tolerance_ms:
            error_ms = max(error_ms, abs(expected_ms[i] - stored_ms))
            i += 1
        else:
            spurious.append(row)
    return missing + readings[i:], spurious, error_ms


def _match_guessed(readings: list[Reading], rows: list[Row]) -> tuple[list[Reading], list[Row]]:
    """As `_match`, by order alone: the oldest readings are those that were taken before the time was known."""
    if not readings or not rows:
        return readings, rows
    readings = sorted(readings, key=Reading.expected_ms)
    return readings[len(rows) :], sorted(rows, key=_stored_ms)[len(readings) :]


def _without_held(missing: list[Reading], held: Iterable[Row], tolerance_ms: int) -> list[Reading]:
    """What is missing and not on the board either."""
    on_board: dict[Any, list[Row]] = defaultdict(list)
    for row in held:
        on_board[row.key()].append(row)
    gone: list[Reading] = []
    for key, readings in _grouped(missing).items():
        gone += _match(readings, on_board.get(key, []), tolerance_ms)[0]
    return gone
