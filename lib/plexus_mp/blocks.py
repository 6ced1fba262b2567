"""Block devices, in MicroPython's extended protocol, the one that `esp32.Partition` speaks.

`readblocks(n, buf, off)` reads, `writeblocks(n, buf, off)` programs without erasing, `ioctl(6, n)`
erases a block, `ioctl(4, 0)` tells how many there are and `ioctl(5, 0)` their size in bytes.
"""

from .ports import const

SYNC = const(3)
COUNT = const(4)
SIZE = const(5)
ERASE = const(6)

BLANK = b"\xff" * 64


class RamBlocks:
    """A block device in RAM: what the ring runs on when no flash is configured.

    `size` bytes in blocks of `block_bytes`, a multiple of 64. What it holds is gone at a reset.
    """

    volatile = True

    def __init__(self, size, block_bytes):
        if block_bytes % 64 or block_bytes < 128:
            raise ValueError("sector_bytes must be a multiple of 64, at least 128")
        self._block_bytes = block_bytes
        self._count = size // block_bytes
        self._mem = bytearray(self._count * block_bytes)
        self._view = memoryview(self._mem)

    def readblocks(self, n, buf, off=0):
        at = n * self._block_bytes + off
        buf[:] = self._view[at : at + len(buf)]

    def writeblocks(self, n, buf, off=0):
        at = n * self._block_bytes + off
        self._mem[at : at + len(buf)] = buf

    def ioctl(self, op, arg):
        if op == COUNT:
            return self._count
        if op == SIZE:
            return self._block_bytes
        if op == ERASE:
            start = arg * self._block_bytes
            for at in range(start, start + self._block_bytes, 64):
                self._mem[at : at + 64] = BLANK
        return 0
