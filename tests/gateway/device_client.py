"""A device on the gateway's WebSocket that says exactly what a test tells it to."""

from __future__ import annotations

import json
from typing import Any

import websocket

from .conftest import KEY, NOW_MS, Running

PATIENCE_S = 30.0  # a machine may be busy
GONE = (websocket.WebSocketConnectionClosedException, ConnectionError)


class RawDevice:
    """An open socket; with `auth` authenticated, and `welcome` is what the gateway answered."""

    def __init__(self, gateway: Running, auth: dict[str, Any] | None = None) -> None:
        url = f"ws://127.0.0.1:{gateway.server.port}/ws/device"
        self.link = websocket.create_connection(url, timeout=PATIENCE_S, skip_utf8_validation=True)
        self.welcome = None
        if auth is not None:
            self.say(**auth)
            self.welcome = self.hear()

    def say(self, **message: Any) -> None:
        self.link.send(json.dumps(message))

    def send(self, *values: Any, seq: Any = None, **extra: Any) -> None:
        """A telemetry frame with one point per value, a millisecond apart."""
        made = [{"metric": "m", "value": v, "timestamp": NOW_MS + i} for i, v in enumerate(values)]
        named = {} if seq is None else {"seq": seq}
        self.say(type="telemetry", **named, points=made, **extra)

    def hear(self) -> Any:
        """The next text message as JSON; pings are answered on the way."""
        return json.loads(self.link.recv())

    def ask(self) -> Any:
        """Messages up to the answer to a `command_status`, which shows that all before was dealt with."""
        self.say(type="command_status", run_id="mark", seq=1, state="running")
        heard = []
        while (message := self.hear())["type"] != "command_status_ack":
            heard.append(message)
        return heard

    def close_code(self) -> int:
        opcode, data = self.link.recv_data()
        assert opcode == websocket.ABNF.OPCODE_CLOSE
        return int.from_bytes(data[:2], "big")

    def ends_silently(self) -> bool:
        """Whether the connection ends without a close frame."""
        try:
            self.link.recv_data()
        except GONE:
            return True
        return False


def hello(**more: Any) -> dict[str, Any]:
    return {"type": "device_auth", "api_key": KEY, "source_id": "rig-01", "platform": "test", **more}


MODERN = {"protocol": 1, "hears_goodbye": True, "acks": True}


def connect(gateway: Running, **more: Any) -> RawDevice:
    """A device as plexus-python 0.16.0 connects."""
    return RawDevice(gateway, hello(**MODERN, **more))


def ack(seq: int) -> dict[str, Any]:
    return {"type": "telemetry_ack", "seq": seq}


def error(code: str, **more: Any) -> dict[str, Any]:
    return {"type": "error", "code": code, **more}
