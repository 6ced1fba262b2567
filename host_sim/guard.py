"""Stops firmware that computes without ever calling its board: nothing else would get a turn again."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .kernel import Kernel

# Real time that firmware may compute between two calls. A board would meet its watchdog after five.
WALL_GUARD_S = 10.0
_LOOKS = 10


class FirmwareHangs(RuntimeError):
    """The firmware computes without ever calling the board."""

    def __init__(self) -> None:
        super().__init__(f"the firmware called nothing for {WALL_GUARD_S:.0f} s of real time, stopped")


@contextlib.contextmanager
def guarded(kernel: Kernel) -> Iterator[None]:
    """While inside, look now and then whether the running fibre still calls; else tell it that it hangs.

    Works in the main thread of systems that have interval timers; elsewhere there is no guard.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, _Look(kernel))
    interval_s = WALL_GUARD_S / _LOOKS
    signal.setitimer(signal.ITIMER_REAL, interval_s, interval_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class _Look:
    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._seen: tuple[object, int] = (None, 0)
        self._looks = 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        fibre = self._kernel.running
        seen = (fibre, self._kernel.calls)
        self._looks = self._looks + 1 if fibre is not None and seen == self._seen else 0
        self._seen = seen
        if fibre is not None and self._looks >= _LOOKS:
            fibre.hangs()
