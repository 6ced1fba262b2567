"""Firmware in the real MicroPython: the WebAssembly build from npm, one Node process a boot."""

from __future__ import annotations

import json
import os
import select
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..board.board import Board
from ..guard import WALL_GUARD_S, FirmwareHangs
from ..node import find_node, npm_file

_HERE = Path(__file__).parent
_SHIMS = _HERE.parent / "shims"
_BUILD = "@micropython/micropython-webassembly-pyscript/micropython.mjs"


class MicroPythonVm:
    """The `micropython` VM: one boot of one board.

    The process asks, this side answers; while it computes, virtual time stands still.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._pending = b""
        self._asks: dict[str, Callable[..., Any]] = {}
        self._due: list[int] = []

    def run(self, board: Board) -> None:
        self._board = board
        self._start(board.config.heap_bytes)
        while True:
            line = self._read_line()
            if line is None:
                raise RuntimeError("the MicroPython process ended by itself")
            kind, text = line[:1], line[1:]
            if kind == b"C":
                self._answer(text)
            elif kind == b"P":
                board.console(json.loads(text) + "\n")
            else:
                raise RuntimeError(f"MicroPython: {json.loads(text)}")

    def _start(self, heap_bytes: int) -> None:
        self._requests, request_end = os.pipe()
        answer_end, self._answers = os.pipe()
        ends = (request_end, answer_end)
        shims = sorted([*_SHIMS.glob("*.py"), *(_HERE / "micropython_shims").glob("*.py")])
        command = [find_node(), _HERE / "micropython.mjs", *ends, heap_bytes, npm_file(_BUILD), *shims]
        self._process = subprocess.Popen(
            [str(part) for part in command], stdin=subprocess.DEVNULL, pass_fds=ends
        )
        for end in ends:
            os.close(end)
        os.set_blocking(self._requests, False)
        if self._board.kernel.virtual:
            _share_core(self._process.pid)

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
        try:
            value = ask(*map(_unpacked, arguments))
            answer = [0, _packed(value), self._due]
        except OSError as e:
            answer = [1, list(e.args), None]
        except ValueError as e:
            answer = [2, str(e), None]
        except MemoryError:
            answer = [3, None, None]
        os.write(self._answers, json.dumps(answer, separators=(",", ":")).encode() + b"\n")
        self._due.clear()

    def kill(self) -> None:
        """SIGKILL: nothing of the firmware runs after this."""
        if self._process is None:
            return
        if not self._board.kernel.virtual:
            self._board.kernel.loop.remove_reader(self._requests)
        self._process.kill()
        self._process.wait()
        self._process = None
        os.close(self._requests)
        os.close(self._answers)


def _share_core(pid: int) -> None:
    """Put both sides of the pipe on one core, where a call takes 10 µs and not 60 to 200. Linux only."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        core = {cores[os.getpid() % len(cores)]}
        os.sched_setaffinity(pid, core)
        os.sched_setaffinity(0, core)


def _packed(value: Any) -> Any:
    return {"x": value.hex()} if isinstance(value, bytes) else value


def _unpacked(value: Any) -> Any:
    return bytes.fromhex(value["x"]) if isinstance(value, dict) else value
