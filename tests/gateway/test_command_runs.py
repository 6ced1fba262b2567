"""Runs of commands, from a request to a device: delivery, what devices answer, and what becomes of a run."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .conftest import BOUND_KEY, KEY, READ_KEY, Running, Start
from .device_client import MODERN, RawDevice, connect, error, hello
from .test_device_socket import wait_for
from .test_live import Browser

VALVE = {
    "name": "valve",
    "params": {"percent": {"type": "integer"}},
    "danger": "dangerous",
    "idempotent": True,
}
ONCE = {"name": "once", "expires_in_s": 5}


def asked(gateway: Running, key: str = KEY, **content: Any) -> tuple[int, Any]:
    body = json.dumps({"source_id": "rig-01", "command": "valve", **content}).encode()
    answer = gateway.request("POST", "/api/commands", body, {"x-api-key": key})
    return answer.status, answer.json


def started(gateway: Running, **content: Any) -> str:
    status, found = asked(gateway, **content)
    assert status == 201, found
    return str(found["run"]["run_id"])


def run_of(gateway: Running, run_id: str) -> Any:
    return gateway.get(f"/api/commands/runs/{run_id}").json["run"]


def report(device: RawDevice, run_id: str, seq: int, state: str, **more: Any) -> None:
    device.say(type="command_status", run_id=run_id, seq=seq, state=state, **more)
    while (heard := device.hear())["type"] == "command_run":
        continue  # delivered meanwhile
    assert heard == {"type": "command_status_ack", "run_id": run_id, "seq": seq}


def test_from_the_request_to_the_result(start: Start) -> None:
    gateway = start()
    device = connect(gateway, commands=[VALVE])
    browser = Browser(gateway)
    assert browser.hear()["commands"]["rig-01"][0]["name"] == "valve"
    run_id = started(gateway, params={"percent": "30"})
    assert device.hear() == {
        "type": "command_run", "run_id": run_id, "command": "valve", "params": {"percent": "30"},
        "ttl_ms": 30_000, "attempt": 1,
    }  # fmt: skip
    assert run_of(gateway, run_id)["state"] == "delivered"
    for seq, (state, more) in enumerate(
        [("acknowledged", {}), ("running", {}), ("progress", {"progress": 50}), ("succeeded", {"result": {"ok": 1}})], 1
    ):  # fmt: skip
        report(device, run_id, seq, state, **more)
    found = run_of(gateway, run_id)
    assert (found["state"], found["result"], found["progress"]) == ("succeeded", {"ok": 1}, 50.0)
    told = [browser.hear() for _ in range(9)]
    states = [each["run"]["state"] for each in told if each["type"] == "command_run"]
    assert states == ["delivered", "acknowledged", "running", "running", "succeeded"]


def test_manifest(start: Start) -> None:
    gateway = start()
    path = "/api/commands?source_id=rig-01"
    assert gateway.get(path).status == 404
    device = connect(gateway, commands=[VALVE, ONCE])
    found = gateway.get(path, READ_KEY).json
    assert (found["source_id"], found["online"]) == ("rig-01", True)
    assert found["commands"][0] == {**VALVE, "expires_in_s": 30.0, "concurrency": "accept"}
    device.link.shutdown()
    wait_for(lambda: gateway.get(path).json["online"] is False)
    assert len(gateway.get(path).json["commands"]) == 2


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        (5, "must be an object"),
        ({"name": "Valve"}, "name must match"),
        ({"name": "a", "params": []}, "params must be"),
        ({"name": "a", "params": {f"p{n}": {"type": "boolean"} for n in range(17)}}, "at most 16"),
        ({"name": "a", "params": {"p": {"type": "object"}}}, "type must be one of"),
        ({"name": "a", "params": {"p": {"type": "string", "enum": []}}}, "enum"),
        ({"name": "a", "danger": "lethal"}, "danger"),
        ({"name": "a", "concurrency": "x"}, "concurrency"),
        ({"name": "a", "idempotent": 1}, "idempotent"),
        ({"name": "a", "expires_in_s": 4}, "expires_in_s"),
        ({"name": "a", "title": 4}, "title"),
    ],
)
def test_an_entry_that_is_none_is_told_and_left_out(start: Start, entry: Any, fault: str) -> None:
    gateway = start()
    device = connect(gateway, commands=[VALVE, entry])
    told = device.hear()
    assert (
        told["code"] == "invalid_command"
        and told["detail"].startswith("commands[1]")
        and fault in told["detail"]
    )
    assert [c["name"] for c in gateway.get("/api/commands?source_id=rig-01").json["commands"]] == ["valve"]


def test_a_key_that_may_not_receive_commands(start: Start) -> None:
    """It is told once, and the connection goes on."""
    gateway = start(keys={KEY: gateway_grant("read", "write")})
    device = connect(gateway, commands=[VALVE])
    told = device.hear()
    assert told["code"] == "commands_not_permitted"
    device.send(1, seq=1)
    assert device.hear() == {"type": "telemetry_ack", "seq": 1}
    assert gateway.get("/api/commands?source_id=rig-01").status == 404
    connect(gateway)  # one that declares nothing is told nothing
    assert gateway.gateway.counters["device_commands_not_permitted"] == 1


def gateway_grant(*scopes: str) -> Any:
    from host_sim.gateway import Grant

    return Grant(frozenset(scopes))


def test_requests_that_are_refused(start: Start) -> None:
    gateway = start(command_runs_open_max=2)
    assert asked(gateway) == (404, {"error": "NOT_FOUND", "message": "source has declared no commands"})
    connect(gateway, commands=[VALVE])
    for content, status, word in (
        ({"command": "pump"}, 404, "declared"),
        ({"command": 5}, 400, "command"),
        ({"source_id": None}, 400, "source_id"),
        ({"params": [1]}, 400, "params"),
        ({"expires_in_s": 4}, 400, "expires_in_s"),
        ({"expires_in_s": "30"}, 400, "expires_in_s"),
        ({"params": {"x": "y" * 66_000}}, 400, "too large"),
    ):
        found = asked(gateway, **content)
        assert found[0] == status and word in found[1]["message"], found
    assert asked(gateway, READ_KEY)[0] == 403 and asked(gateway, "plx_wrong")[0] == 401
    assert asked(gateway, BOUND_KEY)[0] == 201 and asked(gateway)[0] == 201
    assert asked(gateway) == (409, {"error": "CONFLICT", "message": "too many open runs (max 2)"})
    for body in (b"{", b"[]"):
        assert gateway.request("POST", "/api/commands", body, {"x-api-key": KEY}).status == 400
    for path in ("/api/commands/runs", "/api/commands/runs/x", "/api/commands"):
        assert gateway.get(path, None).status == 401
    assert gateway.get("/api/commands/runs/x").status == 404
    for limit in ("0", "x", "1001"):
        assert gateway.get(f"/api/commands/runs?limit={limit}").status == 400


def test_lists_are_bounded_and_newest_first(start: Start) -> None:
    gateway = start(command_runs_max=3)
    device = connect(gateway, commands=[VALVE])
    made = [started(gateway) for _ in range(3)]
    device.hear()
    report(device, made[1], 1, "failed", error_code="busy")
    made.append(started(gateway))
    found = gateway.get("/api/commands/runs?source_id=rig-01").json["runs"]
    assert [run["run_id"] for run in found] == [made[3], made[2], made[0]]  # the one that was over made room
    assert gateway.get("/api/commands/runs?source_id=other").json["runs"] == []
    assert len(gateway.get("/api/commands/runs?limit=1").json["runs"]) == 1


def test_delivered_again_until_it_is_acknowledged(start: Start) -> None:
    gateway = start(command_retry_s=0.02)
    device = connect(gateway, commands=[ONCE])
    run_id = started(gateway, command="once")
    assert [device.hear()["attempt"] for _ in range(3)] == [1, 2, 3]
    device.say(type="command_status", run_id=run_id, seq=1, state="acknowledged")
    while device.hear()["type"] != "command_status_ack":
        continue
    assert run_of(gateway, run_id)["state"] == "acknowledged"
    device.say(type="heartbeat")
    device.link.settimeout(0.2)
    with pytest.raises(Exception, match="timed out"):
        device.hear()


def test_a_run_waits_for_its_device_until_it_expires(start: Start) -> None:
    gateway = start(command_retry_s=0.02)
    connect(gateway, commands=[VALVE]).link.shutdown()
    wait_for(lambda: gateway.get("/api/commands?source_id=rig-01").json["online"] is False)
    late, waiting = started(gateway, expires_in_s=5), started(gateway)
    assert run_of(gateway, late)["state"] == "queued"
    gateway.clock_ms += 5_000
    wait_for(lambda: run_of(gateway, late)["state"] == "expired")
    device = connect(gateway, commands=[VALVE])
    told = device.hear()
    assert (told["run_id"], told["ttl_ms"], told["attempt"]) == (waiting, 25_000, 1)


@pytest.mark.parametrize("remembers", [True, False])
@pytest.mark.parametrize("command", ["valve", "once"])
def test_on_a_new_connection(start: Start, command: str, remembers: bool) -> None:
    """Not acknowledged: delivered again where that does no harm."""
    gateway = start(command_retry_s=0.02)
    more = {"remembers_runs": True} if remembers else {}
    device = connect(gateway, commands=[VALVE, ONCE], **more)
    run_id = started(gateway, command=command)
    assert device.hear()["attempt"] == 1
    device.link.shutdown()
    wait_for(lambda: gateway.get("/api/commands?source_id=rig-01").json["online"] is False)
    attempts = run_of(gateway, run_id)["attempt"]
    device = connect(gateway, commands=[VALVE, ONCE], **more)
    if remembers or command == "valve":
        assert device.hear()["attempt"] == attempts + 1
        return
    wait_for(lambda: run_of(gateway, run_id)["attempt"] == attempts)
    report(device, run_id, 1, "succeeded")  # it says by itself what it ran
    assert run_of(gateway, run_id)["state"] == "succeeded"


@pytest.mark.parametrize(
    ("more", "runs", "state"),
    [
        ({"remembers_runs": True}, [], "again"),
        ({}, [], "lost"),
        ({}, None, "lost"),
        ({}, [{"run_id": "…", "state": "running", "seq": 2}], "running"),
        ({}, [5, {"run_id": None}], "lost"),
    ],
)
def test_what_a_device_had_begun_and_forgot(start: Start, more: Any, runs: Any, state: str) -> None:
    gateway = start(command_retry_s=0.02, command_sync_s=0.05)
    device = connect(gateway, commands=[ONCE], **more)
    run_id = started(gateway, command="once")
    device.hear()
    device.say(type="command_status", run_id=run_id, seq=2, state="running")
    wait_for(lambda: run_of(gateway, run_id)["state"] == "running")
    device = connect(gateway, commands=[ONCE], **more)
    if runs is not None:
        known = [{**run, "run_id": run_id} if run == runs[0] and type(run) is dict else run for run in runs]
        device.say(type="command_sync", runs=known)
    if state == "again":
        assert device.hear()["attempt"] > 1
        report(device, run_id, 1, "failed", error_code="duplicate")
        assert run_of(gateway, run_id)["error_code"] == "duplicate"
    elif state == "lost":
        wait_for(lambda: run_of(gateway, run_id)["state"] == "failed")
        assert run_of(gateway, run_id)["error_code"] == "lost"
    else:
        report(device, run_id, 3, "succeeded")
        assert run_of(gateway, run_id)["state"] == "succeeded"


def test_statuses_of_no_run_old_ones_and_unknown_ones_are_acknowledged_and_counted(start: Start) -> None:
    gateway = start()
    device = connect(gateway, commands=[VALVE])
    run_id = started(gateway)
    device.hear()
    for seq, state in ((2, "dancing"), (2, "running"), (3, "succeeded"), (4, "running")):
        report(device, run_id, seq, state)
    report(device, "nobody", 1, "running")
    other = RawDevice(gateway, hello(**{**MODERN, "source_id": "rig-02"}))
    report(other, run_id, 9, "failed")
    assert run_of(gateway, run_id)["state"] == "succeeded"
    counters = gateway.gateway.counters
    assert counters["command_statuses_of_no_run"] == 2 and counters["command_statuses_unknown"] == 1
    assert counters["command_statuses_repeated"] == 2


def test_aug_knows_no_runs(start: Start) -> None:
    gateway = start(generation="aug")
    device = RawDevice(gateway, hello(**MODERN, commands=[VALVE]))
    assert asked(gateway)[0] == 404
    device.say(type="command_sync", runs=[])
    assert device.hear() == error("INVALID_MESSAGE", detail="unknown message type")
