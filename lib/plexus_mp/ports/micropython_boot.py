"""What the making of a client needs of MicroPython, and nothing else: its memory is given back."""

import binascii
import os

try:
    import machine
except ImportError:  # the unix and WebAssembly ports have no such module
    machine = None

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
    "runs_file": "/plexus.runs",
    "stats_s": 0,
    "linger_ms": 6000,  # in flash, where each frame costs a mark or an erase
}
# Where a ring in files differs. Each commit costs an erase, so a page waits, and it fills its file (1,024 bytes less
# headers, times, length and CRC): whatever came behind it would have littlefs copy the file. A page is held in RAM
# twice, a file takes a block of 4 KB, and littlefs finds room beside 64 files sooner than beside more (fileblocks.py).
FILES = {"ring_bytes": 65536, "sector_bytes": 1024, "page_bytes": 828, "commit_ms": 300000}


def getenv(name):
    """MicroPython boards have no environment; the unix port has."""
    return os.getenv(name) if hasattr(os, "getenv") else None


def unique_id():
    """The chip's own id as lower-case hexadecimal, or '' where there is none."""
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
