"""An append-only log over a block device: append, read from the oldest, settle.

A block is a sector. Each begins with a header that describes it; commits follow, each with its own
CRC, until the erased rest. Sector `seq` lies in block `seq % count`, so the newest sector overwrites the
oldest. The ring never looks into a commit: it is told how many points each one holds, so that what an
overflow drops can be counted.
"""

from array import array
from struct import pack_into

from .blocks import COUNT, ERASE, SIZE
from .ports import const

MAGIC = b"P1"
# magic, points settled in the settled sector, seq, boot, settled seq and offset, sectors behind this one to the
# oldest, dropped; then the boot's Unix ms at uptime 0 (48 bits, 0: not known) and the CRC
HEADER = "<2sHIIIHHI"
HEADER_BYTES = const(32)
_ERASED = const(0xFF)
_NO_LENGTH = const(0xC0)  # from here on: what a subclass puts between commits, and erased flash
# The caller leaves this much room before a payload and behind it, for its length and its CRC.
PAYLOAD_AT = const(2)
_CRC_BYTES = const(2)
COMMIT_MAX = const(16383)  # 14 bits of length
# Slicing a memoryview allocates: commits are written through views made beforehand, whose sizes are multiples
# of this. What lies behind the commit is written as erased, which changes nothing.
_STEP = const(16)


def _crc_table():
    """CRC-16/CCITT (polynomial 0x1021), a byte at a time. `binascii.crc32` allocates, this does not."""
    table = array("H")
    for byte in range(256):
        crc = byte << 8
        for _ in range(8):
            crc = (crc << 1) ^ 0x1021 if crc & 0x8000 else crc << 1
        table.append(crc & 0xFFFF)
    return table


_TABLE = _crc_table()


def crc16(crc, buf, start, end):
    """CRC-16/CCITT of `buf[start:end]`, going on from `crc`."""
    table = _TABLE
    for i in range(start, end):
        crc = (crc << 8 & 0xFF00) ^ table[crc >> 8 ^ buf[i]]
    return crc


