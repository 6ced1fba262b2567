"""The boards that chaos plays on: a board file of the project, and what is different about it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

BOARDS = Path(__file__).resolve().parent.parent.parent / "boards"

_PARTITIONS = """PARTITIONS = [
    ("nvs", 1, 2, 0x9000, 0x6000, False),
    ("phy_init", 1, 1, 0xF000, 0x1000, False),
    ("factory", 0, 0, 0x10000, 0x1F0000, False),
    ("vfs", 1, 0x81, 0x200000, 0x1C0000, False),
    ("plexus", 1, 0x40, 0x3C0000, {size:#x}, {encrypted}),
]"""
_PARTITION_AT = 0x3C0000
_SECTOR_BYTES = 4096
# The first part of what `rp2.Flash` covers is the filesystem, the ring begins behind it.
_RP2 = """FILES_BYTES = 655360
RING = "rp2:655360:131072"
COMMIT_MS = {commit_ms}
PAGE_BYTES = 512"""


@dataclass(frozen=True)
class Device:
    """`base` in boards/ with `more` behind it. `sectors` of the flash that are the ring's, where it is there.

    `writes` are the calls in which a power cut finds a write under way.
    """

    name: str
    base: str
    more: str = ""
    sectors: range = range(0)
    writes: tuple[str, ...] = ()

    def source(self) -> str:
        """The board file."""
        return (BOARDS / self.base).read_text() + (f"\n# Of chaos.\n{self.more}\n" if self.more else "")


def _partition(name: str, size: int, encrypted: bool = False, more: str = "") -> Device:
    table = _PARTITIONS.format(size=size, encrypted=encrypted)
    first = _PARTITION_AT // _SECTOR_BYTES
    sectors = range(first, first + size // _SECTOR_BYTES)
    calls = ("partitions.program", "partitions.erase", "sockets.send", "sockets.recv")
    return Device(name, "esp32_flash_ring.py", f"{table}\n{more}".strip(), sectors, calls)


def _rp2(name: str, commit_ms: int) -> Device:
    sectors = range(0)  # an error of the flash costs the filesystem as well
    calls = ("rp2flash.program", "rp2flash.erase", "sockets.send")
    return Device(name, "pico_w.py", _RP2.format(commit_ms=commit_ms), sectors, calls)


_FILE_CALLS = ("files.write", "files.create", "files.remove", "sockets.send")

DEVICES = (
    _partition("partition", 0x40000),
    _partition("small partition", 0x8000),
    _partition("encrypted partition", 0x20000, True),
    _partition("partition, pages of a minute", 0x20000, False, "COMMIT_MS = 60000"),
    Device("files", "esp32.py", "", writes=_FILE_CALLS),
    Device("files, pages of 20 s", "esp32.py", "COMMIT_MS = 20000", writes=_FILE_CALLS),
    Device("files of a Pico", "pico_w.py", "", writes=_FILE_CALLS),
    _rp2("flash of a Pico", 0),
    _rp2("flash of a Pico, pages of a minute", 60_000),
    Device("RAM", "esp32_ram_ring.py", "", writes=("sockets.send", "sockets.recv")),
)


def period_ms(rng: random.Random) -> int:
    """How often it samples: mostly often, as that is when most happens."""
    return rng.choice((1000, 2000, 2000, 5000, 10_000, 30_000, 60_000, 300_000))
