"""An installed plexus-python that does what its standard input says; run with its folder on the path.

One JSON object per line: {"op": "send", "first": 0, "count": 10}, {"op": "connect"}, {"op": "state"},
{"op": "set", "name": "ACK_TIMEOUT_S", "value": 0.3}, {"op": "close"}. Each is answered with one JSON object.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

FIRST_MS = 1_792_000_000_000


def planned(first: int, count: int) -> list[tuple[str, float, int]]:
    """Points number `first` and following: metric, value, Unix ms."""
    return [(f"m{n % 7}", n / 4, FIRST_MS + n) for n in range(first, first + count)]


class Delays(logging.Handler):
    """Collects how long the client says it waits before it connects again."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.seconds: list[float] = []

    def emit(self, record: logging.LogRecord) -> None:
        found = re.search(r"reconnect in ([0-9.]+)s", record.getMessage())
        if found:
            self.seconds.append(float(found[1]))


class Peer:
    """The client and the operations on it."""

    def __init__(self, api_key: str, source_id: str, ws_url: str) -> None:
        import plexus
        import plexus.ws

        self._module = plexus.ws
        self.delays = Delays()
        logger = logging.getLogger("plexus.ws")
        logger.setLevel(logging.INFO)
        logger.addHandler(self.delays)
        self.client: Any = plexus.Plexus(
            api_key=api_key, source_id=source_id, ws_url=ws_url, persistent_buffer=False
        )
        self.handled: list[Any] = []

    def connect(self) -> dict[str, Any]:
        """Wait until it is let in (again)."""
        return {"authenticated": self.client._ensure_ws().wait_authenticated(10)}

    def send(self, first: int, count: int) -> dict[str, Any]:
        try:
            return {"sent": self.client.send_batch(planned(first, count))}
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}"}

    def state(self) -> dict[str, Any]:
        ws = self.client._ensure_ws()
        return {
            "authenticated": ws.is_authenticated,
            "unacked": getattr(ws, "unacked_points", None),
            "acks": getattr(ws, "acks_enabled", None),
            "buffered": self.client.buffer_size(),
            "delays": self.delays.seconds,
            "handled": self.handled,
        }

    def set(self, name: str, value: float) -> dict[str, Any]:
        setattr(self._module, name, value)
        return {}

    @contextmanager
    def _unconnected(self) -> Iterator[None]:
        """The first declaration starts the connection, which may be open before that is noted: hold it until then."""
        transport = self._module.WebSocketTransport
        start, transport.start = transport.start, lambda _: None
        try:
            yield
        finally:
            transport.start = start
        self.client._ensure_ws().start()

    def command(self) -> dict[str, Any]:
        """Answer commands called `set_rate`, which must be said before it connects."""

        def handle(name: str, params: dict[str, Any]) -> dict[str, Any]:
            self.handled.append([name, params])
            return {"hz": params["hz"]}

        with self._unconnected():
            self.client.on_command("set_rate", handle)
        return {}

    def declare(self) -> dict[str, Any]:
        """Commands of protocol 1, which must be said before it connects: `valve` and `broken`."""
        px = self.client
        percents = {"percent": {"type": "integer", "minimum": 0, "maximum": 100}}

        def valve(run: Any, percent: int) -> dict[str, Any]:
            self.handled.append([run.id, percent, run.attempt])
            run.progress(100, "open")
            return {"percent": percent}

        def broken(run: Any) -> None:
            raise RuntimeError("stuck")

        with self._unconnected():
            px.command("valve", params=percents, danger="dangerous")(valve)
            px.command("broken", idempotent=True, expires_in=5)(broken)
        return {}

    def close(self) -> dict[str, Any]:
        self.client.close()
        return {}


def main(api_key: str, source_id: str, ws_url: str) -> None:
    peer = Peer(api_key, source_id, ws_url)
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(getattr(peer, asked.pop("op"))(**asked)), flush=True)
    os._exit(0)  # without waiting for what a test leaves unacknowledged


if __name__ == "__main__":
    main(*sys.argv[1:])
