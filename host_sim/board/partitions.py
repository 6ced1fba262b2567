"""Partition tables: what an ESP32 finds where in its flash."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from .flash_cells import SECTOR_BYTES

TYPE_APP: Final = 0
TYPE_DATA: Final = 1
SUBTYPE_ANY: Final = 0xFF
# ESP-IDF, "Partition Tables": applications begin at multiples of 64 KiB, a label has 16 bytes, a table fits
# 0xC00 bytes of entries of 32, and what lies below the end of the default table's sector is not for entries.
APP_ALIGNMENT: Final = 0x10000
LABEL_MAX: Final = 16
PARTITIONS_MAX: Final = 95
FIRST_OFFSET: Final = 0x9000


@dataclass(frozen=True)
class Partition:
    """One entry; offset and size in bytes."""

    label: str
    type: int
    subtype: int
    offset: int
    size: int
    encrypted: bool = False

    @property
    def end(self) -> int:
        return self.offset + self.size


# MicroPython, ports/esp32/partitions-4MiB.csv
DEFAULT_PARTITIONS: Final = (
    Partition("nvs", TYPE_DATA, 0x02, 0x9000, 0x6000),
    Partition("phy_init", TYPE_DATA, 0x01, 0xF000, 0x1000),
    Partition("factory", TYPE_APP, 0x00, 0x10000, 0x1F0000),
    Partition("vfs", TYPE_DATA, 0x81, 0x200000, 0x200000),
)


def parse_partitions(entries: Any, flash_bytes: int) -> tuple[Partition, ...]:
    """A board file's PARTITIONS: (label, type, subtype, offset, size, encrypted) each.

    ValueError names the entry that is wrong: of other types, not aligned, beyond the flash, over another.
    """
    if not isinstance(entries, (list, tuple)) or not entries:
        raise ValueError("PARTITIONS must be a list of (label, type, subtype, offset, size, encrypted)")
    if len(entries) > PARTITIONS_MAX:
        raise ValueError(f"PARTITIONS has {len(entries)} entries, a table holds {PARTITIONS_MAX}")
    found: list[Partition] = []
    for number, entry in enumerate(entries):
        try:
            found.append(_partition(entry, found, flash_bytes))
        except ValueError as e:
            raise ValueError(f"PARTITIONS[{number}] {entry!r}: {e}") from None
    return tuple(sorted(found, key=lambda partition: partition.offset))


def _partition(entry: Any, others: list[Partition], flash_bytes: int) -> Partition:
    kinds = (str, int, int, int, int, bool)
    if not isinstance(entry, (list, tuple)) or len(entry) != len(kinds):
        raise ValueError("must be (label, type, subtype, offset, size, encrypted)")
    for value, kind in zip(entry, kinds, strict=True):
        if type(value) is not kind:
            raise ValueError(f"{value!r} must be {kind.__name__}")
    partition = Partition(*entry)
    _check_names(partition, others)
    _check_place(partition, others, flash_bytes)
    return partition


def _check_names(partition: Partition, others: list[Partition]) -> None:
    if not 0 < len(partition.label.encode()) <= LABEL_MAX:
        raise ValueError(f"a label has 1 to {LABEL_MAX} bytes")
    if partition.label in [other.label for other in others]:
        raise ValueError("the label is taken")
    if partition.type not in (TYPE_APP, TYPE_DATA):
        raise ValueError("the type must be 0 (application) or 1 (data)")
    if not 0 <= partition.subtype < SUBTYPE_ANY:
        raise ValueError(f"the subtype must be 0 to {SUBTYPE_ANY - 1}")


def _check_place(partition: Partition, others: list[Partition], flash_bytes: int) -> None:
    alignment = APP_ALIGNMENT if partition.type == TYPE_APP else SECTOR_BYTES
    if partition.offset % alignment:
        raise ValueError(f"the offset must be a multiple of {alignment:#x}")
    if partition.size <= 0 or partition.size % SECTOR_BYTES:
        raise ValueError(f"the size must be a multiple of {SECTOR_BYTES:#x}, above 0")
    if partition.offset < FIRST_OFFSET:
        raise ValueError(f"bootloader and partition table lie below {FIRST_OFFSET:#x}")
    if partition.end > flash_bytes:
        raise ValueError(f"ends at {partition.end:#x}, the flash at {flash_bytes:#x}")
    for other in others:
        if partition.offset < other.end and other.offset < partition.end:
            raise ValueError(f"overlaps {other.label!r}")
