"""What the firmware's `esp32.Partition` and `rp2.Flash` ask of the board's flash."""

from __future__ import annotations

import errno
from typing import Any

from .board import Board
from .partitions import SUBTYPE_ANY, TYPE_APP, Partition

# ESP-IDF's esp_err.h; MicroPython raises them negated, with their name (ports/esp32/mphalport.c).
_INVALID_ARG = (-0x102, "ESP_ERR_INVALID_ARG")
_INVALID_SIZE = (-0x104, "ESP_ERR_INVALID_SIZE")

BOOT, RUNNING = 0, 1


class Partitions:
    """Partitions are named by their number in the table; offsets are relative to theirs.

    Errors are those of ESP-IDF's esp_partition_* calls, and EIO where the flash has a fault.
    """

    def __init__(self, board: Board) -> None:
        self._flash = board.flash
        self._table = board.config.partitions

    def find(self, type: int, subtype: int, label: str | None) -> list[str]:
        """The labels of those that fit."""
        return [
            partition.label
            for partition in self._table
            if partition.type == type
            and subtype in (SUBTYPE_ANY, partition.subtype)
            and label in (None, partition.label)
        ]

    def get(self, which: int | str) -> int:
        """By label, or BOOT or RUNNING: the board runs its first application."""
        if isinstance(which, int) and which not in (BOOT, RUNNING):
            raise ValueError(f"no partition {which}")
        for number, partition in enumerate(self._table):
            if which == partition.label or (isinstance(which, int) and partition.type == TYPE_APP):
                return number
        raise OSError(errno.ENOENT)

    def info(self, number: int) -> list[Any]:
        p = self._table[number]
        return [p.type, p.subtype, p.offset, p.size, p.label, p.encrypted]

    def read(self, number: int, offset: int, n: int) -> bytes:
        return self._flash.read(self._place(number, offset, n).offset + offset, n)

    def program(self, number: int, offset: int, data: bytes) -> None:
        partition = self._place(number, offset, len(data))
        unit = self._flash.unit_bytes(partition.offset // self._flash.sector_bytes)
        _aligned(offset, len(data), unit)
        self._flash.program(partition.offset + offset, data)

    def erase(self, number: int, offset: int, n: int) -> None:
        """The sectors that a range covers, one after another."""
        partition = self._place(number, offset, n)
        sector_bytes = self._flash.sector_bytes
        _aligned(offset, n, sector_bytes)
        first = (partition.offset + offset) // sector_bytes
        for sector in range(first, first + n // sector_bytes):
            self._flash.erase(sector)

    def sync(self) -> None:
        self._flash.sync()

    def _place(self, number: int, offset: int, n: int) -> Partition:
        partition = self._table[number]
        if not 0 <= offset <= partition.size:
            raise OSError(*_INVALID_ARG)
        if offset + n > partition.size:
            raise OSError(*_INVALID_SIZE)
        return partition


def _aligned(offset: int, n: int, unit: int) -> None:
    if offset % unit:
        raise OSError(*_INVALID_ARG)
    if n % unit:
        raise OSError(*_INVALID_SIZE)


class Rp2Flash:
    """The storage at the end of an RP2's flash; offsets are relative to its beginning.

    A real board checks nothing here: what is wrong raises ValueError instead of damaging firmware or files.
    """

    def __init__(self, board: Board) -> None:
        self._flash = board.flash
        self._size = board.config.storage_bytes
        self._files_bytes = board.config.files_bytes
        self._start = board.config.flash_bytes - self._size

    def size(self) -> int:
        return self._size

    def read(self, offset: int, n: int) -> bytes:
        return self._flash.read(self._place(offset, n), n)

    def program(self, offset: int, data: bytes) -> None:
        """In whole pages of 256 bytes: what the pico-sdk's flash_range_program takes."""
        self._flash.program(self._place(offset, len(data), True), data)

    def erase(self, offset: int, n: int) -> None:
        place = self._place(offset, n, True)
        sector_bytes = self._flash.sector_bytes
        if place % sector_bytes or n % sector_bytes:
            raise ValueError(f"rp2.Flash: {n} bytes at {offset:#x} are not whole sectors")
        for sector in range(place // sector_bytes, (place + n) // sector_bytes):
            self._flash.erase(sector)

    def _place(self, offset: int, n: int, change: bool = False) -> int:
        if not 0 <= offset <= self._size - n:
            raise ValueError(f"rp2.Flash: {n} bytes at {offset:#x} are beyond {self._size:#x}")
        if change and offset < self._files_bytes:
            raise ValueError(f"rp2.Flash: the filesystem lies at {offset:#x}")
        return self._start + offset
