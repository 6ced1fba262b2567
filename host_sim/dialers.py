"""Who carries a board's bytes: real TCP connections of this machine."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
from collections.abc import Callable

from .board import net
from .kernel import Kernel

# The machine's error numbers as a board's.
_ERRNO = {errno.ECONNREFUSED: net.ECONNREFUSED, errno.ETIMEDOUT: net.ETIMEDOUT}


class _RealCarrier(asyncio.Protocol):
    """A connection of the machine, on behalf of a board's socket."""

    def __init__(self, events: net.Events) -> None:
        self._events: net.Events | None = events
        self._transport: asyncio.Transport | None = None
        self.task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=net.WINDOW_BYTES, low=net.WINDOW_BYTES // 2)
        if self._events is None:
            transport.abort()
        else:
            self._events.connected()

    def data_received(self, data: bytes) -> None:
        if self._events:
            self._events.received(data)

    def eof_received(self) -> bool:
        if self._events:
            self._events.ended()
        return True  # the board closes its own side itself

    def resume_writing(self) -> None:
        if self._events:
            self._events.writable()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
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

    def dial(self, host: str, port: int, events: net.Events) -> net.Carrier:
        carrier = _RealCarrier(events)
        carrier.task = self._kernel.loop.create_task(self._connect(carrier, host, port))
        return carrier

    async def _connect(self, carrier: _RealCarrier, host: str, port: int) -> None:
        try:
            await self._kernel.loop.create_connection(lambda: carrier, host, port)
        except OSError as e:
            carrier.failed(e)

    def resolve(self, host: str, done: Callable[[str | None], None]) -> None:
        if is_address(host):
            done(host)
        else:
            self._kernel.loop.create_task(self._resolve(host, done))

    async def _resolve(self, host: str, done: Callable[[str | None], None]) -> None:
        try:
            found = await self._kernel.loop.getaddrinfo(host, None, family=socket.AF_INET)
        except OSError:
            done(None)
        else:
            done(str(found[0][4][0]))


def is_address(host: str) -> bool:
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True
