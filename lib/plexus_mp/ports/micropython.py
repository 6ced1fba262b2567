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
    "ring": "files",
    "commit_ms": 0,
    "program_bytes": 0,
    "transport": "auto",
    "tick_ms": 100,
    "timer_id": -1,
}
# Where a ring in files differs. Each commit costs an erase, so a page waits, and it fills its file (1,024 bytes less
# headers, times, length and CRC): whatever came behind it would have littlefs copy the file. A page is held in RAM
# twice, a file takes a block of 4 KB, and littlefs finds room beside 64 files sooner than beside more (fileblocks.py).
FILES = {"ring_bytes": 65536, "sector_bytes": 1024, "page_bytes": 828, "commit_ms": 300000}


def rtc_ms():
    """The real-time clock, which nobody may have set and which runs on in deep sleep: ms since its epoch."""
    return time.time_ns() // 1_000_000 if hasattr(time, "time_ns") else time.time() * 1000


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


def open_flash(where):
    """(block device, its unit of programming in bytes, whether erased bytes read as anything).

    `where` is the label of an ESP32's data partition, or "rp2:START:LENGTH" in bytes from where the files begin.
    Raises `ValueError` when there is none, or when it holds files.
    """
    if where.startswith("rp2:"):
        return _rp2_flash(where)
    try:
        from esp32 import Partition
    except ImportError:
        raise ValueError("ring: this port has no flash partitions, only 'ram' and 'files'")
    found = Partition.find(Partition.TYPE_DATA, label=where)
    if not found:
        raise ValueError("ring: no data partition is called %r" % where)
    # ESP-IDF, "Flash Encryption": writes to an encrypted partition are whole blocks of 16 bytes.
    encrypted = found[0].info()[5]
    _refuse_files(found[0], where)
    return found[0], 16 if encrypted else 1, encrypted


def _rp2_flash(where):
    try:
        start, length = [int(part) for part in where[4:].split(":")]
        from rp2 import Flash
    except ImportError:
        raise ValueError("ring: %r needs an RP2 board" % where)
    except ValueError:
        raise ValueError("ring must be rp2:START:LENGTH in bytes, not %r" % where)
    import os

    root = os.statvfs("/")
    if start < root[1] * root[2]:
        raise ValueError(
            "ring: the files take the flash up to %d, %r begins before" % (root[1] * root[2], where)
        )
    device = Flash(start=start, len=length)
    _refuse_files(device, where)
    return device, 256, False  # RP2040 datasheet §2.6.3: pages of 256 bytes


def _refuse_files(device, where):
    """A filesystem there, mounted or not, is somebody's: littlefs and FAT say their names in the first blocks."""
    start = bytearray(96)
    for block in (0, 1):
        device.readblocks(block, start, 0)
        if where == "vfs" or b"littlefs" in start or b"FAT" in start:
            raise ValueError("ring: %r holds files" % where)


class Guard:
    """Held while ring and records are being changed.

    A timer callback runs between the bytecodes of what it interrupts and to its end before that goes
    on, so a flag is enough: the inner caller sees it and keeps away.
    """

    def __init__(self):
        self._call = 0

    def take(self, wait, call):
        """True when `call`, a number above 0, may go on; False inside an interrupted holder. Never blocks."""
        if self._call:
            return False
        self._call = call
        return True

    def drop(self, call):
        """Let go, if it was `call` that took it."""
        if self._call == call:
            self._call = 0


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
    """Call back every `period_ms` from now on; also from within the callback."""
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


def station(hostname, country):
    """The Wi-Fi interface, None where there is none; sets the board's name and its radio's country, if given."""
    try:
        import network
    except ImportError:
        return None
    if hostname:
        network.hostname(hostname)
    if country:
        network.country(country)
    return network.WLAN(network.STA_IF) if hasattr(network, "WLAN") else None


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
