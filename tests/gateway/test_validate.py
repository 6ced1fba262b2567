"""Properties of the checks: what is valid is accepted and reads back equal; identity is the whole point."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from host_sim.gateway import Point, Settings, open_store
from host_sim.gateway.strict_json import InvalidJson, canonical, parse
from host_sim.gateway.validate import Invalid, validate

NOW_MS = 1_792_000_000_000
SETTINGS = Settings()
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=60)
NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
EVENTS = TEXT | st.booleans() | NUMBERS | st.lists(JSON, max_size=3) | st.dictionaries(TEXT, JSON, max_size=3)
COMMON = {
    "metric": TEXT.filter(bool),
    "source_id": st.from_regex(r"[a-z0-9][a-z0-9._-]{0,40}", fullmatch=True),
    "timestamp": st.integers(10**12, 10_413_791_999_999),
    "tags": st.dictionaries(TEXT, TEXT, max_size=5),
}
METRICS = st.fixed_dictionaries({"class": st.just("metric"), "value": NUMBERS, **COMMON})
POINTS = METRICS | st.fixed_dictionaries({"class": st.just("event"), "value": EVENTS, **COMMON})


def accepted(*points: Any) -> list[Point]:
    body = parse(json.dumps({"points": points}).encode())
    return [point for group in validate(body, SETTINGS, NOW_MS).values() for point in group]


@given(POINTS)
def test_valid_points_read_back_equal(point: dict[str, Any]) -> None:
    store = open_store("sqlite://")
    assert store.insert(accepted(point), NOW_MS) == (1, 0)
    (row,) = store.rows()
    store.close()
    got = {
        "class": row.cls,
        "metric": row.metric,
        "value": row.value,
        "source_id": row.source_id,
        "timestamp": row.timestamp_ms,
        "tags": row.tags,
    }
    assert got == point
    if type(point["value"]) in (int, bool):
        assert type(row.value) is type(point["value"])


@given(st.lists(POINTS, max_size=6), st.data())
def test_a_repeat_is_the_whole_point_again(points: list[dict[str, Any]], data: st.DataObject) -> None:
    store = open_store("sqlite://")
    first = accepted(*points)
    store.insert(first, NOW_MS)
    again = data.draw(st.permutations(first))
    assert store.insert(again, NOW_MS + 1) == (0, len(first))
    assert store.count() == len(set(first))
    store.close()


@given(POINTS, st.sampled_from(["metric", "source_id", "timestamp", "tags"]), st.data())
def test_any_difference_makes_another_point(point: dict[str, Any], name: str, data: st.DataObject) -> None:
    other = {**point, name: data.draw(COMMON[name])}
    assert (accepted(point) == accepted(other)) == (point == other)


@given(st.integers(-(2**53), 2**53))
def test_three_and_three_point_zero_are_one_value(number: int) -> None:
    assert canonical(number) == canonical(float(number))
    assert canonical([number]) == canonical([float(number)])


def test_true_is_not_one() -> None:
    assert canonical(True) != canonical(1)


@given(JSON)
def test_parse_agrees_with_the_standard_library(value: Any) -> None:
    assert parse(json.dumps(value).encode()) == value


@given(st.binary(max_size=200) | TEXT.map(str.encode))
def test_any_bytes_are_json_or_refused(body: bytes) -> None:
    try:
        parse(body)
    except InvalidJson:
        return
    json.loads(body)


@given(JSON | st.fixed_dictionaries({"points": st.lists(JSON | POINTS, max_size=4), "source_id": JSON}))
def test_any_json_is_accepted_or_refused(body: Any) -> None:
    try:
        validate(body, SETTINGS, NOW_MS)
    except Invalid as invalid:
        assert len(str(invalid)) < 300
