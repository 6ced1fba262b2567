"""The board's storage between runs: its files as files of a folder, its flash as an image beside them.

STATE/files/...    what `mpremote ls` shows
STATE/flash.bin    partitions with readings in them
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from pathlib import Path

from ..board.files import BoardFiles
from ..board.flash import Flash

_PARTIAL = "partial"  # a file that is being written


class StateFolder:
    """`folder`, made when it is not there, for one run at a time. Raises `ValueError` while another uses it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(0o700, parents=True, exist_ok=True)  # it holds a key
        self.folder = folder
        self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise ValueError(f"--dir {folder}: another board runs on it") from None
        self._flash_operations = -1

    def files(self, blocks: int) -> KeptFiles:
        return KeptFiles(self.folder, blocks)

    def load_flash(self, flash: Flash) -> None:
        """Raises `ValueError` for an image of another size of flash."""
        image = self.folder / "flash.bin"
        if image.exists():
            flash.load_file(image)
        self._flash_operations = flash.operations

    def save_flash(self, flash: Flash) -> None:
        """Does nothing when nothing has changed."""
        if flash.operations != self._flash_operations:
            partial = self.folder / _PARTIAL
            flash.save(partial)
            partial.replace(self.folder / "flash.bin")
            self._flash_operations = flash.operations

    def close(self) -> None:
        os.close(self._lock)


class KeptFiles(BoardFiles):
    """A board's files, each change of which is in `folder` before it is answered."""

    def __init__(self, folder: Path, blocks: int) -> None:
        super().__init__(blocks)
        self._root = folder / "files"
        self._partial = folder / _PARTIAL
        self._root.mkdir(exist_ok=True)
        for path in sorted(self._root.rglob("*")):
            name = self.normal(path.relative_to(self._root).as_posix())
            if path.is_dir():
                super().mkdir(name)
            else:
                super().write(name, path.read_bytes())

    def _place(self, path: str) -> Path:
        path = self.normal(path)
        if "\0" in path:
            raise OSError(errno.EINVAL, path)
        return self._root / path[1:]

    def write(self, path: str, data: bytes) -> None:
        place = self._place(path)
        super().write(path, data)
        self._partial.write_bytes(data)
        self._partial.replace(place)

    def mkdir(self, path: str) -> None:
        place = self._place(path)
        super().mkdir(path)
        place.mkdir()

    def remove(self, path: str) -> None:
        super().remove(path)
        place = self._place(path)
        if place.is_dir():
            place.rmdir()
        else:
            place.unlink()

    def rename(self, old: str, new: str) -> None:
        super().rename(old, new)
        target = self._place(new)
        if target.is_dir() and self.normal(old) != self.normal(new):
            shutil.rmtree(target)
        self._place(old).replace(target)
