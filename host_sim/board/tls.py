"""TLS on the board's sockets, as MicroPython's mbedtls gives it, with the board's own clock.

As on the board it lies on top of a TCP socket and moves only while the firmware calls: `read` and `write`
pull whole records out of the socket, hand them to OpenSSL, and push what comes of it. Facts of behaviour
are from extmod/modtls_mbedtls.c of MicroPython and library/ssl_msg.c of mbedtls 3, as of 2025.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from . import net
from .certificates import CERT_REQUIRED, Verifier, load_authorities

if TYPE_CHECKING:
    from .board import Board

_T = TypeVar("_T")

_ENOMEM = 12
_OUT_CONTENT_BYTES = 4096  # CONFIG_MBEDTLS_ASYMMETRIC_CONTENT_LEN of ports/esp32/boards/sdkconfig.base
_HEADER_BYTES = 5
_RECORD_TYPES = range(20, 25)
_CHUNK_BYTES = 1 << 16

# mbedtls's errors by MicroPython's names (lib/mbedtls_errors).
INVALID_RECORD = (-0x7200, "MBEDTLS_ERR_SSL_INVALID_RECORD")
CONN_EOF = (-0x7280, "MBEDTLS_ERR_SSL_CONN_EOF")
VERIFY_FAILED = (-0x2700, "MBEDTLS_ERR_X509_CERT_VERIFY_FAILED")
HANDSHAKE_FAILURE = (-0x6E00, "MBEDTLS_ERR_SSL_HANDSHAKE_FAILURE")
FATAL_ALERT = (-0x7780, "MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE")
BAD_VERSION = (-0x6E80, "MBEDTLS_ERR_SSL_BAD_PROTOCOL_VERSION")
INVALID_MAC = (-0x7180, "MBEDTLS_ERR_SSL_INVALID_MAC")

# What OpenSSL's reason has in it, and what mbedtls says in that place.
_REASONS = (
    ("alert", FATAL_ALERT),
    ("protocol", BAD_VERSION),
    ("version", BAD_VERSION),
    ("bad record mac", INVALID_MAC),
    ("decryption failed", INVALID_MAC),
)


class _PeerClosed(Exception):
    """TCP's end, at or within a record."""


