"""The way between a board and what it dials, and all that can go wrong there.

One layer for real and virtual connections: it sits between a board's socket and whoever carries the bytes,
below TLS and HTTP, and delays, stalls, swallows or cuts what passes.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from .board import net
from .kernel import Kernel

UP = 0  # from the board
DOWN = 1  # to the board


@dataclass
class Path:
    """The state of a board's way to the world. Times in microseconds; change it at any time, via `Wires`.

    `stalled` holds everything back until it ends, as a dead radio with TCP's patience. `swallow` loses all
    bytes of the connections that exist while it holds, as a NAT that forgot them; new connections hang.
    `refuse` answers new connections with a reset. `dns`: 'ok', 'hang' or 'fail'.
    """

    up_us: int = 0
    down_us: int = 0
    jitter_us: int = 0
    stalled: bool = False
    swallow: bool = False
    refuse: bool = False
    dns: str = "ok"


@dataclass
class _Line:
    """One direction of one connection: what is on its way, in order."""

    queue: deque[tuple[int, Callable[[], None]]] = field(default_factory=deque)
    last_us: int = 0
    passed: int = 0


class Wire:
    """One connection: a `net.Carrier` for the board's socket, `net.Events` for the one behind it."""

    def __init__(self, wires: Wires, events: net.Events) -> None:
        self._wires = wires
        self._events: net.Events | None = events
        self._inner: net.Carrier | None = None
        self._lines = (_Line(), _Line())
        self._waiting_bytes = 0
        self._swallowed = False
        self.reset_at: int | None = None  # bytes in both directions, then a reset

    def attach(self, inner: net.Carrier) -> None:
        self._inner = inner

    # towards the far end

    def send(self, data: bytes) -> None:
        self._waiting_bytes += len(data)
        self._pass(UP, len(data), lambda: self._send_now(data))

    def _send_now(self, data: bytes) -> None:
        self._waiting_bytes -= len(data)
        if self._inner:
            self._inner.send(data)
        if self._events:
            self._events.writable()

    def room(self) -> int:
        inner = self._inner.room() if self._inner else 0
        return inner - self._waiting_bytes

    def pause(self, paused: bool) -> None:
        if self._inner:
            self._inner.pause(paused)

    def close(self) -> None:
        self._events = None
        self._pass(UP, 0, self._close_now)

    def _close_now(self) -> None:
        if self._inner:
            self._inner.close()
        self._forget()

    def abort(self) -> None:
        self._events = None
        if self._inner:
            self._inner.abort()
        self._forget()

    # towards the board

    def connected(self) -> None:
        self._pass(UP, 0, lambda: self._pass(DOWN, 0, lambda: self._tell("connected")))

    def received(self, data: bytes) -> None:
        self._pass(DOWN, len(data), lambda: self._tell("received", data))

    def ended(self) -> None:
        self._pass(DOWN, 0, lambda: self._tell("ended"))

    def lost(self, errno: int) -> None:
        self._pass(DOWN, 0, lambda: self._tell("lost", errno))

    def writable(self) -> None:
        if self._events:
            self._events.writable()

    def _tell(self, name: str, *arguments: object) -> None:
        if self._events:
            getattr(self._events, name)(*arguments)

    # what happens on the way

    def reset(self) -> None:
        """Both ends learn of it at once: a reset from something in between."""
        events, self._events = self._events, None
        if self._inner:
            self._inner.abort()
        self._forget()
        if events:
            events.lost(net.ECONNRESET)

    def end_from_far(self) -> None:
        """The far end closes its half; the board may go on sending."""
        self.ended()

    def swallow(self) -> None:
        """Nothing passes any more, in either direction, and nobody is told."""
        self._swallowed = True
        for line in self._lines:
            line.queue.clear()

    def _forget(self) -> None:
        self._inner = None
        self._wires.forget(self)

    def _pass(self, direction: int, size: int, deliver: Callable[[], None]) -> None:
        if self._swallowed:
            return
        line = self._lines[direction]
        line.passed += size
        if self.reset_at is not None and self._lines[UP].passed + self._lines[DOWN].passed >= self.reset_at:
            self._wires.kernel.loop.call_soon(self.reset)
            return
        now_us = self._wires.kernel.now_us()
        at_us = self._wires.arrival_us(direction, line.last_us)
        if at_us <= now_us and not line.queue and not self._wires.path.stalled:
            deliver()
            return
        line.last_us = at_us
        line.queue.append((at_us, deliver))
        self._wires.kernel.call_at(at_us, lambda: self._release(direction))

    def _release(self, direction: int) -> None:
        """Deliver what is due, in order; nothing while the path is stalled."""
        line = self._lines[direction]
        now_us = self._wires.kernel.now_us()
        while line.queue and line.queue[0][0] <= now_us and not self._wires.path.stalled:
            line.queue.popleft()[1]()

    def go_on(self) -> None:
        """The stall is over: what was held back arrives now."""
        for direction in (UP, DOWN):
            self._release(direction)


