"""A network inside this process: listeners by address, and connections that cost no file and no wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from .board import net
from .dialers import is_address
from .kernel import Kernel

_HIGH_WATER_BYTES = 65536


class _ServerSide(asyncio.Transport):
    """The transport that a server's protocol sees."""

    def __init__(self, carrier: VirtualCarrier, peer: tuple[str, int], local: tuple[str, int]) -> None:
        super().__init__({"peername": peer, "sockname": local})
        self._carrier = carrier
        self._closing = False

    def write(self, data: Any) -> None:
        if not self._closing:
            self._carrier.to_board(bytes(data))

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._carrier.server_ended(0)

    def abort(self) -> None:
        if not self._closing:
            self._closing = True
            self._carrier.server_ended(net.ECONNRESET)

    def is_closing(self) -> bool:
        return self._closing

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self._carrier.reading = False

    def resume_reading(self) -> None:
        self._carrier.reading = True
        self._carrier.flush_to_server()

    def is_reading(self) -> bool:
        return self._carrier.reading

    def get_write_buffer_size(self) -> int:
        return len(self._carrier.waiting)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """The limits are this network's own."""

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._carrier.protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """As asyncio does it: a connection that becomes a WebSocket changes its protocol."""
        assert isinstance(protocol, asyncio.Protocol)
        self._carrier.protocol = protocol


class VirtualCarrier:
    """One connection inside this process: the board's `net.Carrier`, and the server's transport."""

    def __init__(
        self, kernel: Kernel, events: net.Events, protocol: asyncio.Protocol, local: tuple[str, int]
    ) -> None:
        self._loop = kernel.loop
        self._events: net.Events | None = events
        self.protocol = protocol
        self.reading = True
        self.waiting = bytearray()  # from the server, while the board's window is full
        self._to_server = bytearray()
        self._board_paused = False
        self._server_paused = False
        self._server_gone = False
        self._transport = _ServerSide(self, ("192.168.4.2", 49152), local)
        self._loop.call_soon(self._open)

    def _open(self) -> None:
        self.protocol.connection_made(self._transport)
        if self._events:
            self._events.connected()

    # what the board does

    def send(self, data: bytes) -> None:
        self._to_server += data
        self._loop.call_soon(self.flush_to_server)

    def flush_to_server(self) -> None:
        if self._to_server and self.reading and not self._server_gone:
            data = bytes(self._to_server)
            self._to_server.clear()
            self.protocol.data_received(data)

    def room(self) -> int:
        return net.WINDOW_BYTES - len(self._to_server)

    def pause(self, paused: bool) -> None:
        self._board_paused = paused
        if not paused and self.waiting:
            data = bytes(self.waiting)
            self.waiting.clear()
            self._deliver(data)
        if self._server_paused and not self.waiting:
            self._server_paused = False
            self.protocol.resume_writing()

    def close(self) -> None:
        self._events = None
        self._loop.call_soon(self._end_server, None)

    def abort(self) -> None:
        """The board is gone and says nothing: the server keeps its side until it loses patience."""
        self._events = None

    def _end_server(self, error: Exception | None) -> None:
        self.flush_to_server()
        if not self._server_gone:
            self._server_gone = True
            self._transport._closing = True
            self.protocol.connection_lost(error)

    # what the server does

    def to_board(self, data: bytes) -> None:
        if self._board_paused:
            self.waiting += data
            if len(self.waiting) > _HIGH_WATER_BYTES and not self._server_paused:
                self._server_paused = True
                self.protocol.pause_writing()
        else:
            self._deliver(data)

    def _deliver(self, data: bytes) -> None:
        if self._events:
            self._events.received(data)

    def server_ended(self, errno: int) -> None:
        events = self._events
        if events is not None:
            if errno:
                events.lost(errno)
            else:
                events.ended()
        self._loop.call_soon(self._end_server, None)


class VirtualNet:
    """Who listens where; a `net.Dialer` for boards. Names are resolved from `names`."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._listeners: dict[tuple[str, int], Callable[[], asyncio.BaseProtocol]] = {}
        self.names: dict[str, str] = {}

    def listen(self, host: str, port: int, factory: Callable[[], asyncio.BaseProtocol]) -> None:
        self._listeners[host, port] = factory

    def stop(self, host: str, port: int) -> None:
        self._listeners.pop((host, port), None)

    def dial(self, host: str, port: int, events: net.Events) -> net.Carrier:
        factory = self._listeners.get((host, port))
        if factory is None:
            self._kernel.loop.call_soon(events.lost, net.ECONNREFUSED)
            return _Nowhere()
        protocol = factory()
        assert isinstance(protocol, asyncio.Protocol)
        return VirtualCarrier(self._kernel, events, protocol, (host, port))

    def resolve(self, host: str, done: Callable[[str | None], None]) -> None:
        done(host if is_address(host) else self.names.get(host))


class _Nowhere:
    """A connection that was refused."""

    def send(self, data: bytes) -> None:
        """Goes nowhere."""

    def room(self) -> int:
        return 0

    def pause(self, paused: bool) -> None:
        """Nothing comes."""

    def close(self) -> None:
        """Never was open."""

    abort = close
