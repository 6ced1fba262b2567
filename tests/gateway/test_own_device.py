"""This project's library on CPython, with its thread, as a device that runs commands; real sockets, real time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from plexus_mp import Plexus

from .conftest import KEY, Running, Start
from .test_command_runs import run_of, started
from .test_device_socket import wait_for


@pytest.fixture
def gateway(start: Start) -> Running:
    gateway = start(command_retry_s=0.1, source_rate_per_s=1e6)
    gateway.clock_ms = int(time.time() * 1000)  # one that a board believes
    return gateway


@pytest.fixture
def px(gateway: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plexus]:
    monkeypatch.setenv("PLEXUS_RUNS_FILE", str(tmp_path / "runs"))
    client = Plexus(KEY, "rig-01", gateway.server.url.rstrip("/"), tick_ms=5)
    yield client
    leave(gateway, client)


def leave(gateway: Running, client: Plexus) -> None:
    client.close()
    wait_for(lambda: gateway.gateway.devices.find("rig-01") is None)


def ended(gateway: Running, run_id: str) -> Any:
    wait_for(lambda: run_of(gateway, run_id)["state"] in ("succeeded", "failed"))
    return run_of(gateway, run_id)


def known(gateway: Running) -> bool:
    return gateway.get("/api/commands?source_id=rig-01").status == 200


def test_handlers_run_in_its_thread_while_the_program_goes_on(gateway: Running, px: Plexus) -> None:
    threads = []

    @px.command("valve", params={"percent": {"type": "integer"}})
    def valve(run: Any, percent: int) -> dict[str, int]:
        threads.append(threading.current_thread().name)
        px.send("valve", percent)
        return {"percent": percent}

    @px.command("later", idempotent=True)
    async def later(run: Any) -> str:
        await asyncio.sleep(0.01)
        return "done"

    wait_for(lambda: known(gateway))
    for number in range(20):
        run_id = started(gateway, params={"percent": str(number)})
        px.send("n", number)
        assert ended(gateway, run_id)["result"] == {"percent": number}
    assert ended(gateway, started(gateway, command="later"))["result"] == {"value": "done"}
    assert set(threads) == {"plexus_mp"}
    px.flush_buffer()
    values = [row.value for row in gateway.rows() if row.metric == "valve"]
    assert values == list(range(20))


def test_a_program_that_ticks_runs_them_itself(gateway: Running, px: Plexus) -> None:
    threads = []

    @px.command("valve", idempotent=True)
    def valve(run: Any) -> None:
        threads.append(threading.current_thread() is threading.main_thread())

    until_s = time.monotonic() + 20
    px.sleep(0.01)
    while not known(gateway) and time.monotonic() < until_s:
        px.sleep(0.01)
    run_id = started(gateway)
    while run_of(gateway, run_id)["state"] != "succeeded" and time.monotonic() < until_s:
        px.sleep(0.01)
    assert threads == [True]


def test_a_process_that_starts_again_knows_what_it_ran(gateway: Running, px: Plexus) -> None:
    calls = []
    px.command("valve")(lambda run: calls.append(run.id))
    wait_for(lambda: known(gateway))
    run_id = started(gateway)
    assert ended(gateway, run_id)["state"] == "succeeded"
    leave(gateway, px)
    again = Plexus(KEY, "rig-01", gateway.server.url.rstrip("/"), tick_ms=5)
    again.command("valve")(lambda run: calls.append(run.id))

    async def redeliver() -> bool:
        return gateway.gateway.devices.send_command_run("rig-01", run_id, "valve", {}, 5_000, 2)

    repeated = gateway.gateway.counters["command_statuses_repeated"]
    wait_for(lambda: bool(gateway.run(redeliver())))
    wait_for(lambda: gateway.gateway.counters["command_statuses_repeated"] > repeated)
    leave(gateway, again)
    assert calls == [run_id]
