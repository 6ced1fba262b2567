"""Filesystems for tests: one that fails when it is told to, and a folder on the one that the VM has."""

import os

from plexus_mp import fileblocks


class Disk:
    """A filesystem of one folder: `os` and `open` of the library in a `with` block.

    A file is replaced at its close, as on littlefs, or truncated when it is opened, as on FAT (`fat`). Call number
    `fails_at` of those that change something raises `error`, while it is `failing` each of them does; a write that
    fails has done half of its work.
    """

    def __init__(self, fat=False):
        self.files = {}
        self.fat = fat
        self.folder = False
        self.read_only = False
        self.calls = 0
        self.fails_at = -1
        self.failing = False
        self.error = OSError(28)
        self.opens = 0
        self.removes = 0
        self.is_open = []

    def __enter__(self):
        self._os = fileblocks.os
        fileblocks.os = self
        fileblocks.open = self.open
        return self

    def __exit__(self, *_):
        fileblocks.os = self._os
        del fileblocks.open

    def change(self):
        self.calls += 1
        if self.calls == self.fails_at or self.failing:
            raise self.error

    def listdir(self, folder):
        if not self.folder:
            raise OSError(2)
        return [path.split("/")[-1] for path in self.files]

    def mkdir(self, folder):
        if self.read_only:
            raise OSError(30, "EROFS")
        if self.folder:
            raise OSError(17, "EEXIST")
        self.change()
        self.folder = True

    def remove(self, path):
        self.change()
        assert path not in [file.path for file in self.is_open]
        if path not in self.files:
            raise OSError(2, "ENOENT")
        self.removes += 1
        del self.files[path]

    def open(self, path, mode):
        self.opens += 1
        return File(self, path, mode)


class File:
    def __init__(self, disk, path, mode):
        self.path = path
        self._disk = disk
        self._mode = mode
        self._at = 0
        self._failed = False
        if mode == "rb":
            if path not in disk.files:
                raise OSError(2, "ENOENT")
            self._data = disk.files[path]
        else:
            disk.change()
            self._data = disk.files.get(path, b"") if mode == "ab" else b""
            if disk.fat or path not in disk.files:
                disk.files[path] = self._data
        disk.is_open.append(self)

    def seek(self, offset, whence=0):
        self._at = offset + (0, 0, len(self._data))[whence]
        return self._at

    def readinto(self, buf):
        data = self._data[self._at : self._at + len(buf)]
        buf[: len(data)] = data
        self._at += len(data)
        return len(data)

    def write(self, data):
        data = bytes(data)
        try:
            self._disk.change()
        except OSError:
            self._failed = True
            self._data += data[: len(data) // 2]
            raise
        self._data += data
        return len(data)

    def close(self):
        if self in self._disk.is_open:
            self._disk.is_open.remove(self)
        if self._mode != "rb":
            if not self._failed or self._disk.fat:
                self._disk.files[self.path] = self._data
            if not self._failed:
                self._disk.change()


class Folder:
    """A folder on the VM's own filesystem, in a `with` block; it goes with the files that are in it then."""

    def __enter__(self):
        base = "/tmp/fileblocks-%d" % (os.getpid() if hasattr(os, "getpid") else 0)
        number = 0
        while True:
            self.path = "%s-%d" % (base, number)
            try:
                os.listdir(self.path)
            except OSError:
                return self.path
            number += 1

    def __exit__(self, *_):
        for name in os.listdir(self.path):
            os.remove(self.path + "/" + name)
        os.rmdir(self.path)
