"""One row per answer of the ingest endpoint: the Plexus gateway's checks, in its order."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from .conftest import BOUND_KEY, KEY, NOW_MS, READ_KEY, UNPAID_KEY, Start, points

GOOD = points(1)


def body_of(**point: Any) -> dict[str, Any]:
    """Three points, the last one as given."""
    made = {"metric": "m", "value": 1, **point}
    return {"source_id": "rig-01", "points": [*points(1, 2)["points"], made]}


# (what is wrong, body, key, headers, conditions, status, error text)
REFUSALS: list[tuple[str, Any, str | None, dict[str, str], dict[str, Any], int, str]] = [
    (
        "circuit open, before the key is looked at",
        GOOD,
        None,
        {},
        {"circuit_open": True},
        503,
        "gateway degraded: redis unavailable",
    ),
    ("no key", GOOD, None, {}, {}, 401, "missing x-api-key"),
    ("unknown key", GOOD, "plx_nobody", {}, {}, 401, "invalid API key"),
    ("auth service down", GOOD, KEY, {}, {"auth_down": True}, 401, "invalid API key"),
    ("unpaid key", GOOD, UNPAID_KEY, {}, {"billing_disabled": {UNPAID_KEY}}, 401, "invalid API key"),
    ("key without write scope", GOOD, READ_KEY, {}, {}, 403, "API key lacks write scope"),
    (
        "key of another device",
        {**GOOD, "source_id": "rig-02"},
        BOUND_KEY,
        {},
        {},
        403,
        "API key is limited to another device",
    ),
    ("bad gzip header", b"plainly not", KEY, {"content_encoding": "GZip"}, {}, 400, "invalid gzip body"),
    (
        "truncated gzip",
        gzip.compress(b"[1]")[:-4],
        KEY,
        {"content_encoding": "gzip"},
        {},
        400,
        "invalid gzip body",
    ),
    ("too large", b" " * 5_242_881, KEY, {}, {}, 413, "payload too large (max 5242880 bytes)"),
    (
        "too large when unpacked",
        gzip.compress(b" " * 5_242_881),
        KEY,
        {"content_encoding": "gzip"},
        {},
        413,
        "payload too large (max 5242880 bytes)",
    ),
    ("not JSON", b"points", KEY, {}, {}, 400, "invalid JSON body"),
    ("not an object", b"[1]", KEY, {}, {}, 400, "invalid JSON body"),
    ("source_id not a string", {"source_id": 7, "points": []}, KEY, {}, {}, 400, "invalid JSON body"),
    ("no points", {"source_id": "rig-01"}, KEY, {}, {}, 400, "'points' array is required"),
    ("points null", {"points": None}, KEY, {}, {}, 400, "'points' array is required"),
    ("null body", b"null", KEY, {}, {}, 400, "'points' array is required"),
    (
        "too many points",
        {"points": [None] * 10_001},
        KEY,
        {},
        {},
        400,
        "too many points: 10001 (max 10000)",
    ),
    ("null point", {"points": [None]}, KEY, {}, {}, 400, "points[0] is null"),
    ("point not an object", {"points": [3]}, KEY, {}, {}, 400, "points[0] must be an object"),
    (
        "no source",
        {"points": [{"metric": "m", "value": 1}]},
        KEY,
        {},
        {},
        400,
        "points[0] missing source_id (set top-level source_id or per-point source_id)",
    ),
    ("queue down", GOOD, KEY, {}, {"queue_failing": {"rig-01"}}, 502, "failed to queue telemetry"),
    ("cannot be packed", GOOD, KEY, {}, {"marshal_failing": {"rig-01"}}, 500, "internal error"),
]

BAD_POINTS: list[tuple[dict[str, Any], str]] = [
    ({"source_id": "Rig"}, "points[2] source_id must match ^[a-z0-9][a-z0-9._-]*$"),
    ({"source_id": "r\n"}, "points[2] source_id must match ^[a-z0-9][a-z0-9._-]*$"),
    ({"source_id": "r" * 257}, "points[2] source_id exceeds max length (256)"),
    ({"class": "gauge"}, "points[2].class must be 'metric' or 'event', got \"gauge\""),
    ({"metric": ""}, "points[2].metric invalid"),
    ({"metric": 3}, "points[2].metric invalid"),
    ({"metric": "é" * 129}, "points[2].metric invalid"),
    ({"value": None}, "points[2].value cannot be null"),
    ({"class": "metric", "value": "3"}, "points[2].value must be a number for class=metric"),
    ({"class": "metric", "value": True}, "points[2].value must be a number for class=metric"),
    ({"value": "x" * 257}, "points[2].value string exceeds max length (256)"),
    ({"value": ["x" * 4093]}, "points[2].value exceeds max bytes (4096)"),
    ({"timestamp": None}, "points[2].timestamp must be a number"),
    ({"timestamp": "2026-01-01"}, "points[2].timestamp must be a number"),
    ({"timestamp": True}, "points[2].timestamp must be a number"),
    ({"timestamp": 1e300}, "points[2].timestamp out of range (max 10413791999999 ms)"),
    ({"tags": None}, "points[2].tags must be an object"),
    ({"tags": {str(n): "" for n in range(17)}}, "points[2].tags exceeds max entries (16)"),
    ({"tags": {"x": 1}}, 'points[2].tags["x"] must be a string'),
    ({"tags": {"x" * 257: ""}}, "points[2].tags key too long"),
    ({"tags": {"x": "y" * 257}}, 'points[2].tags["x"] value too long'),
]
REFUSALS += [(text, body_of(**point), KEY, {}, {}, 400, text) for point, text in BAD_POINTS]
no_value = {"source_id": "rig-01", "points": [{"metric": "m"}]}
REFUSALS.append(("no value", no_value, KEY, {}, {}, 400, "points[0].value is required"))


@pytest.mark.parametrize("row", REFUSALS, ids=[row[0][:60] for row in REFUSALS])
def test_refused(start: Start, row: Any) -> None:
    _, body, key, headers, conditions, status, text = row
    gateway = start()
    for name, value in conditions.items():
        setattr(gateway.conditions, name, value)
    answer = gateway.post(body, key, **headers)
    assert (answer.status, answer.json) == (status, {"error": text})
    assert answer.body == json.dumps({"error": text}, separators=(",", ":")).encode()
    assert gateway.rows() == []
    assert gateway.gateway.counters[f"ingest_{status}"] == 1


ACCEPTED: list[tuple[str, str, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ("empty", "oct", {"points": []}, {}, {"success": True, "count": 0}),
    ("one source", "oct", points(1, 2), {}, {"success": True, "count": 2, "source_id": "rig-01"}),
    (
        "two sources",
        "aug",
        {"points": [{"source_id": s, "metric": "m", "value": 1} for s in ("a", "b")]},
        {},
        {"success": True, "count": 2},
    ),
    (
        "over the ceiling, aug",
        "aug",
        points(1, 2),
        {"over_ceiling": {"rig-01"}},
        {"success": True, "count": 0, "source_id": "rig-01"},
    ),
    (
        "over the ceiling, oct",
        "oct",
        points(1, 2),
        {"over_ceiling": {"rig-01"}},
        {"success": True, "count": 0, "dropped": 2, "source_id": "rig-01"},
    ),
    (
        "over the device limit, oct",
        "oct",
        points(1, 2),
        {"over_device_limit": {"rig-01"}},
        {"success": True, "count": 0, "dropped": 2, "source_id": "rig-01"},
    ),
    (
        "device limit, unknown to aug",
        "aug",
        points(1, 2),
        {"over_device_limit": {"rig-01"}},
        {"success": True, "count": 2, "source_id": "rig-01"},
    ),
]


@pytest.mark.parametrize("row", ACCEPTED, ids=[row[0] for row in ACCEPTED])
def test_accepted(start: Start, row: Any) -> None:
    _, generation, body, conditions, expected = row
    gateway = start(generation=generation)
    for name, value in conditions.items():
        setattr(gateway.conditions, name, value)
    answer = gateway.post(body)
    assert (answer.status, answer.json) == (200, expected)
    assert len(gateway.rows()) == expected["count"]


def test_device_limit_counts_sources(start: Start) -> None:
    gateway = start(devices_max=1)
    assert gateway.post(points(1)).json["count"] == 1
    assert gateway.post({**points(1), "source_id": "rig-02"}).json["dropped"] == 1
    assert gateway.post(points(1, 2)).json["count"] == 2


def test_bound_key(start: Start) -> None:
    """`oct` limits a key to its device; `aug` knows no such keys."""
    other = {**GOOD, "source_id": "rig-02"}
    assert start(generation="oct").post(GOOD, BOUND_KEY).status == 200
    assert start(generation="aug").post(other, BOUND_KEY).status == 200


def test_queue_failure_keeps_the_groups_before_it(start: Start) -> None:
    """502 in the middle: what was queued stays; a retry is recognised as a repeat."""
    gateway = start()
    gateway.conditions.queue_failing = {"b"}
    body = {
        "points": [{"source_id": s, "metric": "m", "value": 1, "timestamp": NOW_MS} for s in ("a", "b", "c")]
    }
    assert gateway.post(body).status == 502
    assert [row.source_id for row in gateway.rows()] == ["a"]
    gateway.conditions.queue_failing = set()
    assert gateway.post(body).json == {"success": True, "count": 3}
    assert [row.source_id for row in gateway.rows()] == ["a", "b", "c"]
    assert gateway.store.repeated_total == 1


def test_auth_cache(start: Start) -> None:
    """A known key outlives an outage by 60 s; a refused one stays refused for 10 s."""
    gateway = start()
    gateway.post(GOOD)
    gateway.conditions.auth_down = True
    assert gateway.post(GOOD).status == 200
    gateway.clock_ms += 60_000
    assert gateway.post(GOOD).status == 401
    gateway.conditions.auth_down = False
    assert gateway.post(GOOD).status == 401
    gateway.clock_ms += 10_000
    assert gateway.post(GOOD).status == 200


def test_legacy_path_preflight_and_headers(start: Start) -> None:
    gateway = start()
    body = json.dumps(points(1)).encode()
    assert gateway.request("POST", "/api/ingest", body, {"X-API-KEY": KEY}).status == 200
    preflight = gateway.request("OPTIONS", "/ingest")
    assert preflight.status == 204
    assert preflight.headers["access-control-allow-origin"] == "*"
    assert preflight.headers["access-control-allow-headers"] == "Content-Type, x-api-key"
    assert preflight.headers["access-control-max-age"] == "86400"
    assert preflight.headers["date"] == "Wed, 14 Oct 2026 17:46:40 GMT"
    assert "server" not in preflight.headers
    assert gateway.request("GET", "/ingest").status == 405
    assert gateway.get("/nowhere").json == {"error": "not found"}


def test_values_keep_their_kind(start: Start) -> None:
    gateway = start()
    sent = [3, -0.5, 2**63, "text", True, {"b": [1, {"c": None}], "a": 1.5}, ["x"], 1e300]
    assert gateway.post(points(*sent, tags={"b": "2", "a": "1"})).json["count"] == len(sent)
    rows = gateway.rows()
    assert [row.value for row in rows] == sent
    assert [type(row.value) for row in rows] == [type(value) for value in sent]
    assert [row.cls for row in rows] == ["metric", "metric", "metric", *["event"] * 4, "metric"]
    assert all(row.tags == {"a": "1", "b": "2"} for row in rows)


@pytest.mark.parametrize(
    ("given", "stored"),
    [(1_792_000_000.123, 1_792_000_000_123), (1_700_000_000_000, 1_700_000_000_000), (5, 5000)]
    + [(none, NOW_MS) for none in (0, -1, -1e300, 1e-9)],
)
def test_timestamps(start: Start, given: float, stored: int) -> None:
    gateway = start()
    body = {"source_id": "a", "points": [{"metric": "m", "value": 1, "timestamp": given}]}
    assert gateway.post(body).status == 200
    assert gateway.rows()[0].timestamp_ms == stored


def test_repeats_are_counted_not_stored(start: Start) -> None:
    gateway = start()
    assert gateway.post(points(3, 4)).json["count"] == 2
    assert gateway.post(points(3.0, 4)).json["count"] == 2
    assert len(gateway.rows()) == 2
    assert gateway.store.repeated_total == 2
    assert gateway.gateway.counters["points_repeated"] == 2
