"""MicroPython 1.22 and later: ESP32, RP2, the unix port, the WebAssembly build."""

import gc
import os
import random
import select
import socket
import sys
import time

from micropython import const

try:
    import machine
except ImportError:  # the unix and WebAssembly ports have no such module
    machine = None

NAME = "micropython"
# EINPROGRESS as newlib (ESP32, RP2), Linux and BSD number it.
_IN_PROGRESS = (119, 115, 36)
_NETWORK_UNREACHABLE = const(118)
# Where the little is kept that is no reading (state.py).
STATE_FILE = "/plexus_state.json"

ticks_ms = time.ticks_ms
ticks_add = time.ticks_add
ticks_diff = time.ticks_diff
sleep_ms = time.sleep_ms
random_bits = random.getrandbits
collect = gc.collect


def rtc_ms():
    """The real-time clock, which nobody may have set and which runs on in deep sleep: ms since its epoch."""
    return time.time_ns() // 1_000_000 if hasattr(time, "time_ns") else time.time() * 1000


def randomize(buf, at, n):
    """Unpredictable bytes; the WebAssembly build has no `os.urandom`."""
    data = os.urandom(n) if hasattr(os, "urandom") else None
    for i in range(n):
        buf[at + i] = data[i] if data else random_bits(8)


def sha1(data):
    """The SHA-1 of `data`, None where the firmware has none."""
    try:
        from hashlib import sha1
    except ImportError:
        return None
    return sha1(data).digest()


def rtc_memory(data=None):
    """Read or write what outlives a deep sleep, 2,048 bytes on an ESP32; None where there is none."""
    if not hasattr(machine, "RTC") or not hasattr(machine.RTC, "memory"):
        return None
    return machine.RTC().memory() if data is None else machine.RTC().memory(data)


def load_more():
    """What sleeping and telling of oneself need of this port; loaded with them."""
    from . import micropython_more

    return micropython_more


def load_boot():
    """What only the making of a client needs of this port: in memory as long as the caller keeps it."""
    from . import micropython_boot

    return micropython_boot


def start_ticker(callback, period_ms, timer_id):
    """Call `callback(_)` every `period_ms` from a soft timer; None where the port has no timer.

    Soft callbacks also run inside `time.sleep`, so a program of nothing but sends and sleeps delivers.
    Timer id -1 (virtual) is missing on some ESP32 releases: then the board file names 0 to 3.
    """
    if not hasattr(machine, "Timer"):
        return None
    timer = machine.Timer(timer_id)
    pace_ticker(timer, callback, period_ms)
    return timer


def pace_ticker(ticker, callback, period_ms):
    """Call it every `period_ms` from now on; may be called by the callback."""
    ticker.init(period=period_ms, mode=machine.Timer.PERIODIC, callback=callback)


def stop_ticker(ticker):
    ticker.deinit()


def has_network():
    """False while a station interface exists that has no address.

    `getaddrinfo` can hang for many seconds then (micropython#18797), so nothing is resolved before.
    """
    network = sys.modules.get("network")
    if network is None:
        return True
    return network.WLAN(network.STA_IF).isconnected()


def load_tls():
    """What TLS needs of this port; loaded only with https."""
    from . import micropython_tls

    return micropython_tls


class Tcp:
    """One non-blocking TCP connection.

    Resolving the host blocks for as long as the port's `getaddrinfo` does (numeric addresses: not at
    all); no other call waits. Errors are `OSError`.
    """

    def __init__(self, host, port):
        address = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)[0][-1]
        self._poll = None
        self._sock = socket.socket()
        begun = False
        try:
            self._sock.setblocking(False)
            poll = select.poll()
            poll.register(self._sock, select.POLLOUT)
            self._poll = poll
            try:
                self._sock.connect(address)
            except OSError as e:
                if e.errno not in _IN_PROGRESS:
                    raise
            begun = True
        finally:  # whatever it was, a MemoryError too
            if not begun:
                self.close()

    def connected(self):
        """True once data can be written; OSError when the peer refused."""
        for event in self._poll.poll(0):
            if event[1] & (select.POLLERR | select.POLLHUP):
                raise OSError(_NETWORK_UNREACHABLE)
            return True
        return False

    def write(self, data):
        """Bytes taken, 0 when the socket is full."""
        return self._sock.write(data) or 0

    def readinto(self, buf):
        """Bytes read, 0 at the end of the stream, None when there is nothing yet."""
        return self._sock.readinto(buf)

    def close(self):
        if self._poll is not None:
            self._poll.unregister(self._sock)
            self._poll = None
        self._sock.close()
