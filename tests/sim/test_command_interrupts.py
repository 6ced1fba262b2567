"""The timer, and Ctrl-C, at any bytecode of what takes, runs and reports a command."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from plexus_mp.client import Plexus

from host_sim.world import LIBRARY
from tests.device import talks
from tests.sim.interrupting import Strike, raising

# Of some 30,000 bytecodes, and of some 2,000 of the files that are about commands.
STRIDE = 997
CTRL_C_STRIDE = 83
GROUND = ("ports/cpython.py",)
# What Ctrl-C does to the connection and to readings is not these tests' business.
OTHERS = tuple(
    file.relative_to(LIBRARY).as_posix()
    for file in LIBRARY.rglob("*.py")
    if file.name not in ("commands.py", "runner.py", "runbook.py", "params.py")
)
STATES = ["acknowledged", "running", "progress", "succeeded"]


class Board:
    """A program that ticks, with a command and a gateway that acknowledges what it is told."""

    def __init__(self) -> None:
        self.talk = talks.Talk()
        self.calls = 0
        self.px = Plexus("key", "test-1", "http://gw", tick_ms=0, transport="http", ring="ram")
        self.px._link, self.px._recorder = self.talk.link, self.talk.device.recorder
        self.px._outbox, self.px.commands = self.talk.device.outbox, self.talk.commands
        self.talk.commands._tick = self.px._slice
        self.talk.commands.declare("c", self.handler, concurrency="reject")
        self.talk.connect()
        self.statuses: list[dict[str, Any]] = []
        self.readings: list[Any] = []

    def handler(self, run: Any) -> dict[str, Any]:
        self.calls += 1
        self.px.send("n", self.calls)
        run.progress(50)
        return {"calls": self.calls}

    def ask(self, run_id: str) -> None:
        self.talk.say({"type": "command_run", "run_id": run_id, "command": "c", "ttl_ms": 5000})

    def ticks(self, count: int = 14) -> None:
        for _ in range(count):
            self.px.tick()

    def on_timer(self) -> None:
        self.px._on_timer(None)

    def listen(self) -> None:
        self.talk._listen()
        for message in self.talk.heard:
            if isinstance(message, tuple):  # a close frame: Ctrl-C may cost the connection
                continue
            if message["type"] == "command_status":
                self.statuses.append(message)
                ack = {"type": "command_status_ack", "run_id": message["run_id"], "seq": message["seq"]}
                self.talk.say(ack)
            elif message["type"] == "telemetry":
                self.readings += [point["value"] for point in message["points"]]
                self.talk.say({"type": "telemetry_ack", "seq": message["seq"]})
        self.talk.heard = []

    def settle(self) -> None:
        for _ in range(4):
            self.ticks()
            self.listen()
            if not self.talk.session.up:
                self.talk.link.retry_now()
                self.talk.hello = None
                self.talk.heard = self.talk.connect()
                self.listen()


def bytecodes(spared: tuple[str, ...]) -> int:
    board = Board()
    with board.talk, Strike(-1, board.on_timer, spared=spared) as strike:
        board.ask("r")
        board.ticks()
    return strike.count


def struck(at: int, action: Callable[[Board], Callable[[], Any]], spared: tuple[str, ...] = GROUND) -> Board:
    board = Board()
    with board.talk:
        board.ask("r")
        try:
            with Strike(at, action(board), spared=spared):
                board.ticks()
        except KeyboardInterrupt:
            pass  # the program goes on, as at a prompt
        board.settle()
        board.ask("s")
        board.settle()
    return board


@pytest.mark.parametrize("first", range(3))
def test_the_timer_anywhere(first: int) -> None:
    """Nothing is lost, said twice or out of order, and each handler runs once."""
    for at in range(first * STRIDE // 3, bytecodes(GROUND), STRIDE):
        board = struck(at, lambda board: board.on_timer)
        for run_id in ("r", "s"):
            told = [each for each in board.statuses if each["run_id"] == run_id]
            assert [each["state"] for each in told] == STATES, at
            assert [each["seq"] for each in told] == [1, 2, 3, 4], at
        assert board.calls == 2 and board.readings == [1, 2], at
        assert not board.talk.commands._live and not board.talk.commands._out, at


@pytest.mark.parametrize("first", range(3))
def test_ctrl_c_anywhere(first: int) -> None:
    """At worst the run ends as interrupted, or its id was taken and it is not run; the next one is run."""
    for at in range(first * CTRL_C_STRIDE // 3, bytecodes(OTHERS), CTRL_C_STRIDE):
        board = struck(at, lambda board: raising(KeyboardInterrupt), OTHERS)
        told = [each["state"] for each in board.statuses if each["run_id"] == "s"]
        assert told and told[-1] == "succeeded", (at, board.statuses)
        assert board.calls <= 2, at
        assert not board.talk.commands._live, at
