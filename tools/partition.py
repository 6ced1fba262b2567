"""Give an ESP32 on MicroPython a flash partition "plexus" for the ring, taken from the end of its "vfs".

    python tools/partition.py --size 256K --port /dev/ttyUSB0
    python tools/partition.py --size 256K --image flash.bin [--out new.bin] [--at 0x1000]

With --port the board is read and written through the program `esptool` (5.0 or later, from PyPI), which nothing
else here needs. ALL FILES ON THE BOARD ARE LOST: MicroPython makes a new filesystem at the next boot, and they must be
copied again. An image may be all of a board's flash or a firmware file; --at tells at which address it is flashed (a
plain ESP32's firmware: 0x1000). Exit status 1 when something does not fit, and then nothing was written; what fails
half-way says how to put the old table back.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

# ESP-IDF, "Partition Tables": entries of 32 bytes, at most 0xC00 bytes of them at 0x8000, ended by one that begins
# with 0xEBEB and holds the MD5 of those before it, or by erased flash. A signature would follow at 0xC00.
TABLE_AT: Final = 0x8000
TABLE_BYTES: Final = 0xC00
SECTOR_BYTES: Final = 0x1000
ENTRY: Final = struct.Struct("<HBBII16sI")
ENTRY_MAGIC: Final = 0x50AA
MD5_ENTRY: Final = b"\xeb\xeb" + b"\xff" * 14
ERASED_ENTRY: Final = b"\xff" * ENTRY.size
TYPE_DATA: Final = 1
FLAG_ENCRYPTED: Final = 1

LABEL: Final = "plexus"
SUBTYPE: Final = 0x40  # the first that ESP-IDF leaves to applications
FILES_LABEL: Final = "vfs"
FILES_MIN: Final = 128 << 10  # what firmware and library need, with room for the user's own
RING_MIN: Final = 2 * SECTOR_BYTES
# MicroPython's boot makes a new filesystem only where the first block is erased, else it stops with "The filesystem
# appears to be corrupted" (ports/esp32/modules/inisetup.py); littlefs has its superblock in the first two.
SUPERBLOCK_BYTES: Final = 2 * SECTOR_BYTES
ESPTOOL_TIMEOUT_S: Final = 300

LOST = (
    "ALL FILES ON THE BOARD ARE LOST: the filesystem is made anew at the next boot.\n"
    "Copy boot.py, main.py, plexus_board.py, plexus.json and lib/ again afterwards."
)


class Refused(Exception):
    """Why nothing was changed."""


@dataclass(frozen=True)
class Partition:
    """One entry; offset and size in bytes."""

    label: str
    type: int
    subtype: int
    offset: int
    size: int
    flags: int = 0

    def packed(self) -> bytes:
        label = self.label.encode()
        return ENTRY.pack(ENTRY_MAGIC, self.type, self.subtype, self.offset, self.size, label, self.flags)


@dataclass(frozen=True)
class Table:
    """Partitions in the order of their entries, and whether an MD5 follows them."""

    partitions: tuple[Partition, ...]
    has_md5: bool = True

    def packed(self) -> bytes:
        """All of the table's sector."""
        entries = b"".join(partition.packed() for partition in self.partitions)
        if self.has_md5:
            entries += MD5_ENTRY + hashlib.md5(entries).digest()
        if len(entries) > TABLE_BYTES:
            raise Refused(f"the table is full: {len(self.partitions) - 1} partitions")
        return entries + b"\xff" * (SECTOR_BYTES - len(entries))


def parse_table(sector: bytes) -> Table:
    """The table in its sector. Refused when it is not one, its MD5 is wrong, or it is signed."""
    if len(sector) < SECTOR_BYTES:
        raise Refused(f"no partition table: the image ends before {TABLE_AT + SECTOR_BYTES:#x}")
    if sector[TABLE_BYTES:].strip(b"\xff"):
        raise Refused("the partition table is signed (secure boot): it cannot be changed here")
    partitions: list[Partition] = []
    for at in range(0, TABLE_BYTES, ENTRY.size):
        entry = sector[at : at + ENTRY.size]
        if entry.startswith(MD5_ENTRY):
            if entry[len(MD5_ENTRY) :] != hashlib.md5(sector[:at]).digest():
                raise Refused("the partition table's MD5 is wrong: it is damaged")
            return Table(_checked(partitions))
        if entry == ERASED_ENTRY:
            return Table(_checked(partitions), has_md5=False)
        partitions.append(_parse_entry(entry, at))
    return Table(_checked(partitions), has_md5=False)


