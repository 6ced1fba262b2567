"""An append-only log over a block device: append, read from the oldest, settle.

A block is a sector. Each begins with a header that describes it, twice; commits and marks follow, each with
its own CRC, until the erased rest. Sector `seq` lies in block `seq % count`, so the newest sector overwrites
the oldest. The ring never looks into a commit: it is told how many points each one holds, so that what an
overflow drops can be counted. What a reboot needs to find everything again: `mount.py`, docs/flash-format.md.
"""

from array import array
from struct import pack, pack_into, unpack_from

from .blocks import COUNT, ERASE, SIZE, SYNC
from .ports import const

# magic and version, log2 of the alignment, bytes of the longest commit, seq, boot, dropped; then sectors back to the
# oldest and to the settled one, offset and points settled there; points and end of the sector before. CRC.
HEADER = "<HBHIIIHHHHHH"
MAGIC = const(0x0250)
HEADER_BYTES = const(32)
CRC_BYTES = const(3)
PAYLOAD_AT = const(2)  # room that the caller leaves for the length
COMMIT_MAX = const(16383)  # 14 bits of length
_SETTLED = const(0xC0)  # u16 sectors back, u16 offset, u16 points
_TIMES = const(0xC1)  # u8 number of segments, then each of them
_SETTLED_BYTES = const(10)
# From an uptime on: u8 1 if estimated, u32 boot, u48 uptime and u48 Unix time in ms, i32 ppb by which that goes faster.
_SEGMENT = "<BIIHIHi"
_SEGMENT_BYTES = const(21)
_SEGMENTS_MAX = const(4)  # of the boot whose readings are on their way, and of this one
_TIMES_MAX = const(89)  # bytes of a table with them all
UNKNOWN = const(0xFFFF)
# Slicing a memoryview allocates, so what is written goes through views made beforehand: of every length below
# this, and of its multiples.
_STEP = const(32)


def _crc_table():
    """CRC-24 of OpenPGP (RFC 4880 §6.1, polynomial 0x864CFB), a byte at a time: `binascii.crc32` allocates."""
    table = array("i")
    for crc in range(0, 256 << 16, 1 << 16):
        for _ in range(8):
            crc = (crc << 1) ^ 0x1864CFB if crc & 0x800000 else crc << 1
        table.append(crc)
    return table


_TABLE = _crc_table()


def crc24(crc, buf, start, end):
    """CRC-24 of `buf[start:end]`, going on from `crc`. Small integers only, on 32-bit boards too."""
    table = _TABLE
    for i in range(start, end):
        crc = (crc & 0xFFFF) << 8 ^ table[crc >> 16 ^ buf[i]]
    return crc


def _seal(crc, buf, start, end):
    crc = crc24(crc, buf, start, end)
    buf[end] = crc >> 16
    buf[end + 1] = crc >> 8 & 0xFF
    buf[end + 2] = crc & 0xFF
    return end + CRC_BYTES


def _sealed(crc, buf, start, end):
    return crc24(crc, buf, start, end) == buf[end] << 16 | buf[end + 1] << 8 | buf[end + 2]


