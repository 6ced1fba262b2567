"""MicroPython 1.22 and later: ESP32, RP2, the unix port, the WebAssembly build."""

import gc
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

ticks_ms = time.ticks_ms
ticks_add = time.ticks_add
ticks_diff = time.ticks_diff
sleep_ms = time.sleep_ms
random_bits = random.getrandbits
collect = gc.collect

# Bytes. A plain ESP32 starts with a heap of 56 KB; ring, page and frame leave most of it alone.
DEFAULTS = {
    "ring_bytes": 8192,
    "sector_bytes": 1024,
    "page_bytes": 512,
    "frame_bytes": 2048,
    "tick_ms": 100,
    "timer_id": -1,
}


def forget(module):
    """Let go of a module of this package that is not needed again: a collection frees its code."""
    sys.modules.pop("plexus_mp." + module, None)
    package = sys.modules.get("plexus_mp")
    if hasattr(package, module):
        delattr(package, module)


def getenv(name):
    """MicroPython boards have no environment; the unix port has."""
    import os

    return os.getenv(name) if hasattr(os, "getenv") else None


def unique_id():
    """The chip's own id as lower-case hexadecimal, or '' where there is none."""
    import binascii

    return binascii.hexlify(machine.unique_id()).decode() if hasattr(machine, "unique_id") else ""


def open_flash(label):
    """The flash partition `label`; ValueError when there is none, or it holds the files."""
    try:
        from esp32 import Partition
    except ImportError:
        raise ValueError("ring: this port has no flash partitions, only 'ram'")
    found = Partition.find(Partition.TYPE_DATA, label=label)
    if not found:
        raise ValueError("ring: no data partition is called %r" % label)
    if label == "vfs":
        raise ValueError("ring: the partition 'vfs' holds the files")
    if found[0].info()[5]:
        raise ValueError("ring: the partition %r is encrypted" % label)
    return found[0]


class Guard:
    """Held while ring and records are being changed.

    A timer callback runs between the bytecodes of what it interrupts and to its end before that goes
    on, so a flag is enough: the inner caller sees it and keeps away.
    """

    def __init__(self):
        self._held = False

    def take(self, wait):
        """True when the caller may go on; False inside an interrupted holder. Never blocks."""
        if self._held:
            return False
        self._held = True
        return True

    def drop(self):
        self._held = False


def start_ticker(callback, period_ms, timer_id):
    """Call `callback(_)` every `period_ms` from a soft timer; None where the port has no timer.

    Soft callbacks also run inside `time.sleep`, so a program of nothing but sends and sleeps delivers.
    Timer id -1 (virtual) is missing on some ESP32 releases: then the board file names 0 to 3.
    """
    if not hasattr(machine, "Timer"):
        return None
    timer = machine.Timer(timer_id)
    timer.init(period=period_ms, mode=machine.Timer.PERIODIC, callback=callback)
    return timer


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


class Tcp:
    """One non-blocking TCP connection.

    Resolving the host blocks for as long as the port's `getaddrinfo` does (numeric addresses: not at
    all); no other call waits. Errors are `OSError`.
    """

    def __init__(self, host, port):
        address = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)[0][-1]
        self._sock = socket.socket()
        self._poll = select.poll()
        try:
            self._sock.setblocking(False)
            self._poll.register(self._sock, select.POLLOUT)
            self._sock.connect(address)
        except OSError as e:
            if e.errno not in _IN_PROGRESS:
                self.close()
                raise

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
