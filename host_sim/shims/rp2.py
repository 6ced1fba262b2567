"""`rp2` of MicroPython: what the virtual board has of it."""

from _board import call

_BLOCK_BYTES = 4096


class Flash:
    """A range of the storage at the end of the board's flash, as a block device of the extended protocol.

    Programs take whole pages of 256 bytes. `Flash()` is all of the storage, the filesystem included.
    """

    def __init__(self, *, start=-1, len=-1):
        size = call("rp2flash.size")
        if start == -1:
            start = 0
        elif not 0 <= start < size or start % _BLOCK_BYTES:
            raise ValueError
        if len == -1:
            len = size - start
        elif not 0 < len <= size - start or len % _BLOCK_BYTES:
            raise ValueError
        self._start = start
        self._count = len // _BLOCK_BYTES

    def _at(self, n, off):
        return self._start + n * _BLOCK_BYTES + off

    def readblocks(self, n, buf, off=0):
        view = memoryview(buf)
        view[:] = call("rp2flash.read", self._at(n, off), len(view))

    def writeblocks(self, n, buf, off=None):
        """Without `off` the blocks are erased first, with it they are only programmed."""
        if off is None:
            off = 0
            call("rp2flash.erase", self._at(n, 0), len(buf))
        call("rp2flash.program", self._at(n, off), bytes(buf))

    def ioctl(self, op, arg):
        if op in (1, 2, 3):
            return 0
        if op == 4:
            return self._count
        if op == 5:
            return _BLOCK_BYTES
        if op == 6:
            call("rp2flash.erase", self._at(arg, 0), _BLOCK_BYTES)
            return 0
        return None
