"""A network inside this process: listeners by address, and connections that cost no file and no wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from .board import net
from .dialers import is_address
from .kernel import Kernel

# What a server may have unsent before it is told to wait, and when it is told to go on; asyncio's numbers.
HIGH_WATER_BYTES = 65_536
_LOW_WATER_BYTES = HIGH_WATER_BYTES // 4
_SEGMENT_BYTES = net.WINDOW_BYTES // 4  # TCP_MSS of MicroPython's ESP32 builds

Address = tuple[str, int]
Factory = Callable[[], asyncio.BaseProtocol]


class _ServerSide(asyncio.Transport):
    """The transport that a server's protocol sees."""

    def __init__(self, carrier: VirtualCarrier, peer: Address, local: Address) -> None:
        super().__init__({"peername": peer, "sockname": local})
        self._carrier = carrier
        self.closing = False

    def write(self, data: Any) -> None:
        if not self.closing:
            self._carrier.to_board(bytes(data))

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            self._carrier.feed()

    def abort(self) -> None:
        self.closing = True
        self._carrier.finish(net.ECONNRESET)

    def is_closing(self) -> bool:
        return self.closing

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self._carrier.reading = False

    def resume_reading(self) -> None:
        self._carrier.resume_reading()

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
    """One connection inside this process: the board's carrier, and the server's transport."""

    protocol: asyncio.Protocol

    def __init__(self, network: VirtualNet, events: net.Events, local: Address) -> None:
        self._network = network
        self._loop = network.kernel.loop
        self._events: net.Events | None = events
        self.local = local
        self.reading = True
        self.waiting = bytearray()  # from the server, while the board's window is full
        self._to_server = bytearray()
        self._board_paused = False
        self._board_closed = False
        self._server_paused = False
        self._server_gone = False
        self.transport = _ServerSide(self, ("192.168.4.2", 49152), local)

    def open(self, protocol: asyncio.Protocol) -> None:
        self.protocol = protocol
        protocol.connection_made(self.transport)
        if self._events:
            self._events.connected()

    def refuse(self) -> None:
        self._server_gone = True
        if self._events:
            self._events.lost(net.ECONNREFUSED)

    # what the board does

    def send(self, data: bytes) -> None:
        self._to_server += data
        self.flush_soon()

    def room(self) -> int:
        return net.WINDOW_BYTES - len(self._to_server)

    def pause(self, paused: bool) -> None:
        self._board_paused = paused
        self.feed()

    def close(self) -> None:
        self._let_go()
        self._board_closed = True
        self.flush_soon()

    def abort(self) -> None:
        """The board is gone and says nothing: the server keeps its side until it loses patience."""
        self._let_go()

    def reset(self) -> None:
        self._let_go()
        self._loop.call_soon(self._reset_server)

    def _let_go(self) -> None:
        self._events = None
        self.pause(False)

    # towards the server

    def resume_reading(self) -> None:
        self.reading = True
        if self._to_server or self._board_closed:
            self.flush_soon()

    def flush_soon(self) -> None:
        self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        if self._server_gone:
            self._answer_for_nobody()
            return
        if self._to_server and self.reading and not self.transport.is_closing():
            full = self.room() <= 0
            data = bytes(self._to_server)
            self._to_server.clear()
            self.protocol.data_received(data)
            if full and self._events:
                self._events.writable()
        if self._board_closed and not self._to_server:
            self._board_closed = False
            self._end_of_board()

    def _answer_for_nobody(self) -> None:
        """What is sent to a closed socket is answered with a reset."""
        if self._to_server:
            self._to_server.clear()
            if self._events:
                self._events.lost(net.ECONNRESET)

    def _end_of_board(self) -> None:
        """As asyncio's transports: the protocol may keep its side open, else it is closed."""
        if not self.transport.is_closing() and not self.protocol.eof_received():
            self.transport.close()

    def _reset_server(self) -> None:
        self._flush()
        self.finish(net.ECONNRESET, ConnectionResetError("reset on the way"))

    # what the server does

    def to_board(self, data: bytes) -> None:
        self.waiting += data
        self.feed()
        if len(self.waiting) > HIGH_WATER_BYTES and not self._server_paused:
            self._server_paused = True
            self.protocol.pause_writing()

    def feed(self) -> None:
        """Give the board what it has room for; then the server may go on, or have its end."""
        while self.waiting and not self._board_paused:
            segment = bytes(self.waiting[:_SEGMENT_BYTES])
            del self.waiting[:_SEGMENT_BYTES]
            if self._events:
                self._events.received(segment)
        if self._server_paused and len(self.waiting) <= _LOW_WATER_BYTES:
            self._server_paused = False
            self.protocol.resume_writing()
        if self.transport.is_closing() and not self.waiting:
            self.finish(0)

    def finish(self, errno: int, error: Exception | None = None) -> None:
        """The server has no connection any more; the board is told, if there is one."""
        if self._server_gone:
            return
        self._server_gone = self.transport.closing = True
        self.waiting.clear()
        if self._events and errno:
            self._events.lost(errno)
        elif self._events:
            self._events.ended()
        self._loop.call_soon(self._lose, error)

    def _lose(self, error: Exception | None) -> None:
        self._network.open.pop(self, None)
        self.protocol.connection_lost(error)


class VirtualNet:
    """Who listens where; a `wire.Dialer` for boards. Names are resolved from `names`."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self._listeners: dict[Address, Factory] = {}
        self.open: dict[VirtualCarrier, None] = {}  # in their order, so that a run replays
        self.names: dict[str, str] = {}

    def listen(self, host: str, port: int, factory: Factory) -> None:
        self._listeners[host, port] = factory

    def stop(self, host: str, port: int) -> None:
        """The process that listens there is gone, and all its connections with it."""
        self._listeners.pop((host, port), None)
        for carrier in list(self.open):
            if carrier.local == (host, port):
                carrier.transport.abort()

    def dial(self, host: str, port: int, events: net.Events) -> VirtualCarrier:
        carrier = VirtualCarrier(self, events, (host, port))
        self.kernel.loop.call_soon(self._accept, carrier)
        return carrier

    def _accept(self, carrier: VirtualCarrier) -> None:
        factory = self._listeners.get(carrier.local)
        if factory is None:
            carrier.refuse()
            return
        protocol = factory()
        assert isinstance(protocol, asyncio.Protocol)
        self.open[carrier] = None
        carrier.open(protocol)

    def resolve(self, host: str, done: Callable[[str | None], None]) -> None:
        done(host if is_address(host) else self.names.get(host))
