"""Points in SQLite: one connection, one transaction per request, no thread.

A series (source, class, metric, tags) is written once and numbered, so that the index which
refuses repeats holds (series, timestamp, value) and stays small.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import orjson

from .model import Bucket, InsertResult, Point, Row, Selection, Source, StoreError
from .windows import Windows

SCHEMA_VERSION = 1
SERIES_CACHE_MAX = 65_536
LOCK_WAIT_S = 0.25

_SCHEMA = """
CREATE TABLE IF NOT EXISTS series(
    id INTEGER PRIMARY KEY, source_id TEXT NOT NULL, cls TEXT NOT NULL,
    metric TEXT NOT NULL, tags TEXT NOT NULL, UNIQUE(source_id, cls, metric, tags));
CREATE TABLE IF NOT EXISTS points(
    id INTEGER PRIMARY KEY, series_id INTEGER NOT NULL, timestamp_ms INTEGER NOT NULL,
    value TEXT NOT NULL, received_ms INTEGER NOT NULL, UNIQUE(series_id, timestamp_ms, value));
CREATE TABLE IF NOT EXISTS sources(
    source_id TEXT PRIMARY KEY, first_seen_ms INTEGER NOT NULL, last_seen_ms INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS totals(name TEXT PRIMARY KEY, count INTEGER NOT NULL);
"""
_INSERT_POINT = "INSERT OR IGNORE INTO points(series_id, timestamp_ms, value, received_ms) VALUES(?,?,?,?)"
_INSERT_SERIES = (
    "INSERT INTO series(source_id, cls, metric, tags) VALUES(?,?,?,?)"
    " ON CONFLICT DO UPDATE SET metric = excluded.metric RETURNING id"
)
_SEE_SOURCE = (
    "INSERT INTO sources VALUES(?1,?2,?2) ON CONFLICT(source_id)"
    " DO UPDATE SET last_seen_ms = max(last_seen_ms, excluded.last_seen_ms)"
)
_ADD_REPEATED = (
    "INSERT INTO totals VALUES('repeated', ?) ON CONFLICT(name) DO UPDATE SET count = count + excluded.count"
)
_ROW = "source_id, cls, metric, value, tags, timestamp_ms, received_ms"
_OWN = "series_id, value, timestamp_ms, received_ms"
_NO_TAGS = "{}"
_JOIN = "points JOIN series ON series.id = points.series_id"
_LATEST = f"""
SELECT metric, value FROM (
    SELECT metric, value, row_number() OVER
        (PARTITION BY metric ORDER BY timestamp_ms DESC, points.id DESC) AS nth
    FROM {_JOIN} WHERE source_id = ? AND cls = 'metric' AND timestamp_ms >= ?)
WHERE nth = 1 ORDER BY metric"""

_T = TypeVar("_T")


class SqliteStore:
    """See `Store`. `path` is a file or `:memory:`; `synchronous` is `normal` or `full`."""

    def __init__(self, path: str, synchronous: str = "normal") -> None:
        if synchronous not in ("normal", "full"):
            raise ValueError(f"synchronous must be normal or full, not {synchronous!r}")
        # Somebody else's lock may hold up the loop only briefly, then it is an error.
        # The loop that writes may run in another thread than the one that opened the store;
        # the sqlite3 module serialises the calls.
        self._db = sqlite3.connect(path, timeout=LOCK_WAIT_S, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute(f"PRAGMA synchronous={synchronous}")
        self._prepare()
        self.windows = Windows(self._db)
        self._series: dict[tuple[str, ...], int] = {}
        self._repeated = self._read_repeated()

    def _prepare(self) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, SCHEMA_VERSION):
            raise StoreError(f"store has format {version}, this program knows {SCHEMA_VERSION}")
        self._db.executescript(_SCHEMA)
        self._db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")

    def _read_repeated(self) -> int:
        row = self._db.execute("SELECT count FROM totals WHERE name = 'repeated'").fetchone()
        return int(row[0]) if row else 0

    # --- writing ---------------------------------------------------------------------

    def insert(self, points: Sequence[Point], received_ms: int) -> InsertResult:
        """Commit all points, or raise StoreError having stored none."""
        if not points:
            return InsertResult(0, 0)
        try:
            self._db.execute("BEGIN IMMEDIATE")
            result = self._insert_rows(points, received_ms)
            self._db.execute("COMMIT")
        except (sqlite3.Error, OverflowError) as error:
            self._roll_back()
            raise StoreError(str(error)) from error
        self._repeated += result.repeated
        return result

    def _roll_back(self) -> None:
        self._series.clear()  # numbers given inside the transaction are void
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def _insert_rows(self, points: Sequence[Point], received_ms: int) -> InsertResult:
        db = self._db
        rows = [(self._series_id(p[:4]), p.timestamp_ms, p.value, received_ms) for p in points]
        before = db.total_changes
        db.executemany(_INSERT_POINT, rows)
        stored = db.total_changes - before
        for source_id in {p.source_id for p in points}:
            db.execute(_SEE_SOURCE, (source_id, received_ms))
        repeated = len(points) - stored
        if repeated:
            db.execute(_ADD_REPEATED, (repeated,))
        return InsertResult(stored, repeated)

    def _series_id(self, key: tuple[str, ...]) -> int:
        known = self._series.get(key)
        if known is not None:
            return known
        if len(self._series) >= SERIES_CACHE_MAX:
            self._series.clear()
        number = int(self._db.execute(_INSERT_SERIES, key).fetchone()[0])
        self._series[key] = number
        return number

    # --- reading ---------------------------------------------------------------------

    @property
    def repeated_total(self) -> int:
        """Points refused as repeats since the store was created."""
        return self._repeated

    def rows(self, source_id: str | None = None) -> Iterator[Row]:
        """All rows in the order in which they were stored; those of a series share one dict of tags."""
        where, values = ("WHERE source_id = ?", (source_id,)) if source_id is not None else ("", ())
        found = self._db.execute(f"SELECT id, source_id, cls, metric, tags FROM series {where}", values)
        # What the rows of a series share is read once: there may be millions.
        series = {number: (*names, orjson.loads(tags)) for number, *names, tags in found}
        sql = f"SELECT {_OWN} FROM points WHERE series_id IN (SELECT id FROM series {where}) ORDER BY id"
        for number, value, timestamp_ms, received_ms in self._db.execute(sql, values):
            source, cls, metric, tags = series[number]
            yield Row(source, cls, metric, orjson.loads(value), tags, timestamp_ms, received_ms)

    def count(self) -> int:
        """Number of stored points."""
        return int(self._db.execute("SELECT count(*) FROM points").fetchone()[0])

    def sources(self) -> list[Source]:
        """All sources, sorted by name."""
        return self._list(Source._make, "SELECT * FROM sources ORDER BY source_id")

    def source(self, source_id: str) -> Source | None:
        found = self._list(Source._make, "SELECT * FROM sources WHERE source_id = ?", (source_id,))
        return found[0] if found else None

    def metrics(self, source_id: str) -> list[str]:
        """Names of the source's metrics (not events), sorted."""
        sql = "SELECT DISTINCT metric FROM series WHERE source_id = ? AND cls = 'metric' ORDER BY metric"
        return self._list(lambda row: str(row[0]), sql, (source_id,))

    def latest(self, source_id: str, since_ms: int) -> dict[str, float]:
        """Newest value of each metric with a timestamp of at least `since_ms`."""
        found = self._db.execute(_LATEST, (source_id, since_ms))
        return {metric: orjson.loads(value) for metric, value in found}

    def select(self, selection: Selection) -> list[Row]:
        """The newest rows that match, oldest first."""
        where, values = _where(selection)
        sql = f"SELECT {_ROW} FROM {_JOIN} WHERE {where} ORDER BY timestamp_ms DESC, points.id DESC LIMIT ?"
        return self._list(_row, sql, (*values, selection.limit))[::-1]

    def buckets(self, selection: Selection, step_ms: int) -> list[Bucket]:
        """Metrics summed up in intervals of `step_ms`, the newest `limit` of them, oldest first."""
        where, values = _where(selection)
        number = "CAST(value AS REAL)"
        sql = (
            f"SELECT metric, timestamp_ms / ? * ? AS start, min({number}), max({number}), avg({number}),"
            f" count(*) FROM {_JOIN} WHERE {where} GROUP BY metric, start ORDER BY start DESC, metric LIMIT ?"
        )
        return self._list(Bucket._make, sql, (step_ms, step_ms, *values, selection.limit))[::-1]

    def _list(self, make: Callable[[Any], _T], sql: str, values: Sequence[Any] = ()) -> list[_T]:
        return [make(row) for row in self._db.execute(sql, values)]

    def close(self) -> None:
        self._db.close()


def _row(raw: Sequence[Any]) -> Row:
    source_id, cls, metric, value, tags, timestamp_ms, received_ms = raw
    tags = {} if tags == _NO_TAGS else orjson.loads(tags)
    return Row(source_id, cls, metric, orjson.loads(value), tags, timestamp_ms, received_ms)


def _where(selection: Selection) -> tuple[str, tuple[Any, ...]]:
    terms, values = ["timestamp_ms BETWEEN ? AND ?"], [selection.from_ms, selection.to_ms]
    known: list[tuple[str, Any]] = [("source_id", selection.source_id), ("cls", selection.cls)]
    extra: list[Any] = []
    for column, value in known:
        if value is not None:
            terms.append(f"{column} = ?")
            extra.append(value)
    if selection.metrics is not None:
        terms.append(f"metric IN ({','.join('?' * len(selection.metrics))})")
        extra.extend(selection.metrics)
    return " AND ".join(terms), (*values, *extra)
