"""The way between a board and what it dials, and all that can go wrong there.

One layer for real and virtual connections: it sits between a board's socket and whoever carries the bytes,
below TLS and HTTP, and delays, stalls, swallows or cuts what passes.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from .board import net
from .dialers import is_address
from .kernel import Kernel

UP = 0  # from the board
DOWN = 1  # to the board


class Carrier(net.Carrier, Protocol):
    """What lies behind a wire. `close` says goodbye to the far end, `abort` nothing, `reset` is a reset."""

    def reset(self) -> None: ...


class Dialer(Protocol):
    """Opens the connections behind wires."""

    def dial(self, host: str, port: int, events: net.Events) -> Carrier: ...
    def resolve(self, host: str, done: Callable[[str | None], None]) -> None: ...


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


_Deliver = Callable[[bytes], object]


@dataclass
class _Line:
    """One direction of one connection: what is on its way, in order."""

    queue: deque[tuple[int, bytes, _Deliver]] = field(default_factory=deque)
    last_us: int = 0
    waiting: int = 0  # bytes on their way
    passed: int = 0  # bytes that arrived


class Wire:
    """One connection: a `net.Carrier` for the board's socket, `net.Events` for the one behind it."""

    def __init__(self, wires: Wires, events: net.Events) -> None:
        self._wires = wires
        self._events: net.Events | None = events
        self._inner: Carrier | None = None
        self._lines = (_Line(), _Line())
        self._board_paused = False
        self._inner_paused = False
        self._connected = False
        self._swallowed = False
        self._half_closed = False
        self.reset_at: int | None = None  # bytes in both directions, then a reset

    def begin(self, knock: Callable[[], Carrier | None]) -> None:
        """The first packet is on its way; where it arrives, `knock` gives what answers, if anything does."""
        self._pass(UP, lambda _: self._attach(knock()))

    def _attach(self, inner: Carrier | None) -> None:
        self._inner = inner

    @property
    def passed(self) -> int:
        """Bytes that arrived, in both directions."""
        return self._lines[UP].passed + self._lines[DOWN].passed

    # towards the far end

    def send(self, data: bytes) -> None:
        self._pass(UP, self._send_now, data)

    def _send_now(self, data: bytes) -> None:
        if self._inner:
            self._inner.send(data)
        if self._events:
            self._events.writable()

    def room(self) -> int:
        inner = self._inner.room() if self._inner else 0
        return inner - self._lines[UP].waiting

    def pause(self, paused: bool) -> None:
        self._board_paused = paused
        self._hold_back()

    def _hold_back(self) -> None:
        """The far end may send while the board reads and no full window is on its way."""
        paused = self._board_paused or self._lines[DOWN].waiting >= net.WINDOW_BYTES
        if self._inner and paused != self._inner_paused:
            self._inner_paused = paused
            self._inner.pause(paused)

    def close(self) -> None:
        self._events = None
        if self._swallowed or self._inner is None:
            self.abort()  # nobody would hear the goodbye
        else:
            self._pass(UP, lambda _: self._close_now())

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
        self._pass(DOWN, lambda _: self._tell_connected())

    def _tell_connected(self) -> None:
        self._connected = True
        self._tell("connected")

    def received(self, data: bytes) -> None:
        if not self._half_closed:
            self._pass(DOWN, lambda part: self._tell("received", part), data)

    def ended(self) -> None:
        if not self._half_closed:
            self._pass(DOWN, lambda _: self._tell("ended"))

    def lost(self, errno: int) -> None:
        self._pass(DOWN, lambda _: self._tell("lost", errno))

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
            self._inner.reset()
        self._forget()
        if events:
            events.lost(net.ECONNRESET)

    def end_from_far(self) -> None:
        """The far end closes its half: nothing more comes from it; the board may go on sending."""
        if self._connected:
            self.ended()
            self._half_closed = True

    def swallow(self) -> None:
        """Nothing passes any more, in either direction, and nobody is told."""
        self._swallowed = True
        self._drop_queues()
        if self._events is None:  # its goodbye was on the way
            self.abort()

    def _forget(self) -> None:
        self._drop_queues()
        self._inner = None
        self._wires.forget(self)

    def _drop_queues(self) -> None:
        """What was sent and is never acknowledged goes on filling the board's send buffer."""
        for line in self._lines:
            line.queue.clear()

    def _pass(self, direction: int, deliver: _Deliver, data: bytes = b"") -> None:
        line = self._lines[direction]
        if self._swallowed:
            line.waiting += len(data)
            return
        at_us = self._wires.arrival_us(direction, line.last_us)
        path, kernel = self._wires.path, self._wires.kernel
        if at_us <= kernel.now_us() and not line.queue and not path.stalled:
            self._arrive(line, deliver, data)
            return
        line.last_us = at_us
        line.waiting += len(data)
        line.queue.append((at_us, data, deliver))
        kernel.call_at(at_us, lambda: self._release(direction))
        self._hold_back()

    def _release(self, direction: int) -> None:
        """Deliver what is due, in order; nothing while the path is stalled."""
        line = self._lines[direction]
        now_us = self._wires.kernel.now_us()
        while line.queue and line.queue[0][0] <= now_us and not self._wires.path.stalled:
            _, data, deliver = line.queue.popleft()
            line.waiting -= len(data)
            self._arrive(line, deliver, data)
        self._hold_back()

    def _arrive(self, line: _Line, deliver: _Deliver, data: bytes) -> None:
        left = len(data) + 1 if self.reset_at is None else self.reset_at - self.passed
        part = data[:left]
        line.passed += len(part)
        deliver(part)
        if len(part) == left:
            self.reset()

    def go_on(self) -> None:
        """The stall is over: what was held back arrives now."""
        for direction in (UP, DOWN):
            self._release(direction)


class Wires:
    """All connections of one board, over `dialer`: a `net.Dialer` that obeys `path`."""

    def __init__(self, kernel: Kernel, dialer: Dialer, rng: random.Random, path: Path | None = None) -> None:
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
        if self.path.swallow:
            wire.swallow()
        elif self.path.refuse:
            wire.begin(lambda: self._refuse(wire))
        else:
            wire.begin(lambda: self._dialer.dial(host, port, wire))
        return wire

    def _refuse(self, wire: Wire) -> None:
        self.kernel.loop.call_soon(wire.lost, net.ECONNREFUSED)

    def resolve(self, host: str, done: Callable[[str | None], None]) -> None:
        asks = self.path.stalled and not is_address(host)
        if asks or self.path.dns == "hang":
            self._unanswered.append((host, done))
        elif self.path.dns == "fail":
            done(None)
        else:
            self._dialer.resolve(host, done)

    def set_dns(self, state: str) -> None:
        """'ok', 'hang' or 'fail'; questions that hang are answered when that ends."""
        self.path.dns = state
        self._ask_again()

    def _ask_again(self) -> None:
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
            wire.reset_at = wire.passed + size
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
            self._ask_again()

    def set_swallow(self, on: bool) -> None:
        self.path.swallow = on
        if on:
            for wire in self.open:
                wire.swallow()