class Ring:
    """The log on `dev`; commits of up to `page_bytes`, built by the caller in `page[PAYLOAD_AT:]`.

    `dropped` counts points that an overflow cost, `left` those that still wait.
    Raises `ValueError` when the sizes do not fit each other, `OSError` when the device fails.
    """

    reserve_bytes = 0  # at the end of a sector, for what a subclass keeps there

    def __init__(self, dev, page_bytes):
        self._dev = dev
        self._count = dev.ioctl(COUNT, 0)
        self._size = dev.ioctl(SIZE, 0)
        self._check_sizes(page_bytes)
        steps = (PAYLOAD_AT + page_bytes + _CRC_BYTES + _STEP - 1) // _STEP
        self.page = bytearray(1 + steps * _STEP)
        # A commit's first byte lies at 0, or at 1 if its length is below 128.
        view = memoryview(self.page)
        self._views = [view[: n * _STEP] for n in range(steps + 1)]
        self._short_views = [view[1 : 1 + n * _STEP] for n in range(min(steps, 128 // _STEP + 1) + 1)]
        self._header = bytearray(HEADER_BYTES)
        self._points = array("H", bytearray(2 * self._count))  # unsettled, per block
        self.head_seq = 0
        self._head_off = self._size
        self._torn = False  # a commit or turn that failed half-way: nothing more goes behind it
        self._torn_ends = {}  # where to end reading the sectors in which that happened
        self.tail_seq = 1
        self._settled_seq = 1
        self._settled_off = HEADER_BYTES
        self._settled_points = 0  # of that sector, in commits that are wholly settled
        self._claimed_seq = 0
        self._claimed_points = 0
        self.orphaned = 0
        self.dropped = 0
        self.left = 0
        self.boot = 0
        self.boot_stamp = b"\0\0\0\0\0\0"  # Unix ms at its uptime 0
        self.read_boot = 0  # whose record `read` returned
        self.damaged = False  # `read` has passed something unreadable on its way to it

    def _check_sizes(self, page_bytes):
        if self._count < 2:
            raise ValueError("ring_bytes must hold at least two sectors")
        beside = PAYLOAD_AT + _CRC_BYTES + HEADER_BYTES + _STEP + self.reserve_bytes
        if page_bytes > COMMIT_MAX or page_bytes + beside > self._size:
            raise ValueError(
                "page_bytes must leave %d of sector_bytes (%d), and be below 16 KiB" % (beside, self._size)
            )

    def room(self):
        """Bytes of payload that still fit into the newest sector; 0 or less: `turn` to the next."""
        if self._torn:
            return 0
        return self._size - self.reserve_bytes - self._head_off - PAYLOAD_AT - _CRC_BYTES - _STEP

    def turn(self):
        """Open the next sector; when that overwrites the oldest, its unsettled points are dropped.

        Blocks for one sector erase: nothing in RAM, 45 to 400 ms on flash.
        """
        if self._torn:
            self._torn_ends[self.head_seq] = self._head_off
        self._torn = True
        seq = self.head_seq + 1
        block = seq % self._count
        if seq - self._count >= self.tail_seq:
            self._drop(seq - self._count, block)
        self._dev.ioctl(ERASE, block)
        self._write_header(seq, block)
        self._torn_ends.pop(seq - self._count, None)
        self.head_seq = seq
        self._head_off = HEADER_BYTES
        self._torn = False

    def _write_header(self, seq, block):
        header = self._header
        if self._settled_seq < self.tail_seq:
            self._settled_seq = self.tail_seq
            self._settled_off = HEADER_BYTES
            self._settled_points = 0
        settled, off, behind = self._settled_seq, self._settled_off, seq - self.tail_seq
        pack_into(
            HEADER, header, 0, MAGIC, self._settled_points, seq, self.boot, settled, off, behind, self.dropped
        )
        header[24:30] = self.boot_stamp
        pack_into("<H", header, HEADER_BYTES - 2, crc16(0, header, 0, HEADER_BYTES - 2))
        self._dev.writeblocks(block, header, 0)

    def _drop(self, seq, block):
        lost = self._points[block]
        self._points[block] = 0
        self.left -= lost
        if seq == self._claimed_seq:
            # They are in a frame under way and may still arrive: whose loss it is shows when that ends.
            self.orphaned = self._claimed_points
            lost -= self._claimed_points
            self._claimed_seq = 0
        self.dropped += lost
        self.tail_seq = seq + 1

    def append(self, n, points):
        """Commit the `n` bytes of payload in `page`, at most `room()`, which hold `points` points."""
        page = self.page
        start = self._put_length(n)
        end = PAYLOAD_AT + n
        crc = crc16(self.head_seq & 0xFFFF, page, start, end)
        page[end] = crc >> 8
        page[end + 1] = crc & 0xFF
        total = end + _CRC_BYTES - start
        steps = (total + _STEP - 1) // _STEP
        for i in range(end + _CRC_BYTES, start + steps * _STEP):
            page[i] = _ERASED
        view = self._short_views[steps] if start else self._views[steps]
        block = self.head_seq % self._count
        self._torn = True
        self._dev.writeblocks(block, view, self._head_off)
        self._head_off += total
        self._torn = False
        self._points[block] += points
        self.left += points

    def _put_length(self, n):
        """One byte below 128, else two with the top bits 10; where the commit begins in the page."""
        if n < 128:
            self.page[1] = n
            return 1
        self.page[0] = 0x80 | n >> 8
        self.page[1] = n & 0xFF
        return 0

    def read(self, seq, off, buf):
        """Read the commit at `off` of sector `seq` into `buf`: the length of its payload, 0 at the end.

        The payload lies in `buf[payload_at:]`, the next commit at `next_off`. `buf` is a memoryview that
        holds the largest commit. A commit whose CRC is wrong ends its sector.
        """
        end = self._head_off if seq == self.head_seq else self._torn_ends.get(seq, self._size)
        have = min(len(buf), end - off)
        if have < 1 + _CRC_BYTES:
            return 0
        self._dev.readblocks(seq % self._count, buf[:have], off)
        if buf[0] >= _NO_LENGTH:
            return 0
        self.payload_at = 1 if buf[0] < 128 else 2
        n = buf[0] if buf[0] < 128 else (buf[0] & 0x3F) << 8 | buf[1]
        end = self.payload_at + n
        if end + _CRC_BYTES > have:
            return 0
        if crc16(seq & 0xFFFF, buf, 0, end) != buf[end] << 8 | buf[end + 1]:
            return 0
        self.next_off = off + end + _CRC_BYTES
        return n

    def sync(self, boot, unix_ms, estimated):
        """Uptime 0 of `boot` was at `unix_ms`. What does not outlive its boot need not keep it."""

    def _give_up_before(self, seq):
        """What is left of the sectors before `seq` could not be read: it counts as dropped."""
        for earlier in range(max(self._settled_seq, self.tail_seq), seq):
            lost = self._points[earlier % self._count]
            self._points[earlier % self._count] = 0
            self.left -= lost
            self.dropped += lost

    def claim(self, seq, points):
        """A frame under way holds `points` points of sector `seq`."""
        self._claimed_seq = seq
        self._claimed_points = points
        self.orphaned = 0

    @property
    def settled(self):
        """(sector, offset) of the first commit that is not wholly settled."""
        return self._settled_seq, self._settled_off

    def settle(self, seq, off, points, partly):
        """`points` points of sector `seq` need no more care: all before `off`, and `partly` of the commit there."""
        if seq >= self.tail_seq:
            self._give_up_before(seq)
            # A damaged commit was counted but cannot be read, or the other way round: counting goes on.
            points = min(points, self._points[seq % self._count])
            self._points[seq % self._count] -= points
            self.left -= points
        self._settled_seq = seq
        self._settled_off = off
        self._claimed_seq = 0
        self.orphaned = 0
