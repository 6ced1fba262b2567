"""Files that are read a piece at a time: the heap of a small board has no room for a whole one during its import."""

import gc

import _files
from _board import call


class File(_files.File):
    """As `_files.File`; what is only read with `readinto`, which is how modules are imported, is never held."""

    def __init__(self, path, mode="r"):
        self._held = mode not in ("r", "rb", "rt")
        if self._held:
            _files.File.__init__(self, path, mode)
            return
        # What the simulator leaves behind would lie between the modules, and the heap would be in pieces once it is
        # full: a board's own files leave nothing.
        gc.collect()
        call("files.part", path, 0, 0)
        self._path = path
        self._binary = mode == "rb"
        self._writes = self._appends = self._dirty = False
        self._data = b""
        self._at = 0

    def _check(self):
        _files.File._check(self)
        if not self._held:
            self._data = call("files.read", self._path)
            self._held = True

    def readinto(self, buf):
        if self._held or self._data is None:
            return _files.File.readinto(self, buf)
        data = call("files.part", self._path, self._at, len(buf))
        buf[: len(data)] = data
        self._at += len(data)
        return len(data)

    def flush(self):
        if self._held:
            _files.File.flush(self)
