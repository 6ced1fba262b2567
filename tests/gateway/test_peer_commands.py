"""The vendor's client, unchanged, as a device that runs commands of protocol 1 for this gateway."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from host_sim.gateway import Grant

from .conftest import KEY, Running, Start
from .test_command_runs import asked, run_of, started
from .test_device_socket import wait_for
from .test_peer_sockets import Peer


@pytest.fixture
def gateway(start: Start) -> Running:
    return start(command_retry_s=0.1)


@pytest.fixture
def device(gateway: Running, tmp_path: Path) -> Iterator[Peer]:
    peer = Peer(gateway, "0.16.0", tmp_path)
    peer.do("declare")
    assert peer.do("connect") == {"authenticated": True}
    yield peer
    peer.end()


def ended(gateway: Running, run_id: str) -> bool:
    return run_of(gateway, run_id)["state"] in ("succeeded", "failed")


def test_its_manifest_and_its_answers(gateway: Running, device: Peer) -> None:
    wait_for(lambda: gateway.get("/api/commands?source_id=rig-01").status == 200)
    valve, broken = gateway.get("/api/commands?source_id=rig-01").json["commands"]
    assert (valve["name"], valve["danger"], valve["idempotent"]) == ("valve", "dangerous", False)
    assert valve["params"]["percent"] == {"type": "integer", "minimum": 0, "maximum": 100, "required": True}
    assert broken["expires_in_s"] == 5.0
    good, bad, failing = (
        started(gateway, params={"percent": "30"}),
        started(gateway, params={"percent": 130}),
        started(gateway, command="broken"),
    )
    wait_for(lambda: all(ended(gateway, run_id) for run_id in (good, bad, failing)))
    found = run_of(gateway, good)
    assert (found["state"], found["result"], found["progress"]) == ("succeeded", {"percent": 30}, 100.0)
    assert run_of(gateway, bad)["error_code"] == "bad_params"
    assert run_of(gateway, failing)["error_message"] == "RuntimeError: stuck"
    assert device.do("state")["handled"] == [[good, 30, 1]]


def test_a_run_it_knows_is_not_run_again(gateway: Running, device: Peer) -> None:
    wait_for(lambda: gateway.get("/api/commands?source_id=rig-01").status == 200)
    run_id = started(gateway, params={"percent": 1})
    wait_for(lambda: ended(gateway, run_id))

    async def again() -> bool:
        params = {"percent": 1}
        return gateway.gateway.devices.send_command_run("rig-01", run_id, "valve", params, 5_000, 2)

    repeated = gateway.gateway.counters["command_statuses_repeated"]
    assert gateway.run(again())
    wait_for(lambda: gateway.gateway.counters["command_statuses_repeated"] > repeated)
    assert len(device.do("state")["handled"]) == 1


def test_it_tells_what_it_knows_when_it_comes_back(gateway: Running, device: Peer) -> None:
    wait_for(lambda: gateway.get("/api/commands?source_id=rig-01").status == 200)
    run_id = started(gateway, params={"percent": 1})
    wait_for(lambda: ended(gateway, run_id))
    device.do("set", name="BACKOFF_BASE_S", value=0.1)
    gateway.loop.call_soon_threadsafe(gateway.gateway.devices.say_goodbye)
    wait_for(lambda: len(device.do("state")["delays"]) == 1)
    assert device.do("connect") == {"authenticated": True}
    wait_for(lambda: run_id in known_runs(gateway))


def known_runs(gateway: Running) -> set[str]:
    found = gateway.gateway.devices.find("rig-01")
    return set() if found is None else found.known_runs


def test_a_key_that_may_not_receive_commands(start: Start, tmp_path: Path) -> None:
    gateway = start(keys={KEY: Grant(frozenset({"read", "write"}))})
    peer = Peer(gateway, "0.16.0", tmp_path)
    peer.do("declare")
    assert peer.do("connect") == {"authenticated": True}
    peer.send(0, 10)
    wait_for(lambda: peer.do("state")["unacked"] == 0)
    assert gateway.gateway.counters["device_commands_not_permitted"] == 1
    assert asked(gateway)[0] == 403
    peer.end()
