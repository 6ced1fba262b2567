"""Firmware in a `micropython` executable that the user has, such as MicroPython's unix port."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..board.board import Board
from ..node import MissingTool
from .pipe import SHIMS, VM_SHIMS, PipeVm

_HERE = Path(__file__).parent
_MARK = b"\x01\x02"  # of a request, among what the firmware prints
# What the simulator's own modules take of a heap of 32-bit words, beside the firmware's HEAP_BYTES.
SHIMS_BYTES = (
    160 << 10
)  # 36 KB of modules measured on MicroPython 1.27; the rest is what their calls and files take
_SHOWN_MAX = 500  # characters of what an executable said before it died
_ASK_S = 10


def find_executable(path: str) -> str:
    """Raises `MissingTool` for what cannot be run."""
    found = shutil.which(path)
    if found is None:
        raise MissingTool(f"--interpreter {path}: no program that can be run")
    return found


@functools.lru_cache(maxsize=8)
def words_of(executable: str) -> int:
    """Its words, in units of 32 bits: 1, or 2, where the same objects take twice the heap. Raises `MissingTool`."""
    command = [executable, "-c", "import sys; print('word', sys.maxsize > 1 << 32)"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_ASK_S, errors="replace")
    answer = done.stdout.split()[-2:]
    if done.returncode or answer[:1] != ["word"]:
        raise MissingTool(
            f"{executable} is no MicroPython: it says {(done.stdout + done.stderr)[:_SHOWN_MAX]!r}"
        )
    return 2 if answer[1] == "True" else 1


class ExecutableVm(PipeVm):
    """One boot in `executable`, with the heap of the board file: `-X heapsize`."""

    def __init__(self, executable: str) -> None:
        super().__init__()
        self._executable = executable
        self._said = b""
        self._bytes = b""

    def _command(self, board: Board, request_end: int, answer_end: int) -> Sequence[object]:
        heap_bytes = (board.config.heap_bytes + SHIMS_BYTES) * words_of(self._executable)
        start = [self._executable, "-X", f"heapsize={heap_bytes}", _HERE / "executable_boot.py"]
        return [*start, request_end, answer_end, _HERE / "executable_shims", SHIMS, VM_SHIMS]

    def _open(self, command: Sequence[object], ends: tuple[int, int]) -> subprocess.Popen[bytes]:
        """What it prints comes on the pipe of the requests, and so in their order."""
        return subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=ends[0],
            stderr=ends[0],
            pass_fds=ends,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )

    def _read_line(self) -> bytes | None:
        line = super()._read_line()
        if line is None and self._pending:
            self._print(self._pending)
        return line

    def _hear(self, kind: bytes, text: bytes) -> None:
        printed, mark, request = (kind + text).partition(_MARK)
        self._print(printed if mark else printed + b"\n")
        if mark:
            super()._hear(request[:1], request[1:])

    def _print(self, data: bytes) -> None:
        if data:
            self._said = (self._said + data)[-_SHOWN_MAX:]
            self._board.console(data.replace(b"\r\n", b"\n").decode(errors="replace"))

    def _why_ended(self) -> str:
        lines = self._said.decode(errors="replace").split("\n")
        last = [line.strip() for line in lines if line.strip()][-1:]
        return "".join(f", having said: {line}" for line in last)

    def _pack(self, value: Any) -> Any:
        """Bytes go behind the answer as they are: as text they would fill the heap of a small board."""
        self._bytes = value if isinstance(value, bytes) else b""
        return {"x": ""} if isinstance(value, bytes) else value

    def _reply(self, answer: Any) -> None:
        data = json.dumps(answer, separators=(",", ":")).encode()
        with contextlib.suppress(BrokenPipeError):  # it died: what it said is read next, and told
            os.write(self._answers, b"%8d%8d%s%s" % (len(data), len(self._bytes), data, self._bytes))
        self._bytes = b""


def executable_factory(path: str) -> Callable[[], ExecutableVm]:
    """Boots in the executable at `path`. Raises `MissingTool` when that is no MicroPython."""
    executable = find_executable(path)
    words_of(executable)
    return lambda: ExecutableVm(executable)
