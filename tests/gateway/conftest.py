"""A real gateway on a free loopback port, in a loop of its own, and a plain HTTP client for it."""

from __future__ import annotations

import asyncio
import http.client
import json
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from host_sim.gateway import (
    Conditions,
    Gateway,
    GatewayServer,
    Grant,
    Row,
    Script,
    Settings,
    create_app,
    open_store,
)

KEY = "plx_" + "a" * 32
READ_KEY = "plx_" + "b" * 32
BOUND_KEY = "plx_" + "c" * 32
UNPAID_KEY = "plx_" + "d" * 32
NOW_MS = 1_792_000_000_000
KEYS = {
    KEY: Grant(),
    READ_KEY: Grant(frozenset({"read"})),
    BOUND_KEY: Grant(source_id="rig-01"),
    UNPAID_KEY: Grant(),
}


class Answer:
    """Status, headers (lower case) and body of one HTTP answer."""

    def __init__(self, raw: http.client.HTTPResponse) -> None:
        self.status = raw.status
        self.headers = {name.lower(): value for name, value in raw.getheaders()}
        self.body = raw.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Running:
    """A gateway that serves; its clock stands still unless a test moves it."""

    def __init__(self, settings: Settings, script: Script | None, store_url: str) -> None:
        self.clock_ms = NOW_MS
        self.store = open_store(store_url)
        self.gateway: Gateway = create_app(
            settings, self.store, lambda: self.clock_ms, random.Random(1), Conditions(), script
        )
        self.server = GatewayServer(self.gateway, port=0)
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.run(self.server.start())

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(10)

    @property
    def conditions(self) -> Conditions:
        return self.gateway.conditions

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        link = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        try:
            link.request(method, path, body, headers or {})
            return Answer(link.getresponse())
        finally:
            link.close()

    def get(self, path: str, key: str | None = KEY) -> Answer:
        return self.request("GET", path, headers={"x-api-key": key} if key else {})

    def post(self, content: Any, key: str | None = KEY, **headers: str) -> Answer:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if key is not None:
            sent["x-api-key"] = key
        return self.request("POST", "/ingest", body, sent)

    def rows(self) -> list[Row]:
        return list(self.store.rows())

    def stop(self) -> None:
        self.run(self.server.stop(0.05))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)
        self.loop.close()
        self.store.close()


Start = Callable[..., Running]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts gateways: `start(script=None, store="sqlite://", **settings)`."""
    running: list[Running] = []

    def make(script: Script | None = None, store: str = "sqlite://", **settings: Any) -> Running:
        made = Running(Settings(**{"keys": KEYS, **settings}), script, store)
        running.append(made)
        return made

    yield make
    for one in running:
        one.stop()


def points(*values: Any, **extra: Any) -> dict[str, Any]:
    """A body for source rig-01 with one point per value, a millisecond apart."""
    made = [{"metric": "m", "value": v, "timestamp": NOW_MS + i, **extra} for i, v in enumerate(values)]
    return {"source_id": "rig-01", "points": made}