def _parse_entry(entry: bytes, at: int) -> Partition:
    magic, kind, subtype, offset, size, label, flags = ENTRY.unpack(entry)
    if magic != ENTRY_MAGIC:
        where = f"{TABLE_AT + at:#x}"
        raise Refused(f"no partition table at {where}: another layout, or the flash is encrypted")
    try:
        return Partition(label.rstrip(b"\0").decode(), kind, subtype, offset, size, flags)
    except UnicodeDecodeError:
        raise Refused(f"the label {label!r} is no text") from None


def _checked(partitions: list[Partition]) -> tuple[Partition, ...]:
    if not partitions:
        raise Refused(f"no partition table at {TABLE_AT:#x}: it is empty")
    end = TABLE_AT + SECTOR_BYTES
    for partition in sorted(partitions, key=lambda p: p.offset):
        if partition.offset < end:
            raise Refused(f"the partition {partition.label!r} overlaps what lies before it")
        end = partition.offset + partition.size
    return tuple(partitions)


def with_ring(table: Table, size: int) -> tuple[Table, Partition, Partition]:
    """`table` with `size` bytes of the filesystem's end as the ring's partition; the new table and those two."""
    if size % SECTOR_BYTES or size < RING_MIN:
        raise Refused(f"--size must be a multiple of {SECTOR_BYTES}, at least {RING_MIN}, not {size}")
    labels = [partition.label for partition in table.partitions]
    if LABEL in labels:
        raise Refused(f"there is a partition {LABEL!r} already")
    if FILES_LABEL not in labels:
        raise Refused(
            f"no partition {FILES_LABEL!r}, only {', '.join(labels)}: not MicroPython's, or used otherwise"
        )
    files = table.partitions[labels.index(FILES_LABEL)]
    if files.type != TYPE_DATA or files.flags & FLAG_ENCRYPTED:
        raise Refused(f"the partition {FILES_LABEL!r} is not plain data, or encrypted")
    if files.offset % SECTOR_BYTES or files.size % SECTOR_BYTES:
        raise Refused(f"the partition {FILES_LABEL!r} is not aligned to {SECTOR_BYTES:#x}")
    if files.size - size < FILES_MIN:
        most = max(0, files.size - FILES_MIN) // 1024
        raise Refused(f"not enough room: {FILES_LABEL!r} has {files.size // 1024}K, of which {most}K can go")
    smaller = replace(files, size=files.size - size)
    ring = Partition(LABEL, TYPE_DATA, SUBTYPE, smaller.offset + smaller.size, size)
    partitions: list[Partition] = []
    for partition in table.partitions:
        partitions += [smaller, ring] if partition is files else [partition]
    return replace(table, partitions=tuple(partitions)), smaller, ring


# where the flash is


def change_image(image: bytes, at: int, size: int) -> tuple[bytes, Table]:
    """The image, flashed at address `at`, with the new table; of files and ring, what it reaches is erased."""
    table_at = TABLE_AT - at
    if table_at < 0:
        raise Refused(f"no partition table: the image begins behind it, at {at:#x}")
    table, files, ring = with_ring(parse_table(image[table_at : table_at + SECTOR_BYTES]), size)
    changed = bytearray(image)
    changed[table_at : table_at + SECTOR_BYTES] = table.packed()
    for start, length in ((files.offset, SUPERBLOCK_BYTES), (ring.offset, ring.size)):
        begin, end = (min(len(image), place - at) for place in (start, start + length))
        changed[begin:end] = b"\xff" * (end - begin)
    return bytes(changed), table


Run = Callable[..., None]


