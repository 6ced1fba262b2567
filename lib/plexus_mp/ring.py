"""An append-only log over a block device: append, read from the oldest, settle.

The newest sector overwrites the oldest. The ring never looks into a commit: it is told how many points each one
holds, so that what an overflow drops can be counted. How it lies there: `log.py`. What a reboot needs to find
everything again: `mount.py`.
"""

from .blocks import ERASE, SYNC
from .crc import CRC_BYTES, seal
from .log import HEADER_BYTES, PAYLOAD_AT, TIMES_MAX, UNKNOWN, Log
from .ports import const

COMMIT_MAX = const(16383)  # 14 bits of length
# Slicing a memoryview allocates, so what is written goes through views made beforehand: of every length below
# this, and of its multiples.
_STEP = const(32)


class Ring(Log):
    """The log on `dev`; commits of up to `page_bytes`, built by the caller in `page[PAYLOAD_AT:]`.

    Programs are multiples of `align` bytes, a power of two, at such offsets. `noise`: erased bytes read as
    anything (an encrypted partition). A device that is `volatile` starts empty; one that is `write_once` (files)
    gets no settled marks: sectors that are done with are erased. `dropped` counts points that were lost, `left`
    those that still wait. The `times` of this boot are the recorder's.
    Raises `ValueError` when the sizes do not fit each other, `OSError` when the device fails.
    """

    def __init__(self, dev, page_bytes, align=1, noise=False):
        self.write_once = getattr(dev, "write_once", False)
        if self.write_once:
            align = _STEP  # a commit is one write: a second one would rewrite the file
        commit_bytes = page_bytes + PAYLOAD_AT + CRC_BYTES
        super().__init__(dev, commit_bytes, align, noise)
        beside = self.first + self._up(TIMES_MAX) + PAYLOAD_AT + CRC_BYTES + align - 1
        if not (4 + self.volatile <= self.sectors + 2 * self.volatile and self.sectors < UNKNOWN):
            raise ValueError("ring_bytes must hold 4 to 65534 sectors, in RAM 3 or more")
        if not (page_bytes <= COMMIT_MAX and page_bytes + beside <= self.sector_bytes <= 32768):
            raise ValueError(
                "page_bytes (%d) and %d more must fit into sector_bytes (%d), 32768 at most"
                % (page_bytes, beside, self.sector_bytes)
            )
        self._make_buffers(commit_bytes)
        self.torn = False  # something failed half-way: nothing more goes behind it
        self._erased = 0  # the sector whose block is erased already
        # From here on in a sector the next one is erased ahead of its time; a RAM and a filesystem do without.
        self.ahead_off = 65536 if self.volatile or self.write_once else self.sector_bytes * 3 // 4
        self.before_seq = self._before_off = 0  # the sector before the newest, and its end; 0: never mind
        self._open_off = 0  # where the newest sector's first commit comes
        self._marked_seq = 0
        self._partly = 0
        self._claimed_seq = 0
        self._claimed_points = 0
        self.left = 0
        self.untold = False  # times have changed since they were written

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
        self.make_buf(self._longest)

    # appending

    def room(self):
        """Bytes of payload that still fit into the newest sector; 0 or less: `turn` to the next."""
        if self.torn:
            return 0
        # What is settled of a file is kept in the header behind it: while all of it is, the next commit begins a file.
        if (
            self.write_once
            and self._points[self.head_seq % self.sectors]
            and not self._unsettled(self.head_seq)
        ):
            return 0
        return self.sector_bytes - self.head_off - PAYLOAD_AT - CRC_BYTES - self._align + 1

    def prepare(self):
        """Erase the next sector ahead of its time, if that is near. Blocks for one erase, 45 to 400 ms on flash."""
        seq = self.head_seq + 1
        if self._erased == seq or self.head_off < self.ahead_off:
            return
        try:
            self._dev.ioctl(ERASE, seq % self.sectors)
        except OSError:
            self.bad += 1
        self._erased = seq  # a failure shows when the header is read back

    def turn(self):
        """Open the next sector; the oldest one is given up for the one after, and its unsettled points are dropped.

        Blocks for one sector erase if `prepare` was not called: nothing in RAM, 45 to 400 ms on flash; more
        when sectors are bad.
        """
        if self.torn and self.write_once and self.before_seq and self.head_off == self._open_off:
            # Nothing is in it, and a file is written anew: opening another each time would give up all that waits.
            self.head_seq = self.before_seq
            self.head_off = self._before_off
            self.before_seq = 0
        seq = max(self.head_seq, self.tail_seq - 1)  # what could not be opened before may have been given up
        for _ in range(self.sectors):
            seq += 1
            if self._open(seq):
                return
            self.bad += 1
        raise OSError(5, "no sector of the ring can be written")

    def _open(self, seq):
        block = seq % self.sectors
        self.torn = True
        # The block was given up when the sector before was opened: erasing it can be cut at any instant.
        self._drop_before(seq - self.sectors + (1 if self.volatile else 2))
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
        self.before_seq = 0  # an exception may strike anywhere
        self._before_off = self.head_off
        self._open_off = len(self._opening)
        before = self.head_seq
        self.head_seq = seq
        self.head_off = self._open_off
        self.before_seq = before
        self.torn = False
        return True

    def _drop_before(self, tail):
        while self.tail_seq < tail:
            seq = self.tail_seq
            lost = self._unsettled(seq)
            self._points[seq % self.sectors] = 0
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
        points = self._points[seq % self.sectors]
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
        end = seal(self.head_seq & 0xFFFFFF, page, start, PAYLOAD_AT + n)
        while end - start & self._align - 1:
            page[end] = 0xFF
            end += 1
        self.torn = True
        self._write(start, end - start)
        self.head_off += end - start
        self.torn = False
        self._points[self.head_seq % self.sectors] += points
        self.left += points

    def _write(self, start, total):
        page = self.page
        block = self.head_seq % self.sectors
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
        if self.torn or not self.head_seq or self.head_off + len(view) > self.sector_bytes:
            return False
        self.torn = True
        try:
            self._dev.writeblocks(self.head_seq % self.sectors, view, self.head_off)
        except OSError:
            self.bad += 1
            return False
        self.head_off += len(view)
        self.torn = False
        return True

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
        self.left = sum(self._points) - self._points[seq % self.sectors] + self._unsettled(seq)
        if self.write_once:
            self._release(before, seq)
        elif not self.volatile and (self._align <= _STEP or seq != self._marked_seq):
            self._mark_settled(seq, off)

    def _release(self, before, seq):
        """Files need no marks: those that are done with go."""
        try:
            for earlier in range(before, seq):
                self._dev.ioctl(ERASE, earlier % self.sectors)
            self._dev.ioctl(SYNC, 0)
        except OSError:
            self.bad += 1

    def _mark_settled(self, seq, off):
        self._marked_seq = seq
        self._put_mark(seq, off)
        victim = self.head_seq + 2 - self.sectors
        if not self._append_mark(self._mark) and (victim < self.tail_seq or not self._unsettled(victim)):
            self.turn()  # the header of the next sector says it, and that costs no reading

    def give_up_before(self, seq):
        """What is left of the sectors before `seq` could not be read: it counts as dropped."""
        for earlier in range(max(self.settled_seq, self.tail_seq), seq):
            lost = self._unsettled(earlier)
            block = earlier % self.sectors
            self._points[block] = self._points[block] - lost if earlier == self.head_seq else 0
            self.left -= lost
            self.dropped += lost

    @property
    def full(self):
        """Telling times might cost readings that wait."""
        room = self.sector_bytes - self.head_off - 2 * (self._up(TIMES_MAX) + len(self._mark))
        victim = self.head_seq + (1 if self.volatile else 2) - self.sectors
        return (self.write_once or room < 0) and victim >= self.tail_seq and self._unsettled(victim) > 0
