"""What every store takes and gives, and what makes two points the same point."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from .windows import Windows


class StoreError(Exception):
    """The store could not commit; nothing of the request was stored."""


class Point(NamedTuple):
    """A checked point, ready to store.

    Identity is the whole tuple: (source, class, metric, tags, timestamp, value). `tags` and
    `value` are canonical JSON: compact, keys sorted, a number with an integral value written
    as an integer. So 3 and 3.0 are the same value (as in JSON and in Python), `true` and 1 are
    not, and two probes under one metric that differ in a tag are two points.
    """

    source_id: str
    cls: str
    metric: str
    tags: str
    timestamp_ms: int
    value: str


class Row(NamedTuple):
    """A stored point with its value and tags parsed; times in Unix milliseconds."""

    source_id: str
    cls: str
    metric: str
    value: Any
    tags: dict[str, str]
    timestamp_ms: int
    received_ms: int


class InsertResult(NamedTuple):
    """How many points of one insert were new, and how many were stored before."""

    stored: int
    repeated: int


class Source(NamedTuple):
    """A source and when it was heard for the first and the last time, Unix milliseconds."""

    source_id: str
    first_seen_ms: int
    last_seen_ms: int


@dataclass(frozen=True)
class Selection:
    """Which rows to read: `from_ms` and `to_ms` inclusive; None means any. Newest `limit` win."""

    from_ms: int
    to_ms: int
    limit: int
    source_id: str | None = None
    cls: str | None = None
    metrics: tuple[str, ...] | None = None


class Bucket(NamedTuple):
    """Numbers of one metric in one interval that starts at `timestamp_ms`."""

    metric: str
    timestamp_ms: int
    min: float
    max: float
    avg: float
    readings: int


class Store(Protocol):
    """A place for points that refuses to hold the same point twice; `windows` are runs and sessions."""

    windows: Windows

    def insert(self, points: Sequence[Point], received_ms: int) -> InsertResult:
        """Commit all points in one transaction, or raise StoreError having stored none."""
        ...

    @property
    def repeated_total(self) -> int:
        """Points refused as repeats since the store was created."""
        ...

    def rows(self, source_id: str | None = None) -> Iterator[Row]:
        """All rows, of one source or of all, in the order in which they were stored."""
        ...

    def count(self) -> int:
        """Number of stored points."""
        ...

    def sources(self) -> list[Source]: ...

    def source(self, source_id: str) -> Source | None: ...

    def metrics(self, source_id: str) -> list[str]:
        """Names of the source's metrics (not events), sorted."""
        ...

    def latest(self, source_id: str, since_ms: int) -> dict[str, float]:
        """Newest value of each metric with a timestamp of at least `since_ms`."""
        ...

    def select(self, selection: Selection) -> list[Row]:
        """The newest rows that match, oldest first."""
        ...

    def buckets(self, selection: Selection, step_ms: int) -> list[Bucket]:
        """Metrics summed up in intervals of `step_ms`; the newest `limit` buckets, oldest first."""
        ...

    def close(self) -> None: ...
