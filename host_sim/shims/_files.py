"""Files of the board: what `open` returns. Content reaches the filesystem at flush and close."""

from _board import call
from _link import FileBase


class File(FileBase):
    def __init__(self, path, mode="r"):
        self._path = path
        self._binary = "b" in mode
        self._writes = "r" not in mode or "+" in mode
        self._dirty = "w" in mode
        self._at = 0
        if "w" in mode:
            self._data = bytearray()
            self.flush()
        else:
            self._data = self._existing("a" in mode)
            if "a" in mode:
                self._at = len(self._data)

    def _existing(self, may_miss):
        try:
            return bytearray(call("files.read", self._path))
        except OSError as e:
            if may_miss and e.errno == 2:
                return bytearray()
            raise

    def _out(self, data):
        return data if self._binary else data.decode()

    def readinto(self, buf):
        data = self._data[self._at : self._at + len(buf)]
        buf[: len(data)] = data
        self._at += len(data)
        return len(data)

    def read(self, n=-1):
        end = len(self._data) if n is None or n < 0 else self._at + n
        data = bytes(self._data[self._at : end])
        self._at += len(data)
        return self._out(data)

    def readline(self):
        end = self._data.find(b"\n", self._at)
        return self.read(-1 if end < 0 else end + 1 - self._at)

    def readlines(self):
        return list(self)

    def __iter__(self):
        return self

    def __next__(self):
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    def write(self, data):
        if not self._writes:
            raise OSError(1)
        raw = data.encode() if isinstance(data, str) else bytes(data)
        self._data[self._at : self._at + len(raw)] = raw
        self._at += len(raw)
        self._dirty = True
        return len(data)

    def seek(self, offset, whence=0):
        base = (0, self._at, len(self._data))[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self):
        return self._at

    def flush(self):
        if self._dirty:
            call("files.write", self._path, bytes(self._data))
            self._dirty = False

    def close(self):
        self.flush()

    def ioctl(self, request, argument):
        if request == 4:  # MP_STREAM_CLOSE
            self.flush()
        return 0

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
