"""Who carries a board's bytes: real TCP connections of this machine."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
import struct
from collections.abc import Callable, Coroutine
from typing import Any

from .board import net
from .kernel import Kernel

# The machine's error numbers as a board's.
_ERRNO = {errno.ECONNREFUSED: net.ECONNREFUSED, errno.ETIMEDOUT: net.ETIMEDOUT}
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # struct linger: on, 0 s


class _RealCarrier(asyncio.BufferedProtocol):
    """A connection of the machine, on behalf of a board's socket; takes a window at a time."""

    def __init__(self, dialer: RealDialer, events: net.Events) -> None:
        self._dialer = dialer
        self._events: net.Events | None = events
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray(net.WINDOW_BYTES)
        self._ended = False
        self.task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._dialer.open.add(self)
        # Full is when nothing fits: the transport says so only of what is above its limit.
        transport.set_write_buffer_limits(high=net.WINDOW_BYTES - 1, low=net.WINDOW_BYTES // 2)
        if self._events is None:
            transport.abort()
        else:
            self._events.connected()

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._events:
            self._events.received(bytes(self._buffer[:nbytes]))

    def eof_received(self) -> bool:
        """A board closes its own side itself, if it is still there."""
        self._ended = True
        if self._events:
            self._events.ended()
        return self._events is not None

    def resume_writing(self) -> None:
        if self._events:
            self._events.writable()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._dialer.open.discard(self)
        if self._events and exc is not None:
            self._events.lost(net.ECONNRESET)

    def failed(self, exc: OSError) -> None:
        if self._events:
            self._events.lost(_ERRNO.get(exc.errno or 0, net.EHOSTUNREACH))

    def send(self, data: bytes) -> None:
        if self._transport:
            self._transport.write(data)

    def room(self) -> int:
        if self._transport is None:
            return 0
        return net.WINDOW_BYTES - self._transport.get_write_buffer_size()

    def pause(self, paused: bool) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if paused:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def close(self) -> None:
        self._let_go()
        if self._transport:
            self._transport.close()

    def abort(self) -> None:
        """The board is gone and says nothing: the connection stays until the other side ends it."""
        self._let_go()
        if self._ended:
            self.close()
        else:
            self.pause(False)

    def reset(self) -> None:
        self._let_go()
        if self._transport:
            self._transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE
            )
            self._transport.abort()

    def drop(self) -> None:
        self._let_go()
        if self._transport:
            self._transport.abort()

    def _let_go(self) -> None:
        self._events = None
        if self.task and not self.task.done():
            self.task.cancel()


class RealDialer:
    """Connects boards through the machine's own network."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._tasks: set[asyncio.Task[None]] = set()
        self.open: set[_RealCarrier] = set()

    def dial(self, host: str, port: int, events: net.Events) -> _RealCarrier:
        carrier = _RealCarrier(self, events)
        carrier.task = self._spawn(self._connect(carrier, host, port))
        return carrier

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """The loop itself would let a task be collected in the middle."""
        task = self._kernel.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _connect(self, carrier: _RealCarrier, host: str, port: int) -> None:
        try:
            await self._kernel.loop.create_connection(lambda: carrier, host, port)
        except OSError as e:
            carrier.failed(e)

    def resolve(self, host: str, done: Callable[[str | None], None]) -> None:
        if is_address(host):
            done(host)
        else:
            self._spawn(self._resolve(host, done))

    async def _resolve(self, host: str, done: Callable[[str | None], None]) -> None:
        try:
            found = await self._kernel.loop.getaddrinfo(host, None, family=socket.AF_INET)
        except OSError:
            done(None)
        else:
            done(str(found[0][4][0]))

    async def close(self) -> None:
        """End what is left, also the connections of boards that are gone."""
        for carrier in list(self.open):
            carrier.drop()
        for task in list(self._tasks):
            task.cancel()
        while self.open or self._tasks:  # each ends within a turn or two of the loop
            await asyncio.sleep(0)


def is_address(host: str) -> bool:
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True
