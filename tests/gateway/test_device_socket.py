"""The device's socket: who gets in, who is told what, how connections end, who is online."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
import websocket

from .conftest import BOUND_KEY, NOW_MS, READ_KEY, UNPAID_KEY, Running, Start
from .device_client import MODERN, PATIENCE_S, RawDevice, ack, connect, hello


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait for what another thread does, on a busy machine too."""
    give_up_s = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > give_up_s:
            pytest.fail("it never happened")
        time.sleep(0.01)


def is_online(gateway: Running, source_id: str = "rig-01") -> bool:
    devices = gateway.get("/v1/sources").json["devices"]
    return any(d["source_id"] == source_id and d["online"] for d in devices)


# getting in


@pytest.mark.parametrize(
    ("generation", "asked", "answered"),
    [
        ("oct", MODERN, {"protocol": 1, "max_frame_bytes": 1_048_576, "acks": True}),
        ("oct", {"protocol": 1}, {"protocol": 1, "max_frame_bytes": 1_048_576}),
        ("oct", {"acks": True}, {"acks": True}),
        ("oct", {"acks": 1, "protocol": True}, {}),
        ("oct", {"install_id": "x"}, {}),
        ("aug", MODERN, {}),
    ],
)
def test_welcome(start: Start, generation: str, asked: dict[str, Any], answered: dict[str, Any]) -> None:
    device = RawDevice(start(generation=generation), hello(**asked))
    welcome = {"type": "authenticated", "source_id": "rig-01", "server_time_ms": NOW_MS}
    assert device.welcome == {**welcome, **answered}


def test_messages_are_compact(start: Start) -> None:
    device = RawDevice(start())
    device.say(**hello())
    text = device.link.recv()
    assert text == json.dumps(json.loads(text), separators=(",", ":"))


@pytest.mark.parametrize(
    ("first", "said"),
    [
        ("{", None),
        ("[]", "first message must be device_auth"),
        ('{"type":"telemetry","points":[]}', "first message must be device_auth"),
        (json.dumps(hello(source_id="Rig 1")), "first message must be device_auth"),
        (json.dumps(hello(source_id="a" * 257)), "first message must be device_auth"),
        (json.dumps(hello(source_id=None)), "first message must be device_auth"),
        (json.dumps(hello(api_key=5)), "first message must be device_auth"),
        (json.dumps(hello(api_key="plx_wrong")), "Invalid API key"),
        (json.dumps(hello(api_key=UNPAID_KEY)), "Invalid API key"),
        (json.dumps(hello(api_key=READ_KEY)), "API key lacks write scope"),
        (json.dumps(hello(api_key=BOUND_KEY, source_id="rig-02")), "API key is limited to another device"),
    ],
)
def test_not_let_in(start: Start, first: str, said: str | None) -> None:
    gateway = start()
    gateway.conditions.billing_disabled = {UNPAID_KEY}
    device = RawDevice(gateway)
    device.link.send(first)
    if said is not None:
        assert device.hear() == {"type": "error", "message": said}
    assert device.close_code() == 1008
    assert not is_online(gateway)


def test_a_key_limited_to_a_device_is_unknown_in_aug(start: Start) -> None:
    device = RawDevice(start(generation="aug"), hello(api_key=BOUND_KEY, source_id="rig-02"))
    assert device.welcome["type"] == "authenticated"


def test_silence_is_not_let_in(start: Start) -> None:
    assert RawDevice(start(device_auth_s=0.05)).close_code() == 1008


def test_refused_over_http_while_the_circuit_is_open(start: Start) -> None:
    gateway = start()
    gateway.conditions.circuit_open = True
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        RawDevice(gateway)
    assert refused.value.status_code == 503
    assert json.loads(refused.value.resp_body) == {"error": "gateway degraded: redis unavailable"}
    assert "date" in refused.value.resp_headers


def test_there_is_no_other_socket(start: Start) -> None:
    gateway = start()
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        websocket.create_connection(f"ws://127.0.0.1:{gateway.server.port}/ws/other", timeout=5)
    assert refused.value.status_code == 404
    assert gateway.gateway.counters["websockets_refused"] == 1


# presence


