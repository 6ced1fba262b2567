"""The real MicroPython as a board on a serial line, with its own REPL: what `mpremote` talks to."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from ..board.board import RESET_SOFT, Board
from .micropython import MicroPythonVm

CTRL_C = b"\x03"
# A program gets so long to come back to the prompt before Ctrl-C is no key but an interrupt.
_INTERRUPT_AFTER_S = 0.05
# What makes the REPL run something: what comes after it may find a program that runs.
_ENTER = b"\r\x04"


class SerialLine(Protocol):
    """The other end of the board's UART. `keys` were typed and not yet read; `raw`: the next REPL is the raw one."""

    keys: bytearray  # those of before a reset too: mpremote may be quicker than a boot
    raw: bool

    @property
    def full(self) -> bool: ...

    def write(self, data: bytes) -> None: ...
    def attach(self, on_keys: Any, on_room: Any) -> None: ...


class ReplVm(MicroPythonVm):
    """One boot; a soft reset is another. Real time only. Without a program that runs, timers go on."""

    script = Path(__file__).with_suffix(".mjs")

    def __init__(self, line: SerialLine) -> None:
        super().__init__()
        self._line = line
        self._prompts = 0
        self._runs = False  # a program, to which Ctrl-C is an interrupt

    def _command(self, board: Board, request_end: int, answer_end: int) -> Sequence[object]:
        node, script, requests, answers, heap_bytes, *rest = super()._command(board, request_end, answer_end)
        raw, self._line.raw = self._line.raw, False
        self._line.attach(self._keys_came, board.wake)
        return [node, script, requests, answers, heap_bytes, int(raw), *rest]

    def _open(self, command: Sequence[object], ends: tuple[int, int]) -> subprocess.Popen[bytes]:
        return subprocess.Popen([str(part) for part in command], stdin=subprocess.PIPE, pass_fds=ends)

    def _hear(self, kind: bytes, text: bytes) -> None:
        if kind == b"T":
            self._print(json.loads(text).encode("latin-1"))
        elif kind == b"B":
            self._reply(self._drop_ctrl_c())
            self._runs = True
        elif kind == b"R":
            self._reply(self._keys_or_timers())
            self._begin_to_run()
        elif kind == b"I":
            self._reply(self._one_key())
        elif kind == b"X":
            self._board.kernel.loop.call_later(_INTERRUPT_AFTER_S, self._strike_again, self._prompts)
        elif kind == b"S":
            self._line.raw = json.loads(text)
            self._print(b"MPY: soft reboot\r\n")
            self._board.reset(RESET_SOFT)
        else:
            super()._hear(kind, text)

    def _print(self, data: bytes) -> None:
        self._line.write(data)
        while self._line.full:  # a UART makes a program that prints wait, too
            self._board.park(None)

    def _keys_or_timers(self) -> dict[str, Any]:
        """What the prompt waits for: keys up to one that may start a program, or the numbers of timers."""
        self._prompts += 1
        self._runs = False
        board, keys = self._board, self._line.keys
        while True:
            due = board.timers.take_due(board.now_us())
            if due or keys:
                break
            board.park(board.timers.next_us)
        n = next((i + 1 for i, key in enumerate(keys) if key in _ENTER), len(keys)) if not due else 0
        taken = bytes(keys[:n])
        del keys[:n]
        return {"keys": taken.decode("latin-1"), "due": due}

    def _one_key(self) -> int:
        """For `input()`."""
        self._runs = False
        while not self._line.keys:
            self._board.park(None)
        self._runs = True
        return self._line.keys.pop(0)

    def _begin_to_run(self) -> None:
        self._runs = True
        self._keys_came()

    def _keys_came(self) -> None:
        if not self._runs:
            self._board.wake()
        elif CTRL_C in self._line.keys:
            self._board.kernel.loop.call_later(_INTERRUPT_AFTER_S, self._interrupt)

    def _interrupt(self) -> None:
        """Ctrl-C overtakes what was typed before it, as it does in a UART's interrupt."""
        if self._runs and self._process is not None and self._drop_ctrl_c():
            self._strike()

    def _drop_ctrl_c(self) -> bool:
        """Whether it waits; not any more."""
        waits = CTRL_C in self._line.keys
        self._line.keys[:] = self._line.keys.replace(CTRL_C, b"")
        return waits

    def _strike_again(self, prompts: int) -> None:
        """Unless the program has ended that should have met it."""
        if self._runs and self._process is not None and self._prompts == prompts:
            self._strike()

    def _strike(self) -> None:
        assert self._process is not None
        if self._answering:
            self._board.interrupt()
        else:
            assert self._process.stdin is not None
            self._process.stdin.write(CTRL_C)
            self._process.stdin.flush()

    def kill(self) -> None:
        process = self._process
        super().kill()
        if process is not None and process.stdin is not None:
            process.stdin.close()
