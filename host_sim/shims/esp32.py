"""`esp32` of MicroPython: what the virtual board has of it."""

from _board import call, operation

HEAP_DATA = 4
HEAP_EXEC = 1

_NATIVE_BLOCK_BYTES = 4096

_read = operation("partitions.read")
_program = operation("partitions.program")


def idf_heap_info(capabilities):
    """One region of (total, free, largest free block, minimum free ever), in bytes."""
    return [(200000, 120000, 65536, 100000)]


class Partition:
    """A range of the board's flash, as a block device of the extended protocol.

    `id` is a label, `BOOT` or `RUNNING`; OSError(2) when there is none. Blocks smaller than a flash sector,
    which a real board emulates, are refused.
    """

    BOOT = 0
    RUNNING = 1
    TYPE_APP = 0
    TYPE_DATA = 1

    def __init__(self, id, block_size=_NATIVE_BLOCK_BYTES):
        if block_size < _NATIVE_BLOCK_BYTES or block_size % _NATIVE_BLOCK_BYTES:
            raise ValueError("block_size must be a multiple of 4096")
        self._number = call("partitions.get", id)
        self._block_bytes = block_size

    @staticmethod
    def find(type=TYPE_APP, subtype=0xFF, label=None, block_size=_NATIVE_BLOCK_BYTES):
        return [Partition(found, block_size) for found in call("partitions.find", type, subtype, label)]

    def info(self):
        """(type, subtype, address, size, label, encrypted)."""
        return tuple(call("partitions.info", self._number))

    def __repr__(self):
        return "<Partition type=%d, subtype=%d, address=%d, size=%d, label=%s, encrypted=%d>" % self.info()

    def readblocks(self, n, buf, off=0):
        view = memoryview(buf)
        view[:] = _read(self._number, n * self._block_bytes + off, len(view))

    def writeblocks(self, n, buf, off=None):
        """Without `off` the blocks are erased first, with it they are only programmed."""
        at = n * self._block_bytes
        if off is None:
            call("partitions.erase", self._number, at, len(buf))
            off = 0
        _program(self._number, at + off, bytes(buf))

    def ioctl(self, op, arg):
        if op in (1, 2):
            return 0
        if op == 3:
            call("partitions.sync")
            return 0
        if op == 4:
            return self.info()[3] // self._block_bytes
        if op == 5:
            return self._block_bytes
        if op == 6:
            if self._block_bytes != _NATIVE_BLOCK_BYTES:
                return -22
            call("partitions.erase", self._number, arg * _NATIVE_BLOCK_BYTES, _NATIVE_BLOCK_BYTES)
            return 0
        return None
