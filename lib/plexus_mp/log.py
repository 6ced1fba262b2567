"""What lies in the sectors of a ring: headers, commits and marks, as they are laid out and as they are read.

A block is a sector. Each begins with a header that describes it, twice; commits and marks follow, each with
its own CRC, until the erased rest. Sector `seq` lies in block `seq % sectors`. docs/flash-format.md tells it all.
"""

from array import array
from struct import pack_into, unpack_from

from .blocks import COUNT, SIZE
from .crc import CRC_BYTES, seal, sealed
from .ports import const

# magic and version, log2 of the alignment, bytes of the longest commit, seq, boot, dropped; then sectors back to the
# oldest and to the settled one, offset and points settled there; points and end of the sector before. CRC.
HEADER = "<HBHIIIHHHHHH"
MAGIC = const(0x0250)
HEADER_BYTES = const(32)
PAYLOAD_AT = const(2)  # room that the caller leaves for the length
UNKNOWN = const(0xFFFF)
_SETTLED = const(0xC0)  # u16 sectors back, u16 offset, u16 points
_TIMES = const(
    0xC1
)  # u8 number of segments, 0x80 more if a knot follows them: u48 RTC and u48 Unix time in ms
_BEGUN = const(0xC2)  # u32 boot, u48 RTC in ms at its uptime 0
_SETTLED_BYTES = const(10)
_BEGUN_BYTES = const(14)
# From an uptime on: u8 1 if estimated, u32 boot, u48 uptime and u48 Unix time in ms, i32 ppb by which that goes faster.
_SEGMENT = "<BIIHIHi"
_SEGMENT_BYTES = const(21)
_KNOT_BYTES = const(12)
# Bytes of a table with four segments, of the boot whose readings are on their way and of this one. A knot takes the
# place of one; there is hardly ever none left.
TIMES_MAX = const(89)