def esptool(port: str) -> Run:
    """Calls the program `esptool` for the board at `port`. Refused when it is missing or fails."""
    program = shutil.which("esptool")
    if program is None:
        raise Refused('the program esptool is missing: pip install "esptool>=5"')

    def run(*arguments: str, after: str = "no-reset") -> None:
        command = [program, "--port", port, "--after", after, *arguments]
        try:
            done = subprocess.run(command, timeout=ESPTOOL_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise Refused(f"esptool took more than {ESPTOOL_TIMEOUT_S} s") from None
        if done.returncode:
            raise Refused(f"{' '.join(command)} failed with status {done.returncode}")

    return run


def read_table(run: Run, path: Path) -> bytes:
    run("read-flash", hex(TABLE_AT), hex(SECTOR_BYTES), str(path))
    return path.read_bytes()


def change_board(run: Run, size: int, folder: Path, backup: Path, agree: Callable[[], None]) -> Table:
    """Read, check, ask, erase, write, read back. The old table is in `backup` before anything is changed.

    Erasing comes first: a board that stops after it still has its old table, and makes a new filesystem.
    """
    old = read_table(run, folder / "old.bin")
    table, files, ring = with_ring(parse_table(old), size)
    show(table)
    if backup.exists():
        raise Refused(f"{backup} exists: move it away, or name another with --backup")
    agree()
    backup.write_bytes(old)
    (folder / "new.bin").write_bytes(table.packed())
    try:
        run("erase-region", hex(ring.offset), hex(ring.size))
        run("erase-region", hex(files.offset), hex(SUPERBLOCK_BYTES))
        run("write-flash", hex(TABLE_AT), str(folder / "new.bin"))
        if read_table(run, folder / "check.bin") != table.packed():
            raise Refused("what was read back is not what was written")
        run("read-mac", after="hard-reset")
    except Refused as e:
        raise Refused(f"{e}\nthe old table: esptool write-flash {TABLE_AT:#x} {backup}") from None
    return table


def show(table: Table) -> None:
    for p in table.partitions:
        print(f"{p.label:16} type {p.type} subtype {p.subtype:#04x} {p.offset:#9x} {p.size // 1024:6}K")


# the command


def parse_size(text: str) -> int:
    """Bytes: 256K, 1M, 262144 or 0x40000."""
    units = {"K": 1 << 10, "M": 1 << 20}
    unit = units.get(text[-1:].upper(), 1)
    try:
        return int(text[:-1] if unit > 1 else text, 0) * unit
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 256K") from None


def ask(yes: bool) -> None:
    print(f"\n{LOST}\n", flush=True)
    if yes:
        return
    if not sys.stdin.isatty():
        raise Refused("not confirmed: nobody to ask; --yes agrees")
    if input("Go on? Type yes: ").strip() != "yes":
        raise Refused("not confirmed")


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Give an ESP32 a flash partition "plexus" from the end of its "vfs".', epilog=LOST
    )
    parser.add_argument("--size", type=parse_size, default="256K", help="of the new partition (256K)")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--port", help="serial port of the board; needs esptool 5")
    where.add_argument("--image", type=Path, help="image of the flash, or a firmware file")
    parser.add_argument("--out", type=Path, help="where the new image goes, instead of over the old one")
    parser.add_argument("--at", type=parse_size, default=0, help="address that the image is flashed at (0)")
    parser.add_argument("--yes", action="store_true", help="do not ask: the board's files may go")
    parser.add_argument(
        "--backup", type=Path, default=Path("partition-table.bak"), help="where the board's old table goes"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = arguments(argv)
    try:
        if args.port:
            with tempfile.TemporaryDirectory(prefix="partition-") as folder:
                run = esptool(args.port)
                change_board(run, args.size, Path(folder), args.backup, lambda: ask(args.yes))
        else:
            image, table = change_image(args.image.read_bytes(), args.at, args.size)
            (args.out or args.image).write_bytes(image)
            show(table)
            print(f"\n{LOST}")
            if args.at + len(image) < max(p.offset + p.size for p in table.partitions if p.label == LABEL):
                print("The image ends before them: esptool erase-flash first, on a board that was in use.")
    except (Refused, OSError) as e:
        print(f"partition.py: {e}", file=sys.stderr)
        return 1
    print(f'done: RING = "{LABEL}" in the board file uses it')
    return 0


if __name__ == "__main__":
    sys.exit(main())
