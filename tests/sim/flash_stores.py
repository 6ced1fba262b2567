"""What a ring may lie on, with snapshots and power cuts: NOR flash, files in memory, files on littlefs, RAM."""

from __future__ import annotations

import errno
import os
import random
from types import ModuleType, SimpleNamespace
from typing import Any, Protocol

from plexus_mp import fileblocks
from plexus_mp.blocks import RamBlocks
from plexus_mp.fileblocks import FileBlocks

from host_sim.board.flash import Flash, PowerCut
from tests.sim.littlefs_disk import BLOCK_BYTES, LittlefsDisk

FOLDER = "/ring"
_LITTLEFS_BLOCKS = 24


class Store(Protocol):
    """`open` is a boot: the block device of a ring on it."""

    align: int
    noise: bool
    operations: int

    def open(self) -> Any: ...
    def snapshot(self) -> Any: ...
    def restore(self, snapshot: Any) -> None: ...
    def cut_at(self, operation: int, program: str, erase: str) -> None: ...
    def clear_faults(self) -> None: ...


class Device:
    """The flash as the block device that a ring wants."""

    def __init__(self, flash: Flash) -> None:
        self._flash = flash

    def readblocks(self, n: int, buf: Any, off: int = 0) -> None:
        buf[:] = self._flash.read(n * self._flash.sector_bytes + off, len(buf))

    def writeblocks(self, n: int, buf: Any, off: int = 0) -> None:
        self._flash.program(n * self._flash.sector_bytes + off, bytes(buf))

    def ioctl(self, op: int, arg: int) -> int:
        if op == 4:
            return self._flash.size // self._flash.sector_bytes
        if op == 5:
            return self._flash.sector_bytes
        if op == 6:
            self._flash.erase(arg)
        return 0


class OnFlash(Flash):
    """A partition of NOR flash."""

    align = 1
    noise = False

    def open(self) -> Any:
        return Device(self)


class OnLittlefs:
    """Files on a real littlefs."""

    align = 1
    noise = False

    def __init__(self, count: int, sector_bytes: int) -> None:
        self._size, self._sector_bytes = count * sector_bytes, sector_bytes
        blocks = max(_LITTLEFS_BLOCKS, 3 * count * -(-sector_bytes // BLOCK_BYTES))
        self.flash = Flash(blocks * BLOCK_BYTES, rng=random.Random(7))
        LittlefsDisk(self.flash, new=True)
        self.snapshot, self.restore = self.flash.snapshot, self.flash.restore
        self.cut_at, self.clear_faults = self.flash.cut_at, self.flash.clear_faults

    @property
    def operations(self) -> int:
        return self.flash.operations

    def open(self) -> Any:
        disk = LittlefsDisk(self.flash)
        fileblocks.__dict__.update(os=disk, open=disk.open)
        return FileBlocks(FOLDER, self._size, self._sector_bytes)


class InMemory:
    """Files that change all at once when they are closed, as littlefs has it: a cheap model of it.

    An operation is a close or a removal; a cut happens before it ("none", "prefix") or after it.
    """

    align = 1
    noise = False

    def __init__(self, count: int, sector_bytes: int) -> None:
        self._size, self._sector_bytes = count * sector_bytes, sector_bytes
        self._files: dict[str, bytes] | None = None
        self.operations = 0
        self.clear_faults()

    def open(self) -> Any:
        names = SimpleNamespace(listdir=self._listdir, mkdir=self._mkdir, remove=self._remove)
        fileblocks.__dict__.update(os=names, open=lambda path, mode: _MemoryFile(self, path, mode))
        return FileBlocks(FOLDER, self._size, self._sector_bytes)

    def snapshot(self) -> Any:
        return None if self._files is None else dict(self._files), self.operations

    def restore(self, snapshot: Any) -> None:
        files, self.operations = snapshot
        self._files = None if files is None else dict(files)
        self._cut = -1

    def cut_at(self, operation: int, program: str, erase: str) -> None:
        self._cut = operation
        self._after = program in ("bits", "all")

    def clear_faults(self) -> None:
        self._cut, self._after = -1, False

    def _listdir(self, folder: str) -> list[str]:
        if self._files is None:
            raise OSError(errno.ENOENT)
        return [os.path.basename(path) for path in self._files]

    def _mkdir(self, folder: str) -> None:
        if self._files is not None:
            raise OSError(errno.EEXIST)
        self._files = {}

    def _remove(self, path: str) -> None:
        if path not in self.files:
            raise OSError(errno.ENOENT)
        self.change(path, None)

    @property
    def files(self) -> dict[str, bytes]:
        assert self._files is not None
        return self._files

    def change(self, path: str, content: bytes | None) -> None:
        self.operations += 1
        struck = self.operations == self._cut
        if not struck or self._after:
            if content is None:
                del self.files[path]
            else:
                self.files[path] = content
        if struck:
            raise PowerCut("power cut")


class _MemoryFile:
    def __init__(self, store: InMemory, path: str, mode: str) -> None:
        self._store, self._path, self._mode = store, path, mode
        if mode == "rb" and path not in store.files:
            raise OSError(errno.ENOENT)
        self._content = b"" if mode == "wb" else store.files.get(path, b"")
        self._at = 0

    def write(self, data: Any) -> int:
        self._content += bytes(data)
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (len(self._content) if whence == 2 else 0)
        return self._at

    def readinto(self, buf: Any) -> int:
        data = self._content[self._at : self._at + len(buf)]
        buf[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if self._mode != "rb":
            self._store.change(self._path, self._content)


class InRam:
    """What does not survive: a history without a cut."""

    align = 1
    noise = False
    operations = 0

    def __init__(self, count: int, sector_bytes: int) -> None:
        self._blocks = RamBlocks(count * sector_bytes, sector_bytes)

    def open(self) -> Any:
        return self._blocks


def make_store(kind: str, count: int, sector_bytes: int, align: int, encrypted: bool) -> Any:
    if kind == "nor":
        store = OnFlash(count * sector_bytes, sector_bytes, align, encrypted, random.Random(5))
        store.align, store.noise = align, encrypted
        return store
    return {"memory": InMemory, "littlefs": OnLittlefs, "ram": InRam}[kind](count, sector_bytes)


def original_names(module: ModuleType = fileblocks) -> Any:
    """Call it to give `fileblocks` back the `os` and `open` that it has now."""
    before = {name: module.__dict__.get(name) for name in ("os", "open")}

    def restore() -> None:
        for name, value in before.items():
            if value is None:
                module.__dict__.pop(name, None)
            else:
                module.__dict__[name] = value

    return restore
