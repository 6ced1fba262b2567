"""A block device of files, one a sector: for firmware that has no flash partition to spare.

It speaks the protocol of `blocks.py`. A sector's file is written in one go and closed, which is what makes it
durable. On littlefs (MicroPython) replacing it is atomic: until the close the old file stays. FAT (CircuitPython)
truncates it first, so that a power cut can cost the sector being replaced, and on CPython the operating system
writes when it likes: closing protects from the death of the process only.
"""

import os
from array import array

from .blocks import BLANK, COUNT, ERASE, SIZE, SYNC
from .ports import const

_DEINIT = const(2)
_HELD_MAX = const(256)  # a sector's headers and its table of times
_UNKNOWN = const(0xFFFF)  # the length of a file that was not opened yet
_ENOENT = const(2)
_EROFS = const(30)
_EINVAL = const(22)


class FileBlocks:
    """`size` bytes in sectors of `block_bytes` (512 to 32,768), as files `0`, `1`, … of `folder`.

    What a file does not hold reads as 0xFF, and 0xFF at the end of a write is not stored. The folder is made when
    it is missing; other files in it are left alone. Raises `ValueError` naming the setting that does not fit.

    `ioctl(6, n)` erases, but the file goes later: a header written next is held in RAM until the first data behind
    it, and both replace the file. If instead another block is changed, or at `ioctl(3, 0)`, the file is removed.
    So a sector with a header and no data is durable only after `ioctl(3, 0)`. One header is held at a time: with
    the next one, the block of the first is left erased.

    `OSError` of the filesystem passes (28: full; 30: CircuitPython while a computer has the drive); the call can be
    repeated: until it succeeds the block reads as before it, or after an append on FAT with a part of that.
    OSError(22) for programming over data or beyond the block.

    Creating a file on littlefs blocks for an erase for each 4 KB (45 to 400 ms), about 1 ms for each 128 bytes and
    2 ms for its metadata; at worst for four erases (measured), when that is compacted and moved. Every 256th looks
    for free blocks, which reads the metadata again and again: 9,000 small reads for 16 files, 16,000 for 32, 30,000
    for 64, 87,000 for 128, so few large files serve better than many small ones. Removing a file takes about 1 ms,
    appending rewrites its last 4 KB. The last file read stays open.
    """

    volatile = False
    write_once = True

    def __init__(self, folder, size, block_bytes):
        if not 512 <= block_bytes <= 32768:
            raise ValueError("sector_bytes must be 512 to 32768 in files")
        count = size // block_bytes
        if not 2 <= count <= 256:
            raise ValueError("ring_bytes must be 2 to 256 sectors in files")
        self._folder = folder
        self._block_bytes = block_bytes
        self._len = array("H", bytearray(2 * count))  # of each file, 0: missing
        self._head = memoryview(bytearray(_HELD_MAX))
        self._held = 0  # bytes in it
        self._fresh = -1  # the block that they belong to: erased, although its file may still be there
        self._file = None  # open for reading
        self._file_n = -1
        names = set()
        try:
            os.mkdir(folder)
        except OSError as e:
            try:
                names = set(os.listdir(folder))
            except OSError:
                raise e
            if e.errno == _EROFS:  # the folder is there, and nothing can be changed in it
                raise e
        for n in range(count):
            if str(n) in names:
                self._len[n] = _UNKNOWN

    def readblocks(self, n, buf, off=0):
        if n == self._fresh:
            got = max(0, min(self._held - off, len(buf)))
            buf[:got] = self._head[off : off + got]
        elif off < self._length(n):
            file = self._reader(n)
            file.seek(off)
            got = file.readinto(buf)
        else:
            got = 0
        while got < len(buf):
            end = min(got + 64, len(buf))
            buf[got:end] = BLANK[: end - got]
            got = end

    def writeblocks(self, n, buf, off=0):
        end = len(buf)
        while end and buf[end - 1] == 0xFF:
            end -= 1
        data = memoryview(buf)[:end]
        if n != self._fresh and not self._held:
            self._let_go()
        length = self._held if n == self._fresh else self._length(n)
        if off < length or off + end > self._block_bytes:
            raise OSError(_EINVAL, "not erased")
        if off == 0 and end <= _HELD_MAX:
            if n != self._fresh:
                self._let_go()
            self._head[:end] = data
            self._fresh = n
            self._held = end
        elif n == self._fresh:
            self._store(n, "wb", off, data)
        else:
            self._store(n, "ab", off, data)

    def ioctl(self, op, arg):
        if op == COUNT:
            return len(self._len)
        if op == SIZE:
            return self._block_bytes
        if op == ERASE:
            if arg == self._fresh:
                self._held = 0
            elif self._held:  # a sector is open, so this one is not about to be
                self._remove(arg)
            else:
                self._let_go()
                self._fresh = arg
        elif op == SYNC or op == _DEINIT:
            if self._held:
                self._store(self._fresh, "wb", self._held, b"")
            self._let_go()
            self._close(self._file_n)
        return 0

    def _let_go(self):
        """Nothing comes into the block that was erased last: its file goes now."""
        if self._fresh >= 0:
            self._remove(self._fresh)
            self._fresh = -1
            self._held = 0

    def _remove(self, n):
        if self._len[n]:
            self._close(n)
            try:
                os.remove(self._path(n))
            except OSError as e:
                if e.errno != _ENOENT:  # somebody else did it
                    raise
            self._len[n] = 0

    def _store(self, n, mode, off, data):
        """Write `data` at `off` of the file, behind the header when the file is a new one."""
        at = self._length(n)
        self._close(n)
        file = open(self._path(n), mode)
        self._len[n] = _UNKNOWN  # until it is complete
        try:
            if n == self._fresh:
                at = file.write(self._head[: self._held])
            while at < off:
                at += file.write(BLANK[: off - at])
            file.write(data)
        finally:  # what is not closed now, a garbage collection would close over later content
            file.close()
        self._len[n] = off + len(data)
        if n == self._fresh:
            self._fresh = -1
            self._held = 0

    def _length(self, n):
        if self._len[n] == _UNKNOWN:
            self._len[n] = min(self._reader(n).seek(0, 2), self._block_bytes)
        return self._len[n]

    def _reader(self, n):
        """The file, open: it cannot change, and opening it for every few bytes would be slow."""
        if self._file_n != n:
            self._close(self._file_n)
            self._file = open(self._path(n), "rb")
            self._file_n = n
        return self._file

    def _close(self, n):
        """Close the file that is open for reading if it is that of block `n`."""
        if self._file_n == n >= 0:
            self._file.close()
            self._file_n = -1

    def _path(self, n):
        return "%s/%d" % (self._folder, n)
