"""What the firmware's `open` and `os` ask of the board's filesystem; changes take time, and power may go in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .board import Board


class Files:
    """Reading is free: VMs import modules differently. Errors are those of `BoardFiles`."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._files = board.files

    def _change(self, us: int, change: Callable[..., None], *arguments: Any) -> None:
        cut = self._files.begin()
        self._board.spend(us)  # a cut that comes meanwhile finds the old state
        if cut is False:
            self._board.power_off()
        change(*arguments)
        if cut is True:
            self._board.power_off()

    def read(self, path: str) -> bytes:
        return self._files.read(path)

    def part(self, path: str, at: int, n: int) -> bytes:
        return self._files.read(path)[at : at + n]

    def stat(self, path: str) -> list[int]:
        return list(self._files.stat(path))

    def statvfs(self) -> list[int]:
        return list(self._files.statvfs())

    def listdir(self, path: str) -> list[list[Any]]:
        return [list(entry) for entry in self._files.listdir(path)]

    def create(self, path: str, exclusive: bool) -> None:
        self._change(self._files.commit_us(), self._files.create, path, exclusive)

    def write(self, path: str, data: bytes) -> None:
        self._change(self._files.write_us(path, data), self._files.write, path, data)

    def mkdir(self, path: str) -> None:
        self._change(self._files.commit_us(), self._files.mkdir, path)

    def remove(self, path: str) -> None:
        self._change(self._files.commit_us(), self._files.remove, path)

    def rename(self, old: str, new: str) -> None:
        self._change(self._files.commit_us(), self._files.rename, old, new)
