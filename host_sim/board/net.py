"""The board's TCP sockets, as lwIP on an ESP32 gives them, over whatever carries the bytes.

A socket talks to a far end through a `Carrier`; who dials decides whether that is a real connection or one
inside this process. Error numbers are newlib's, as MicroPython's ESP32 port raises them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Protocol

EBADF = 9
EAGAIN = 11
ENOMEM = 12
ENFILE = 23
ECONNRESET = 104
ECONNREFUSED = 111
ECONNABORTED = 113
EHOSTUNREACH = 118
ETIMEDOUT = 116
EINPROGRESS = 119
ENOTCONN = 128
DNS_FAILED = -2  # EAI_NONAME, as getaddrinfo raises it

# lwIP as MicroPython builds it for ESP32: CONFIG_LWIP_MAX_SOCKETS, TCP_WND and TCP_SND_BUF.
SOCKETS_MAX = 16
WINDOW_BYTES = 5744

# A plain ESP32 has memory for about one TLS socket: mbedtls wants 16 KB to receive and 4 KB to send, in one piece.
TLS_SOCKETS_MAX = 1
# What a full handshake costs an ESP32. Measured on MicroPython, round trips in a LAN included: 0.93 s with
# ECDSA (microdot#34), 1.2 s with RSA (micropython-esp32#131). That all of it is spent in one piece, when the
# server's certificate arrives, and also for one that is then refused, is an assumption.
TLS_HANDSHAKE_US = 900_000

POLLIN = 1
POLLOUT = 4
POLLERR = 8
POLLHUP = 16
POLLNVAL = 32


class Carrier(Protocol):
    """One connection, seen from the board."""

    def send(self, data: bytes) -> None: ...
    def room(self) -> int: ...
    def pause(self, paused: bool) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...


class Events(Protocol):
    """What a carrier reports to its socket."""

    def connected(self) -> None: ...
    def received(self, data: bytes) -> None: ...
    def ended(self) -> None: ...
    def lost(self, errno: int) -> None: ...
    def writable(self) -> None: ...


class Dialer(Protocol):
    """Opens connections for boards."""

    def dial(self, host: str, port: int, events: Events) -> Carrier: ...
    def resolve(self, host: str, done: Callable[[str | None], None]) -> None:
        """Call `done` with the address, or None when the name does not exist."""


class Stream(Protocol):
    """What firmware reads and writes: a socket, or what lies on one."""

    @property
    def timeout_us(self) -> int | None: ...
    def poll(self) -> int: ...
    def send(self, data: bytes) -> int: ...
    def recv(self, n: int) -> bytes | None: ...


class Layer(Stream, Protocol):
    """A stream on the socket `number`; `freed` when it is of no more use and holds no memory."""

    number: int
    freed: bool


class Socket:
    """One TCP socket of the board. `changed` is called when a waiting firmware should look again."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._carrier: Carrier | None = None
        self._received = bytearray()
        self._ended = False
        self._connected = False
        self._error = 0
        self.timeout_us: int | None = None  # None: blocks, 0: never

    def connect(self, dialer: Dialer, host: str, port: int) -> None:
        self._carrier = dialer.dial(host, port, self)

    # what the carrier reports

    def connected(self) -> None:
        self._connected = True
        self._changed()

    def received(self, data: bytes) -> None:
        self._received += data
        if len(self._received) > WINDOW_BYTES and self._carrier:
            self._carrier.pause(True)
        self._changed()

    def ended(self) -> None:
        self._ended = True
        self._changed()

    def lost(self, errno: int) -> None:
        self._error = self._error or errno
        self._changed()

    def writable(self) -> None:
        self._changed()

    # what the firmware asks

    def poll(self) -> int:
        """Poll events that hold now."""
        events = 0
        if self._received or self._ended:
            events |= POLLIN
        if self._error:
            events |= POLLERR | POLLHUP | POLLIN
        elif self._connected and self._carrier and self._carrier.room() > 0:
            events |= POLLOUT
        return events

    def is_connected(self) -> bool:
        self._raise_error()
        return self._connected

    def send(self, data: bytes) -> int:
        """Bytes taken; 0 when nothing fits now."""
        self._raise_error()
        if not self._connected or self._carrier is None:
            raise OSError(ENOTCONN)
        n = min(len(data), self._carrier.room())
        if n > 0:
            self._carrier.send(data[:n])
        return max(0, n)

    def recv(self, n: int) -> bytes | None:
        """Bytes, b'' at the end, None when there is nothing yet."""
        if self._received:
            data = bytes(self._received[:n])
            del self._received[:n]
            if self._carrier and len(self._received) <= WINDOW_BYTES // 2:
                self._carrier.pause(False)
            return data
        if self._ended:
            return b""
        if self._error or not self._connected:
            raise OSError(self._error or ENOTCONN)
        return None

    def _raise_error(self) -> None:
        if self._error:
            raise OSError(self._error)

    def close(self) -> None:
        if self._carrier is not None:
            self._carrier.close()
            self._carrier = None

    def abort(self) -> None:
        """The board is gone: nothing more is said to the other side, not even goodbye."""
        if self._carrier is not None:
            self._carrier.abort()
            self._carrier = None


class NetStack:
    """All sockets of one board, by number."""

    def __init__(self, dialer: Dialer, is_up: Callable[[], bool], changed: Callable[[], None]) -> None:
        self._dialer = dialer
        self._is_up = is_up
        self._changed = changed
        self._sockets: dict[int, Socket] = {}
        self._next = 1
        self._heard = hashlib.sha256()
        self.layers: dict[int, Layer] = {}  # by numbers of their own, below zero
        self.tls_sockets_max = TLS_SOCKETS_MAX
        self.tls_handshake_us = TLS_HANDSHAKE_US

    def open(self) -> int:
        if len(self._sockets) >= SOCKETS_MAX:
            raise OSError(ENFILE)
        number = self._next
        self._next += 1
        self._sockets[number] = Socket(self._changed)
        return number

    def note(self, direction: bytes, data: bytes) -> None:
        """What the firmware sent or received, above TLS, goes into the digest."""
        self._heard.update(direction)
        self._heard.update(data)

    def digest(self) -> str:
        """Of all bytes that the firmware has sent and received."""
        return self._heard.hexdigest()

    @property
    def open_sockets(self) -> int:
        return len(self._sockets)

    def get(self, number: int) -> Socket:
        socket = self._sockets.get(number)
        if socket is None:
            raise OSError(EBADF)
        return socket

    def has(self, number: int) -> bool:
        return number in self._sockets

    def stream(self, number: int) -> Stream:
        found = self.layers.get(number) or self._sockets.get(number)
        if found is None:
            raise OSError(EBADF)
        return found

    def connect(self, number: int, host: str, port: int) -> None:
        socket = self.get(number)
        if not self._is_up():
            raise OSError(EHOSTUNREACH)
        socket.connect(self._dialer, host, port)

    def close(self, number: int) -> None:
        socket = self._sockets.pop(number, None)
        if socket is not None:
            socket.close()

    def lose_all(self, errno: int) -> None:
        """The link is gone: what is open fails, the other side hears nothing."""
        for socket in self._sockets.values():
            socket.abort()
            socket.lost(errno)

    def power_off(self) -> None:
        for socket in self._sockets.values():
            socket.abort()
        self._sockets.clear()
        self.layers.clear()

    def resolve(self, host: str, done: Callable[[str | None], None]) -> None:
        if not self._is_up():
            done(None)
        else:
            self._dialer.resolve(host, done)
