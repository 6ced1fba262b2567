"""What connected devices say: telemetry and its acknowledgements, limits, and everything else."""

from __future__ import annotations

import json
import sqlite3
import struct
from pathlib import Path
from typing import Any

import pytest

from .conftest import KEY, NOW_MS, READ_KEY, Start, points
from .device_client import RawDevice, ack, connect, error, hello
from .test_live import Browser

# telemetry


@pytest.mark.parametrize("generation", ["aug", "oct"])
def test_the_stored_row_is_that_of_http(start: Start, generation: str) -> None:
    sent = [
        {
            "class": "metric",
            "metric": "ms",
            "value": 1.5,
            "timestamp": NOW_MS + 1,
            "tags": {"b": "2", "a": "1"},
        },
        {"metric": "inferred", "value": 3.0, "timestamp": NOW_MS / 1000},
        {"class": 5, "metric": "event", "value": {"b": 1, "a": [2.0]}, "timestamp": 1_700_000_000.5},
        {"metric": "no time", "value": True},
        {"metric": "clock not set", "value": 1, "timestamp": 0},
        {"metric": "before 1970", "value": 1, "timestamp": -5},
    ]
    over_http, over_ws = start(generation=generation), start(generation=generation)
    assert over_http.post({"source_id": "rig-01", "points": sent}).status == 200
    device = connect(over_ws)
    device.say(type="telemetry", seq=1, trace_id="t", points=[{**p, "source_id": "ignored"} for p in sent])
    assert device.hear() == ack(1) if generation == "oct" else not device_says_anything(device)
    assert over_ws.rows() == over_http.rows()


def device_says_anything(device: RawDevice) -> bool:
    """Whether something was said before the answer to a message that `aug` does not know."""
    device.say(type="nonsense")
    return bool(device.hear() != error("INVALID_MESSAGE", detail="unknown message type"))


def test_acknowledged_after_the_commit(start: Start, tmp_path: Path) -> None:
    gateway = start(store=f"sqlite:///{tmp_path}/x.db")
    device = connect(gateway)
    other = sqlite3.connect(tmp_path / "x.db")
    for seq in range(1, 33):
        device.send(seq, seq=seq)
    for seq in range(1, 33):
        assert device.hear() == ack(seq)
        assert other.execute("SELECT count(*) FROM points").fetchone()[0] >= seq
    other.close()
    assert gateway.rows()[-1].value == 32


def test_a_frame_is_a_repeat_on_another_connection(start: Start) -> None:
    gateway = start()
    for _ in range(2):
        device = connect(gateway)
        device.send(1, 2, seq=1)
        assert device.hear() == ack(1)
    assert [row.value for row in gateway.rows()] == [1, 2]
    assert gateway.store.repeated_total == 2


@pytest.mark.parametrize("seq", [None, 0, -1, True, 1.0, "1", [1]])
def test_a_seq_is_an_integer_from_1(start: Start, seq: Any) -> None:
    gateway = start()
    device = connect(gateway)
    device.say(type="telemetry", seq=seq, points=[{"metric": "m", "value": 1}])
    assert device.hear() == error("INVALID_MESSAGE", detail="seq must be an integer from 1")
    device.send(seq=7)  # no points, and a gap: both are fine
    assert device.hear() == ack(7)
    assert gateway.rows() == []


def test_two_threads_may_send_in_another_order_than_they_number(start: Start) -> None:
    device = connect(start())
    device.send(1, seq=2)
    device.send(2, seq=1)
    assert [device.hear(), device.hear()] == [ack(2), ack(1)]


def test_without_acks_nothing_is_said(start: Start) -> None:
    gateway = start()
    device = RawDevice(gateway, hello())
    device.send(1, seq=-5)
    device.send(None)
    device.send(2)
    heard = device.ask()
    assert heard == [error("INVALID_MESSAGE", detail="points[0].value cannot be null")]
    assert [row.value for row in gateway.rows()] == [1, 2]


