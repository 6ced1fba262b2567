"""Runs and sessions in SQLite: named windows of time on a source, or on none.

A window is written whole each time it changes. What makes two requests the same window is the key that its client
chose (`metadata.client_run_id`), or else source, name and start: a client that lost the answer asks again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from .model import StoreError

SCHEMA = """
CREATE TABLE IF NOT EXISTS windows(
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, source_id TEXT, name TEXT NOT NULL, client_key TEXT NOT NULL,
    status TEXT NOT NULL, started_ms INTEGER NOT NULL, content TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS windows_by_key ON windows(kind, client_key);
CREATE INDEX IF NOT EXISTS windows_by_source ON windows(kind, source_id, status, started_ms);
CREATE TABLE IF NOT EXISTS registered(source_id TEXT PRIMARY KEY, content TEXT NOT NULL);
"""
_COLUMNS = "id, kind, source_id, name, client_key, status, started_ms, content"


@dataclass(frozen=True)
class Window:
    """One run or session (`kind`); times in Unix milliseconds, `ended_ms` None while it is open."""

    id: str
    kind: str
    source_id: str | None
    name: str
    status: str
    started_ms: int
    ended_ms: int | None = None
    client_key: str = ""
    tags: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    pass_criteria: list[dict[str, Any]] = field(default_factory=list)
    test_result: dict[str, Any] | None = None


_IN_CONTENT = ("ended_ms", "tags", "metadata", "pass_criteria", "test_result")


class Windows:
    """The windows in `db`, which others use too; every call is a transaction of its own."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        db.executescript(SCHEMA)

    def _run(self, sql: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        try:
            return self._db.execute(sql, values)
        except sqlite3.Error as error:
            raise StoreError(str(error)) from error

    def put(self, window: Window) -> None:
        """Write it, over what has its id."""
        content = orjson.dumps({name: getattr(window, name) for name in _IN_CONTENT}).decode()
        row = (window.id, window.kind, window.source_id, window.name, window.client_key, window.status)
        self._run(
            f"INSERT OR REPLACE INTO windows({_COLUMNS}) VALUES(?,?,?,?,?,?,?,?)",
            (*row, window.started_ms, content),
        )

    def get(self, kind: str, window_id: str) -> Window | None:
        return self._first("kind = ? AND id = ?", kind, window_id)

    def same(self, window: Window) -> Window | None:
        """The one that was made by the same request as `window` would be."""
        if window.client_key:
            return self._first(
                "kind = ? AND client_key = ? AND source_id IS ?",
                window.kind,
                window.client_key,
                window.source_id,
            )
        return self._first(
            "kind = ? AND source_id IS ? AND name = ? AND started_ms = ?",
            window.kind,
            window.source_id,
            window.name,
            window.started_ms,
        )

    def list_newest(
        self, kind: str, source_id: str | None = None, status: str | None = None, limit: int = 1000
    ) -> list[Window]:
        """The newest `limit` that match, newest first; None matches any."""
        where, values = "kind = ?", [kind]
        for column, value in (("source_id", source_id), ("status", status)):
            if value is not None:
                where += f" AND {column} = ?"
                values.append(value)
        sql = f"SELECT {_COLUMNS} FROM windows WHERE {where} ORDER BY started_ms DESC, id LIMIT ?"
        return [_window(row) for row in self._run(sql, (*values, limit))]

    def count(self) -> int:
        return int(self._run("SELECT count(*) FROM windows").fetchone()[0])

    def delete(self, kind: str, window_id: str) -> bool:
        """Whether there was one."""
        return self._run("DELETE FROM windows WHERE kind = ? AND id = ?", (kind, window_id)).rowcount > 0

    def register(self, source_id: str, content: dict[str, Any]) -> bool:
        """Note a source that has sent nothing yet; False when it was noted before."""
        sql = "INSERT OR IGNORE INTO registered VALUES(?,?)"
        return self._run(sql, (source_id, orjson.dumps(content).decode())).rowcount > 0

    def registered(self, source_id: str) -> bool:
        found = self._run("SELECT 1 FROM registered WHERE source_id = ?", (source_id,))
        return found.fetchone() is not None

    def registered_count(self) -> int:
        return int(self._run("SELECT count(*) FROM registered").fetchone()[0])

    def _first(self, where: str, *values: Any) -> Window | None:
        row = self._run(f"SELECT {_COLUMNS} FROM windows WHERE {where} LIMIT 1", values).fetchone()
        return _window(row) if row else None


def _window(row: tuple[Any, ...]) -> Window:
    window_id, kind, source_id, name, client_key, status, started_ms, content = row
    made = Window(window_id, kind, source_id, name, status, started_ms, client_key=client_key)
    return replace(made, **orjson.loads(content))
