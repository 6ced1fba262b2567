"""Files of the board: what `open` returns, as on littlefs: content reaches the filesystem at flush and close."""

from _board import call
from _link import FileBase

_EINVAL = 22


class File(FileBase):
    def __init__(self, path, mode="r"):
        self._path = path
        self._binary = "b" in mode
        kinds = [c for c in mode if c in "rwxa"]
        if len(kinds) > 1:
            raise ValueError
        kind = kinds[0] if kinds else "r"
        self._writes = kind != "r" or "+" in mode
        self._appends = kind == "a"
        if kind != "r":  # the name is on the filesystem from now on; the content is when it was
            call("files.create", path, kind == "x")
        self._data = bytearray() if kind in "wx" else bytearray(call("files.read", path))
        self._dirty = kind == "w"
        self._at = 0

    def _check(self):
        if self._data is None:  # closed
            raise ValueError

    def _take(self, end):
        data = bytes(self._data[self._at : end])
        self._at += len(data)
        return data if self._binary else data.decode()

    def _after(self, n):
        """Where `n` characters of UTF-8 end, or bytes."""
        at = self._at
        if self._binary:
            return at + n
        size = len(self._data)
        while n and at < size:
            first = self._data[at]
            at += 1 if first < 0xC0 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4
            n -= 1
        return at

    def readinto(self, buf):
        self._check()
        data = self._data[self._at : self._at + len(buf)]
        buf[: len(data)] = data
        self._at += len(data)
        return len(data)

    def read(self, n=-1):
        self._check()
        return self._take(len(self._data) if n is None or n < 0 else self._after(n))

    def readline(self):
        self._check()
        end = self._data.find(b"\n", self._at)
        return self._take(len(self._data) if end < 0 else end + 1)

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
        self._check()
        if not self._writes:
            raise OSError(1)
        raw = data.encode() if isinstance(data, str) else bytes(data)
        if self._appends:
            self._at = len(self._data)
        elif self._at > len(self._data):
            self._data.extend(bytes(self._at - len(self._data)))
        self._data[self._at : self._at + len(raw)] = raw
        self._at += len(raw)
        self._dirty = True
        return len(raw)

    def seek(self, offset, whence=0):
        self._check()
        at = (0, self._at, len(self._data))[whence] + offset
        if at < 0:
            raise OSError(_EINVAL, "offset")
        self._at = at
        return at

    def tell(self):
        self._check()
        return self._at

    def flush(self):
        self._check()
        if self._dirty:
            call("files.write", self._path, bytes(self._data))
            self._dirty = False

    def close(self):
        if self._data is not None:
            try:
                self.flush()
            finally:
                self._data = None

    def ioctl(self, request, argument):
        if request == 4:  # MP_STREAM_CLOSE
            self.close()
        return 0

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
