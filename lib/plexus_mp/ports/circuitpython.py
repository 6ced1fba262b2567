"""CircuitPython 9 and later, on boards whose Wi-Fi is built in (`wifi`, `socketpool`).

There are no timers: `px.sleep()`, `px.tick()` or `send()` itself drive the network. The firmware joins the Wi-Fi that
settings.toml names. Its filesystem is FAT, which a power cut can cost altogether, and USB mounts it read-only for
programs: so the ring is in RAM unless a setting says otherwise.
"""

import gc
import os
import random
import sys
import time

from micropython import const

try:
    from supervisor import ticks_ms
except ImportError:  # the unix port
    ticks_ms = time.ticks_ms

NAME = "circuitpython"
# What supervisor.ticks_ms() wraps at; the unix port's own ticks wrap later, at a multiple.
_PERIOD = const(1 << 29)
_HALF = const(1 << 28)
AGAIN = const(11)
_ENOTCONN = (107, 128)  # of Linux and lwIP, newlib
# A connection that has begun: EINPROGRESS of lwIP, newlib and Linux; ESP32 boards say ETIMEDOUT and go on connecting
# (circuitpython, ports/espressif/common-hal/socketpool/Socket.c).
_BEGUN = (115, 119, 116, 110)
_NETWORK_UNREACHABLE = const(118)

# Programs cannot write to the drive, unless boot.py says so.
STATE_FILE = None

random_bits = random.getrandbits
collect = gc.collect


def ticks_add(ticks, ms):
    return (ticks + ms) % _PERIOD


def ticks_diff(end, start):
    """Milliseconds from `start` to `end`, which are less than three days apart."""
    return (end - start + _HALF) % _PERIOD - _HALF


def sleep_ms(n):
    time.sleep(n / 1000)


def randomize(buf, at, n):
    """Unpredictable bytes."""
    buf[at : at + n] = os.urandom(n)


def sha1(data):
    """The SHA-1 of `data`, None where the firmware has none."""
    try:
        from hashlib import new
    except ImportError:  # the unix port
        return None
    digest = new("sha1")
    digest.update(data)
    return digest.digest()


def rtc_ms():
    """The real-time clock, which nobody may have set and which runs on in deep sleep: ms since its epoch."""
    return int(time.time()) * 1000


def rtc_memory(data=None):
    """None: nothing is kept in deep sleep but what is in files."""


def load_boot():
    """What only the making of a client needs of this port: in memory as long as the caller keeps it."""
    from . import circuitpython_boot

    return circuitpython_boot


def load_more():
    """What sleeping and telling of oneself need of this port; loaded with them."""
    from . import circuitpython_more

    return circuitpython_more


def start_ticker(callback, period_ms, timer_id):
    """None: there is nothing that calls back."""


def pace_ticker(ticker, callback, period_ms):
    """There is none to be paced."""


def stop_ticker(ticker):
    """There is none to be stopped."""


def has_network():
    """False while the radio has no address: resolving a name would wait for one."""
    wifi = sys.modules.get("wifi")
    return wifi is None or wifi.radio.ipv4_address is not None


def load_tls():
    """What TLS needs of this port; loaded only with https."""
    from . import circuitpython_tls

    return circuitpython_tls


_pool = None


def _sockets():
    """The one pool of this board's sockets; made when the first connection is."""
    global _pool
    if _pool is None:
        import socketpool
        import wifi

        _pool = socketpool.SocketPool(wifi.radio)
    return _pool


class Tcp:
    """One non-blocking TCP connection.

    Resolving the host blocks for as long as the port's `getaddrinfo` does; no other call waits. Errors are `OSError`.
    """

    def __init__(self, host, port):
        import select

        pool = _sockets()
        address = pool.getaddrinfo(host, port, 0, pool.SOCK_STREAM)[0][-1]
        self._poll = None
        self._sock = pool.socket(pool.AF_INET, pool.SOCK_STREAM)
        begun = False
        try:
            self._sock.settimeout(0)
            try:
                self._sock.connect(address)
            except OSError as e:
                if e.errno not in _BEGUN:
                    raise
            self._poll = select.poll()
            self._poll.register(self._sock, select.POLLOUT)
            self._failed = select.POLLERR | select.POLLHUP
            begun = True
        finally:  # whatever it was, a MemoryError too
            if not begun:
                self.close()

    def connected(self):
        """True once data can be written; OSError when the peer refused, if the firmware tells so soon."""
        for event in self._poll.poll(0):
            if event[1] & self._failed:
                raise OSError(_NETWORK_UNREACHABLE)
            return True
        return False

    def write(self, data):
        """Bytes taken, 0 when the socket is full."""
        try:
            return self._sock.send(data)
        except OSError as e:
            if e.errno != AGAIN:
                raise
        return 0

    def readinto(self, buf):
        """Bytes read, 0 at the end of the stream, None when there is nothing yet."""
        try:
            return self._sock.recv_into(buf)
        except OSError as e:
            if e.errno in _ENOTCONN:  # how ESP32 boards tell the end of a stream
                return 0
            if e.errno != AGAIN:
                raise

    def close(self):
        if self._poll is not None:
            self._poll.unregister(self._sock)
            self._poll = None
        self._sock.close()