@pytest.mark.parametrize(
    ("made", "detail"),
    [
        (None, "points must be an array"),
        ({}, "points must be an array"),
        ([{}] * 10_001, "points array exceeds max size (10000)"),
        ([{"metric": "m", "value": 1}, None], "points[1] must be an object"),
        ([{"metric": "", "value": 1}], "points[0].metric invalid"),
        ([{"metric": "m", "value": 1}, {"metric": "m", "value": None}], "points[1].value cannot be null"),
        (
            [{"metric": "m", "value": 1, "class": "x"}],
            "points[0].class must be 'metric' or 'event', got \"x\"",
        ),
        ([{"metric": "m", "value": 1, "timestamp": None}], "points[0].timestamp must be a number"),
        ([{"metric": "m", "value": 1, "tags": {"k": 1}}], 'points[0].tags["k"] must be a string'),
    ],
)
def test_one_bad_point_refuses_the_frame(start: Start, made: Any, detail: str) -> None:
    gateway = start()
    device = connect(gateway)
    device.send(1, seq=1)
    device.say(type="telemetry", seq=2, points=made)
    device.send(3, seq=3)
    assert device.hear() == ack(1)
    assert device.hear() == error("INVALID_MESSAGE", detail=detail, seq=2)
    assert device.hear() == ack(3)
    assert [row.value for row in gateway.rows()] == [1, 3]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{"type":"telemetry","seq":1,"points":[{"metric":"m","value":NaN}]}', True),
        ('{"type":"telemetry","seq":1,"points":[{"metric":"m","value":1,"value":2}]}', True),
        ('{"type":"telemetry","seq":1,"points":[{"metric":"m","value":' + "9" * 30 + "}]}", True),
        ('{"type":"telemetry","seq":1,"points":[{"metric":"m","value":"\\ud800"}]}', True),
        ('{"type":"telemetry","seq":1,"points":[', False),
        ('{"type":"telemetry","seq":1,"points":' + "[" * 100_000, False),
        ("[]", False),
        ("", False),
    ],
)
def test_what_is_no_json_names_its_seq_where_it_can(start: Start, text: str, named: bool) -> None:
    gateway = start()
    device = connect(gateway)
    device.link.send(text)
    assert device.hear() == (error("INVALID_JSON", seq=1) if named else error("INVALID_JSON"))
    device.send(1, seq=2)
    assert device.hear() == ack(2)


def test_text_that_is_no_utf8_ends_the_connection(start: Start) -> None:
    device = connect(start())
    device.link.send(b"\xff", 1)
    assert device.close_code() == 1007


# limits


@pytest.mark.parametrize(("generation", "burst"), [("oct", 5), ("aug", 5)])
def test_messages_of_a_connection(start: Start, generation: str, burst: int) -> None:
    gateway = start(
        generation=generation,
        telemetry_burst=burst,
        telemetry_rate_aug_per_s=0.001,
        telemetry_rate_oct_per_s=0.001,
        source_rate_per_s=1e9,
    )
    device = connect(gateway)
    acks = generation == "oct"
    for seq in range(1, 8):
        device.send(seq, seq=seq)
    heard = [device.hear() for _ in range(7 if acks else 2)]
    refused = [error("RATE_LIMITED", **({"seq": seq} if acks else {})) for seq in (6, 7)]
    assert heard == ([ack(seq) for seq in range(1, 6)] if acks else []) + refused
    assert len(gateway.rows()) == 5


def test_control_messages_of_a_connection(start: Start) -> None:
    gateway = start(control_rate_per_s=0.001)
    device = connect(gateway)
    for _ in range(61):
        device.say(type="pong")
    assert device.hear() == error("RATE_LIMITED")
    device.send(1, seq=1)
    assert device.hear() == ack(1)
    assert gateway.gateway.counters["device_pongs"] == 60


def test_limits_of_the_source_and_of_the_plan(start: Start) -> None:
    gateway = start()
    device = connect(gateway)
    gateway.conditions.over_ceiling = {"rig-01"}
    device.send(1, seq=1)
    assert device.hear() == error("SOURCE_LIMIT", seq=1)
    gateway.conditions.over_device_limit = {"rig-01"}
    device.send(2, seq=2)
    assert device.hear() == error("DEVICE_LIMIT", seq=2)
    gateway.conditions.over_ceiling.clear()
    gateway.conditions.over_device_limit.clear()
    device.send(3, seq=3)
    assert device.hear() == ack(3)
    assert [row.value for row in gateway.rows()] == [3]


