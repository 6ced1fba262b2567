"""CPython 3.10 and later: the same library on a laptop, a gateway box or in a test."""

import gc
import hashlib
import os
import random
import select
import socket
import sys
import threading
import time
import uuid

NAME = "cpython"
# As wide as MicroPython's, so that one arithmetic serves both.
_TICKS_PERIOD = 1 << 30
# Where the little is kept that is no reading (state.py): nowhere, unless it is told.
STATE_FILE = os.environ.get("PLEXUS_STATE_FILE")

random_bits = random.SystemRandom().getrandbits
collect = gc.collect
getenv = os.environ.get

# Bytes. Memory is no concern here: two days of a reading every two seconds fit the ring.
DEFAULTS = {
    "ring_bytes": 1 << 20,
    "sector_bytes": 32768,
    "page_bytes": 8192,
    "frame_bytes": 131072,
    "ring": "ram",
    "commit_ms": 0,
    "program_bytes": 0,
    "transport": "auto",
    "tick_ms": 20,
    "timer_id": -1,
    "runs_file": "",
    "stats_s": 0,
    "linger_ms": 6000,  # in flash, where each frame costs a mark or an erase
}
# Where a ring in files differs: one page fills a file, as long as a commit can be (ring.py: 14 bits of length).
FILES = {"sector_bytes": 16384, "page_bytes": 16188, "commit_ms": 300000}


def rtc_ms():
    """The real-time clock, which nobody may have set and which runs on in deep sleep: ms since its epoch."""
    return time.time_ns() // 1_000_000


def forget(module):
    """Memory is no concern here."""


def load_boot():
    """This module: memory is no concern here."""
    return sys.modules[__name__]


def const(value):
    return value


def ticks_ms():
    return time.monotonic_ns() // 1_000_000 % _TICKS_PERIOD


def ticks_add(ticks, ms):
    return (ticks + ms) % _TICKS_PERIOD


def ticks_diff(a, b):
    half = _TICKS_PERIOD >> 1
    return (a - b + half) % _TICKS_PERIOD - half


def sleep_ms(n):
    time.sleep(n / 1000)


def randomize(buf, at, n):
    buf[at : at + n] = os.urandom(n)


def sha1(data):
    return hashlib.sha1(data).digest()


def unique_id():
    """The network card's address as hexadecimal, or '' when the machine does not tell."""
    node = uuid.getnode()
    # RFC 4122 §4.5: a made-up node id has the multicast bit set, and would change at every start.
    return "" if node >> 40 & 1 else f"{node:012x}"


def open_flash(label):
    raise ValueError("ring: this port has no flash partitions, only 'ram' and 'files'")


def rtc_memory(data=None):
    """There is none."""


def load_more():
    """What sleeping and telling of oneself need of this port; loaded with them."""
    from . import cpython_more

    return cpython_more


class Guard:
    """Held while ring and records are being changed; here `tick()` runs in a thread of its own."""

    def __init__(self):
        self._lock = threading.RLock()
        self._call = 0

    def take(self, wait, call):
        """True when `call`, a number above 0, may go on; False inside another one, or when busy and not `wait`.

        Blocks for as long as another thread holds it: one commit, or one frame being built.
        """
        if self._owned() or not self._lock.acquire(blocking=wait):
            return False
        self._call = call
        return True

    def drop(self, call):
        """Let go, if it was `call` that took it."""
        if self._owned() and self._call in (0, call):
            self._call = 0
            self._lock.release()

    def _owned(self):
        # What threading.Condition asks: the lock knows, whatever interrupted the call that took it.
        return self._lock._is_owned()  # type: ignore[attr-defined]


class _Ticker(threading.Thread):
    def __init__(self, callback, period_ms):
        super().__init__(name="plexus_mp", daemon=True)
        self._callback = callback
        self.period_s = period_ms / 1000
        self._done = threading.Event()

    def run(self):
        while not self._done.wait(self.period_s):
            self._callback(self)

    def stop(self):
        self._done.set()
        if self is not threading.current_thread():
            self.join()


def start_ticker(callback, period_ms, timer_id):
    """Call `callback(_)` every `period_ms` from a thread."""
    ticker = _Ticker(callback, period_ms)
    ticker.start()
    return ticker


def pace_ticker(ticker, callback, period_ms):
    """Call it every `period_ms` from now on; may be called by the callback."""
    ticker.period_s = period_ms / 1000


def stop_ticker(ticker):
    ticker.stop()


def has_network():
    return True


def station(hostname, country):
    """The system sees to its network."""


def load_tls():
    """What TLS needs of this port; loaded only with https."""
    from . import cpython_tls

    return cpython_tls


class Tcp:
    """One non-blocking TCP connection.

    Resolving the host blocks for as long as `getaddrinfo` does; no other call waits. Errors are `OSError`.
    """

    def __init__(self, host, port):
        family, kind, proto, _, address = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)[0]
        self._sock = socket.socket(family, kind, proto)
        self._sock.setblocking(False)
        try:
            self._sock.connect(address)
        except BlockingIOError:
            pass
        except OSError:
            self._sock.close()
            raise

    def connected(self):
        """True once data can be written; OSError when the peer refused."""
        if not select.select((), (self._sock,), (), 0)[1]:
            return False
        error = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))
        return True

    def write(self, data):
        """Bytes taken, 0 when the socket is full."""
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0

    def readinto(self, buf):
        """Bytes read, 0 at the end of the stream, None when there is nothing yet."""
        try:
            return self._sock.recv_into(buf)
        except BlockingIOError:
            return None

    def close(self):
        self._sock.close()
