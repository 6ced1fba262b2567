"""Scripted answers on the device's socket, by the names that scenario files use."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
import websocket

from host_sim.answers import (
    CONNECT_ANSWERS,
    FRAME_ANSWERS,
    ScriptedAnswers,
    connect_rule_for,
    frame_rule_for,
)
from host_sim.gateway.acks import LateAcks

from .conftest import Running, Start
from .device_client import MODERN, RawDevice, ack, connect, error, hello


@pytest.fixture
def scripted(start: Start) -> Callable[..., Running]:
    """A gateway with one rule in force: `scripted(rule, **settings)`."""

    def make(rule: Any, **settings: Any) -> Running:
        answers = ScriptedAnswers()
        answers.add(rule)
        return start(answers, **settings)

    return make


def test_every_name_makes_a_rule() -> None:
    assert all(connect_rule_for(name, 503, 1, 1.0) for name in CONNECT_ANSWERS)
    assert all(frame_rule_for(name, 1, 1.0) for name in FRAME_ANSWERS)
    for make in (lambda: connect_rule_for("x", 503, 1, 1.0), lambda: frame_rule_for("x", 1, 1.0)):
        with pytest.raises(ValueError, match="unknown answer 'x'"):
            make()


# connecting


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("invalid_key", {"type": "error", "message": "Invalid API key"}),
        ("no_write_scope", {"type": "error", "message": "API key lacks write scope"}),
        (
            "streaming_requires_plan",
            {"type": "error", "code": "streaming_requires_plan", "message": "streaming_requires_plan"},
        ),
    ],
)
def test_refused_once(scripted: Callable[..., Running], answer: str, said: Any) -> None:
    gateway = scripted(connect_rule_for(answer, 503, 1, 0.0))
    device = RawDevice(gateway, hello(**MODERN))
    assert device.welcome == said
    assert device.close_code() == 1008
    assert connect(gateway).welcome["type"] == "authenticated"


def test_a_proxy_that_knows_no_websockets(scripted: Callable[..., Running]) -> None:
    gateway = scripted(connect_rule_for("status", 426, 1, 0.0))
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        RawDevice(gateway)
    assert refused.value.status_code == 426
    assert connect(gateway).welcome["type"] == "authenticated"


def test_reset_after_the_device_has_introduced_itself(scripted: Callable[..., Running]) -> None:
    gateway = scripted(connect_rule_for("reset", 503, 1, 0.0))
    device = RawDevice(gateway)
    device.say(**hello())
    assert device.ends_silently()
    assert gateway.gateway.counters["device_hello_abort"] == 1


def test_never_welcomed(scripted: Callable[..., Running]) -> None:
    gateway = scripted(connect_rule_for("hang", 503, 1, 0.0))
    device = RawDevice(gateway)
    device.say(**hello())
    device.link.settimeout(0.1)
    with pytest.raises(websocket.WebSocketTimeoutException):
        device.link.recv()
    device.link.shutdown()
    assert connect(gateway).welcome["type"] == "authenticated"


def test_an_upgrade_that_is_never_answered(scripted: Callable[..., Running]) -> None:
    gateway = scripted(connect_rule_for("hang_upgrade", 503, 1, 0.0))
    url = f"ws://127.0.0.1:{gateway.server.port}/ws/device"
    with pytest.raises(websocket.WebSocketTimeoutException):
        websocket.create_connection(url, timeout=0.1)
    assert connect(gateway).welcome["type"] == "authenticated"


# frames


@pytest.mark.parametrize(
    ("answer", "code"),
    [("rate_limited", "RATE_LIMITED"), ("source_limit", "SOURCE_LIMIT"), ("device_limit", "DEVICE_LIMIT")],
)
def test_limits_name_the_frame(scripted: Callable[..., Running], answer: str, code: str) -> None:
    gateway = scripted(frame_rule_for(answer, 2, 0.0))
    device = connect(gateway)
    for seq in (1, 2, 3):
        device.send(seq, seq=seq)
    assert [device.hear() for _ in range(3)] == [error(code, seq=1), error(code, seq=2), ack(3)]
    assert [row.value for row in gateway.rows()] == [3]


def test_a_fault_may_come_after_frames_that_are_answered_well(scripted: Callable[..., Running]) -> None:
    gateway = scripted(frame_rule_for("rate_limited", 1, 0.0, after=2))
    device = connect(gateway)
    for seq in (1, 2, 3, 4):
        device.send(seq, seq=seq)
    assert [device.hear() for _ in range(4)] == [ack(1), ack(2), error("RATE_LIMITED", seq=3), ack(4)]
    assert [row.value for row in gateway.rows()] == [1, 2, 4]


def test_a_limit_without_acks_names_nothing(scripted: Callable[..., Running]) -> None:
    device = RawDevice(scripted(frame_rule_for("rate_limited", 1, 0.0)), hello())
    device.send(1)
    assert device.hear() == error("RATE_LIMITED")


def test_redis_unavailable_releases_nothing(scripted: Callable[..., Running]) -> None:
    gateway = scripted(frame_rule_for("redis_unavailable", 1, 0.0))
    device = connect(gateway)
    device.send(1, seq=1)
    said = device.hear()
    assert said["code"] == "REDIS_UNAVAILABLE" and "seq" not in said
    assert device.close_code() == 1013
    assert gateway.rows() == []


@pytest.mark.parametrize(("answer", "stored"), [("reset", 0), ("lost", 1)])
def test_the_connection_drops(scripted: Callable[..., Running], answer: str, stored: int) -> None:
    gateway = scripted(frame_rule_for(answer, 1, 0.0))
    device = connect(gateway)
    device.send(1, seq=1)
    assert device.ends_silently()
    assert len(gateway.rows()) == stored
    again = connect(gateway)
    again.send(1, seq=1)
    assert again.hear() == ack(1)
    assert len(gateway.rows()) == 1 and gateway.store.repeated_total == stored


def test_one_acknowledgement_is_withheld_and_the_next_covers_it(scripted: Callable[..., Running]) -> None:
    gateway = scripted(frame_rule_for("unacknowledged", 1, 0.0))
    device = connect(gateway)
    device.send(1, seq=1)
    device.send(2, seq=2)
    assert device.hear() == ack(2)
    assert len(gateway.rows()) == 2


def test_a_gateway_that_is_parked(scripted: Callable[..., Running]) -> None:
    gateway = scripted(frame_rule_for("hang", 1, 0.0))
    device = connect(gateway)
    device.send(1, seq=1)
    device.send(2, seq=2)
    device.link.settimeout(0.1)
    with pytest.raises(websocket.WebSocketTimeoutException):
        device.link.recv()
    assert gateway.rows() == [] and gateway.gateway.counters["device_messages_unheard"] == 1
    again = connect(gateway)
    again.send(1, seq=1)
    assert again.hear() == ack(1)


def test_late_acknowledgements_come_in_order(scripted: Callable[..., Running]) -> None:
    gateway = scripted(frame_rule_for("late", 3, 0.05))
    device = connect(gateway)
    for seq in (1, 2, 3):
        device.send(seq, seq=seq)
    assert device.ask() == []  # stored, and others are answered meanwhile
    assert len(gateway.rows()) == 3
    assert [device.hear() for _ in range(3)] == [ack(1), ack(2), ack(3)]


def test_gathered_acknowledgements_are_one(scripted: Callable[..., Running]) -> None:
    gateway = scripted(frame_rule_for("gathered", None, 0.05))
    device = connect(gateway)
    for seq in range(1, 11):
        device.send(seq, seq=seq)
    assert device.ask() == []
    assert device.hear() == ack(10)
    device.send(11, seq=11)
    assert device.hear() == ack(11)


def test_a_slow_gateway_reads_nothing_meanwhile(scripted: Callable[..., Running]) -> None:
    device = connect(scripted(frame_rule_for("slow", 1, 0.05)))
    device.send(1, seq=1)
    assert device.ask() == [ack(1)]


def test_generations_change_for_those_who_come_then(start: Start) -> None:
    gateway = start()
    device = connect(gateway)
    gateway.conditions.generation = "aug"
    device.send(1, seq=1)
    assert device.hear() == ack(1)
    assert "acks" not in connect(gateway).welcome
    gateway.conditions.over_ceiling = {"rig-01"}
    body = json.dumps({"source_id": "rig-01", "points": [{"metric": "m", "value": 1}]})
    assert "dropped" not in gateway.post(body.encode()).json
    assert gateway.get("/health").json["generation"] == "aug"
    gateway.conditions.generation = "oct"
    assert connect(gateway).welcome["acks"] is True


def test_a_reply_for_a_post_is_a_fault_on_the_socket(start: Start) -> None:
    answers = ScriptedAnswers()
    rule = frame_rule_for("reset", 1, 0.0)
    rule.action = connect_rule_for("status", 503, 1, 0.0).action
    answers.add(rule)
    gateway = start(answers)
    device = connect(gateway)
    device.send(1, seq=1)
    assert device.close_code() == 1011
    assert gateway.gateway.counters["internal_errors"] == 1


def test_acknowledgements_that_wait_are_bounded() -> None:
    async def work() -> list[int]:
        pushed: list[int] = []
        acks = LateAcks(pushed.append, waiting_max=3)
        for seq in range(1, 10):
            acks.add(seq, 0.001, False)
        acks.add(10, 0.0, False)
        while acks:
            await asyncio.sleep(0)
        return pushed

    assert asyncio.run(work()) == [1, 2, 10]