def test_the_ceiling_is_one_for_http_and_websocket(start: Start) -> None:
    gateway = start(source_rate_per_s=0.001, source_burst_oct=2)
    device = connect(gateway)
    device.send(1, seq=1)
    assert device.hear() == ack(1)
    assert "dropped" not in gateway.post(points(1)).json
    device.send(2, seq=2)
    assert device.hear() == error("SOURCE_LIMIT", seq=2)


def test_aug_drops_in_silence(start: Start) -> None:
    gateway = start(generation="aug", source_rate_per_s=1e9)
    device = RawDevice(gateway, hello())
    gateway.conditions.over_ceiling = {"rig-01"}
    device.send(1)
    assert not device_says_anything(device)
    gateway.conditions.over_ceiling.clear()
    gateway.conditions.queue_failing = {"rig-01"}
    device.send(2)
    assert not device_says_anything(device)
    assert gateway.gateway.counters["device_frames_not_queued"] == 1
    gateway.conditions.queue_failing.clear()
    device.send(3)
    assert not device_says_anything(device)
    assert [row.value for row in gateway.rows()] == [3]


@pytest.mark.parametrize("generation", ["aug", "oct"])
def test_an_open_circuit_ends_the_connection(start: Start, generation: str) -> None:
    gateway = start(generation=generation)
    device = connect(gateway)
    gateway.conditions.circuit_open = True
    device.send(1, seq=1)
    detail = "gateway degraded: redis unavailable, batch not queued"
    assert device.hear() == error("REDIS_UNAVAILABLE", detail=detail)
    assert device.close_code() == 1013
    assert gateway.rows() == []


def test_a_store_that_cannot_commit_releases_nothing(start: Start, tmp_path: Path) -> None:
    gateway = start(store=f"sqlite:///{tmp_path}/x.db")
    device = connect(gateway)
    other = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    device.send(1, seq=1)
    device.send(2, seq=2)
    assert device.hear()["code"] == "REDIS_UNAVAILABLE"
    assert device.close_code() == 1013
    other.close()
    assert gateway.rows() == [] and gateway.gateway.counters["store_errors"] == 1


# everything else


def test_device_error_is_an_event(start: Start) -> None:
    gateway = start()
    device = connect(gateway)
    device.say(type="device_error", error="sensor gone", source="i2c")
    device.say(type="device_error", error="no source")
    device.say(type="device_error", error="x" * 257)
    (told,) = device.ask()
    assert told == error("INVALID_MESSAGE", detail="points[0].value string exceeds max length (256)")
    rows = [(row.cls, row.metric, row.value, row.tags, row.timestamp_ms) for row in gateway.rows()]
    assert rows == [
        ("event", "device.error", "sensor gone", {"error_source": "i2c"}, NOW_MS),
        ("event", "device.error", "no source", {}, NOW_MS),
    ]


def test_what_browsers_see(start: Start) -> None:
    gateway = start()
    browser = Browser(gateway)
    browser.hear()
    device = connect(gateway, sensors=["bme280"], cameras=[{"camera_id": "c"}])
    status = {"type": "source_status", "source_id": "rig-01", "status": "online", "platform": "test"}
    assert browser.hear() == {**status, "sensors": ["bme280"], "cameras": [{"camera_id": "c"}]}
    device.say(type="heartbeat", source_id="rig-01", agent_version="1", uptime_s=7)
    beat = {"type": "heartbeat", "class": "heartbeat", "org_id": "local", "source_id": "rig-01"}
    assert browser.hear() == {**beat, "status": "running", "timestamp": NOW_MS, "uptime_s": 7}
    result = {"type": "command_result", "id": "1", "command": "c", "event": "result", "result": {"a": 1}}
    device.say(**result)
    assert browser.hear() == result
    device.say(type="command_sync", runs=[{"run_id": "r", "state": "running", "seq": 2}])
    assert browser.hear()["source_id"] == "rig-01"
    device.say(type="command_status", run_id="r", seq=3, state="succeeded", result={"a": 1})
    told = browser.hear()
    assert (told["type"], told["run_id"], told["source_id"]) == ("command_status", "r", "rig-01")
    assert device.hear() == {"type": "command_status_ack", "run_id": "r", "seq": 3}
    device.link.shutdown()
    left = browser.hear()
    assert (left["status"], left["platform"]) == ("offline", "")


