"""The server around the application: scripts, ports, shutdown."""

from __future__ import annotations

import asyncio
import http.client
import json
import random
import socket
import sqlite3
from pathlib import Path

import pytest

from host_sim.gateway import Action, Fate, GatewayServer, Post, Reply, Settings, create_app, open_store

from .conftest import Start, points


class Scripted:
    """Does to the Nth POST what it was told, before the checks or after the commit."""

    def __init__(self, before: dict[int, Action], after: dict[int, Action]) -> None:
        self._before = before
        self._after = after
        self.replies: list[int] = []

    async def before(self, post: Post) -> Action:
        return self._before.get(post.number)

    async def after_commit(self, post: Post, reply: Reply) -> Action:
        self.replies.append(reply.status)
        return self._after.get(post.number)


def test_script_answers_instead(start: Start) -> None:
    script = Scripted({2: Reply.error(503, "scripted")}, {3: Reply.error(500, "lost")})
    gateway = start(script)
    assert [gateway.post(points(n)).status for n in range(4)] == [200, 503, 500, 200]
    assert [row.value for row in gateway.rows()] == [0, 2, 3]
    assert script.replies == [200, 200, 200]


def test_script_loses_the_acknowledgement(start: Start) -> None:
    gateway = start(Scripted({}, {1: Fate.ABORT}))
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        gateway.post(points(1))
    assert len(gateway.rows()) == 1
    assert gateway.post(points(1)).status == 200
    assert gateway.store.repeated_total == 1


def test_script_never_answers(start: Start) -> None:
    gateway = start(Scripted({1: Fate.HANG}, {}))
    link = http.client.HTTPConnection("127.0.0.1", gateway.server.port, timeout=0.2)
    link.request("POST", "/ingest", b"{}")
    with pytest.raises(TimeoutError):
        link.getresponse()
    link.close()
    assert gateway.post(points(1)).status == 200


def test_a_delay_of_the_gateway_is_not_held_against_the_client(start: Start) -> None:
    """The body does not fit into the buffers, so the client must wait for the gateway to read on."""

    class Slow(Scripted):
        async def before(self, post: Post) -> Action:
            await asyncio.sleep(0.8)
            return None

    gateway = start(Slow({}, {}), body_timeout_s=0.6)
    assert gateway.post(b" " * 3_000_000 + json.dumps(points(1)).encode()).status == 200


def test_an_exception_is_an_answer_and_is_counted(start: Start) -> None:
    class Broken(Scripted):
        async def before(self, post: Post) -> Action:
            raise RuntimeError("bug")

    gateway = start(Broken({}, {}))
    answer = gateway.post(points(1))
    assert (answer.status, answer.json) == (500, {"error": "internal error"})
    assert gateway.gateway.counters["internal_errors"] == 1


def test_a_store_that_cannot_commit_is_a_queue_failure(start: Start, tmp_path: Path) -> None:
    gateway = start(store=f"sqlite:///{tmp_path}/x.db")
    other = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    answer = gateway.post(points(1))
    assert (answer.status, answer.json) == (502, {"error": "failed to queue telemetry"})
    assert gateway.gateway.counters["store_errors"] == 1
    other.execute("ROLLBACK")
    assert gateway.post(points(1)).status == 200
    assert gateway.store.repeated_total == 0
    other.close()


def test_a_busy_port_gives_way(start: Start) -> None:
    async def scenario() -> None:
        app = create_app(Settings(), open_store("sqlite://"), lambda: 0, random.Random(1))
        with socket.socket() as busy:
            busy.bind(("127.0.0.1", 0))
            busy.listen()
            asked = busy.getsockname()[1]
            server = GatewayServer(app, port=asked)
            await server.start()
            assert server.port != asked and server.moved_from == asked
            await server.stop()

    asyncio.run(scenario())


def test_keep_alive_serves_many_requests_on_one_connection(start: Start) -> None:
    gateway = start()
    link = http.client.HTTPConnection("127.0.0.1", gateway.server.port, timeout=5)
    for _ in range(20):
        link.request("GET", "/health")
        assert link.getresponse().read()
    assert gateway.server.connections == 1
    link.close()


def test_health(start: Start) -> None:
    gateway = start()
    gateway.post(points(1))
    gateway.clock_ms += 5000
    plain = gateway.get("/health", None)
    assert plain.json == {"status": "ok", "devices": 1, "browsers": 0, "redis": "connected", "uptime_s": 5}
    assert gateway.get("/health").json["counters"]["points_stored"] == 1
    gateway.conditions.circuit_open = True
    assert gateway.get("/health", None).status == 503
