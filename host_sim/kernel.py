"""Time and turns: blocking firmware and an asyncio loop in one thread.

A board's firmware blocks, as firmware does: it runs in a greenlet that gives way to the loop while it
sleeps or waits for a socket. The gateway and the network live on the loop. In real time that is an ordinary
loop; in virtual time nothing ever waits: when nobody has anything to do, the clock jumps to what comes next.
"""

from __future__ import annotations

import asyncio
import gc
import selectors
import time
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, Protocol, TypeVar

import greenlet

from .guard import guarded

_T = TypeVar("_T")

# A run makes many short-lived objects and few cycles: looking for cycles less often saves a tenth.
_GC_OBJECTS = 50_000


class NothingLeft(RuntimeError):
    """In virtual time everybody waits for somebody else."""


class _VirtualSelector(selectors.DefaultSelector):
    """Instead of waiting for files it moves the loop's clock."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise NothingLeft("nothing is scheduled: every board and connection waits for another")
        if timeout > 0:
            self.loop.set_now_s(self.loop.now_s + timeout)
        return []


class Clock(Protocol):
    """True time since the start, as an attribute: boards look at it all the time."""

    @property
    def now_us(self) -> int: ...


class _RealClock:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._time = loop.time
        self.start_s = loop.time()

    @property
    def now_us(self) -> int:
        return int((self._time() - self.start_s) * 1e6 + 0.5)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio loop whose time is a number; real files and sockets are never looked at."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.now_us = 0  # the same, for those who count in microseconds
        selector = _VirtualSelector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now_s

    def set_now_s(self, now_s: float) -> None:
        self.now_s = now_s
        self.now_us = int(now_s * 1e6 + 0.5)

    def skip_to(self, at_us: int) -> bool:
        """Jump to `at_us` when nothing happens before; False when somebody else has a turn first."""
        at_s = at_us / 1e6
        scheduled = self._scheduled  # type: ignore[attr-defined]
        if self._ready or (scheduled and scheduled[0]._when <= at_s):  # type: ignore[attr-defined]
            return False
        self.now_s, self.now_us = at_s, at_us
        return True


def _never(at_us: int) -> bool:
    """Real time cannot be skipped."""
    return False


class Kernel:
    """The clock and the loop that boards, network and gateway share.

    `epoch_ms` is the Unix time at the start; in real time it is the machine's own. All times are true
    time in microseconds since the start; what a board's crystal makes of it is the board's affair.
    """

    def __init__(self, virtual: bool, epoch_ms: int | None = None) -> None:
        self.virtual = virtual
        self._virtual = VirtualLoop() if virtual else None
        self.loop: asyncio.AbstractEventLoop = self._virtual or asyncio.new_event_loop()
        self.epoch_ms = epoch_ms if epoch_ms is not None else time.time_ns() // 1_000_000
        real = _RealClock(self.loop)
        self._start_s = real.start_s
        self.clock: Clock = self._virtual or real
        self.skip_to = self._virtual.skip_to if self._virtual else _never
        self.running: Fibre | None = None
        self.calls = 0  # by all firmware: what the guard takes for a sign of life

    def run(self, main: Coroutine[Any, Any, _T]) -> _T:
        """Run the loop until `main` is done, under the guard against firmware that never calls the board."""
        thresholds = gc.get_threshold()
        gc.set_threshold(_GC_OBJECTS, *thresholds[1:])
        try:
            with guarded(self):
                return self.loop.run_until_complete(main)
        finally:
            gc.set_threshold(*thresholds)

    def close(self) -> None:
        """Give the loop's files back; nothing runs on it any more."""
        self.loop.close()

    def now_us(self) -> int:
        """True time since the start, in microseconds."""
        return self.clock.now_us

    def unix_ms(self) -> int:
        """What a perfect clock would show."""
        return self.epoch_ms + self.now_us() // 1000

    def call_at(self, at_us: int, callback: Callable[[], object]) -> asyncio.TimerHandle:
        return self.loop.call_at(self._start_s + at_us / 1e6, callback)


class Fibre:
    """A blocking function as a turn-taker on the kernel's loop.

    `park` gives way until `wake` or a time. A fibre that was `abandoned` never runs again: none of its
    `finally` blocks, exits or generator clean-ups do, as after a power cut.
    """

    # Dropping a suspended greenlet would run its clean-up: those of cut boards are kept for good.
    _graveyard: ClassVar[list[greenlet.greenlet]] = []

    def __init__(
        self, kernel: Kernel, function: Callable[[], object], hangs: Callable[[], None] = lambda: None
    ) -> None:
        self._kernel = kernel
        self.hangs = hangs  # called when it computes and computes; abandon it there
        self._greenlet = greenlet.greenlet(function)
        self._handle: asyncio.Handle | None = None
        self._parked = True
        self.abandoned = False

    def start(self) -> None:
        self._handle = self._kernel.loop.call_soon(self._resume)

    def _resume(self) -> None:
        self._handle = None
        self._parked = False
        if not self.abandoned:
            self._greenlet.parent = greenlet.getcurrent()
            self._kernel.running = self
            self._greenlet.switch()
            self._kernel.running = None

    def park(self, until_us: int | None = None) -> None:
        """From inside: give way until `wake`, or until `until_us` of true time."""
        if until_us is not None:
            self._handle = self._kernel.call_at(until_us, self._resume)
        self._parked = True
        self._give_way()

    def _give_way(self) -> None:
        parent = self._greenlet.parent
        assert parent is not None
        parent.switch()

    def wake(self) -> None:
        """From outside: let it go on, at its next turn."""
        if not self._parked or self.abandoned:
            return
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self._kernel.loop.call_soon(self._resume)

    def abandon(self) -> None:
        """Never run it again. From inside, this does not return."""
        self.abandoned = True
        if self._handle is not None:
            self._handle.cancel()
        Fibre._graveyard.append(self._greenlet)
        if greenlet.getcurrent() is self._greenlet:
            self._give_way()
            raise AssertionError("an abandoned fibre was resumed")