@pytest.mark.parametrize(
    ("message", "detail"),
    [
        ({"type": "command_status", "seq": 1, "state": "x"}, "run_id must be a string"),
        ({"type": "command_status", "run_id": "r", "seq": 0, "state": "x"}, "seq must be an integer from 1"),
        ({"type": "command_status", "run_id": "r", "seq": 1}, "state must be a string"),
        ({"type": "command_sync", "runs": [{}] * 257}, "runs must be an array (max 256)"),
        ({"type": "command_result", "x": "y" * 65_536}, "message too big (max 65536 bytes)"),
        ({"type": "video_frame", "frame": ""}, "camera_id must be a string"),
        ({"type": "video_frame", "camera_id": ""}, "frame must be a string"),
        ({"type": "device_auth"}, "unknown message type"),
        ({"type": 5}, "type must be a string"),
        ({}, "type must be a string"),
    ],
)
def test_other_messages_that_are_not_taken(start: Start, message: dict[str, Any], detail: str) -> None:
    device = connect(start())
    device.say(**message)
    assert device.hear() == error("INVALID_MESSAGE", detail=detail)


@pytest.mark.parametrize("kind", ["command_status", "command_sync"])
def test_aug_knows_no_commands_protocol(start: Start, kind: str) -> None:
    device = connect(start(generation="aug"))
    device.say(type=kind, run_id="r", seq=1, state="running", runs=[])
    assert device.hear() == error("INVALID_MESSAGE", detail="unknown message type")


def test_video_is_taken_and_counted(start: Start) -> None:
    gateway = start()
    device = connect(gateway)
    good = b"\x01\x03rig\x01c" + struct.pack(">IIq", 640, 480, NOW_MS) + b"jpeg"
    for frame in (
        good,
        b"",
        b"\x02" + good[1:],
        good[:4],
        good[:10],
        b"\x01",
        b"\x01\x00\x01\xff" + good[7:],
    ):
        device.link.send_binary(frame)
    device.say(type="video_frame", camera_id="c", frame="AAAA", video_type="thermal")
    assert device.ask() == []
    counters = gateway.gateway.counters
    assert (counters["video_frames"], counters["video_frames_invalid"]) == (2, 6)


# commands


def test_a_command_reaches_the_device(start: Start) -> None:
    gateway = start()
    path = "/v1/sources/rig-01/commands"
    body = json.dumps({"command": "set_rate", "params": {"hz": 2}}).encode()

    def post(content: bytes, key: str = KEY) -> tuple[int, Any]:
        answer = gateway.request("POST", path, content, {"x-api-key": key})
        return answer.status, answer.json

    assert post(body) == (200, {"queued": False})
    device = connect(gateway)
    assert post(body) == (200, {"queued": True})
    told = device.hear()
    assert len(told.pop("id")) == 36
    assert told == {"type": "typed_command", "command": "set_rate", "params": {"hz": 2}}
    assert post(body, READ_KEY) == (403, {"detail": "api key lacks commands scope"})
    assert post(body, "plx_wrong")[0] == 401
    for wrong in (b"{", b"[]", b"{}", b'{"command":""}', b'{"command":"c","params":[]}', b" " * 65_537):
        assert post(wrong)[0] == 400


def test_the_queue_to_a_device_is_bounded(start: Start) -> None:
    gateway = start(device_queue_max=2)
    device = connect(gateway)

    async def fill() -> list[bool]:
        devices = gateway.gateway.devices
        return [devices.send_command_run("rig-01", f"run-{n}", "c", {}, 5_000) for n in range(4)]

    assert gateway.run(fill()) == [True, True, False, False]
    run = {"type": "command_run", "command": "c", "params": {}, "ttl_ms": 5_000, "attempt": 1}
    assert [device.hear(), device.hear()] == [{**run, "run_id": "run-0"}, {**run, "run_id": "run-1"}]
    assert gateway.gateway.counters["device_queue_full"] == 2


def test_runs_are_only_for_devices_that_speak_protocol_1(start: Start) -> None:
    gateway = start()
    RawDevice(gateway, hello())
    assert gateway.gateway.devices.send_command_run("rig-01", "r", "c", {}, 5_000) is False
