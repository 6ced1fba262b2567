"""A real littlefs on the simulated NOR flash, with the `os` and `open` that device code sees of it.

littlefs itself comes from PyPI's littlefs-python. Sizes are those that MicroPython mounts with
(extmod/vfs_lfs.c, extmod/vfs_lfsx.c): reads of 32 bytes, programs of 32 (ESP32) or 256 (RP2), a lookahead of 32,
caches of four times the larger, blocks of 4,096, which move after 100 erases.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from littlefs import LittleFS, UserContext, lfs
from littlefs.errors import LittleFSError

from host_sim.board.flash import Flash
from host_sim.board.flash_faults import PowerCut

BLOCK_BYTES = 4096
READ_BYTES = 32
LOOKAHEAD_BYTES = 32
BLOCK_CYCLES = 100
NAME_MAX = 255


class _OnFlash(UserContext):
    """littlefs's way to the flash. Exceptions do not pass through its C code: a cut is remembered."""

    def __init__(self, flash: Flash) -> None:
        self.flash = flash
        self.cut: PowerCut | None = None
        self.reads = 0

    def read(self, cfg: Any, block: int, off: int, size: int) -> bytearray:
        self.reads += 1
        return bytearray(self.flash.peek(block * BLOCK_BYTES + off, size))

    def prog(self, cfg: Any, block: int, off: int, data: bytes) -> int:
        return self._do(lambda: self.flash.program(block * BLOCK_BYTES + off, bytes(data)))

    def erase(self, cfg: Any, block: int) -> int:
        return self._do(lambda: self.flash.erase(block))

    def _do(self, operation: Callable[[], None]) -> int:
        if self.cut is None:
            try:
                operation()
                return 0
            except PowerCut as cut:
                self.cut = cut
            except OSError:
                pass
        return -errno.EIO

    def sync(self, cfg: Any) -> int:
        return 0


class LittlefsDisk:
    """littlefs over the whole of `flash`: formatted if `new`, else mounted as a board that boots does.

    Errors are `OSError` with littlefs's number, as on a board; after a power cut every call raises PowerCut:
    make another one of the same flash.
    """

    def __init__(self, flash: Flash, new: bool = False, prog_bytes: int = 32) -> None:
        self._context = _OnFlash(flash)
        self._fs = LittleFS(
            context=self._context,
            mount=False,
            block_size=BLOCK_BYTES,
            block_count=flash.size // BLOCK_BYTES,
            read_size=READ_BYTES,
            prog_size=prog_bytes,
            cache_size=4 * max(READ_BYTES, prog_bytes),
            lookahead_size=LOOKAHEAD_BYTES,
            block_cycles=BLOCK_CYCLES,
        )
        if new:
            self.call(self._fs.format)
        self.call(self._fs.mount)

    @property
    def reads(self) -> int:
        """Reads that littlefs made of the flash."""
        return self._context.reads

    @property
    def used_blocks(self) -> int:
        return self._fs.used_block_count

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        if self._context.cut is not None:
            raise PowerCut("the power is gone")
        try:
            result = function(*arguments)
        except LittleFSError as e:
            if self._context.cut is not None:
                raise self._context.cut from None
            raise OSError(-int(e.code), str(e)) from None
        if self._context.cut is not None:
            raise self._context.cut
        return result

    # what `os` has of it

    def listdir(self, path: str = "/") -> list[str]:
        names: list[str] = self.call(lambda: [entry.name for entry in self._fs.scandir(path)])
        return names

    def mkdir(self, path: str) -> None:
        self.call(lfs.mkdir, self._fs.fs, path)

    def remove(self, path: str) -> None:
        self.call(lfs.remove, self._fs.fs, path)

    def rename(self, old: str, new: str) -> None:
        self.call(lfs.rename, self._fs.fs, old, new)

    def stat(self, path: str) -> tuple[int, ...]:
        found = self.call(lfs.stat, self._fs.fs, path)
        if found.type == lfs.LFSStat.TYPE_DIR:  # its size is not set
            return (0x4000, 0, 0, 0, 0, 0, 0, 0, 0, 0)
        return (0x8000, 0, 0, 0, 0, 0, found.size, 0, 0, 0)

    def statvfs(self, path: str) -> tuple[int, ...]:
        blocks = self._fs.block_count
        free = blocks - self.used_blocks
        return (BLOCK_BYTES, BLOCK_BYTES, blocks, free, free, 0, 0, 0, 0, NAME_MAX)

    def open(self, path: str, mode: str = "r") -> LittlefsFile:
        return LittlefsFile(self, self._fs.fs, path, mode)

    @contextmanager
    def under(self, module: ModuleType) -> Iterator[LittlefsDisk]:
        """In a `with` block the module's `os` and `open` are this disk's."""
        names = module.__dict__
        before = {name: names[name] for name in ("os", "open") if name in names}
        names.update(os=self, open=self.open)
        try:
            yield self
        finally:
            del names["os"], names["open"]
            names.update(before)


class LittlefsFile:
    """An open binary file, with no buffer but littlefs's own, as on a board."""

    def __init__(self, disk: LittlefsDisk, fs: Any, path: str, mode: str) -> None:
        self._disk = disk
        self._fs = fs
        self._handle = disk.call(lfs.file_open, fs, path, mode.replace("b", ""))

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return self._disk.call(function, self._fs, self._handle, *arguments)

    def write(self, data: bytes | bytearray | memoryview) -> int:
        return int(self._call(lfs.file_write, bytes(data)))

    def readinto(self, buf: bytearray | memoryview) -> int:
        data = self._call(lfs.file_read, len(buf))
        buf[: len(data)] = data
        return len(data)

    def read(self, n: int = -1) -> bytes:
        return bytes(self._call(lfs.file_read, (1 << 20) if n < 0 else n))

    def seek(self, offset: int, whence: int = 0) -> int:
        self._call(lfs.file_seek, offset, whence)
        return int(self._call(lfs.file_tell))

    def flush(self) -> None:
        self._call(lfs.file_sync)

    def close(self) -> None:
        self._call(lfs.file_close)

    def __enter__(self) -> LittlefsFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