def test_online_is_who_is_connected(start: Start) -> None:
    gateway = start()
    device = connect(gateway)
    seen = {"source_id": "rig-01", "online": True, "last_seen_ms": NOW_MS}
    assert gateway.get("/v1/sources").json == {"devices": [seen]}
    assert gateway.get("/v1/sources/rig-01/metrics").json == []
    assert gateway.get("/health", None).json["devices"] == 1
    gateway.clock_ms += 3_600_000
    assert is_online(gateway)
    device.send(1, seq=1)
    assert device.hear() == ack(1)
    device.link.shutdown()
    wait_for(lambda: not is_online(gateway))
    assert gateway.get("/v1/sources/rig-01").json["last_seen_ms"] == gateway.clock_ms
    gateway.post({"source_id": "rig-01", "points": [{"metric": "m", "value": 2}]})
    assert is_online(gateway)


def test_a_device_that_stored_nothing_is_forgotten_when_it_leaves(start: Start) -> None:
    gateway = start()
    connect(gateway).link.shutdown()
    wait_for(lambda: gateway.get("/v1/sources/rig-01").status == 404)


# pings


def test_pings_and_the_end_of_those_who_do_not_answer(start: Start) -> None:
    gateway = start(device_ping_s=0.05, device_silence_s=0.2)
    device = connect(gateway)
    for _ in range(3):
        opcode, _ = device.link.recv_data_frame(control_frame=True)
        assert opcode == websocket.ABNF.OPCODE_PING  # websocket-client answers it
    answered = gateway.server.connections
    wait_for(lambda: gateway.server.connections == 0)  # nobody reads pings any more, so nobody answers
    assert answered == 1 and not is_online(gateway)
    assert gateway.gateway.counters["devices_silent"] == 1


# the end


def test_a_second_connection_evicts_the_first(start: Start) -> None:
    gateway = start()
    first = connect(gateway)
    other = connect(gateway, source_id="rig-02")
    second = connect(gateway)
    assert first.ends_silently()
    second.send(1, seq=1)
    assert second.hear() == ack(1)
    other.send(1, seq=1)
    assert other.hear() == ack(1)
    assert is_online(gateway) and gateway.gateway.counters["devices_evicted"] == 1


def test_goodbye_is_for_those_who_hear_it(start: Start) -> None:
    gateway = start()
    hears = connect(gateway)
    deaf = RawDevice(gateway, hello(source_id="rig-02", acks=True))
    gateway.run(gateway.server.stop(0.2))
    opcode, data = hears.link.recv_data()
    assert opcode == websocket.ABNF.OPCODE_CLOSE
    assert (int.from_bytes(data[:2], "big"), data[2:]) == (1001, b"gateway restarting")
    assert deaf.ends_silently()


def test_nobody_hears_a_goodbye_in_aug(start: Start) -> None:
    gateway = start(generation="aug")
    device = connect(gateway)
    gateway.run(gateway.server.stop(0.2))
    assert device.ends_silently()


def test_a_goodbye_with_the_socket_left_open(start: Start) -> None:
    gateway = start()
    device = connect(gateway)
    gateway.loop.call_soon_threadsafe(gateway.gateway.devices.say_goodbye, 0.4)
    assert device.close_code() == 1001  # websocket-client has answered the close frame
    device.send(1, seq=1)
    device.send(2, seq=2)
    time.sleep(0.05)
    assert gateway.server.connections == 1 and gateway.rows() == []
    assert gateway.gateway.counters["bytes_after_goodbye"] > 0
    assert not is_online(gateway)
    again = connect(gateway)
    again.send(1, seq=1)
    assert again.hear() == ack(1)
    wait_for(lambda: gateway.server.connections == 1)  # the open one ends in its time


def test_a_message_beyond_the_limit_ends_the_connection(start: Start) -> None:
    gateway = start()
    device = connect(gateway)
    device.link.send(" " * 1_048_577)
    assert device.close_code() == 1009
    whole = connect(gateway)
    frame = json.dumps({"type": "telemetry", "seq": 1, "points": []})
    whole.link.send(frame + " " * (1_048_576 - len(frame)))
    assert whole.hear() == ack(1)


def test_a_fault_of_the_gateway_ends_one_connection(start: Start) -> None:
    class Broken:
        async def before(self, request: object) -> None:
            if type(request).__name__ == "Frame":
                raise RuntimeError("bug")

    gateway = start(Broken())
    device = connect(gateway)
    device.send(1, seq=1)
    assert device.close_code() == 1011
    assert gateway.gateway.counters["internal_errors"] == 1
    assert gateway.get("/health").status == 200
