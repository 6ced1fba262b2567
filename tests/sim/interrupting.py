"""An exception, or a call as from a timer, at a chosen bytecode of the device library. CPython only."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import plexus_mp

_LIB = str(Path(plexus_mp.__file__).parent)


class Strike:
    """In a `with` block `action` runs once, before bytecode number `at` that the library executes; -1: never.

    `count` is how many were executed. Only bytecodes below a frame of one of the files `within` count, and none
    of those in `spared`.
    """

    def __init__(
        self,
        at: int,
        action: Callable[[], Any],
        within: tuple[str, ...] = (),
        spared: tuple[str, ...] = ("ports/cpython.py",),
    ) -> None:
        self.count = 0
        self.struck = False
        self._at = at
        self._action = action
        self._within = within
        self._spared = spared
        self._inside = False

    def __enter__(self) -> Strike:
        sys.settrace(self._enter_frame)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _enter_frame(self, frame: FrameType, event: str, argument: Any) -> Any:
        name = frame.f_code.co_filename
        if not name.startswith(_LIB) or name.endswith(self._spared):
            return None
        if self._within and not self._is_within(frame):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self._trace

    def _is_within(self, frame: FrameType | None) -> bool:
        while frame is not None:
            if frame.f_code.co_filename.endswith(self._within):
                return True
            frame = frame.f_back
        return False

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "opcode" and not self._inside:
            if self.count == self._at:
                self.struck = True
                self.count += 1
                self._inside = True
                try:
                    self._action()
                finally:
                    self._inside = False
            else:
                self.count += 1
        return self._trace


def raising(error: type[BaseException]) -> Callable[[], None]:
    """An action for `Strike`."""

    def strike() -> None:
        raise error

    return strike