class TlsStream:
    """One TLS client on the board's socket `number`: the `net.Stream` that the firmware reads and writes.

    No method waits. `now` is the board's idea of the time, `compute` makes the board busy for the key
    exchange, which is one piece: no timer runs within it.
    """

    def __init__(
        self,
        stack: net.NetStack,
        number: int,
        verifier: Verifier,
        host: str | None,
        now: Callable[[], datetime.datetime],
        compute: Callable[[], None],
    ) -> None:
        self._stack = stack
        self._verifier = verifier
        self._now = now
        self._compute = compute
        self._record = bytearray()
        self._outgoing = b""
        self._owed = 0  # bytes that were encrypted, but not sent and not yet reported as written
        self._poll_mask = 0
        self._waits_for = 0
        self._computed = False
        self._last_error: tuple[Any, ...] | None = None
        self.number = number
        self.established = False
        self.freed = False
        self._connection = SSL.Connection(_context(verifier), None)
        self._connection.set_connect_state()
        if host is not None:
            self._connection.set_tlsext_host_name(host.encode())

    @property
    def _socket(self) -> net.Socket:
        return self._stack.get(self.number)

    @property
    def timeout_us(self) -> int | None:
        return self._socket.timeout_us

    # what the firmware asks

    def handshake(self) -> bool:
        """Go on as far as possible; True when the handshake is done."""
        return self._call(self._advance)

    def send(self, data: bytes) -> int:
        """Bytes taken, at most 4096; 0 when it would block."""
        return self._call(lambda: self._send(data))

    def recv(self, n: int) -> bytes | None:
        """Bytes of one record, b'' at the end, None when there is nothing yet."""
        return self._call(lambda: self._recv(n))

    def poll(self) -> int:
        """Poll events; while the handshake needs one direction, that one stands for both."""
        if self.freed or self._last_error is not None:
            return net.POLLNVAL
        events = self._socket.poll()
        if self._poll_mask:
            ready = net.POLLIN | net.POLLOUT if events & self._poll_mask else 0
            return ready | events & (net.POLLERR | net.POLLHUP)
        if self._connection.pending():
            events |= net.POLLIN
        return events

    def certificate(self, depth: int) -> bytes | None:
        """DER of the certificate that was checked at `depth`, None beyond the last."""
        found = self._verifier.chain.get(depth)
        return None if found is None else found.public_bytes(Encoding.DER)

    def cipher(self) -> tuple[str, str]:
        """Cipher suite and version by mbedtls's names."""
        name = self._connection.get_cipher_name() or ""
        return mbedtls_cipher_name(name), self._connection.get_protocol_version_name()

    # the work

    def _advance(self) -> bool:
        while not self.established:
            self.established = self._shake()
            if not self._flush():
                self._waits_for = net.POLLOUT
                return False
            if not self.established and not self._feed_record():
                self._waits_for = net.POLLIN
                return False
        return self._flush()

    def _shake(self) -> bool:
        """One call of OpenSSL; True when it has finished."""
        self._verifier.set_time(self._now())
        done = False
        try:
            self._connection.do_handshake()
            done = True
        except SSL.WantReadError:
            pass
        except SSL.Error as e:
            self._spend()
            self._flush()  # the alert that tells the server why
            raise self._verifier.refusal() or _mbedtls_error(e) from None
        self._spend()
        return done

    def _spend(self) -> None:
        """Once a certificate was taken the board has checked signatures and agreed on a key."""
        if self._verifier.chain and not self._computed:
            self._computed = True
            self._compute()

    def _send(self, data: bytes) -> int:
        self._poll_mask = 0
        if not self._advance():
            self._poll_mask = self._waits_for & net.POLLIN
            return 0
        if not self._owed:
            self._owed = self._connection.send(data[:_OUT_CONTENT_BYTES])
        if not self._flush():
            return 0
        sent, self._owed = self._owed, 0
        return sent

    def _recv(self, n: int) -> bytes | None:
        self._poll_mask = 0
        if not self._advance():
            self._poll_mask = self._waits_for & net.POLLOUT
            return None
        while True:
            try:
                return self._connection.recv(n)
            except SSL.WantReadError:
                pass
            except SSL.ZeroReturnError:
                return b""
            except SSL.Error as e:
                raise _mbedtls_error(e) from None
            try:
                if not self._feed_record():
                    return None
            except _PeerClosed:  # without a close_notify: mbedtls_ssl_read does not mind
                return b""

    def _feed_record(self) -> bool:
        """Hand the next record to OpenSSL; False when it is not all there. It takes no byte beyond it."""
        while (missing := self._missing()) > 0:
            data = self._socket.recv(missing)
            if data is None:
                return False
            if not data:
                raise _PeerClosed
            self._record += data
        self._connection.bio_write(bytes(self._record))
        self._record.clear()
        return True

    def _missing(self) -> int:
        if len(self._record) < _HEADER_BYTES:
            return _HEADER_BYTES - len(self._record)
        if self._record[0] not in _RECORD_TYPES or self._record[1] != 3:
            raise OSError(*INVALID_RECORD)  # ssl_parse_record_header: what a server without TLS sends is none
        return _HEADER_BYTES + int.from_bytes(self._record[3:5], "big") - len(self._record)

    def _flush(self) -> bool:
        """Send what OpenSSL has made; True when all of it is sent."""
        while True:
            if not self._outgoing:
                try:
                    self._outgoing = self._connection.bio_read(_CHUNK_BYTES)
                except SSL.WantReadError:
                    return True
            sent = self._socket.send(self._outgoing)
            if sent == 0:
                return False
            self._outgoing = self._outgoing[sent:]

    # the end

    def _call(self, step: Callable[[], _T]) -> _T:
        if self._last_error is not None:
            raise OSError(*self._last_error)
        try:
            return step()
        except _PeerClosed:
            self._last_error = CONN_EOF  # the one failure after which modtls keeps the socket
            raise OSError(*CONN_EOF) from None
        except OSError as e:
            self._fail(e.args)
            raise
        except ValueError:
            self._fail(VERIFY_FAILED)
            raise

    def _fail(self, error: tuple[Any, ...]) -> None:
        """What is tried after this fails, too. A failed handshake frees the memory; the socket stays open."""
        self._last_error = error
        if not self.established:
            self.free()

    def free(self) -> None:
        """As `mbedtls_ssl_free`: no close_notify is sent, MicroPython never does."""
        self.freed = True
        self._last_error = self._last_error or (9,)  # EBADF


