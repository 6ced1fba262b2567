"""The board's filesystem: what was copied to it from the host, and what the firmware wrote on top.

Files from the host are read when they are first opened and never written back. It behaves as the littlefs that
MicroPython mounts: a change is there as a whole or not at all, and a directory lists its entries in order.
"""

from __future__ import annotations

import errno
import functools
import hashlib
from pathlib import Path, PurePosixPath
from typing import Final

FILES_MAX = 4096
FILE_MAX_BYTES = 8 << 20

DIRECTORY = 0x4000
REGULAR = 0x8000

BLOCK_BYTES: Final = 4096
BLOCKS: Final = 512  # the 2 MiB of MicroPython's partition "vfs" (ports/esp32/partitions-4MiB.csv)
NAME_MAX: Final = 255
# Up to here a file lies in its directory's blocks: the cache of extmod/vfs_lfsx.c, four times its program size.
INLINE_MAX: Final = 128
_ROOT_BLOCKS: Final = 2  # the superblock's pair; each directory has a pair of its own

# As `flash.py` has them; littlefs programs its cache of 128 bytes at a time, and a page holds two of those.
PROGRAM_US: Final = 1000
ERASE_US: Final = 45_000
# Commits of about 64 bytes fill a metadata block; then it is rewritten into an erased one.
COMMITS_PER_ERASE: Final = 60


