"""Shapes and errors of both read APIs."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from .conftest import KEY, NOW_MS, Running, Start

HOUR_MS = 3_600_000


@pytest.fixture
def gateway(start: Start) -> Running:
    """Two metrics and two events of `esp`, one old reading of `old`."""
    made = start()
    made.clock_ms = NOW_MS - 2 * HOUR_MS
    made.post({"points": [point("old", "t", 1, made.clock_ms)]})
    made.clock_ms = NOW_MS
    readings = [point("esp", "temperature", 20 + n, NOW_MS - 60_000 * (9 - n)) for n in range(10)]
    others = [
        point("esp", "humidity", 40.5, NOW_MS),
        point("esp", "fault", {"code": 7}, NOW_MS - 5),
        point("esp", "log", "hello", NOW_MS),
    ]
    made.post({"points": readings + others})
    return made


def point(source: str, metric: str, value: Any, at_ms: int) -> dict[str, Any]:
    return {"source_id": source, "metric": metric, "value": value, "timestamp": at_ms, "tags": {"k": "v"}}


def test_telemetry(gateway: Running) -> None:
    answer = gateway.get("/api/v1/telemetry?source=esp&metric=temperature&limit=2")
    assert answer.json == {
        "data": [
            {
                "org_id": "local",
                "source_id": "esp",
                "metric": "temperature",
                "value": value,
                "timestamp": at,
                "tags": {"k": "v"},
            }
            for value, at in ((28, "2026-10-14 17:45:40.000"), (29, "2026-10-14 17:46:40.000"))
        ],
        "count": 2,
        "query": {
            "source": "esp",
            "metric": "temperature",
            "from": "2026-10-14T16:46:40.000Z",
            "to": "2026-10-14T17:46:40.000Z",
            "limit": 2,
        },
    }
    assert b'": ' not in answer.body


def test_telemetry_windows(gateway: Running) -> None:
    assert gateway.get("/api/v1/telemetry").json["count"] == 11
    assert gateway.get("/api/v1/telemetry?source=esp&metric=temperature,humidity").json["count"] == 11
    assert gateway.get("/api/v1/telemetry?from=2026-10-14T00:00:00Z").json["count"] == 12
    zoned = quote("2026-10-14T19:45:40+02:00")
    assert gateway.get(f"/api/v1/telemetry?source=esp&metric=temperature&from={zoned}").json["count"] == 2
    assert gateway.get("/api/v1/telemetry?source=nobody").json["data"] == []
    assert gateway.get("/api/v1/telemetry?to=0001-01-01T00:00:00Z").json["count"] == 0


@pytest.mark.parametrize("query", ["limit=0", "limit=100001", "limit=x", "from=yesterday", "to=1e400"])
def test_telemetry_errors(gateway: Running, query: str) -> None:
    answer = gateway.get(f"/api/v1/telemetry?{query}")
    assert answer.status == 400
    assert answer.json["error"] == "VALIDATION_ERROR"
    assert set(answer.json) == {"error", "message", "details"}


def test_keys(gateway: Running, start: Start) -> None:
    assert gateway.get("/api/v1/telemetry", None).json["error"] == "UNAUTHORIZED"
    assert (gateway.get("/v1/sources", "plx_no").status, gateway.get("/v1/sources", None).json) == (
        401,
        {"detail": "invalid api key"},
    )
    from host_sim.gateway import Grant

    writer = start(keys={KEY: Grant(frozenset({"write"}))})
    assert writer.get("/v1/sources").status == 403
    assert writer.get("/api/v1/telemetry").json["error"] == "FORBIDDEN"


def test_sources(gateway: Running) -> None:
    esp = {"source_id": "esp", "online": True, "last_seen_ms": NOW_MS}
    old = {"source_id": "old", "online": False, "last_seen_ms": NOW_MS - 2 * HOUR_MS}
    assert gateway.get("/v1/sources").json == {"devices": [esp, old]}
    assert gateway.get("/v1/sources?status=online").json == {"devices": [esp]}
    assert gateway.get("/v1/sources?status=offline").json == {"devices": [old]}
    assert gateway.get("/v1/sources/old").json == old
    missing = gateway.get("/v1/sources/nobody")
    assert (missing.status, missing.json) == (404, {"detail": "device not found"})
    assert gateway.get("/v1/fleet/health").json == {"sources_total": 2, "sources_online": 1}


def test_metrics(gateway: Running) -> None:
    assert gateway.get("/v1/sources/esp/metrics").json == ["humidity", "temperature"]
    latest = gateway.get("/v1/sources/esp/metrics/latest").json
    assert latest == {"metrics": {"humidity": 40.5, "temperature": 29}}
    assert gateway.get("/v1/sources/old/metrics/latest").json == {"metrics": {}}


def test_query_raw_and_buckets(gateway: Running) -> None:
    path = "/v1/sources/esp/metrics/query?metrics=temperature"
    raw = gateway.get(f"{path}&last=1h&interval=raw").json
    assert (raw["interval"], raw["auto_downsampled"], raw["truncated"]) == ("raw", False, False)
    assert raw["series"]["temperature"]["value"] == list(range(20, 30))
    start_ms = NOW_MS - 8 * HOUR_MS
    automatic = gateway.get(f"{path}&start={start_ms}&end={NOW_MS}").json
    assert (automatic["interval"], automatic["auto_downsampled"]) == ("1m", True)
    hourly = gateway.get(f"{path}&last=2d&interval=1h").json["series"]["temperature"]
    assert {name: values[-1] for name, values in hourly.items()} == {
        "timestamp_ms": NOW_MS // HOUR_MS * HOUR_MS,
        "min": 20,
        "max": 29,
        "avg": 24.5,
        "count": 10,
    }
    assert list(gateway.get("/v1/sources/esp/metrics/query").json["series"]) == ["temperature", "humidity"]


def test_query_is_capped(start: Start) -> None:
    gateway = start(query_rows_max=3)
    gateway.post({"points": [point("esp", "t", n, NOW_MS - 10 + n) for n in range(5)]})
    answer = gateway.get("/v1/sources/esp/metrics/query?last=5m").json
    assert (answer["truncated"], answer["series"]["t"]["value"]) == (True, [2, 3, 4])


@pytest.mark.parametrize(
    "query", ["last=1y", "start=1", "end=1", "interval=2m", "start=x&end=y", "last=999999d&interval=1s"]
)
def test_query_errors(gateway: Running, query: str) -> None:
    answer = gateway.get(f"/v1/sources/esp/metrics/query?{query}")
    assert answer.status == 400 and answer.json["detail"]


@pytest.mark.parametrize("name", ["logs", "events"])
def test_events(gateway: Running, name: str) -> None:
    path = f"/v1/sources/esp/{name}"
    fault = {"timestamp_ms": NOW_MS - 5, "metric": "fault", "value": {"code": 7}, "tags": {"k": "v"}}
    log = {"timestamp_ms": NOW_MS, "metric": "log", "value": "hello", "tags": {"k": "v"}}
    assert gateway.get(path).json == [fault, log]
    assert gateway.get(f"{path}?tail=1").json == [log]
    assert gateway.get(f"{path}?name=fault").json == [fault]
    assert gateway.get(f"{path}?last=1h&limit=1").json == [log]
    assert gateway.get(f"{path}?limit=0").status == 400


def test_devices_moved(gateway: Running) -> None:
    answer = gateway.get("/v1/devices/esp/metrics?x=1")
    assert (answer.status, answer.headers["location"]) == (308, "/v1/sources/esp/metrics?x=1")
    assert gateway.get("/v1/devices").headers["location"] == "/v1/sources"