class Wires:
    """All connections of one board, over `dialer`: a `net.Dialer` that obeys `path`."""

    def __init__(
        self, kernel: Kernel, dialer: net.Dialer, rng: random.Random, path: Path | None = None
    ) -> None:
        self.kernel = kernel
        self.path = path or Path()
        self._dialer = dialer
        self._rng = rng
        self._open: list[Wire] = []
        self._next_reset_at: int | None = None
        self._unanswered: list[tuple[str, Callable[[str | None], None]]] = []

    def dial(self, host: str, port: int, events: net.Events) -> net.Carrier:
        wire = Wire(self, events)
        self._open.append(wire)
        wire.reset_at, self._next_reset_at = self._next_reset_at, None
        if self.path.refuse:
            self.kernel.loop.call_soon(wire.lost, net.ECONNREFUSED)
        elif self.path.swallow:
            wire.swallow()
        else:
            wire.attach(self._dialer.dial(host, port, wire))
        return wire

    def resolve(self, host: str, done: Callable[[str | None], None]) -> None:
        if self.path.dns == "ok":
            self._dialer.resolve(host, done)
        elif self.path.dns == "fail":
            done(None)
        else:
            self._unanswered.append((host, done))

    def set_dns(self, state: str) -> None:
        """'ok', 'hang' or 'fail'; questions that hang are answered when that ends."""
        self.path.dns = state
        waiting, self._unanswered = self._unanswered, []
        for host, done in waiting:
            self.resolve(host, done)

    def arrival_us(self, direction: int, last_us: int) -> int:
        """When what is sent now arrives, never before what was sent earlier."""
        delay_us = self.path.down_us if direction == DOWN else self.path.up_us
        if self.path.jitter_us:
            delay_us += self._rng.randrange(self.path.jitter_us)
        return max(last_us, self.kernel.now_us() + delay_us)

    def forget(self, wire: Wire) -> None:
        if wire in self._open:
            self._open.remove(wire)

    @property
    def open(self) -> list[Wire]:
        return list(self._open)

    def reset_all(self) -> None:
        for wire in self.open:
            wire.reset()

    def reset_after(self, size: int) -> None:
        """Reset the newest connection, or the next one, when `size` more bytes have passed."""
        if self._open:
            wire = self._open[-1]
            wire.reset_at = wire._lines[UP].passed + wire._lines[DOWN].passed + size
        else:
            self._next_reset_at = size

    def half_close(self) -> None:
        for wire in self.open:
            wire.end_from_far()

    def set_stalled(self, on: bool) -> None:
        self.path.stalled = on
        if not on:
            for wire in self.open:
                wire.go_on()

    def set_swallow(self, on: bool) -> None:
        self.path.swallow = on
        if on:
            for wire in self.open:
                wire.swallow()