class Log:
    """The sectors on `dev`, programmed in units of `align` bytes, with commits of up to `commit_bytes` in all.

    `noise`: erased bytes read as anything (an encrypted partition). `times` maps boots to segments
    `(uptime_ms, unix_ms, ppb, estimated)`, see clock.py, `rtc` to what the real-time clock showed at their uptime 0, in
    ms. A knot is (RTC, Unix time) of one moment: `passed` was read last, `knot` will be told. `bad` counts the times
    a sector could not be opened, read or marked.
    """

    def __init__(self, dev, commit_bytes, align, noise):
        self._dev = dev
        self.sectors = dev.ioctl(COUNT, 0)
        self.sector_bytes = dev.ioctl(SIZE, 0)
        self._align = align
        self.noise = noise
        self.volatile = getattr(dev, "volatile", False)
        self.first = self._up(HEADER_BYTES if self.volatile else 2 * HEADER_BYTES)
        self.header = bytearray(HEADER_BYTES)
        self._opening = bytearray(b"\xff" * self.first)  # headers, and the table of times when there is one
        self._mark = bytearray(b"\xff" * self._up(_SETTLED_BYTES))
        self._longest = max(commit_bytes, TIMES_MAX)
        # Points of each block, 0 once all of them are settled.
        self._points = array("H", bytearray(2 * self.sectors))
        self.head_seq = 0
        self.head_off = self.sector_bytes
        self.tail_seq = 1
        self.settled_seq = 1
        self.settled_off = self.first
        self.settled_points = 0  # of that sector, in commits that are wholly settled
        self.dropped = 0
        self.orphaned = 0
        self.bad = 0
        self.boot = 1
        self.times = {}
        self._learned = {}  # where in the ring that was read
        self.rtc = {}
        self.passed = self.knot = None
        self._knotted = (0, 0)  # where that was read
        self._flying = 0  # the boot whose readings are on their way
        self.damaged = False  # `read` has passed something unreadable on its way
        self._window_seq = self._window_off = self._window_bytes = 0
        self._ended_seq = self._ended_off = 0

    def make_buf(self, size):
        """Read commits of up to `size` bytes."""
        self.buf = bytearray(size)
        self._view = memoryview(self.buf)

    def _up(self, n):
        """`n` rounded up to whole units of programming."""
        return n + self._align - 1 & -self._align

    # reading

    def read(self, seq, off):
        """Find the commit at `off` of sector `seq`: the length of its payload, 0 at the sector's end.

        The payload lies in `buf[at:]` until the next call, the next commit at `next_off`. What was damaged is
        passed over. Blocks for the reading of one commit; longer, up to the size of two, behind damage.
        """
        self.next_off = off
        if off == self.first and self.read_header(seq % self.sectors) != seq:
            return 0
        end = self.head_off if seq == self.head_seq else self._end_of(seq)
        sound = off
        while off < end and off - sound <= self._up(len(self.buf)):
            n = self._parse(seq, off, end)
            behind = self.next_off
            if n and off != sound and behind < end and not self.noise:
                # Behind damage now and then garbage has a right CRC: it counts when what follows is right too.
                erased = self.buf[self._load(seq, behind, end, 1)] == 0xFF
                n = (erased or self._parse(seq, behind, end)) and self._parse(seq, off, end)
            if n > 0:
                return n
            if n:
                off = sound = behind
            else:
                self.damaged = True
                off += self._align
        self.next_off = sound
        return 0

    def _parse(self, seq, off, end):
        """The length of the payload at `off`; -1 when there is a mark, 0 when there is neither."""
        buf = self.buf
        at = self._load(seq, off, end, 2)
        first = buf[at]
        start = at + 1
        if first == _SETTLED:
            n = _SETTLED_BYTES - 1 - CRC_BYTES
        elif first == _TIMES:
            n = 1 + _table_bytes(buf[at + 1])
        elif first == _BEGUN:
            n = _BEGUN_BYTES - 1 - CRC_BYTES
        elif first < 0x80:
            n = first
        else:
            n = (first & 0x3F) << 8 | buf[at + 1]
            start += 1
        total = start - at + n + CRC_BYTES
        self.next_off = off + self._up(total)
        if not n or first > _BEGUN or total > end - off or total > len(buf):
            return 0
        start -= at
        at = self._load(seq, off, end, total)
        if not sealed(seq & 0xFFFFFF, buf, at, at + start + n):
            return 0
        self.at = at + start
        if first < _SETTLED:
            return n
        if first == _TIMES:
            self._learn(seq, off, at)
        elif first == _BEGUN:
            boot, low, high = unpack_from("<IIH", buf, at + 1)
            self.rtc[boot] = high << 32 | low
        else:
            back, off, n = unpack_from("<HHH", buf, at + 1)
            if (seq - back, off) > (self.settled_seq, self.settled_off):
                self.settled_seq, self.settled_off, self.settled_points = seq - back, off, n
        return -1

    def _load(self, seq, off, end, need):
        """Where in `buf` the `need` bytes at `off` lie. What is read stays there for the calls that follow."""
        at = off - self._window_off if seq == self._window_seq else -1
        if at < 0 or at + need > self._window_bytes:
            n = min(len(self.buf), end - off)
            self._window_seq = 0
            self.load(seq % self.sectors, self._view[:n], off)
            self._window_off = off
            self._window_bytes = n
            self._window_seq = seq
            at = 0
        return at

    def load(self, block, buf, off):
        """Fill `buf`, with zeros when that fails twice: neither a header nor a commit nor erased."""
        for _ in range(2):
            try:
                return self._dev.readblocks(block, buf, off)
            except OSError:
                self.bad += 1
        for i in range(len(buf)):
            buf[i] = 0

    def read_header(self, block, copies=2):
        """The number of the sector in `block`, 0 when no header tells it. The header is in `header` then."""
        header = self.header
        for at in range(0, HEADER_BYTES * copies, HEADER_BYTES):
            self.load(block, header, at)
            seq = unpack_from("<I", header, 5)[0]
            if (
                header[0] | header[1] << 8 == MAGIC
                and sealed(0, header, 0, HEADER_BYTES - CRC_BYTES)
                and seq % self.sectors == block
            ):
                return seq
            if self.volatile:
                break
        return 0

    def _end_of(self, seq):
        """Where the commits of a sector end: the header of the next one tells. What a cut tore lies behind."""
        if seq != self._ended_seq:
            known = self.read_header((seq + 1) % self.sectors) == seq + 1
            end = unpack_from("<H", self.header, 27)[0] if known else UNKNOWN
            self._ended_seq = 0  # an exception may strike anywhere
            self._ended_off = min(end, self.sector_bytes)
            self._ended_seq = seq
        return self._ended_off

    def _learn(self, seq, off, at):
        """Take over the table at `at` of `buf`, unless a later one told about its boots."""
        news = {}
        count = self.buf[at + 1]
        if count & 0x80:
            at_knot = at + 2 + (count & 0x7F) * _SEGMENT_BYTES
            low, high, unix, unix_high = unpack_from("<IHIH", self.buf, at_knot)
            self.passed = (high << 32 | low, unix_high << 32 | unix)
            if (seq, off) >= self._knotted:
                self.knot = self.passed
                self._knotted = (seq, off)
        for i in range(count & 0x7F):
            told = unpack_from(_SEGMENT, self.buf, at + 2 + i * _SEGMENT_BYTES)
            flag, boot, low, high, unix, unix_high, ppb = told
            news.setdefault(boot, []).append((high << 32 | low, unix_high << 32 | unix, ppb, flag))
        for boot in news:
            if boot != self.boot and (seq, off) >= self._learned.get(boot, (0, 0)):
                self._learned[boot] = (seq, off)
                self.times[boot] = news[boot]

    # laying out

    def _put_header(self, seq):
        points = end = UNKNOWN
        if seq == self.head_seq + 1:
            points = self._points[self.head_seq % self.sectors]
            end = self.head_off
        shift = 0
        while self._align >> shift > 1:
            shift += 1
        back = seq - self.settled_seq
        opening = self._opening
        pack_into(
            HEADER, opening, 0, MAGIC, shift, self._longest, seq, self.boot, self.dropped + self.orphaned,
            seq - self.tail_seq, back, self.settled_off, self.settled_points, points, end,
        )  # fmt: skip
        seal(0, opening, 0, HEADER_BYTES - CRC_BYTES)
        if not self.volatile:
            for i in range(HEADER_BYTES):
                opening[HEADER_BYTES + i] = opening[i]

    def _put_mark(self, seq, off):
        """What is settled, as a mark in the newest sector tells it."""
        pack_into("<BHHH", self._mark, 0, _SETTLED, self.head_seq - seq, off, self.settled_points)
        seal(self.head_seq & 0xFFFFFF, self._mark, 0, _SETTLED_BYTES - CRC_BYTES)

    def _seal_times(self, seq):
        opening = self._opening
        if len(opening) > self.first:
            end = self.first + 2 + _table_bytes(opening[self.first + 1])
            seal(seq & 0xFFFFFF, opening, self.first, end)


def _table_bytes(count):
    """How long a table is behind the byte that counts its segments."""
    return (count & 0x7F) * _SEGMENT_BYTES + (_KNOT_BYTES if count & 0x80 else 0)