def _context(verifier: Verifier) -> SSL.Context:
    """What an ESP32 build offers: TLS 1.2, no tickets, AES in GCM; Curve25519 is off in sdkconfig.base."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_RENEGOTIATION)
    context.set_cipher_list(b"ECDHE+AESGCM")
    verifier.prepare(context)
    return context


def _mbedtls_error(error: SSL.Error) -> OSError:
    """OpenSSL's error as mbedtls would name it; what has no name of its own is a failed handshake."""
    reasons = " ".join(str(entry[-1]) for entry in error.args[0]) if error.args else ""
    for word, found in _REASONS:
        if word in reasons:
            return OSError(*found)
    return OSError(*HANDSHAKE_FAILURE)


def mbedtls_cipher_name(name: str) -> str:
    """ECDHE-RSA-AES256-GCM-SHA384 becomes TLS-ECDHE-RSA-WITH-AES-256-GCM-SHA384."""
    exchange, _, rest = name.partition("-AES")
    return f"TLS-{exchange}-WITH-AES-{rest}"


class Tls:
    """What the firmware's `tls` module can ask of the board. Numbers of TLS sockets are negative."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._last = 0

    def check_authorities(self, data: bytes) -> None:
        """ValueError for what is not a certificate."""
        load_authorities(data)

    def wrap(self, number: int, host: str | None, mode: int, *authorities: bytes) -> int:
        """A TLS client on socket `number`; ENOMEM when the board has no room for one more."""
        stack = self._board.net
        stack.get(number)
        if self._count() >= stack.tls_sockets_max:
            raise OSError(_ENOMEM)
        if mode == CERT_REQUIRED and host is None:
            raise ValueError("CERT_REQUIRED requires server_hostname")
        verifier = Verifier(mode, host, authorities)
        self._last -= 1
        stack.layers[self._last] = TlsStream(stack, number, verifier, host, self._now, self._compute)
        return self._last

    def _count(self) -> int:
        """How many hold memory. One whose socket was closed does not: a collection would find it."""
        layers = self._board.net.layers
        for number, layer in list(layers.items()):
            if not self._board.net.has(layer.number):
                del layers[number]
        return sum(not layer.freed for layer in layers.values())

    def _get(self, number: int) -> TlsStream:
        layer = self._board.net.layers.get(number)
        if not isinstance(layer, TlsStream):
            raise OSError(9)  # EBADF
        return layer

    def _now(self) -> datetime.datetime:
        """The board's own idea of the time, in UTC."""
        board = self._board
        since_epoch = datetime.timedelta(microseconds=board.clocks.rtc_us(board.now_us()))
        try:
            return datetime.datetime(board.config.epoch_year, 1, 1) + since_epoch
        except OverflowError:
            return datetime.datetime.max

    def _compute(self) -> None:
        """The key exchange: nothing else of the firmware runs meanwhile."""
        board = self._board
        end_us = board.now_us() + board.net.tls_handshake_us
        while board.now_us() < end_us:
            board.park(end_us)

    def handshake(self, number: int) -> None:
        """Block until it is done. As modtls does, wait for a non-blocking socket, too."""
        stream = self._get(number)
        try:
            if not self._board.wait(stream.handshake, stream.timeout_us or None):
                raise OSError(net.ETIMEDOUT)
        except (OSError, ValueError):
            stream.free()
            raise

    def drop(self, number: int) -> None:
        """Free it and leave the socket below as it is."""
        layer = self._board.net.layers.pop(number, None)
        if isinstance(layer, TlsStream):
            layer.free()

    def close(self, number: int) -> None:
        """Free it and close the socket below; after a failed handshake that is left to the firmware."""
        layer = self._board.net.layers.pop(number, None)
        if layer is not None and not layer.freed:
            self._board.net.close(layer.number)

    def checked_certificate(self, number: int, depth: int) -> bytes | None:
        """DER of the certificate at `depth` of the chain that was checked, also when it was refused."""
        return self._get(number).certificate(depth)

    def peer_certificate(self, number: int) -> bytes | None:
        """DER of the server's certificate, None before and after."""
        stream = self._get(number)
        return stream.certificate(0) if stream.established and not stream.freed else None

    def cipher(self, number: int) -> list[str]:
        return list(self._get(number).cipher())
