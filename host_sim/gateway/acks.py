"""Acknowledgements that a script holds back."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable


class LateAcks:
    """Calls `push(seq)` later, in the order of `add`; at most `waiting_max` wait, one timer runs.

    Acknowledgements are cumulative: of too many, the last two become one.
    """

    def __init__(self, push: Callable[[int], object], waiting_max: int) -> None:
        self._push = push
        self._waiting: deque[tuple[float, int]] = deque()
        self._waiting_max = waiting_max
        self._timer: asyncio.TimerHandle | None = None

    def __bool__(self) -> bool:
        """Whether one waits; then the next must not overtake it."""
        return bool(self._waiting)

    def add(self, seq: int, delay_s: float, gathered: bool) -> None:
        """Push `seq` in `delay_s`, but not before one that waits; `gathered`: in the place of the last one."""
        loop = asyncio.get_running_loop()
        due_s = loop.time() + delay_s
        if self._waiting:
            due_s = max(due_s, self._waiting[-1][0])
        if self._waiting and (gathered or len(self._waiting) >= self._waiting_max):
            due_s, waiting = self._waiting.pop()
            seq = max(seq, waiting)
        self._waiting.append((due_s, seq))
        if self._timer is None:
            self._timer = loop.call_at(self._waiting[0][0], self._fire)

    def _fire(self) -> None:
        self._timer = None
        _, seq = self._waiting.popleft()
        self._push(seq)
        if self._waiting:
            self._timer = asyncio.get_running_loop().call_at(self._waiting[0][0], self._fire)

    def stop(self) -> None:
        """None of those that wait is pushed any more."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
