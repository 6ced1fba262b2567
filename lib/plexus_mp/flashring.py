"""The ring on a device that keeps its content: what a reboot needs to find everything again.

To the commits of `ring.py` it adds marks, 16 bytes each, that need no erase:

    0xC0 settled   u32 seq, u32 offset, u32 points of that sector in commits that are wholly done with
    0xC1 dropped   u32 oldest sector left, u32 points dropped so far
    0xC2 boot      u32 number of the boot whose commits follow
    0xC3 sync      u32 boot, u32 low and u32 high part of the Unix ms at its uptime 0
    0xC4 closed    u32 points of the sector, u32 offset behind its last commit

Behind the type lies a byte that is 1 in a sync that is only an estimate, else 0; at the end a CRC-16 of what
precedes. The last 64 bytes of a sector are fixed places: three for the dropped mark, which is written before
the sector that it gives up is erased (two spare ones, should the power fail meanwhile), and one for the
closed mark, written when the next sector is opened.
"""

from struct import pack_into, unpack_from

from .ports import const
from .ring import HEADER, HEADER_BYTES, MAGIC, Ring, crc16

_SETTLED = const(0xC0)
_DROPPED = const(0xC1)
_BOOT = const(0xC2)
_SYNC = const(0xC3)
_CLOSED = const(0xC4)
_MARK_BYTES = const(16)
_DROPPED_PLACES = const(3)
_ERASED = const(0xFF)


