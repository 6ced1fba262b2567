"""The browser's socket: authentication, the pull model, and what happens to the slow and the silent."""

from __future__ import annotations

import json
from typing import Any

import pytest
import websocket

from .conftest import KEY, NOW_MS, READ_KEY, UNPAID_KEY, Running, Start, points
from .device_client import PATIENCE_S


def open_link(gateway: Running) -> websocket.WebSocket:
    url = f"ws://127.0.0.1:{gateway.server.port}/ws/browser"
    return websocket.create_connection(url, timeout=PATIENCE_S)


class Browser:
    def __init__(self, gateway: Running, auth: dict[str, Any] | None = None) -> None:
        self.link = open_link(gateway)
        self.say(auth or {"type": "share_auth", "token": gateway.gateway.page_token})

    def say(self, message: dict[str, Any]) -> None:
        self.link.send(json.dumps(message))

    def hear(self) -> Any:
        text = self.link.recv()
        return json.loads(text) if text else None

    def pull(self) -> Any:
        self.say({"type": "ready"})
        return self.hear()

    def close_code(self) -> int:
        opcode, data = self.link.recv_data()
        assert opcode == websocket.ABNF.OPCODE_CLOSE
        return int.from_bytes(data[:2], "big")


def test_init_history_and_live(start: Start) -> None:
    gateway = start()
    gateway.post(points(1, tags={"k": "v"}))
    browser = Browser(gateway)
    source = {"source_id": "rig-01", "online": True, "last_seen_ms": NOW_MS}
    init = browser.hear()
    assert (init["type"], init["online_sources"], init["sources"]) == ("init", ["rig-01"], [source])
    assert init["server_time_ms"] == NOW_MS
    history = browser.pull()
    assert [p["value"] for p in history["points"]] == [1]
    gateway.post(points(7))
    live = browser.pull()
    (point,) = live["points"]
    assert len(point.pop("trace_id")) == 32
    assert point == {
        "v": 1,
        "org_id": "local",
        "source_id": "rig-01",
        "class": "metric",
        "metric": "m",
        "value": 7,
        "timestamp": NOW_MS,
        "tags": {},
    }
    assert gateway.get("/health").json["browsers"] == 1


def test_events_and_new_sources_come_at_once(start: Start) -> None:
    gateway = start()
    browser = Browser(gateway)
    browser.hear()
    gateway.post(points("door open"))
    status = browser.hear()
    assert (status["type"], status["source_id"], status["status"]) == ("source_status", "rig-01", "online")
    event = browser.hear()
    assert (event["type"], event["metric"], event["value"]) == ("event", "m", "door open")
    browser.say({"type": "ping"})
    assert browser.hear() == {"type": "pong"}


def test_a_batch_that_nobody_pulls_is_replaced(start: Start) -> None:
    gateway = start(live_flush_ms=0)
    browser = Browser(gateway)
    browser.hear()
    browser.pull()
    for value in range(5):
        gateway.post(points(value))
    status = browser.hear()
    assert status["type"] == "source_status"
    assert browser.pull()["points"][-1]["value"] == 4
    assert gateway.gateway.counters["live_batches_replaced"] == 4


def test_offline_is_told(start: Start) -> None:
    gateway = start(live_sweep_s=0.05)
    gateway.post(points(1))
    browser = Browser(gateway)
    assert browser.hear()["online_sources"] == ["rig-01"]
    gateway.clock_ms += 60_001
    status = browser.hear()
    assert (status["source_id"], status["status"]) == ("rig-01", "offline")


@pytest.mark.parametrize("key", [KEY, READ_KEY])
def test_a_key_that_reads_opens_the_socket(start: Start, key: str) -> None:
    assert Browser(start(), {"type": "data_api_auth", "api_key": key}).hear()["type"] == "init"


@pytest.mark.parametrize(
    "auth",
    [
        {"type": "share_auth", "token": "wrong"},
        {"type": "share_auth"},
        {"type": "data_api_auth", "api_key": "plx_wrong"},
        {"type": "browser_auth", "token": "x"},
        {"type": "ready"},
    ],
)
def test_refused(start: Start, auth: dict[str, Any]) -> None:
    gateway = start()
    browser = Browser(gateway, auth)
    assert browser.hear() == {"type": "error", "message": "auth failed"}
    assert browser.close_code() == 1008
    assert gateway.gateway.live.viewers == 0


def test_unpaid_key_is_refused(start: Start) -> None:
    gateway = start()
    gateway.conditions.billing_disabled = {UNPAID_KEY}
    assert Browser(gateway, {"type": "data_api_auth", "api_key": UNPAID_KEY}).hear()["type"] == "error"


def test_the_silent_are_closed(start: Start) -> None:
    gateway = start(browser_auth_s=0.1, browser_idle_s=0.1)
    link = open_link(gateway)
    assert json.loads(link.recv())["message"] == "silent for 0.1 s"
    browser = Browser(gateway)
    assert browser.hear()["type"] == "init"
    assert browser.hear()["message"] == "silent for 0.1 s"


def test_limits(start: Start) -> None:
    gateway = start(browsers_max=1)
    first = Browser(gateway)
    assert first.hear()["type"] == "init"
    second = Browser(gateway)
    assert second.hear()["message"] == "too many browsers (max 1)"
    assert second.close_code() == 1013
    first.link.send("x" * 5000)
    assert "too big" in first.hear()["message"]
    assert first.close_code() == 1009


@pytest.mark.parametrize("text", ["", "not json", "[" * 4000])
def test_nonsense_closes_one_browser_only(start: Start, text: str) -> None:
    gateway = start()
    browser = Browser(gateway)
    browser.hear()
    browser.link.send(text)
    assert browser.hear()["type"] == "error"
    assert Browser(gateway).hear()["type"] == "init"
    assert gateway.gateway.counters["internal_errors"] == 0


def test_a_browser_that_leaves_is_forgotten(start: Start) -> None:
    gateway = start()
    browser = Browser(gateway)
    browser.hear()
    browser.link.close()
    assert Browser(gateway).hear()["type"] == "init"
    gateway.post(points(1))
    assert gateway.gateway.counters["internal_errors"] == 0
