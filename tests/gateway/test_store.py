"""The store: durable, ordered, and all or nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from host_sim.gateway import Point, StoreError, open_store
from host_sim.gateway.store import Selection

POINTS = [Point("a", "metric", "t", '{"p":"1"}', 1000 + n, str(n)) for n in range(5)]


def test_survives_reopening(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/x.db?synchronous=full"
    store = open_store(url)
    assert store.insert(POINTS, 7) == (5, 0)
    assert store.insert(POINTS[:2], 8) == (0, 2)
    store.close()
    store = open_store(url)
    assert store.insert(POINTS[1:3], 9) == (0, 2)
    assert (store.count(), store.repeated_total) == (5, 4)
    assert [(r.value, r.tags, r.timestamp_ms, r.received_ms) for r in store.rows("a")] == [
        (n, {"p": "1"}, 1000 + n, 7) for n in range(5)
    ]
    assert list(store.rows("b")) == []
    assert store.source("a") == ("a", 7, 9)
    store.close()


def test_all_or_nothing_and_usable_afterwards() -> None:
    store = open_store("sqlite://")
    impossible = Point("a", "metric", "new", "{}", 2**70, "1")
    with pytest.raises(StoreError):
        store.insert([*POINTS, impossible], 7)
    assert (store.count(), store.sources(), store.metrics("a")) == (0, [], [])
    assert store.insert([*POINTS, impossible._replace(timestamp_ms=5)], 7) == (6, 0)
    assert store.metrics("a") == ["new", "t"]


def test_insertion_order_and_repeats_within_one_request() -> None:
    store = open_store("sqlite://")
    assert store.insert([POINTS[3], POINTS[1], POINTS[3]], 7) == (2, 1)
    assert [row.value for row in store.rows()] == [3, 1]
    everything = Selection(0, 10**6, 10)
    assert [row.value for row in store.select(everything)] == [1, 3]


@pytest.mark.parametrize(
    "url", ["mysql://x", "sqlite://host/x", "sqlite://?x=1", "sqlite://?synchronous=off"]
)
def test_unknown_urls(url: str) -> None:
    with pytest.raises(ValueError):
        open_store(url)


def test_a_foreign_format_is_refused(tmp_path: Path) -> None:
    import sqlite3

    with sqlite3.connect(tmp_path / "x.db") as db:
        db.execute("PRAGMA user_version=99")
    with pytest.raises(StoreError, match="format 99"):
        open_store(f"sqlite:///{tmp_path}/x.db")