class FlashRing(Ring):
    """As `Ring`, on flash: opening it finds what an earlier boot left, and settling survives a reboot.

    `weigh(buf, at, n)` counts the points of a payload. Mounting reads the header of every sector, one mark of
    each that holds unsettled points, and the newest sector whole. `syncs` maps boots to the Unix time of
    their uptime 0 in milliseconds, as far as marks and headers tell. Raises as `Ring` does.
    """

    reserve_bytes = _MARK_BYTES * (_DROPPED_PLACES + 1)

    def __init__(self, dev, page_bytes, weigh):
        super().__init__(dev, page_bytes)
        self._weigh = weigh
        self._mark = bytearray(_MARK_BYTES)
        self._scan = memoryview(bytearray(len(self.page)))
        self._partly = 0
        self._known_seq = 0  # the sector whose end was looked up last
        self._known_end = 0
        self._boot_told = False
        self.syncs = {}
        self.estimated = {}
        self._mount()

    # mounting

    def _mount(self):
        for block in range(self._count):
            seq = self._header_seq(block)
            if seq > self.head_seq:
                self.head_seq = seq
        if self.head_seq:
            self._take_header()
            self._scan_head()
            self._take_dropped()
            self._count_left()
        for boot in self.syncs:
            self.boot = max(self.boot, boot)  # one that met a gateway and recorded nothing has its number too
        self.boot += 1

    def _header_seq(self, block):
        """The sequence number in a block's header, 0 when the header is not one or stands elsewhere."""
        header = self._header
        self._dev.readblocks(block, header, 0)
        magic, _, seq = unpack_from("<2sHI", header, 0)
        crc = crc16(0, header, 0, HEADER_BYTES - 2)
        if (
            magic != MAGIC
            or unpack_from("<H", header, HEADER_BYTES - 2)[0] != crc
            or seq % self._count != block
        ):
            return 0
        low, high = unpack_from("<IH", header, 24)
        self._learn_sync(unpack_from("<I", header, 8)[0], low, high, False)
        return seq

    def _take_header(self):
        self._header_seq(self.head_seq % self._count)
        _, points, _, boot, settled, off, behind, dropped = unpack_from(HEADER, self._header, 0)
        self.boot = boot
        self._settled_seq = settled
        self._settled_off = off
        self._settled_points = points
        self.tail_seq = max(1, self.head_seq - behind, self.head_seq - self._count + 1)
        self.dropped = dropped

    def _scan_head(self):
        """Find where the newest sector ends, and what its marks say."""
        self._head_off = self._size - self.reserve_bytes
        off = HEADER_BYTES
        points = 0
        self.read_boot = self.boot
        while True:
            n = self.read(self.head_seq, off, self._scan)
            if not n:
                break
            points += self._weigh(self._scan, self.payload_at, n)
            off = self.next_off
        self.boot = self.read_boot
        self._head_off = self._end_off
        self._points[self.head_seq % self._count] = points
        # What is not erased behind the last commit was being written when the power went; with something in the
        # fixed places the sector was being closed. Nothing more goes into it.
        self._torn = self._skip_erased(self.head_seq, self._end_off, self._size, self._scan) < self._size
        if self._torn:
            self._torn_ends[self.head_seq] = self._end_off

    def _take_dropped(self):
        for place in range(_DROPPED_PLACES):
            if self._read_mark(self.head_seq, self._place(place)) == _DROPPED:
                tail, dropped = unpack_from("<II", self._mark, 2)
                if tail > self.tail_seq:
                    self.tail_seq = tail
                    self.dropped = dropped

    def _count_left(self):
        """Points of the sectors that are not wholly settled, out of the mark that closes each."""
        first = max(self._settled_seq, self.tail_seq)
        for seq in range(first, self.head_seq + 1):
            block = seq % self._count
            if seq != self.head_seq:
                self._points[block] = self._closed_points(seq)
            if seq == self._settled_seq:
                self._points[block] -= min(self._settled_points, self._points[block])
            self.left += self._points[block]

    def _closed_points(self, seq):
        if self._header_seq(seq % self._count) != seq:
            return 0
        if self._read_mark(seq, self._place(_DROPPED_PLACES)) == _CLOSED:
            return unpack_from("<I", self._mark, 2)[0]
        points = 0
        off = HEADER_BYTES
        while True:
            n = self.read(seq, off, self._scan)
            if not n:
                return points
            points += self._weigh(self._scan, self.payload_at, n)
            off = self.next_off

    # marks

    def _place(self, number):
        return self._size - self.reserve_bytes + number * _MARK_BYTES

    def _read_mark(self, seq, off):
        """The type of the mark at `off`, its bytes in `_mark`; 0 when there is none."""
        mark = self._mark
        self._dev.readblocks(seq % self._count, mark, off)
        return mark[0] if _is_mark(seq, mark) else 0

    def _write_mark(self, off, kind, a, b, c, flag=0):
        mark = self._mark
        pack_into("<BBIII", mark, 0, kind, flag, a, b, c)
        crc = crc16(self.head_seq & 0xFFFF, mark, 0, _MARK_BYTES - 2)
        mark[_MARK_BYTES - 2] = crc >> 8
        mark[_MARK_BYTES - 1] = crc & 0xFF
        self._dev.writeblocks(self.head_seq % self._count, mark, off)

    def _append_mark(self, kind, a, b, c, flag=0):
        """Put a mark behind the last commit. False when the sector has no room for it."""
        if self._torn or self._head_off + _MARK_BYTES > self._size - self.reserve_bytes:
            return False
        self._torn = True
        self._write_mark(self._head_off, kind, a, b, c, flag)
        self._head_off += _MARK_BYTES
        self._torn = False
        return True

    def _learn_sync(self, boot, low, high, estimated):
        if low or high:
            self.syncs[boot] = high << 32 | low
            if estimated:
                self.estimated[boot] = True

    # what a ring does

    def sync(self, boot, unix_ms, estimated):
        """Uptime 0 of `boot` was at `unix_ms`: from now on its readings are dated by that."""
        if boot == self.boot:
            self.boot_stamp = unix_ms.to_bytes(6, "little")
        low, high = unix_ms & 0xFFFFFFFF, unix_ms >> 32
        self._learn_sync(boot, low, high, estimated)
        if self.head_seq and not self._append_mark(_SYNC, boot, low, high, 1 if estimated else 0):
            self.turn()
            if boot != self.boot:  # the header tells of this boot only
                self._append_mark(_SYNC, boot, low, high, 1 if estimated else 0)

    def append(self, n, points):
        if not self._boot_told:
            self._append_mark(_BOOT, self.boot, 0, 0)
            self._boot_told = True
        super().append(n, points)

    def room(self):
        return super().room() - (0 if self._boot_told else _MARK_BYTES)

    def turn(self):
        if self.head_seq and self._read_mark(self.head_seq, self._place(_DROPPED_PLACES)) != _CLOSED:
            self._close()
        super().turn()
        self._boot_told = True

    def _close(self):
        """Tell how many points the sector holds, settled ones included, unless that place was torn before."""
        points = self._points[self.head_seq % self._count]
        if self.head_seq == self._settled_seq:
            points += self._settled_points + self._partly
        if self.head_seq >= self._settled_seq:
            self._write_mark(self._place(_DROPPED_PLACES), _CLOSED, points, self._head_off, 0)

    def _drop(self, seq, block):
        super()._drop(seq, block)
        self._partly = 0
        # Before the sector is erased it must be on flash that it is given up, and how much that was.
        for place in range(_DROPPED_PLACES):
            self._dev.readblocks(self.head_seq % self._count, self._mark, self._place(place))
            if self._mark[0] == _ERASED and self._mark[1] == _ERASED:
                self._write_mark(self._place(place), _DROPPED, self.tail_seq, self.dropped + self.orphaned, 0)
                return

    def read(self, seq, off, buf):
        """As `Ring.read`, over marks, and on behind a commit that was damaged."""
        if off == HEADER_BYTES and not self._enter(seq):
            return 0
        end = self._end_of(seq)
        off = self._skip_erased(seq, off, end, buf)
        sound = True
        while off < end:
            n = super().read(seq, off, buf)
            if n and not sound:
                n = super().read(seq, off, buf) if self._goes_on(seq, self.next_off, end, buf) else 0
            if n:
                self._end_off = self.next_off
                return n
            behind = self._pass(seq, off, end)
            sound = sound and behind > off + 1
            off = self._skip_erased(seq, behind, end, buf)
        return 0

    def _skip_erased(self, seq, off, end, buf):
        """The next byte from `off` on that is not erased, or `end`."""
        while off < end:
            part = buf[: min(len(buf), end - off)]
            self._dev.readblocks(seq % self._count, part, off)
            for byte in part:
                if byte != _ERASED:
                    return off
                off += 1
        return end

    def _end_of(self, seq):
        """Where the commits of a sector end. What a cut tore behind them is not looked at."""
        if seq == self.head_seq:
            return self._head_off
        if seq != self._known_seq:
            closed = self._read_mark(seq, self._place(_DROPPED_PLACES)) == _CLOSED
            self._known_end = (
                unpack_from("<I", self._mark, 6)[0] if closed else self._size - self.reserve_bytes
            )
            self._known_seq = seq
        return self._known_end

    def _goes_on(self, seq, off, end, buf):
        """Whether a commit or mark begins at `off`, or nothing more comes. `buf` is used up.

        Behind a damaged commit its CRC of 16 bits alone would now and then take garbage for the next one.
        """
        if off >= end or self._read_mark(seq, off):
            return True
        self._dev.readblocks(seq % self._count, self._mark, off)
        # At the end of the newest sector what a cut tore lies before erased space: that proves nothing.
        return (self._mark[0] == _ERASED and seq != self.head_seq) or super().read(seq, off, buf) > 0

    def _enter(self, seq):
        """Begin to read a sector; False when its block holds another, or nothing."""
        self._end_off = HEADER_BYTES
        if self._header_seq(seq % self._count) != seq:
            return False
        self.read_boot = unpack_from("<I", self._header, 8)[0]
        return True

    def _pass(self, seq, off, end):
        """Where to look next when no commit begins at `off`: behind a mark, or behind a damaged byte."""
        if off + _MARK_BYTES <= end and self._read_mark(seq, off):
            self._take_mark()
            self._end_off = off + _MARK_BYTES
            return self._end_off
        self.damaged = True
        return off + 1

    def _take_mark(self):
        kind = self._mark[0]
        a, b, c = unpack_from("<III", self._mark, 2)
        if kind == _BOOT:
            self.read_boot = a
        elif kind == _SYNC:
            self._learn_sync(a, b, c, self._mark[1])
        elif kind == _SETTLED and (a, b) > (self._settled_seq, self._settled_off):
            self._settled_seq, self._settled_off, self._settled_points = a, b, c

    def settle(self, seq, off, points, partly):
        if seq != self._settled_seq:
            self._settled_points = self._partly = 0
        super().settle(seq, off, points, partly)
        # After a reboot the commit at `off` is sent from its beginning: only whole ones count.
        self._settled_points += self._partly + points - partly
        self._partly = partly
        if not self._append_mark(_SETTLED, seq, off, self._settled_points):
            self.turn()  # the header of the next sector says it


def _is_mark(seq, mark):
    if mark[0] < _SETTLED or mark[0] == _ERASED:
        return False
    crc = crc16(seq & 0xFFFF, mark, 0, _MARK_BYTES - 2)
    return mark[_MARK_BYTES - 2] == crc >> 8 and mark[_MARK_BYTES - 1] == crc & 0xFF