class BoardFiles:
    """Paths are absolute or relative to the root. Errors are `OSError` with the number a board gives.

    `operations` counts the changes that the firmware made; `cut_at` plans a power cut during one of them.
    """

    def __init__(self, blocks: int = BLOCKS) -> None:
        self.blocks = blocks
        self.operations = 0
        self._cut: tuple[int, bool] | None = None
        self._files: dict[str, bytes | Path] = {}
        self._blocks: dict[str, int] = {}  # that each file takes, since it was put there
        self._blocks_total = 0
        self._directories: set[str] = {"/"}

    # from the host

    def copy(self, source: Path, target: str) -> None:
        """Copy a file or a tree from the host, as `mpremote cp -r` does; caches and hidden files stay."""
        if source.is_dir():
            for child in sorted(source.iterdir()):
                if child.name != "__pycache__" and not child.name.startswith("."):
                    self.copy(child, f"{target.rstrip('/')}/{child.name}")
        else:
            path = self.normal(target)
            self._directories.update(map(str, PurePosixPath(path).parents))
            self._put(path, source)

    def _put(self, path: str, content: bytes | Path) -> None:
        if path in self._files:
            self._take(path)
        elif len(self._files) >= FILES_MAX:
            raise OSError(errno.ENOSPC, path)
        self._files[path] = content
        self._blocks[path] = _blocks(self._size(content))
        self._blocks_total += self._blocks[path]

    def _take(self, path: str) -> bytes | Path:
        """Take a file out: its content."""
        self._blocks_total -= self._blocks.pop(path)
        return self._files.pop(path)

    @staticmethod
    @functools.lru_cache(maxsize=FILES_MAX)
    def normal(path: str) -> str:
        parts: list[str] = []
        for part in path.split("/"):
            if part == "..":
                parts = parts[:-1]
            elif part not in ("", "."):
                parts.append(part)
        return "/" + "/".join(parts)

    def host_path(self, path: str) -> Path | None:
        """The host's file behind an unchanged one."""
        content = self._files.get(self.normal(path))
        return content if isinstance(content, Path) else None

    def digest(self) -> str:
        """Of all paths and contents."""
        digest = hashlib.sha256()
        for path in sorted(self._files):
            digest.update(path.encode() + b"\0" + self.read(path) + b"\0")
        return digest.hexdigest()

    # reading

    def read(self, path: str) -> bytes:
        content = self._find(self.normal(path))
        return content if isinstance(content, bytes) else content.read_bytes()

    def _find(self, path: str) -> bytes | Path:
        content = self._files.get(path)
        if content is None:
            self._check_parent(path)
            raise OSError(errno.EISDIR if path in self._directories else errno.ENOENT, path)
        return content

    def stat(self, path: str) -> tuple[int, int]:
        """(type, size)."""
        path = self.normal(path)
        if path in self._directories:
            return DIRECTORY, 0
        content = self._find(path)
        return REGULAR, self._size(content)

    @staticmethod
    def _size(content: bytes | Path) -> int:
        return len(content) if isinstance(content, bytes) else content.stat().st_size

    def listdir(self, path: str) -> list[tuple[str, int, int]]:
        """(name, type, size) of each entry, in order."""
        path = self.normal(path)
        if path not in self._directories:
            self._find(path)
            raise OSError(errno.ENOTDIR, path)
        paths = sorted([*self._files, *(self._directories - {"/"})])
        entries = [p for p in paths if str(PurePosixPath(p).parent) == path]
        return [(PurePosixPath(p).name, *self.stat(p)) for p in entries]

    def statvfs(self) -> tuple[int, int, int]:
        """(bytes of a block, blocks, free blocks)."""
        return BLOCK_BYTES, self.blocks, max(0, self.blocks - self._used())

    def _used(self) -> int:
        return len(self._directories) * _ROOT_BLOCKS + self._blocks_total

    # changes

    def create(self, path: str, exclusive: bool = False) -> None:
        """An empty file where there is none; with `exclusive` EEXIST where there is one."""
        path = self.normal(path)
        if path in self._files:
            if exclusive:
                raise OSError(errno.EEXIST, path)
        else:
            self.write(path, b"")

    def write(self, path: str, data: bytes) -> None:
        """Replace the whole content; the old one keeps its blocks until that is done."""
        path = self.normal(path)
        if path in self._directories:
            raise OSError(errno.EISDIR, path)
        self._check_parent(path)
        if len(data) > FILE_MAX_BYTES or self._used() + _blocks(len(data)) > self.blocks:
            raise OSError(errno.ENOSPC, path)
        self._put(path, data)

    def _check_parent(self, path: str) -> None:
        parent = path.rpartition("/")[0] or "/"
        if parent not in self._directories:
            is_file = any(str(p) in self._files for p in PurePosixPath(path).parents)
            raise OSError(errno.ENOTDIR if is_file else errno.ENOENT, path)

    def mkdir(self, path: str) -> None:
        path = self.normal(path)
        if path in self._directories or path in self._files:
            raise OSError(errno.EEXIST, path)
        self._check_parent(path)
        if self._used() + _ROOT_BLOCKS > self.blocks:
            raise OSError(errno.ENOSPC, path)
        self._directories.add(path)

    def remove(self, path: str) -> None:
        """A file, or a directory that is empty."""
        path = self.normal(path)
        if path in self._directories:
            if self.listdir(path):
                raise OSError(errno.ENOTEMPTY, path)
            if path == "/":
                raise OSError(errno.EINVAL, path)
            self._directories.discard(path)
        else:
            self._find(path)
            self._take(path)

    def rename(self, old: str, new: str) -> None:
        """A file or a directory with all that is in it; what was called `new`, of the same kind, goes."""
        old, new = self.normal(old), self.normal(new)
        self._check_rename(old, new)
        inside = old + "/"
        for path in [p for p in self._directories if p == old or p.startswith(inside)]:
            self._directories.discard(path)
            self._directories.add(new + path[len(old) :])
        for path in [p for p in self._files if p == old or p.startswith(inside)]:
            self._put(new + path[len(old) :], self._take(path))

    def _check_rename(self, old: str, new: str) -> None:
        kind, _ = self.stat(old)
        self._check_parent(new)
        if old == "/" or new.startswith(old + "/"):
            raise OSError(errno.EINVAL, new)
        if new in self._directories:
            if kind == REGULAR:
                raise OSError(errno.EISDIR, new)
            if new != old and self.listdir(new):
                raise OSError(errno.ENOTEMPTY, new)
        elif kind == DIRECTORY and new in self._files:
            raise OSError(errno.ENOTDIR, new)

    # what changes cost

    def cut_at(self, operation: int, done: bool) -> None:
        """Cut the power during that change, counted as `operations` does: before or after it is `done`."""
        self._cut = (operation, done)

    def begin(self) -> bool | None:
        """Count a change of the firmware's; None, or the planned cut that it meets, whether it shall be done."""
        self.operations += 1
        if self._cut is None or self._cut[0] != self.operations:
            return None
        done = self._cut[1]
        self._cut = None
        return done

    def write_us(self, path: str, data: bytes) -> int:
        """How long littlefs takes to write `data` in place of what is there: blocks that stay need no work."""
        before = self.read(path) if self.normal(path) in self._files else b""
        same = 0
        while same + BLOCK_BYTES <= len(data) and data[same:][:BLOCK_BYTES] == before[same:][:BLOCK_BYTES]:
            same += BLOCK_BYTES
        n = len(data) - same if len(data) > INLINE_MAX else 0
        programs = (n + INLINE_MAX - 1) // INLINE_MAX
        return _blocks(n, 0) * ERASE_US + programs * PROGRAM_US // 2 + self.commit_us()

    def commit_us(self) -> int:
        """A commit to a directory."""
        return PROGRAM_US + (ERASE_US if self.operations % COMMITS_PER_ERASE == COMMITS_PER_ERASE - 1 else 0)


def _blocks(n: int, inline: int = INLINE_MAX) -> int:
    """What a file of `n` bytes takes."""
    return 0 if n <= inline else (n + BLOCK_BYTES - 1) // BLOCK_BYTES
