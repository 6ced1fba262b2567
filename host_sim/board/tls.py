"""TLS on the board's sockets, as MicroPython's mbedtls gives it, with the board's own clock.

As on the board it lies on top of a TCP socket and moves only while the firmware calls: `read` and `write`
pull whole records out of the socket, hand them to OpenSSL, and push what comes of it. Facts of behaviour
are from extmod/modtls_mbedtls.c of MicroPython 1.27 and mbedtls 3.6 unless another source is named.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from cryptography import x509
from OpenSSL import SSL, crypto

from . import net
from .certificates import (
    CN_MISMATCH,
    NOT_TRUSTED,
    finding,
    load_authorities,
    matches_host,
    verify_info,
)

if TYPE_CHECKING:
    from .board import Board

CERT_NONE = 0
CERT_OPTIONAL = 1
CERT_REQUIRED = 2

POLLNVAL = 32
_ENOMEM = 12
_OUT_CONTENT_BYTES = 4096  # CONFIG_MBEDTLS_ASYMMETRIC_CONTENT_LEN of ports/esp32/boards/sdkconfig.base
_HEADER_BYTES = 5
_RECORD_TYPES = range(20, 25)
_CHUNK_BYTES = 1 << 16

INVALID_RECORD = OSError(-0x7200, "MBEDTLS_ERR_SSL_INVALID_RECORD")
CONN_EOF = OSError(-0x7280, "MBEDTLS_ERR_SSL_CONN_EOF")
CA_CHAIN_REQUIRED = OSError(-0x7680, "MBEDTLS_ERR_SSL_CA_CHAIN_REQUIRED")
VERIFY_FAILED = OSError(-0x2700, "MBEDTLS_ERR_X509_CERT_VERIFY_FAILED")
HANDSHAKE_FAILURE = OSError(-0x6E00, "MBEDTLS_ERR_SSL_HANDSHAKE_FAILURE")
FATAL_ALERT = OSError(-0x7780, "MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE")
BAD_VERSION = OSError(-0x6E80, "MBEDTLS_ERR_SSL_BAD_PROTOCOL_VERSION")
INVALID_MAC = OSError(-0x7180, "MBEDTLS_ERR_SSL_INVALID_MAC")

# What OpenSSL's reason has in it, and what mbedtls says in that place.
_REASONS = (
    ("alert", FATAL_ALERT),
    ("unsupported protocol", BAD_VERSION),
    ("version", BAD_VERSION),
    ("bad record mac", INVALID_MAC),
    ("decryption failed", INVALID_MAC),
)


class _PeerClosed(Exception):
    """TCP's end, at or within a record."""


class Verifier:
    """The check of one server's certificates by `mode`, `host` and `authorities` (DER or PEM)."""

    def __init__(self, mode: int, host: str | None, authorities: bytes) -> None:
        self._host = host
        self._findings: set[str] = set()
        self._authorities = load_authorities(authorities) if authorities else []
        self.mode = mode
        self.chain: dict[int, x509.Certificate] = {}  # by depth, the server's own at 0
        store = crypto.X509Store()
        for certificate in self._authorities:
            store.add_cert(crypto.X509.from_cryptography(certificate))
        # mbedtls ends a chain at any certificate that it was given, not only at a self-signed one.
        store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
        self._store = store

    def prepare(self, context: SSL.Context) -> None:
        context.set_cert_store(self._store)
        context.set_verify(SSL.VERIFY_PEER, self._check)

    def set_time(self, now: datetime.datetime) -> None:
        self._store.set_time(now)

    def _check(self, connection: SSL.Connection, found: crypto.X509, error: int, depth: int, ok: int) -> bool:
        """OpenSSL's callback: once for each error, and, from the root down, once for each certificate."""
        certificate = self.chain[depth] = found.to_cryptography()
        if error:
            self._findings.add(finding(error))
        if depth or not ok:
            return True
        if self._host is not None and not matches_host(certificate, self._host):
            self._findings.add(CN_MISMATCH)
        if not self._authorities:
            self._findings.add(NOT_TRUSTED)
        return self.refusal() is None

    def refusal(self) -> Exception | None:
        """What MicroPython raises, when it does."""
        if self.mode != CERT_REQUIRED:
            return None
        if not self._authorities:
            return CA_CHAIN_REQUIRED
        return ValueError(verify_info(self._findings)) if self._findings else None


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
        self._last_error: OSError | None = None
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
        self._raise_last()
        try:
            return self._advance()
        except _PeerClosed:
            self._fail(CONN_EOF)
        except OSError as e:
            self._fail(e)

    def send(self, data: bytes) -> int:
        """Bytes taken, at most 4096; 0 when it would block."""
        self._raise_last()
        try:
            return self._send(data)
        except _PeerClosed:
            self._fail(CONN_EOF)
        except OSError as e:
            self._fail(e)

    def recv(self, n: int) -> bytes | None:
        """Bytes of one record, b'' at the end, None when there is nothing yet."""
        self._raise_last()
        try:
            return self._recv(n)
        except _PeerClosed:
            if self.established:  # with or without a close_notify: mbedtls_ssl_read returns 0 for both
                return b""
            self._fail(CONN_EOF)
        except OSError as e:
            self._fail(e)

    def poll(self) -> int:
        """Poll events; while the handshake needs one direction, that one stands for both."""
        if self.freed or self._last_error is not None:
            return POLLNVAL
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
        return None if found is None else crypto.X509.from_cryptography(found).to_cryptography().public_bytes(
            _DER
        )

    def cipher(self) -> tuple[str, str]:
        """Cipher suite and version by mbedtls's names."""
        name = self._connection.get_cipher_name() or ""
        return mbedtls_cipher_name(name), self._connection.get_protocol_version_name()

    # the work

    def _advance(self) -> bool:
        while not self.established:
            if not self._flush():
                self._waits_for = net.POLLOUT
                return False
            if self._shake():
                self.established = True
            elif self._outgoing:
                continue
            elif not self._feed_record():
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
                if not self._feed_record():
                    return None
            except SSL.ZeroReturnError:
                return b""
            except SSL.Error as e:
                raise _mbedtls_error(e) from None

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
            raise INVALID_RECORD  # ssl_parse_record_header: what a server without TLS sends is none
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

    def _fail(self, error: OSError) -> NoReturn:
        """Raise `error` now and ever after. A failed handshake frees the memory; the socket stays open."""
        self._last_error = OSError(*error.args)
        if not self.established and error is not CONN_EOF:
            self.free()
        raise self._last_error

    def free(self) -> None:
        self.freed = True
        self._outgoing = b""

    def _raise_last(self) -> None:
        if self._last_error is not None:
            raise OSError(*self._last_error.args)
        if self.freed:
            raise OSError(9)  # EBADF
