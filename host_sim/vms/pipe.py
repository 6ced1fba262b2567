"""Firmware in a process of its own: it asks over one pipe and is answered over another, a line of JSON each."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from ..board.board import Board, Interrupted
from ..guard import WALL_GUARD_S, FirmwareHangs

SHIMS = Path(__file__).parent.parent / "shims"
VM_SHIMS = Path(__file__).parent / "micropython_shims"


class PipeVm:
    """One boot of one board, in what `_command` says. While the process computes, virtual time stands still.

    "C…" is a call that waits for its answer, "P…" text for the console, "E…" an error that ended the VM.
    """

    name = "MicroPython"

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._pending = b""
        self._asks: dict[str, Callable[..., Any]] = {}
        self._due: list[int] = []
        self._answering = False  # the firmware waits for its board
        self._shares_core = False

    def _command(self, board: Board, request_end: int, answer_end: int) -> Sequence[object]:
        """What to start; it is given the two ends as open files."""
        raise NotImplementedError

    def run(self, board: Board) -> None:
        self._board = board
        self._start()
        while True:
            line = self._read_line()
            if line is None:
                raise RuntimeError(f"the {self.name} process ended by itself{self._why_ended()}")
            self._hear(line[:1], line[1:])

    def _why_ended(self) -> str:
        return ""

    def _hear(self, kind: bytes, text: bytes) -> None:
        if kind == b"C":
            self._answer(text)
        elif kind == b"P":
            self._board.console(json.loads(text) + "\n")
        else:
            raise RuntimeError(f"{self.name}: {json.loads(text)}")

    def _start(self) -> None:
        self._requests, request_end = os.pipe()
        answer_end, self._answers = os.pipe()
        ends = (request_end, answer_end)
        self._process = self._open(self._command(self._board, *ends), ends)
        for end in ends:
            os.close(end)
        os.set_blocking(self._requests, False)
        self._shares_core = self._board.kernel.virtual and _Core.enter(self._process.pid)

    def _open(self, command: Sequence[object], ends: tuple[int, int]) -> subprocess.Popen[bytes]:
        return subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, pass_fds=ends)

    def _read_line(self) -> bytes | None:
        while b"\n" not in self._pending:
            self._wait_readable()
            try:
                chunk = os.read(self._requests, 1 << 16)
            except BlockingIOError:  # something else woke the board
                continue
            if not chunk:
                return None
            self._pending += chunk
        line, _, self._pending = self._pending.partition(b"\n")
        return line

    def _wait_readable(self) -> None:
        kernel = self._board.kernel
        if kernel.virtual:
            poll = select.poll()  # select.select would end at file number 1023
            poll.register(self._requests, select.POLLIN)
            if not poll.poll(WALL_GUARD_S * 1000):
                raise FirmwareHangs
        else:
            kernel.loop.add_reader(self._requests, self._board.wake)
            self._board.park(None)
            kernel.loop.remove_reader(self._requests)

    def _answer(self, text: bytes) -> None:
        operation, arguments = json.loads(text)
        ask = self._asks.get(operation)
        if ask is None:
            ask = self._asks[operation] = self._board.bind(operation, self._due.extend)
        self._answering = True
        try:
            value = ask(*map(_unpacked, arguments))
            answer = [0, self._pack(value), self._due]
        except OSError as e:
            answer = [1, list(e.args), None]
        except ValueError as e:
            answer = [2, str(e), None]
        except MemoryError:
            answer = [3, None, None]
        except Interrupted:
            answer = [4, None, None]
        except TypeError as e:
            answer = [5, str(e), None]
        self._answering = False
        self._reply(answer)
        self._due.clear()

    def _pack(self, value: Any) -> Any:
        return {"x": value.hex()} if isinstance(value, bytes) else value

    def _reply(self, answer: Any) -> None:
        os.write(self._answers, json.dumps(answer, separators=(",", ":")).encode() + b"\n")

    def kill(self) -> None:
        """SIGKILL: nothing of the firmware runs after this."""
        if self._process is None:
            return
        if not self._board.kernel.virtual:
            self._board.kernel.loop.remove_reader(self._requests)
        self._process.kill()
        self._process.wait()
        self._process = None
        if self._shares_core:
            _Core.leave()
        os.close(self._requests)
        os.close(self._answers)


class _Core:
    """The core that both sides of a pipe share: there a call takes 10 µs and not 60 to 200. Linux only.

    It is the one that this process has just run on, which leaves the choice among several simulations to the system.
    With its last VM gone the process has all its cores again.
    """

    _vms = 0
    _before: ClassVar[set[int]] = set()

    @classmethod
    def enter(cls, pid: int) -> bool:
        """Whether they share one, until `leave`."""
        if sys.platform != "linux":
            return False
        if not cls._vms:
            cls._before = os.sched_getaffinity(0)
            os.sched_setaffinity(0, {_current_core()})
        cls._vms += 1
        os.sched_setaffinity(pid, os.sched_getaffinity(0))
        return True

    @classmethod
    def leave(cls) -> None:
        cls._vms -= 1
        if not cls._vms:
            os.sched_setaffinity(0, cls._before)


def _current_core() -> int:
    return int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[36])


def _unpacked(value: Any) -> Any:
    return bytes.fromhex(value["x"]) if isinstance(value, dict) else value