class Ring:
    """The log on `dev`; commits of up to `page_bytes`, built by the caller in `page[PAYLOAD_AT:]`.

    Programs are multiples of `align` bytes, a power of two, at such offsets. `noise`: erased bytes read as
    anything (an encrypted partition). A device that is `volatile` starts empty; one that is `write_once` (files)
    gets no settled marks: sectors that are done with are erased. `dropped` counts points that were lost, `left`
    those that still wait, `bad` the times a sector could not be opened, read or marked. `times` maps boots to
    segments `(uptime_ms, unix_ms, ppb, estimated)`, see clock.py; those of this boot are the recorder's.
    Raises `ValueError` when the sizes do not fit each other, `OSError` when the device fails.
    """

    def __init__(self, dev, page_bytes, align=1, noise=False):
        self._dev = dev
        self._count = dev.ioctl(COUNT, 0)
        self._size = dev.ioctl(SIZE, 0)
        self.noise = noise
        self.volatile = getattr(dev, "volatile", False)
        self.write_once = getattr(dev, "write_once", False)
        if self.write_once:
            align = _STEP  # a commit is one write: a second one would rewrite the file
        self._align = align
        self.first = self._up(HEADER_BYTES if self.volatile else 2 * HEADER_BYTES)
        beside = self.first + self._up(_TIMES_MAX) + PAYLOAD_AT + CRC_BYTES + align - 1
        if not (4 + self.volatile <= self._count + 2 * self.volatile and self._count < UNKNOWN):
            raise ValueError("ring_bytes must hold 4 to 65534 sectors, in RAM 3 or more")
        if not (page_bytes <= COMMIT_MAX and page_bytes + beside <= self._size <= 32768):
            raise ValueError(
                "page_bytes (%d) and %d more must fit into sector_bytes (%d), 32768 at most"
                % (page_bytes, beside, self._size)
            )
        self._make_buffers(page_bytes + PAYLOAD_AT + CRC_BYTES)
        self._points = array("H", bytearray(2 * self._count))  # of each block, 0 once all of them are settled
        self.head_seq = 0
        self.head_off = self._size
        self.torn = False  # something failed half-way: nothing more goes behind it
        self._erased = 0  # the sector whose block is erased already
        self.tail_seq = 1
        self.settled_seq = 1
        self.settled_off = self.first
        self.settled_points = 0  # of that sector, in commits that are wholly settled
        self._marked_seq = 0
        self._partly = 0
        self._claimed_seq = 0
        self._claimed_points = 0
        self.orphaned = 0
        self.dropped = 0
        self.left = 0
        self.bad = 0
        self.boot = 1
        self.times = {}
        self._learned = {}  # where in the ring that was read
        self._flying = 0  # the boot whose readings are on their way
        self.untold = False  # times have changed since they were written
        self.damaged = False  # `read` has passed something unreadable on its way
        self._window_seq = self._window_off = self._window_bytes = 0
        self._ended_seq = self._ended_off = 0

    def _make_buffers(self, commit_bytes):
        align = self._align
        pages = (commit_bytes + align + _STEP) // _STEP
        self.page = bytearray(1 + pages * _STEP)
        view = memoryview(self.page)
        # A commit's first byte lies at 0, or at 1 if its length is below 128.
        self._long = [view[: n * _STEP] for n in range(pages)]
        self._short = [view[1 : 1 + n * _STEP] for n in range(min(pages, 128 // _STEP + 1 + align // _STEP))]
        self._tails = [view[1 : 1 + n] if not n % align else None for n in range(_STEP)]
        self._saved = bytearray(_STEP)
        self._moved = 0  # bytes that are in `_saved` while something else is in their place
        self._longest = max(commit_bytes, _TIMES_MAX)
        self.make_buf(self._longest)
        self.header = bytearray(HEADER_BYTES)
        self._opening = bytearray(b"\xff" * self.first)  # headers, and the table of times when there is one
        self._mark = bytearray(b"\xff" * self._up(_SETTLED_BYTES))

    def make_buf(self, size):
        """Read commits of up to `size` bytes."""
        self.buf = bytearray(size)
        self._view = memoryview(self.buf)

    def _up(self, n):
        """`n` rounded up to whole units of programming."""
        return n + self._align - 1 & -self._align

    # appending

    def room(self):
        """Bytes of payload that still fit into the newest sector; 0 or less: `turn` to the next."""
        # What is settled of a file is kept in the header behind it: while all of it is, the next commit begins a file.
        done = self.head_off > len(self._opening) and not self._unsettled(self.head_seq)
        if self.torn or (self.write_once and done):
            return 0
        return self._size - self.head_off - PAYLOAD_AT - CRC_BYTES - self._align + 1

    def prepare(self):
        """Erase the next sector ahead of its time, if that is near. Blocks for one erase, 45 to 400 ms on flash."""
        seq = self.head_seq + 1
        if self._erased == seq or self.volatile or self.write_once or self.head_off * 4 < self._size * 3:
            return
        try:
            self._dev.ioctl(ERASE, seq % self._count)
        except OSError:
            self.bad += 1
        self._erased = seq  # a failure shows when the header is read back

    def turn(self):
        """Open the next sector; the oldest one is given up for the one after, and its unsettled points are dropped.

        Blocks for one sector erase if `prepare` was not called: nothing in RAM, 45 to 400 ms on flash; more
        when sectors are bad.
        """
        seq = max(self.head_seq, self.tail_seq - 1)  # what could not be opened before may have been given up
        for _ in range(self._count):
            seq += 1
            if self._open(seq):
                return
            self.bad += 1
        raise OSError(5, "no sector of the ring can be written")

    def _open(self, seq):
        block = seq % self._count
        self.torn = True
        # The block was given up when the sector before was opened: erasing it can be cut at any instant.
        self._drop_before(seq - self._count + (1 if self.volatile else 2))
        self._window_seq = 0
        try:
            if self._erased != seq:
                self._dev.ioctl(ERASE, block)
            self._erased = 0
            self._put_header(seq)
            self._seal_times(seq)
            self._dev.writeblocks(block, self._opening, 0)
            if not self.volatile:
                self._dev.readblocks(block, self.header, 0)
        except OSError:
            return False
        if not self.volatile:
            for i in range(HEADER_BYTES):  # a bad sector shows before a reading is in it
                if self.header[i] != self._opening[i]:
                    return False
        self.head_seq = seq
        self.head_off = len(self._opening)
        self.torn = False
        return True

    def _put_header(self, seq):
        points = end = UNKNOWN
        if seq == self.head_seq + 1:
            points = self._points[self.head_seq % self._count]
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
        _seal(0, opening, 0, HEADER_BYTES - CRC_BYTES)
        if not self.volatile:
            for i in range(HEADER_BYTES):
                opening[HEADER_BYTES + i] = opening[i]

    def _drop_before(self, tail):
        while self.tail_seq < tail:
            seq = self.tail_seq
            lost = self._unsettled(seq)
            self._points[seq % self._count] = 0
            self.left -= lost
            if seq == self._claimed_seq:
                # They are in a frame under way and may still arrive: whose loss it is shows when that ends.
                self.orphaned = self._claimed_points
                lost -= self._claimed_points
                self._claimed_seq = 0
            self.dropped += lost
            self.tail_seq = seq + 1
        if self.settled_seq < self.tail_seq:
            self.settled_seq = self.tail_seq
            self.settled_off = self.first
            self.settled_points = self._partly = 0

    def _unsettled(self, seq):
        points = self._points[seq % self._count]
        if seq == self.settled_seq:
            # A damaged commit was counted but cannot be read, or the other way round.
            points = max(0, points - self.settled_points - self._partly)
        return points

    def append(self, n, points):
        """Commit the `n` bytes of payload in `page`, at most `room()`, which hold `points` points."""
        page = self.page
        start = 1
        if n < 128:
            page[1] = n
        else:
            page[0] = 0x80 | n >> 8
            page[1] = n & 0xFF
            start = 0
        end = _seal(self.head_seq & 0xFFFFFF, page, start, PAYLOAD_AT + n)
        while end - start & self._align - 1:
            page[end] = 0xFF
            end += 1
        self.torn = True
        self._write(start, end - start)
        self.head_off += end - start
        self.torn = False
        self._points[self.head_seq % self._count] += points
        self.left += points

    def _write(self, start, total):
        page = self.page
        block = self.head_seq % self._count
        tail = total % _STEP
        body = total - tail
        if not body:
            self._dev.writeblocks(block, self._tails[tail], self.head_off)
            return
        self._dev.writeblocks(block, (self._short if start else self._long)[body // _STEP], self.head_off)
        if tail:
            saved = self._saved
            for i in range(tail):
                saved[i] = page[1 + i]
            self._moved = tail
            try:
                for i in range(tail):
                    page[1 + i] = page[start + body + i]
                self._dev.writeblocks(block, self._tails[tail], self.head_off + body)
            finally:
                self.mend()

    def mend(self):
        """Put back what `append` moved within `page`: the caller may want to append it again elsewhere."""
        for i in range(self._moved):
            self.page[1 + i] = self._saved[i]
        self._moved = 0

    def _append_mark(self, view):
        """Put a sealed mark behind the last commit. False when the sector cannot take it."""
        if self.torn or not self.head_seq or self.head_off + len(view) > self._size:
            return False
        self.torn = True
        try:
            self._dev.writeblocks(self.head_seq % self._count, view, self.head_off)
        except OSError:
            self.bad += 1
            return False
        self.head_off += len(view)
        self.torn = False
        return True

    # reading

    def read(self, seq, off):
        """Find the commit at `off` of sector `seq`: the length of its payload, 0 at the sector's end.

        The payload lies in `buf[at:]` until the next call, the next commit at `next_off`. What was damaged is
        passed over. Blocks for the reading of one commit; longer, up to the size of two, behind damage.
        """
        self.next_off = off
        if off == self.first and self.read_header(seq % self._count) != seq:
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
            n = 1 + buf[at + 1] * _SEGMENT_BYTES
        elif first < 0x80:
            n = first
        else:
            n = (first & 0x3F) << 8 | buf[at + 1]
            start += 1
        total = start - at + n + CRC_BYTES
        self.next_off = off + self._up(total)
        if not n or first > _TIMES or total > end - off or total > len(buf):
            return 0
        start -= at
        at = self._load(seq, off, end, total)
        if not _sealed(seq & 0xFFFFFF, buf, at, at + start + n):
            return 0
        self.at = at + start
        if first < _SETTLED:
            return n
        if first == _TIMES:
            self._learn(seq, off, at)
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
            self.load(seq % self._count, self._view[:n], off)
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
                and _sealed(0, header, 0, HEADER_BYTES - CRC_BYTES)
                and seq % self._count == block
            ):
                return seq
            if self.volatile:
                break
        return 0

    def _end_of(self, seq):
        """Where the commits of a sector end: the header of the next one tells. What a cut tore lies behind."""
        if seq != self._ended_seq:
            known = self.read_header((seq + 1) % self._count) == seq + 1
            end = unpack_from("<H", self.header, 27)[0] if known else UNKNOWN
            self._ended_seq = 0  # an exception may strike anywhere
            self._ended_off = min(end, self._size)
            self._ended_seq = seq
        return self._ended_off

    # settling

    def claim(self, seq, points):
        """Frames under way hold `points` points of sector `seq`, none of any other."""
        self._claimed_seq = seq
        self._claimed_points = points

    def settle(self, seq, off, points, partly, total):
        """`points` points of sector `seq` need no more care: all before `off`, and `partly` of the commit there.

        `total` points of the sector in all. Blocks for one program, rarely one erase. Can be called again
        when an exception struck in the midst of it.
        """
        self._claimed_points = max(0, self._claimed_points - points)
        self.orphaned = max(0, self.orphaned - points)
        if seq < self.tail_seq:
            return  # given up meanwhile
        self.give_up_before(seq)
        before = self.settled_seq
        if seq != before:  # in this order: interrupted, rather too little is settled
            self.settled_points = self._partly = 0
            self.settled_off = self.first
            self.settled_seq = seq
        # After a reboot the commit at `off` is sent from its beginning: only whole ones count.
        self.settled_points = total - partly
        self._partly = partly
        self.settled_off = off
        self.left = sum(self._points) - self._points[seq % self._count] + self._unsettled(seq)
        if self.write_once:
            self._release(before, seq)
        elif not self.volatile and (self._align <= _STEP or seq != self._marked_seq):
            self._mark_settled(seq, off)

    def _release(self, before, seq):
        """Files need no marks: those that are done with go."""
        try:
            for earlier in range(before, seq):
                self._dev.ioctl(ERASE, earlier % self._count)
            self._dev.ioctl(SYNC, 0)
        except OSError:
            self.bad += 1

    def _mark_settled(self, seq, off):
        self._marked_seq = seq
        pack_into("<BHHH", self._mark, 0, _SETTLED, self.head_seq - seq, off, self.settled_points)
        _seal(self.head_seq & 0xFFFFFF, self._mark, 0, _SETTLED_BYTES - CRC_BYTES)
        victim = self.head_seq + 2 - self._count
        if not self._append_mark(self._mark) and (victim < self.tail_seq or not self._unsettled(victim)):
            self.turn()  # the header of the next sector says it, and that costs no reading

    def give_up_before(self, seq):
        """What is left of the sectors before `seq` could not be read: it counts as dropped."""
        for earlier in range(max(self.settled_seq, self.tail_seq), seq):
            lost = self._unsettled(earlier)
            block = earlier % self._count
            self._points[block] = self._points[block] - lost if earlier == self.head_seq else 0
            self.left -= lost
            self.dropped += lost

    # times of boots

    def _learn(self, seq, off, at):
        """Take over the table at `at` of `buf`, unless a later one told about its boots."""
        news = {}
        for i in range(self.buf[at + 1]):
            told = unpack_from(_SEGMENT, self.buf, at + 2 + i * _SEGMENT_BYTES)
            flag, boot, low, high, unix, unix_high, ppb = told
            news.setdefault(boot, []).append((high << 32 | low, unix_high << 32 | unix, ppb, flag))
        for boot in news:
            if boot != self.boot and (seq, off) >= self._learned.get(boot, (0, 0)):
                self._learned[boot] = (seq, off)
                self.times[boot] = news[boot]

    def estimate(self, boot, unix_ms):
        """`boot`, an earlier one, began about then. To be told before a reading is dated by it, as `fly` sees to."""
        self._learned[boot] = (self.head_seq + 1, 0)
        self.times[boot] = [(0, unix_ms, 0, 1)]

    def fly(self, boot):
        """Readings of `boot` are to be sent, and none of another are on their way: its times stay at hand."""
        if boot != self._flying:
            for earlier in [known for known in self.times if known < boot]:
                del self.times[earlier]
            if self.times[boot][0][3]:  # what a boot knew itself stands in its last sector
                self.untold = True
            self._flying = boot

    def carry(self):
        """Sectors begin with the times of the boot whose readings were on their way: an earlier boot has told them."""
        newest = (0, 0)
        for boot in self._learned:
            if (self._learned[boot], -boot) > (newest, -self._flying):
                newest, self._flying = self._learned[boot], boot
        self._opening = self._put_times()

    def _put_times(self):
        """Headers and table as a sector begins with them."""
        boots = (self.boot,) if self._flying == self.boot else (self._flying, self.boot)
        table = b""
        for boot in boots:
            for low, unix, ppb, flag in self.times.get(boot, ()):
                table += pack(
                    _SEGMENT, flag, boot, low & 0xFFFFFFFF, low >> 32, unix & 0xFFFFFFFF, unix >> 32, ppb
                )
        n = len(table) // _SEGMENT_BYTES
        at = self.first + 2
        opening = bytearray(b"\xff" * (self.first + (n and self._up(2 + len(table) + CRC_BYTES))))
        if n:
            opening[at - 2] = _TIMES
            opening[at - 1] = n
            opening[at : at + len(table)] = table
        return opening

    @property
    def full(self):
        """Telling times might cost readings that wait."""
        room = self._size - self.head_off - 2 * (self._up(_TIMES_MAX) + len(self._mark))
        victim = self.head_seq + (1 if self.volatile else 2) - self._count
        return (self.write_once or room < 0) and victim >= self.tail_seq and self._unsettled(victim) > 0

    def tell(self):
        """Write the table of times, twice: a flipped bit must not move readings that were sent already.

        Blocks for two programs, rarely one erase. Can be called again when an exception struck in the midst of it.
        """
        self._opening = opening = self._put_times()
        if self.head_seq and len(opening) > self.first:
            self._seal_times(self.head_seq)
            view = memoryview(opening)[self.first :]
            if self.write_once:
                self.turn()  # begins with it
                self._dev.ioctl(SYNC, 0)
            else:
                if self._align > _STEP:  # times of what is settled are left out: that has to be known too
                    self._mark_settled(self.settled_seq, self.settled_off)
                    self._seal_times(self.head_seq)
                if not (self._append_mark(view) and (self.volatile or self._append_mark(view))):
                    self.turn()
        self.untold = False

    def _seal_times(self, seq):
        opening = self._opening
        if len(opening) > self.first:
            end = self.first + 2 + opening[self.first + 1] * _SEGMENT_BYTES
            _seal(seq & 0xFFFFFF, opening, self.first, end)
