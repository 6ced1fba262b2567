"""The same protocol on a transport in memory and a loop whose time is virtual: no socket, no waiting."""

from __future__ import annotations

import asyncio
import json
import random
import selectors
from typing import Any

from host_sim.gateway import Row, Settings, create_app, open_store, protocol_factory

from .conftest import KEY, KEYS, NOW_MS, points


class JumpingSelector(selectors.DefaultSelector):
    """Instead of waiting for a timer, moves the loop's time to it."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout:
            self.now_s += timeout
        return ready


class MemoryTransport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.closed = False

    def write(self, data: Any) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def run(work: Any) -> None:
    selector = JumpingSelector()
    loop = asyncio.SelectorEventLoop(selector)
    loop.time = lambda: selector.now_s  # type: ignore[method-assign]
    try:
        loop.run_until_complete(work)
    finally:
        loop.close()


def request(content: Any) -> bytes:
    body = json.dumps(content).encode()
    head = f"POST /ingest HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def test_a_day_of_requests_without_a_socket() -> None:
    store = open_store("sqlite://")

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        app = create_app(
            Settings(keys=KEYS), store, lambda: NOW_MS + round(loop.time() * 1000), random.Random(1)
        )
        factory = protocol_factory(app)
        protocol, transport = factory(), MemoryTransport()
        protocol.connection_made(transport)
        for hour in range(24):
            transport.written.clear()
            protocol.data_received(request(points(hour)))  # type: ignore[attr-defined]
            await asyncio.sleep(60)
            assert transport.written.startswith(b"HTTP/1.1 200 ")
        await asyncio.sleep(3600)
        assert transport.closed  # idle for longer than keep-alive
        protocol.connection_lost(None)
        await factory.close()
        assert factory.connections == 0

    run(scenario())
    rows: list[Row] = list(store.rows())
    assert [row.received_ms - NOW_MS for row in rows] == [60_000 * n for n in range(24)]
    store.close()


def test_deadlines_run_in_virtual_time() -> None:
    async def scenario() -> None:
        app = create_app(Settings(keys=KEYS), open_store("sqlite://"), lambda: NOW_MS, random.Random(1))
        protocol, transport = protocol_factory(app)(), MemoryTransport()
        protocol.connection_made(transport)
        protocol.data_received(request(points(1))[:-5])  # type: ignore[attr-defined]
        await asyncio.sleep(29.9)
        assert not transport.written
        await asyncio.sleep(0.2)
        assert transport.written.startswith(b"HTTP/1.1 408 ") and transport.closed

    run(scenario())
