"""The CircuitPython port of the library over real sockets, with stand-ins for what only such a board has."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from host_sim.authority import Authority
from host_sim.tls_server import tls_factory

from .conftest import KEY, Running, Start

ROOT = Path(__file__).parents[2]
COUNT = 300


def run(port: int, transport: str, *more: str) -> subprocess.CompletedProcess[str]:
    program = Path(__file__).with_name("circuitpython_program.py")
    return subprocess.run(
        [sys.executable, str(program), str(port), str(ROOT / "lib"), transport, str(COUNT), *more],
        env={**os.environ, "PLEXUS_API_KEY": KEY},
        capture_output=True,
        text=True,
        timeout=60,
    )


def check(gateway: Running) -> None:
    rows = gateway.rows()
    assert [row.value for row in rows] == list(range(COUNT))
    assert [row.tags for row in rows[:2]] == [{}, {"odd": "yes"}]
    assert len({(row.timestamp_ms, *row.tags) for row in rows}) == COUNT
    assert gateway.store.repeated_total == 0


@pytest.mark.parametrize("transport", ["auto", "http"])
def test_every_reading_is_stored_once(start: Start, transport: str) -> None:
    gateway = start()
    gateway.clock_ms = time.time_ns() // 1_000_000
    done = run(gateway.server.port, transport)
    assert done.returncode == 0, done.stderr
    check(gateway)


def test_tls_is_checked(start: Start, tmp_path: Path) -> None:
    gateway = start()
    gateway.clock_ms = time.time_ns() // 1_000_000
    good, other = Authority(), Authority("Another CA")
    now_s = int(time.time())
    factory = tls_factory(
        lambda: gateway.server._factory(), good.issue("localhost", now_s - 60, now_s + 3600)
    )

    async def serve() -> asyncio.Server:
        return await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0)

    server = gateway.run(serve())
    port = server.sockets[0].getsockname()[1]
    for name, content in (("good.der", good.der), ("good.pem", good.pem), ("other.der", other.der)):
        (tmp_path / name).write_bytes(content)
    done = run(port, "auto", str(tmp_path / "other.der"), "1")
    assert done.returncode == 1 and "certificate not signed by the CA" in done.stderr
    assert gateway.rows() == []
    done = run(port, "auto", str(tmp_path / "good.der"))
    assert done.returncode == 0, done.stderr
    check(gateway)
    gateway.clock_ms += 60_000  # it stands still else, and the same number at the same time is a repeat
    done = run(port, "http", str(tmp_path / "good.pem"))
    assert done.returncode == 0, done.stderr
    assert gateway.store.count() == 2 * COUNT
    gateway.loop.call_soon_threadsafe(server.close)


def test_the_program_for_a_board_runs(start: Start) -> None:
    gateway = start()
    gateway.clock_ms = time.time_ns() // 1_000_000
    environment = {
        "PLEXUS_API_KEY": KEY,
        "PLEXUS_GATEWAY_URL": gateway.server.url,
        "PATH": os.environ["PATH"],
    }
    program, code = (
        Path(__file__).with_name("circuitpython_program.py"),
        ROOT / "firmware/circuitpython/code.py",
    )
    command = [sys.executable, str(program), str(gateway.server.port), str(ROOT / "lib"), str(code)]
    running = subprocess.Popen(command, env=environment)
    try:
        for _ in range(600):
            if gateway.run(count(gateway)) >= 2 or running.poll() is not None:
                break
            time.sleep(0.05)
    finally:
        running.kill()
        running.wait()
    assert {(row.metric, row.value) for row in gateway.rows()} == {("cpu.temperature", 31.5)}


async def count(gateway: Running) -> int:
    return gateway.store.count()
