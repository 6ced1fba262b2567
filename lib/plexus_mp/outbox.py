"""What is still to be delivered: the next frame, as JSON, out of ring, records and clock.

A frame is `{"points":[…]` with points of one sector, one boot and one source, oldest first, and what the
transport adds: `close` ends it. Its points stay as they are, byte for byte, until it is released, or rebuilt because
the gateway refused it.
"""

from .decoder import Decoder
from .ports import const, ticks_diff, ticks_ms

# In front of the JSON: room for the frame header of a WebSocket (RFC 6455 §5.2).
HEADROOM = const(14)
_HEAD = b'{"points":['
_POINT_BYTES = const(64)  # what a reading takes as JSON, about
_TAIL_MAX = const(48)  # or the source_id; no less than what `Decoder.write` spills


class Outbox:
    """Frames out of `recorder`'s ring, in a buffer of `frame_bytes`; `source_json` is this board's source_id.

    `frame[HEADROOM:]` holds what `next_frame` made. `rejected` counts points that a gateway refused for good,
    `delivered` those it stored. `lingering`: the last frame took all there was, so what came since waits for company,
    up to `linger_ms`; to be set to False by those who cannot wait.
    """

    def __init__(self, recorder, source_json, frame_bytes, linger_ms=0):
        self._recorder = recorder
        self._ring = recorder.ring
        self._decoder = Decoder()
        self._building = self._next  # bound once, not for each frame
        self._releasing = self._release
        self.own_source = source_json
        self.source = source_json  # whose points the frame holds
        self.frame = bytearray(frame_bytes)
        self.view = memoryview(self.frame)
        self._head = HEADROOM + len(_HEAD)
        self._at = self._head
        self.points = 0  # in the frame
        self.call = False  # it is none: a request of its own, for calls.py, which goes alone
        self.linger_ms = linger_ms
        self.lingering = False
        self._made = 0  # ticks of that frame
        self.rejected = 0
        self.delivered = 0
        self._limit = 0  # points that a frame may hold, 0: as many as fit
        self._poison = []  # points, by their number in the sector, that are left out
        self._skipped = []  # the same when the frames under way were built, sorted
        # Places in the ring are (sector, offset of a commit, points before it in that commit, and in the sector, the
        # uptime of the last one if it is of this boot, else -1): one object, so that an exception leaves either the
        # old one or the new. Where the oldest frame begins, or a frame ends, which has its points there too:
        self.start_over()
        self._end = None  # where the frame in the buffer ends
        self._flight = []  # where each frame ends that was handed over and not yet released
        # Where the decoder stands, which must have seen all that comes before in the sector; 0: anywhere.
        self._decoder_seq = self._decoder_off = self._decoder_done = 0
        self._seq = 0
        self._first = self._number = 0  # the first point of the frame, and the one at hand
        self._loaded = False  # within the commit there
        self._last_ms = -1
        self._survey = None
        self._surveyed = 0  # the boot whose times are being looked for
        self._boot = 0  # whose points the frames hold
        self.sent_ms = -1  # up to this uptime of this boot readings may be on their way

    @staticmethod
    def json_max(source_json, frame_bytes):
        """Bytes of JSON that a frame has for points."""
        return frame_bytes - HEADROOM - len(_HEAD) - max(_TAIL_MAX, len(source_json) + 14)

    def start_over(self):
        """Begin with the oldest reading that the ring knows to be unsettled."""
        ring = self._ring
        self._start = (ring.settled_seq, ring.settled_off, 0, ring.settled_points, -1, 0)

    @property
    def waiting(self):
        """Points that are neither stored nor dropped nor rejected, those in the frame included."""
        return self.unsettled - len(self._poison) + self._recorder.pending

    @property
    def unsettled(self):
        """Points that `next_frame` can take from."""
        return self._ring.left + self._ring.orphaned

    @property
    def surveying(self):
        """The oldest points cannot be dated yet: `next_frame` will, called again and again."""
        return self._surveyed > 0

    @property
    def handed(self):
        """Frames handed over and not yet released."""
        return len(self._flight)

    @property
    def ready(self):
        """Whether points behind the frames handed over are to go now."""
        ring = self._ring
        behind = ring.left + ring.orphaned  # `unsettled`, but this is looked at in each slice
        if self._flight:
            behind -= self._flown
        return not self.lingers(behind) and behind > 0  # in this order: a pause is to be seen to end

    @property
    def _flown(self):
        """Points that are handed over."""
        return self._flight[-1][3] - self._start[3] if self._flight else 0

    @property
    def linger_left_ms(self):
        """For how long what comes now will wait for company."""
        return max(0, self.linger_ms - ticks_diff(ticks_ms(), self._made)) if self.lingering else 0

    def lingers(self, points):
        """Whether `points` points wait for company. Those that may fill a frame do not."""
        # Once it is over it stays so: after half a round of ticks a comparison would turn again.
        if self.lingering and ticks_diff(ticks_ms(), self._made) >= self.linger_ms:
            self.lingering = False
        return self.lingering and points < len(self.frame) // _POINT_BYTES

    def next_frame(self):
        """Fill the frame with the oldest points that are not handed over; how many, 0 when there are none.

        All frames handed over are of one sector and boot: also 0 as long as the next point is of another.
        Also 0 while the ring is being changed: when this interrupts a `send()`. Blocks for building one frame.
        """
        return self._recorder.apart(self._building) or 0

    def _next(self):
        self._recorder.tell()  # what was interrupted
        self._build()
        while not self.points and self._end and not self._flight:  # all of them were left out
            self._settle(self._end)
            self._build()
        if self.points and self.linger_ms:
            self._made = ticks_ms()
            self.lingering = self.points == self.unsettled - self._flown
        return self.points

    def empty_frame(self):
        """Make the frame one without points, a valid request that stores nothing."""
        self._at = self._head
        self.source = self.own_source

    def close(self, tail):
        """End the frame with `],`, the bytes `tail` and `}`: where its JSON ends in `frame`."""
        frame, at = self.frame, self._at
        frame[HEADROOM : self._head] = _HEAD
        frame[at] = 93  # ']'
        frame[at + 1] = 44  # ','
        at += 2
        frame[at : at + len(tail)] = tail
        at += len(tail)
        frame[at] = 125  # '}'
        return at + 1

    def hand_over(self):
        """The frame is on its way: the next one begins behind it."""
        self._flight.append(self._end)
        self._end = None
        self.points = 0

    def take_back(self):
        """What was handed over and not released goes out again, from the oldest on: `points` are its."""
        self.points = self._flight[0][5] if self._flight else 0
        self.lingering = False
        self._flight.clear()
        self._end = None
        self._first = self._start[3]

    def release(self):
        """The gateway stored the oldest frame: its points leave the ring. False: call again, a `send()` is at work."""
        return bool(self._recorder.apart(self._releasing))

    def _release(self):
        # Interrupted anywhere it can be called again.
        if self._flight:
            points = self._flight[0][5]
            self._settle(self._flight[0])
            self._flight.pop(0)
            self.delivered += points
        elif self._end:
            self._settle(self._end)
            self._end = None
            self.delivered += self.points
        self._limit = self._limit * 2 if self._limit < 1000 else 0
        return True

    def quarantine(self, index):
        """The gateway refused point `index` of the frame for good: the next frame leaves it out."""
        index += self._first
        for skipped in self._skipped:
            if self._first <= skipped <= index:
                index += 1
        self.lingering = False
        if index not in self._poison:
            self._poison.append(index)
            self.rejected += 1

    def split(self):
        """The frame is too big: the next one holds half of it. False when it holds a single point already."""
        if self.points < 2:
            return False
        self._limit = self.points // 2
        self.lingering = False
        return True

    def _settle(self, end):
        try:
            self._ring.settle(end[0], end[1], end[3] - self._start[3], end[2], end[3])
        except OSError:  # at worst it is sent again after a reboot
            self._recorder.faults += 1
        self._start = end
        if not end[2]:  # after a reboot a commit is sent from its beginning
            self._recorder.clock.stored_ms = end[4]
        if self._poison:  # after a split some of those left out lie behind the frame
            self._poison = [number for number in self._poison if number >= end[3]]

    def _build(self):
        """From where the last frame ended, as far as there is room, within the sector."""
        ring = self._ring
        self.points = 0
        self.call = False
        self._end = None
        if not self._begin():
            return
        self._decoder_seq = 0
        while True:
            n = self._next_commit()
            if n < 0:
                break
            if not n:
                if self._number > self._first or self._flight:
                    break
                if self._seq >= ring.head_seq:
                    if ring.left:
                        ring.give_up_before(ring.head_seq + 1)
                    break
                self._enter_next()
                continue
            boot = self._decoder.boot
            if self._decoder.more and boot != self._boot:
                if self.points or self._flight:
                    break  # of one boot at a time the times are kept safe
                if boot != ring._flying:
                    from .times import fly

                    fly(ring, boot)
                self._recorder.tell()
                self._boot = boot
                if self._start[0] < ring.tail_seq:
                    return self._build()  # that has opened a sector, and so given this one up
            if not self._take_points():
                break
            self._loaded = False
            self._decoder_off = ring.next_off
            self._decoder_done = 0
        self._decoder_seq = self._seq
        if self._number > self._first:
            if self._poison or self._skipped:
                self._skipped = sorted(self._poison)
            ring.claim(self._seq, self._number - self._start[3])
            self._end = (
                self._seq, self._decoder_off, self._decoder_done, self._number, self._last_ms, self.points,
            )  # fmt: skip

    def _enter(self, seq):
        """The decoder stands at the beginning of a sector."""
        self._decoder_seq = 0
        self._seq = seq
        self._decoder_off = self._ring.first
        self._decoder_done = self._number = self._first = 0
        self._loaded = False
        self._decoder.reset()

    def _enter_next(self):
        self._poison.clear()
        self._start = (self._seq + 1, self._ring.first, 0, 0, self._start[4], 0)
        self._enter(self._seq + 1)

    def _begin(self):
        """Stand where the frame starts, with a decoder that has seen what comes before. False: not now."""
        ring = self._ring
        self._at = self._head
        if self._start[0] < ring.tail_seq:
            # The sector has been overwritten: what is handed over may still arrive.
            if self._flight:
                return False
            # What was rejected there is not dropped as well.
            lost = ring.orphaned - len(self._poison)
            self._poison.clear()
            ring.orphaned = 0
            ring.dropped += lost
            self._start = (ring.tail_seq, ring.first, 0, 0, -1, 0)
        seq, off, done, number, self._last_ms, _ = self._flight[-1] if self._flight else self._start
        if self._decoder_seq != seq or self._decoder_off != off or self._decoder_done != done:
            self._replay(seq, off, done)
        self._first = self._number = number
        return True

    def _replay(self, seq, off, done):
        """Read the sector again up to `done` points into the commit at `off`."""
        self._enter(seq)
        while self._decoder_off < off and self._load():
            self._loaded = False
            self._decoder_off = self._ring.next_off
            while self._decoder.more:
                self._decoder.advance()
        self._decoder_off = off
        if done and self._load():
            while self._decoder_done < done and self._decoder.more:
                self._decoder.advance()
                self._decoder_done += 1

    def _load(self):
        ring = self._ring
        n = ring.read(self._seq, self._decoder_off)
        if n:
            self._decoder.load(ring.buf, ring.at, n, ring.damaged)
            self._loaded = True
            ring.damaged = False
        return n

    def _next_commit(self):
        """Load the commit where the decoder stands, or go on within it; 0 at the sector's end, -1: not yet dated."""
        ring, decoder = self._ring, self._decoder
        if self._loaded:
            n = ring.read(self._seq, self._decoder_off)
            decoder.moved(ring.buf, ring.at)
        else:
            n = self._load()
        while n and decoder.more and self._date():
            if self._surveyed:
                return -1  # not yet
            ring.read(self._seq, self._decoder_off)
            decoder.moved(ring.buf, ring.at)
        return n

    def _take_points(self):
        """Write points of the commit into the frame; True when it has no more."""
        decoder, frame = self._decoder, self.frame
        source = decoder.source
        known = source is not None or self._ring.volatile
        source = source or self.own_source
        end = self._head + self.json_max(source, len(frame))
        s = ms = -1
        while decoder.more:
            if self._number not in self._poison:
                if not known:  # nobody knows whose it is: what told it was damaged, twice
                    self._reject()
                    continue
                if (decoder.call or self.call) and (self.points or self._flight):
                    break
                if self.points and (source != self.source or self.points == self._limit):
                    break
                at = decoder.write(frame, self._at + (self.points > 0), end)
                if at:
                    if self.points:
                        frame[self._at] = 44  # ','
                    self.source = source
                    self.call = decoder.call
                    self._at = at
                    self.points += 1
                    s = decoder.s
                    ms = decoder.ms
                elif self.points:
                    break
                else:  # from a time when frames were larger
                    self._reject()
            self._number += 1
            self._decoder_done += 1
            decoder.advance()
        if s >= 0 and decoder.boot == self._ring.boot:
            self._last_ms = s * 1000 + ms
            self.sent_ms = max(self.sent_ms, self._last_ms)
        return not decoder.more

    def _reject(self):
        """The point at hand can never be sent."""
        self._poison.append(self._number)
        self.rejected += 1

    def _date(self):
        """Tell the decoder the times of its commit's boot; True when the ring had to be read for that instead."""
        ring, decoder = self._ring, self._decoder
        boot = decoder.boot
        if boot in ring.times:
            decoder.segments = ring.times[boot]
            return False
        if self._surveyed != boot:
            from .survey import survey

            self._survey = survey(ring, boot, self._seq)
            self._surveyed = boot
        for _ in self._survey:
            break
        else:
            self._surveyed = 0
        return True
