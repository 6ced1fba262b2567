"""TLS for any asyncio protocol, over real transports and those of this process, without threads.

`tls_factory(factory, identity)` goes where `factory` went: into `loop.create_server`, or `VirtualNet.listen`.
What a bad server does is set on it, at any time, for the connections to come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL

from .authority import Identity

_CHUNK_BYTES = 1 << 16
HANDSHAKE_TIMEOUT_S = 30.0

TLS = "tls"
PLAIN = "plain"  # no TLS at all: what a browser's user gets who types https for a http port
STALL = "stall"  # the connection opens, then nothing is ever said
_MODES = (TLS, PLAIN, STALL)


def tls_factory(
    factory: Callable[[], asyncio.BaseProtocol], identity: Identity, mode: str = TLS
) -> TlsFactory:
    """A factory of TLS connections that show `identity`, with what `factory` makes inside."""
    return TlsFactory(factory, identity, mode)


class TlsFactory:
    """Makes the protocol of each new connection. `identity` and `mode` hold for connections that come."""

    def __init__(self, factory: Callable[[], asyncio.BaseProtocol], identity: Identity, mode: str) -> None:
        self._factory = factory
        self.identity = identity
        self.mode = mode
        self.handshakes = 0  # completed
        self.failures = 0  # given up by either side before that

    def __call__(self) -> asyncio.Protocol:
        if self.mode not in _MODES:
            raise ValueError(f"mode must be one of {', '.join(_MODES)}, not {self.mode!r}")
        if self.mode == STALL:
            return asyncio.Protocol()
        protocol = self._factory()
        assert isinstance(protocol, asyncio.Protocol)
        return protocol if self.mode == PLAIN else _TlsConnection(self, protocol, _context(self.identity))


def _context(identity: Identity) -> SSL.Context:
    """TLS 1.2, which is all that MicroPython's ESP32 builds speak (ESP-IDF: TLS 1.3 is off by default)."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_RENEGOTIATION)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_tmp_ecdh(ec.SECP256R1())
    context.use_certificate(identity.certificate)
    context.use_privatekey(identity.key)
    return context


class _TlsConnection(asyncio.Protocol):
    """One connection: a protocol for the transport below, with a transport for the protocol above."""

    def __init__(self, factory: TlsFactory, protocol: asyncio.Protocol, context: SSL.Context) -> None:
        self._factory = factory
        self._connection = SSL.Connection(context, None)
        self._connection.set_accept_state()
        self._done = False
        self._timer: asyncio.TimerHandle | None = None
        self.context = context
        self.protocol = protocol
        self.reading = True

    # from below

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.lower = transport
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(HANDSHAKE_TIMEOUT_S, self._give_up)

    def data_received(self, data: bytes) -> None:
        self._connection.bio_write(data)
        if not self._done:
            self._handshake()
        if self._done:
            self.read_on()

    def eof_received(self) -> None:
        """TCP's end ends it all: half a TLS connection is of no use."""

    def pause_writing(self) -> None:
        if self._done:
            self.protocol.pause_writing()

    def resume_writing(self) -> None:
        if self._done:
            self.protocol.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        if self._done:
            self.protocol.connection_lost(exc)
        else:
            self._factory.failures += 1

    # in the middle

    def _handshake(self) -> None:
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            self._flush()
        except SSL.Error:
            self._flush()  # the alert that says why
            self._give_up()
        else:
            self._done = True
            self._factory.handshakes += 1
            self._stop_timer()
            self._flush()
            self.protocol.connection_made(_TlsTransport(self))

    def _give_up(self) -> None:
        self._stop_timer()
        self.lower.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def read_on(self) -> None:
        """Give the protocol what there is, as long as it wants it."""
        while self.reading and not self.lower.is_closing():
            try:
                data = self._connection.recv(_CHUNK_BYTES)
            except SSL.WantReadError:
                break
            except SSL.Error:  # closed by the client, or spoilt on its way
                self.lower.close()
                break
            self.protocol.data_received(data)
        self._flush()

    def _flush(self) -> None:
        try:
            while True:
                self.lower.write(self._connection.bio_read(_CHUNK_BYTES))
        except SSL.WantReadError:
            return

    # from above

    def write(self, data: bytes) -> None:
        if data and not self.lower.is_closing():
            self._connection.sendall(data)
            self._flush()

    def close(self) -> None:
        if not self.lower.is_closing():
            self._connection.shutdown()
            self._flush()
            self.lower.close()


class _TlsTransport(asyncio.Transport):
    """What the protocol inside writes to."""

    def __init__(self, tls: _TlsConnection) -> None:
        super().__init__()
        self._tls = tls

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """`sslcontext` is how uvicorn sees that the scheme is https."""
        if name == "sslcontext":
            return self._tls.context
        return self._tls.lower.get_extra_info(name, default)

    def write(self, data: Any) -> None:
        self._tls.write(bytes(data))

    def close(self) -> None:
        self._tls.close()

    def abort(self) -> None:
        self._tls.lower.abort()

    def is_closing(self) -> bool:
        return self._tls.lower.is_closing()

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self._tls.reading = False
        self._tls.lower.pause_reading()

    def resume_reading(self) -> None:
        self._tls.reading = True
        self._tls.lower.resume_reading()
        self._tls.read_on()

    def is_reading(self) -> bool:
        return self._tls.reading

    def get_write_buffer_size(self) -> int:
        return self._tls.lower.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._tls.lower.set_write_buffer_limits(high, low)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._tls.protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """As asyncio does it: a connection that becomes a WebSocket changes its protocol."""
        assert isinstance(protocol, asyncio.Protocol)
        self._tls.protocol = protocol
