"""The board's filesystem: what was copied to it from the host, and what the firmware wrote on top.

Files from the host are read when they are first opened and never written back.
"""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path, PurePosixPath

FILES_MAX = 4096
FILE_MAX_BYTES = 8 << 20

DIRECTORY = 0x4000
REGULAR = 0x8000


class BoardFiles:
    """Paths are absolute or relative to the root. Errors are `OSError` with the number a board gives."""

    def __init__(self) -> None:
        self._files: dict[str, bytes | Path] = {}
        self._directories: set[str] = {"/"}

    def copy(self, source: Path, target: str) -> None:
        """Copy a file or a tree from the host, as `mpremote cp -r` does; caches and hidden files stay."""
        if source.is_dir():
            for child in sorted(source.iterdir()):
                if child.name != "__pycache__" and not child.name.startswith("."):
                    self.copy(child, f"{target.rstrip('/')}/{child.name}")
        else:
            self._put(self.normal(target), source)

    def _put(self, path: str, content: bytes | Path) -> None:
        if path not in self._files and len(self._files) >= FILES_MAX:
            raise OSError(errno.ENOSPC, path)
        for parent in list(PurePosixPath(path).parents):
            self._directories.add(str(parent))
        self._files[path] = content

    @staticmethod
    def normal(path: str) -> str:
        parts: list[str] = []
        for part in path.split("/"):
            if part == "..":
                parts = parts[:-1]
            elif part not in ("", "."):
                parts.append(part)
        return "/" + "/".join(parts)

    def read(self, path: str) -> bytes:
        content = self._files.get(self.normal(path))
        if content is None:
            raise OSError(errno.ENOENT, path)
        return content if isinstance(content, bytes) else content.read_bytes()

    def host_path(self, path: str) -> Path | None:
        """The host's file behind an unchanged one."""
        content = self._files.get(self.normal(path))
        return content if isinstance(content, Path) else None

    def write(self, path: str, data: bytes) -> None:
        path = self.normal(path)
        if len(data) > FILE_MAX_BYTES:
            raise OSError(errno.ENOSPC, path)
        if path in self._directories:
            raise OSError(errno.EISDIR, path)
        if str(PurePosixPath(path).parent) not in self._directories:
            raise OSError(errno.ENOENT, path)
        self._put(path, data)

    def stat(self, path: str) -> tuple[int, int]:
        """(type, size)."""
        path = self.normal(path)
        if path in self._directories:
            return DIRECTORY, 0
        content = self._files.get(path)
        if content is None:
            raise OSError(errno.ENOENT, path)
        return REGULAR, len(content) if isinstance(content, bytes) else content.stat().st_size

    def listdir(self, path: str) -> list[tuple[str, int, int]]:
        """(name, type, size) of each entry, in order."""
        path = self.normal(path)
        if path not in self._directories:
            raise OSError(errno.ENOENT, path)
        paths = sorted([*self._files, *(self._directories - {"/"})])
        entries = [p for p in paths if str(PurePosixPath(p).parent) == path]
        return [(PurePosixPath(p).name, *self.stat(p)) for p in entries]

    def digest(self) -> str:
        """Of all paths and contents."""
        digest = hashlib.sha256()
        for path in sorted(self._files):
            digest.update(path.encode() + b"\0" + self.read(path) + b"\0")
        return digest.hexdigest()

    def mkdir(self, path: str) -> None:
        path = self.normal(path)
        if path in self._directories or path in self._files:
            raise OSError(errno.EEXIST, path)
        if str(PurePosixPath(path).parent) not in self._directories:
            raise OSError(errno.ENOENT, path)
        self._directories.add(path)

    def remove(self, path: str) -> None:
        path = self.normal(path)
        if path in self._directories:
            if self.listdir(path):
                raise OSError(errno.EACCES, path)
            self._directories.discard(path)
        elif self._files.pop(path, None) is None:
            raise OSError(errno.ENOENT, path)

    def rename(self, old: str, new: str) -> None:
        content = self._files.pop(self.normal(old), None)
        if content is None:
            raise OSError(errno.ENOENT, old)
        self._put(self.normal(new), content)
