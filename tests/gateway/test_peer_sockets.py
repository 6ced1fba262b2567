"""The vendor's own clients, unchanged, on the device WebSocket: delivery, acknowledgements, goodbyes, replays."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from host_sim.answers import ScriptedAnswers, frame_rule_for

from . import peer_device
from .conftest import KEY, Running, Start
from .test_device_socket import wait_for
from .test_live import Browser
from .test_peers import ROOT, expected, peer_folder, run_sender

PATIENCE_S = 90.0


class Peer:
    """A client in a process of its own; `peer.do("send", first=0, count=10)`."""

    def __init__(self, gateway: Running, version: str, home: Path) -> None:
        url = f"127.0.0.1:{gateway.server.port}"
        environment = {
            **os.environ,
            "PYTHONPATH": str(peer_folder(version)),
            "HOME": str(home),
            "PLEXUS_GATEWAY_URL": f"http://{url}",
            "PLEXUS_QUIET": "1",
        }
        command = [sys.executable, peer_device.__file__, KEY, "rig-01", f"ws://{url}"]
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._guard = threading.Timer(PATIENCE_S, self._process.kill)
        self._guard.start()

    def do(self, op: str, **arguments: Any) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"op": op, **arguments}) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def send(self, first: int, count: int) -> None:
        assert self.do("send", first=first, count=count) == {"sent": True}

    def end(self) -> None:
        self._guard.cancel()
        self._process.communicate(timeout=10)


Open = Callable[[Running, str], Peer]


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Open]:
    """Starts connected clients: `peer(gateway, "0.16.0")`."""
    opened: list[Peer] = []

    def start_one(gateway: Running, version: str) -> Peer:
        opened.append(Peer(gateway, version, tmp_path))
        assert opened[-1].do("connect") == {"authenticated": True}
        return opened[-1]

    yield start_one
    for one in opened:
        one.end()


def stored(gateway: Running) -> list[tuple[str, float, int]]:
    """What is stored, oldest first; read where it is written, while nothing is."""

    async def read() -> list[tuple[str, float, int]]:
        return [(row.metric, row.value, row.timestamp_ms) for row in gateway.rows()]

    return sorted(gateway.run(read()), key=lambda row: row[2])


def holds(gateway: Running, count: int) -> bool:
    """Whether the first `count` points are stored, each once, and nothing else."""
    return stored(gateway) == peer_device.planned(0, count)


@pytest.mark.parametrize("generation", ["aug", "oct"])
@pytest.mark.parametrize("version", ["0.7.0", "0.16.0"])
def test_everything_goes_over_the_socket(start: Start, tmp_path: Path, version: str, generation: str) -> None:
    # `aug` drops in silence what comes within half a millisecond, which a client on this machine manages.
    gateway = start(generation=generation, source_rate_per_s=1e6)
    found = run_sender(gateway, tmp_path, version, timeout_s=5.0)
    assert len(found) == 10_000 and set(found) == expected()
    counters = gateway.gateway.counters
    assert counters["points_repeated"] == counters["internal_errors"] == 0
    if (version, generation) != ("0.16.0", "oct"):  # whose window may be full, and then it takes HTTP
        assert counters["ingest_200"] == 0


def test_acknowledged(start: Start, peer: Open) -> None:
    gateway = start()
    device = peer(gateway, "0.16.0")
    assert device.do("state")["acks"] is True
    for first in range(0, 300, 10):  # fewer frames than its window has
        device.send(first, 10)
    wait_for(lambda: device.do("state")["unacked"] == 0)
    assert holds(gateway, 300) and gateway.gateway.counters["ingest_200"] == 0


def test_it_hears_the_goodbye_and_comes_straight_back(start: Start, peer: Open) -> None:
    gateway = start()
    device = peer(gateway, "0.16.0")
    device.send(0, 10)
    wait_for(lambda: device.do("state")["unacked"] == 0)
    gateway.loop.call_soon_threadsafe(gateway.gateway.devices.say_goodbye, 5.0)
    wait_for(lambda: len(device.do("state")["delays"]) == 1)
    device.send(10, 10)
    assert device.do("connect") == {"authenticated": True}
    device.send(20, 10)
    state = device.do("state")
    assert all(0.05 <= seconds <= 0.55 for seconds in state["delays"])  # as it says in its log, rounded
    wait_for(lambda: holds(gateway, 30))
    assert gateway.gateway.counters["bytes_after_goodbye"] < 20  # its close frame, and no reading


@pytest.mark.parametrize("version", ["0.7.0", "0.16.0"])
def test_a_server_that_restarts_on_its_port(start: Start, peer: Open, version: str) -> None:
    gateway = start()
    device = peer(gateway, version)
    device.send(0, 10)
    wait_for(lambda: holds(gateway, 10))
    gateway.run(gateway.server.stop(0.5))
    gateway.run(gateway.server.start(may_move=False))
    assert device.do("connect") == {"authenticated": True}
    device.send(10, 10)
    wait_for(lambda: holds(gateway, 20))


@pytest.mark.parametrize("answer", ["lost", "reset", "redis_unavailable"])
def test_what_was_not_acknowledged_is_sent_again_and_stored_once(
    start: Start, peer: Open, answer: str
) -> None:
    answers = ScriptedAnswers()
    gateway = start(answers)
    device = peer(gateway, "0.16.0")
    device.send(0, 10)
    wait_for(lambda: device.do("state")["unacked"] == 0)
    answers.add(frame_rule_for(answer, 1, 0.0))
    device.send(10, 10)
    wait_for(lambda: len(device.do("state")["delays"]) == 1)  # logged when the connection is over
    assert device.do("connect") == {"authenticated": True}
    device.send(20, 10)
    wait_for(lambda: holds(gateway, 30))
    assert gateway.store.repeated_total == (10 if answer == "lost" else 0)


def test_a_limit_is_final_for_it(start: Start, peer: Open) -> None:
    answers = ScriptedAnswers()
    gateway = start(answers)
    device = peer(gateway, "0.16.0")
    answers.add(frame_rule_for("rate_limited", 1, 0.0))
    told = [device.do("send", first=0, count=10)]
    wait_for(lambda: device.do("state")["unacked"] == 0)
    told.append(device.do("send", first=10, count=10))
    # Once: by the next call, or by this one when the answer is there before it returns.
    errors = [answer["error"] for answer in told if answer != {"sent": True}]
    assert len(errors) == 1 and "RateLimitedError" in errors[0]
    wait_for(lambda: stored(gateway) == peer_device.planned(10, 10))


@pytest.mark.parametrize(("frames", "points"), [(32, 10), (2, 5_000)])
def test_its_window(start: Start, peer: Open, frames: int, points: int) -> None:
    """Beyond 32 frames or 10,000 points unacknowledged it takes HTTP, and waits for nothing."""
    answers = ScriptedAnswers()
    answers.add(frame_rule_for("unacknowledged", None, 0.0))
    gateway = start(answers)
    device = peer(gateway, "0.16.0")
    for number in range(frames):
        device.send(number * points, points)
    assert gateway.gateway.counters["ingest_200"] == 0
    assert device.do("state")["unacked"] == frames * points
    device.send(frames * points, points)
    assert gateway.gateway.counters["ingest_200"] == 1
    wait_for(lambda: holds(gateway, (frames + 1) * points))


def test_its_patience_with_acknowledgements(start: Start, peer: Open) -> None:
    answers = ScriptedAnswers()
    gateway = start(answers)
    device = peer(gateway, "0.16.0")
    device.do("set", name="ACK_TIMEOUT_S", value=0.2)  # 30 s
    device.do("set", name="BACKOFF_BASE_S", value=0.1)  # 1 s
    answers.add(frame_rule_for("unacknowledged", 1, 0.0))
    device.send(0, 10)
    wait_for(lambda: len(device.do("state")["delays"]) == 1)  # logged when the connection is over
    assert device.do("connect") == {"authenticated": True}
    device.send(10, 10)
    wait_for(lambda: holds(gateway, 20))
    assert gateway.store.repeated_total == 10


@pytest.mark.parametrize("version", ["0.7.0", "0.16.0"])
def test_a_command_and_its_result(start: Start, tmp_path: Path, version: str) -> None:
    gateway = start()
    browser = Browser(gateway)
    browser.hear()
    device = Peer(gateway, version, tmp_path)
    device.do("command")
    assert device.do("connect") == {"authenticated": True}
    assert browser.hear()["platform"] == "python-sdk"
    body = json.dumps({"command": "set_rate", "params": {"hz": 2}}).encode()
    answer = gateway.request("POST", "/v1/sources/rig-01/commands", body, {"x-api-key": KEY})
    assert answer.json == {"queued": True}
    told = [browser.hear(), browser.hear()]
    assert [(t["type"], t["command"], t["event"]) for t in told] == [
        ("command_result", "set_rate", "ack"),
        ("command_result", "set_rate", "result"),
    ]
    assert told[1]["result"] == {"hz": 2} and len(told[1]["id"]) == 36
    assert device.do("state")["handled"] == [["set_rate", {"hz": 2}]]
    device.end()


def test_the_peers_are_where_the_tests_look() -> None:
    assert all((ROOT / "build" / "peers" / f"plexus-{v}" / "plexus").is_dir() for v in ("0.7.0", "0.16.0"))
