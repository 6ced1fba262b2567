"""What is still to be delivered: the next frame, as JSON, out of ring, records and clock.

A frame is `{"source_id":"…","points":[…]}` with points of one sector, oldest first. It stays as it is, byte
for byte, until it is released, or rebuilt because the gateway refused it.
"""

from .decoder import Decoder
from .ring import HEADER_BYTES


class Outbox:
    """Frames for `source_id` out of `recorder`'s ring, in a buffer of `frame_bytes`.

    `rejected` counts points that a gateway refused for good, `delivered` those it stored.
    """

    def __init__(self, recorder, source_id_json, page_bytes, frame_bytes):
        self._recorder = recorder
        self._ring = recorder.ring
        self._decoder = Decoder()
        self._read = memoryview(bytearray(page_bytes + 4))
        self.frame = bytearray(frame_bytes)
        self.view = memoryview(self.frame)
        head = b'{"source_id":' + source_id_json + b',"points":['
        self.frame[: len(head)] = head
        self._head = len(head)
        self.points = 0  # in the frame
        self.rejected = 0
        self.delivered = 0
        self._limit = 0  # points that a frame may hold, 0: as many as fit
        self._poison = []  # points of the frame under way, counted from its first, that are left out
        # The frame begins `_done` points into the commit at `_off` of sector `_seq`, and ends likewise.
        self._seq, self._off = self._ring.settled
        self._end_seq, self._end_off = self._seq, self._off
        self._done = self._end_done = 0
        self._taken = 0  # points from begin to end, those left out included
        # The commit that the decoder expects next: it must have seen all that comes before in the sector.
        self._decoder_seq = 0
        self._decoder_off = 0

    @staticmethod
    def json_max(source_id_json, frame_bytes):
        """Bytes of JSON that a frame has for points."""
        return frame_bytes - 28 - len(source_id_json)

    @property
    def waiting(self):
        """Points that are neither stored nor dropped nor rejected, those in the frame included."""
        return self._ring.left + self._ring.orphaned - len(self._poison)

    @property
    def unsettled(self):
        """Whether `next_frame` has something to do."""
        return self._ring.left + self._ring.orphaned > 0

    def empty_frame(self):
        """Make the frame one without points, a valid request that stores nothing; its size in bytes."""
        return self._close(self._head)

    def next_frame(self):
        """Fill `frame` with the oldest points; its size in bytes, 0 when there are none.

        Also 0 while the ring is being changed: when this interrupts a `send()`.
        """
        if not self._recorder.guard.take(False):
            return 0
        try:
            size = self._build()
            while not size and self._poison:  # all of them were left out
                self._settle()
                size = self._build()
            return size
        finally:
            self._recorder.leave()

    def release(self):
        """The gateway stored the frame: its points leave the ring. False: call again, a `send()` is under way."""
        if not self._recorder.guard.take(False):
            return False
        try:
            self.delivered += self.points
            self._settle()
            self._limit = self._limit * 2 if self._limit < 1000 else 0
        finally:
            self._recorder.leave()
        return True

    def quarantine(self, index):
        """The gateway refuses point `index` of the frame for good: the next frame leaves it out."""
        for poison in sorted(self._poison):
            if poison <= index:
                index += 1
        self._poison.append(index)
        self.rejected += 1

    def split(self):
        """The frame is too big: the next one holds half of it. False when it holds a single point already."""
        if self.points < 2:
            return False
        self._limit = self.points // 2
        return True

    def _settle(self):
        self._ring.settle(self._seq, self._end_off, self._taken, self._end_done)
        self._seq = self._end_seq
        self._off = self._end_off
        self._done = self._end_done
        # After a split some of those left out lie behind the frame.
        self._poison = [index - self._taken for index in self._poison if index >= self._taken]
        self._taken = 0

    def _build(self):
        self._begin()
        at = self._head
        seq = self._seq
        off = self._off
        skip = self._done
        while True:
            n = self._ring.read(seq, off, self._read)
            if not n:
                if self._taken or seq >= self._ring.head_seq:
                    break
                seq += 1
                off = HEADER_BYTES
                skip = 0
                self._seq = seq
                self._off = off
                self._done = 0
                self._decoder.reset()
                continue
            if self._date():
                n = self._ring.read(seq, off, self._read)
            self._note_damage(self._decoder)
            self._decoder.load(self._read, self._ring.payload_at, n)
            at, taken = self._take_points(at, skip)
            if self._decoder.more:
                self._decoder.rewind()
                skip = taken
                break
            off = self._ring.next_off
            skip = 0
        self._end_seq = seq
        self._end_off = self._decoder_off = off
        self._end_done = skip
        self._decoder_seq = seq
        self._ring.claim(seq, self._taken)
        return self._close(at) if self.points else 0

    def _note_damage(self, decoder):
        if self._ring.damaged:
            self._ring.damaged = False
            decoder.lose_time()

    def _date(self):
        """Tell the decoder when its record's boot began; True when the ring had to be read for that."""
        ring, decoder = self._ring, self._decoder
        boot = ring.read_boot
        if boot == ring.boot:
            decoder.zero_ms = self._recorder.clock.zero_ms
            decoder.estimated = False
            return False
        surveyed = boot not in ring.syncs
        if surveyed:
            self._survey(boot, self._seq)
            ring.read_boot = boot
        decoder.zero_ms = ring.syncs[boot]
        decoder.estimated = boot in ring.estimated
        return surveyed

    def _survey(self, boot, seq):
        """Look for the sync of an earlier boot behind its readings; without one it ended where the next began."""
        ring = self._ring
        decoder = Decoder()
        off = HEADER_BYTES
        last_ms = 0
        after = ring.boot
        while seq <= ring.head_seq:
            n = ring.read(seq, off, self._read)
            if not n:
                seq, off = seq + 1, HEADER_BYTES
                decoder.reset()
                continue
            if ring.read_boot > boot:
                after = ring.read_boot
                break
            decoder.load(self._read, ring.payload_at, n)
            last_ms = decoder.uptime_ms
            off = ring.next_off
        if boot not in ring.syncs:
            ring.sync(boot, self._start_of(after, seq) - last_ms - 1, True)

    def _start_of(self, boot, seq):
        if boot == self._ring.boot:
            return self._recorder.clock.zero_ms
        if boot not in self._ring.syncs:
            self._survey(boot, seq)
        return self._ring.syncs[boot]

    def _begin(self):
        """Stand where the frame starts, with a decoder that has seen what comes before."""
        ring = self._ring
        if self._seq < ring.tail_seq:
            # The sector has been overwritten: what was rejected there is not dropped as well.
            ring.dropped += ring.orphaned - len(self._poison)
            ring.orphaned = 0
            self._poison.clear()
            self._seq = ring.tail_seq
            self._off = HEADER_BYTES
            self._done = 0
        self.points = 0
        self._taken = 0
        if self._decoder_seq != self._seq or self._decoder_off != self._off:
            self._replay()

    def _replay(self):
        self._decoder.reset()
        off = HEADER_BYTES
        while off < self._off:
            n = self._ring.read(self._seq, off, self._read)
            if not n:
                return
            self._note_damage(self._decoder)
            self._decoder.load(self._read, self._ring.payload_at, n)
            while self._decoder.more:
                self._decoder.skip()
            off = self._ring.next_off

    def _take_points(self, at, skip):
        """Write the record's points from number `skip` on into the frame; where they end, how many were seen."""
        decoder = self._decoder
        seen = 0
        while decoder.more:
            if seen < skip:
                decoder.skip()
            elif self._taken in self._poison:
                decoder.skip()
                self._taken += 1
            elif not decoder.sure:  # nobody can say what it was, or when
                self._poison.append(self._taken)
                self.rejected += 1
                continue
            else:
                if self._limit and self.points >= self._limit:
                    break
                start = at + 1 if self.points else at
                end = decoder.next_json(self.frame, start, len(self.frame) - 2)
                if not end:
                    break
                if self.points:
                    self.frame[at] = 44  # ','
                at = end
                self.points += 1
                self._taken += 1
            seen += 1
        return at, seen

    def _close(self, at):
        self.frame[at] = 93  # ']'
        self.frame[at + 1] = 125  # '}'
        return at + 2
