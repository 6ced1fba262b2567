"""From a value to a commit in the ring: stamp, encode, append, under one guard.

A timer callback may call `send()` while another `send()`, or the link, holds the guard. Its reading then
waits in a small queue of prepared slots until the holder leaves, stamped with its own time. An exception may
strike anywhere (KeyboardInterrupt, MemoryError): what it leaves half-done is in doubt, and nothing refers to it.
"""

from .build import UNIX_MS
from .clock import Clock, unix_ms
from .errors import PlexusError
from .log import PAYLOAD_AT
from .points import Encoder
from .ports import Guard, const, forget, ticks_diff, ticks_ms

_LATE_MAX = const(8)
_LATE_ROUND = const(8192)
_UPKEEP_MS = const(3600_000)


class Recorder:
    """Accepts points into `ring`; `json_max` bytes bound what one point may become as JSON.

    `commit_ms` 0: each call commits, and what it recorded is durable when it returns. Else a page is committed
    when it is full or so old; `pending` points are in RAM until then. `accepted` counts points, `refused` those
    that arrived nested and found all slots taken or fit into no page, `faults` writes that failed and were
    done elsewhere. `rtc_ms()`, if given, is the real-time clock, which runs on while the board sleeps deeply.
    """

    def __init__(self, ring, page_bytes, json_max, source_json=b"", commit_ms=0, rtc_ms=None):
        self.ring = ring
        ppb = 0
        for boot in sorted(ring.times):
            if not ring.times[boot][-1][3]:
                ppb = ring.times[boot][-1][2]
        self.clock = Clock(UNIX_MS, ppb)
        self._rtc_ms = None if ring.volatile else rtc_ms
        self._begun_ms = -1
        if self._rtc_ms:
            self._begun_ms = ring.rtc[ring.boot] = self._rtc_ms()
        ring.times[ring.boot] = self.clock.segments
        self.guard = Guard()
        self.accepted = 0
        self.refused = 0
        self.faults = 0
        self._commit_ms = commit_ms
        self._page_bytes = page_bytes
        self._encoder = Encoder(ring.page, PAYLOAD_AT, page_bytes, json_max, source_json, commit_ms > 0)
        self._encoder.boot = ring.boot
        self._since = 0  # ticks of the page's first record
        self._kept = ticks_ms()  # when the last upkeep was
        self._doubt = False
        self._seq = 0  # the sector that the encoder's last record went to
        self._calls = 0
        self._done = 0
        # Where the ring stood when the last commit began: it is in when that has changed. 0: none, or in and seen to.
        self._page_seq = self._page_off = 0
        self._opened_at = -1  # where the ring stood when the encoder was last opened; -1: open it anew
        self._late = [[None] * 6 for _ in range(_LATE_MAX)]
        self._late_count = 0  # slots ever filled and recorded, modulo _LATE_ROUND
        self._late_done = 0

    @property
    def pending(self):
        """Points that only RAM holds until their page is committed."""
        return self._encoder._count  # those of a record that failed half-way do not count

    def send(self, cls, metric, value, tags, stamp_ms):
        """Record one point; True when it is in the ring. Blocks for one commit, at worst one sector erase."""
        ticks = ticks_ms()
        call = self.enter()
        try:
            try:
                if not self.guard.take(True, call):
                    return self._keep(ticks, cls, metric, value, tags, stamp_ms)
                self._record(ticks, cls, metric, value, tags, stamp_ms, 0)
            finally:
                self.leave(call)
        finally:
            self.guard.drop(call)
        return True

    def send_batch(self, points, tags, stamp_ms, to_ms):
        """Record `(metric, value)` and `(metric, value, timestamp)` at one time, as few commits as fit.

        `to_ms` turns a timestamp into Unix milliseconds.
        """
        ticks = ticks_ms()
        call = self.enter()
        try:
            try:
                if not self.guard.take(True, call):
                    return self._keep_batch(ticks, points, tags, stamp_ms, to_ms)
                self._record_batch(ticks, points, tags, stamp_ms, to_ms)
            finally:
                self.leave(call)
        finally:
            self.guard.drop(call)
        return True

    def enter(self):
        """A number for a call that wants to take the guard: only it can drop it again."""
        self._calls = self._calls + 1 & 0xFFFFFF or 1
        return self._calls

    def leave(self, call):
        """Let go of the guard, then record what arrived meanwhile. It stays for the next time if the device fails.

        To be called in a `finally`, within another one that drops the guard: an interrupt may strike in the midst.
        """
        self.guard.drop(call)
        while self._late_done != self._late_count:
            try:
                if not self.guard.take(False, call):
                    return
                self._record_late()
            except OSError:
                self.faults += 1
                return
            finally:
                self.guard.drop(call)

    def apart(self, function, *arguments):
        """What `function` returns, called while nothing else changes ring and records; None when something does."""
        call = self.enter()
        try:
            try:
                if not self.guard.take(False, call):
                    return None
                if self._doubt:
                    self._recover()
                return function(*arguments)
            finally:
                self.leave(call)
        finally:
            self.guard.drop(call)

    def _recover(self):
        """An exception struck in the midst of a change: what the ring has taken must not be committed again.

        Could itself be interrupted anywhere, and be run again.
        """
        ring = self.ring
        encoder = self._encoder
        self._opened_at = -1
        ring.mend()
        taken = self._page_seq == ring.head_seq and self._page_off != ring.head_off
        tag = encoder.stored_tag
        if tag and tag == encoder.tag and (taken or self._commit_ms):
            self._late_done = tag & _LATE_ROUND - 1
        if taken or not self._commit_ms:
            encoder.open(0)
        self._page_seq = 0
        encoder.cancel()
        self._doubt = False

    def hear_time(self, earliest_ms, latest_ms, asked, heard, sent_ms, source):
        """A gateway said that it is `earliest_ms` to `latest_ms`; as `Clock.hear`, and kept with the readings."""
        self.apart(self._hear, earliest_ms, latest_ms, asked, heard, sent_ms, source)

    def _hear(self, *answer):
        ring, clock = self.ring, self.clock
        if clock.synced and ring.full:
            return  # what is known serves on
        from .sync import hear

        untold = ring.untold
        ring.untold = True  # interrupted, it is told before the next reading is dated
        if hear(clock, ring.times, *answer):
            if self._rtc_ms:
                from .times import meet

                meet(ring, self._rtc_ms(), self.now_ms())
            self.tell()
        else:
            ring.untold = untold

    def tell(self):
        """Have the times on flash that readings are to be dated by."""
        if self.ring.untold:
            from .times import tell

            try:
                tell(self.ring)
            except OSError:  # what is readable shall be delivered all the same
                self.faults += 1
                self.ring.untold = False
            forget("times")

    def now_ms(self):
        """Unix milliseconds, None before the first sync."""
        if not self.clock.synced:
            return None
        return unix_ms(self.clock.segments, self.clock.uptime_ms(ticks_ms()))

    def upkeep(self, commit):
        """Between readings: commit a page that is old enough, or at once if `commit`; erase a sector ahead of its time.

        Also looks at the ticks before they wrap unseen: at least once in five days.
        """
        now = ticks_ms()
        ring = self.ring
        due = self._encoder.points or self._doubt or self._late_done != self._late_count
        if due or ring.head_off >= ring.ahead_off or ticks_diff(now, self._kept) > _UPKEEP_MS:
            self.apart(self._upkeep, commit, now)

    def _upkeep(self, commit, now):
        self._kept = now
        self.clock.at(now)
        if self._encoder.points and (commit or ticks_diff(now, self._since) >= self._commit_ms):
            self._commit_aged()
        else:
            self.ring.prepare()

    def _commit_aged(self):
        self._doubt = True
        try:
            self._commit()
        except OSError:  # the page stays, for the next time
            self._elsewhere()
        else:
            self._doubt = False

    def _record(self, ticks, cls, metric, value, tags, stamp_ms, tag):
        try:
            self._begin(ticks, tag)
            self._put(0, ticks, cls, metric, value, tags, stamp_ms)
            self._end()
        except OSError:
            self._elsewhere()
            self._begin(ticks, tag)
            self._put(0, ticks, cls, metric, value, tags, stamp_ms)
            self._end()

    def _record_batch(self, ticks, points, tags, stamp_ms, to_ms):
        self._done = 0
        for last in (False, True):
            try:
                self._begin(ticks, 0)
                for i in range(self._done, len(points)):
                    point = points[i]
                    own = to_ms(point[2]) if len(point) > 2 else stamp_ms
                    self._put(i, ticks, None, point[0], point[1], tags, own)
                self._end()
                return
            except OSError:
                if last:
                    raise
                self._elsewhere()

    def _elsewhere(self):
        """Writing failed: once more, in a new sector."""
        self.faults += 1
        self.ring.torn = True
        self.ring.before_seq = 0

    def _begin(self, ticks, tag):
        encoder = self._encoder
        if self._begun_ms >= 0:
            from .times import begin

            begin(self.ring, self._begun_ms)
            forget("times")
            self._begun_ms = -1
        if self._doubt:
            self._recover()
        elif self._seq != self.ring.head_seq:
            encoder.cancel()  # settling opens sectors too
        self._doubt = True
        encoder.tag = tag
        self._page_seq = 0
        clock = self.clock
        clock.at(ticks)
        if self._commit_ms:
            if not encoder.points:
                self._open_page()
                self._since = ticks
        else:
            ring = self.ring
            if self._opened_at != ring.head_off or ring.torn:  # else it is open since the last commit
                encoder.open(ring.room())
            self._opened_at = -1
        while not encoder.begin(clock.s, clock.ms, ticks):
            self._make_room()

    def _open_page(self):
        """As large as what is left of the sector, if that is worth it."""
        room = self.ring.room()
        self._encoder.open(room if room * 2 > self._page_bytes else self._page_bytes)

    def _make_room(self):
        if self._encoder.points:
            self._commit()
        elif self._commit_ms:
            self._encoder.open(self._page_bytes)
        else:
            self.ring.turn()
            self._encoder.cancel()
            self._encoder.open(self.ring.room())

    def _put(self, i, ticks, cls, metric, value, tags, stamp_ms):
        """Add point number `i` of a call; those before it may have to be committed first."""
        encoder = self._encoder
        while not encoder.put(cls, metric, value, tags, stamp_ms):
            if encoder.started:
                encoder.finish()
                if self._commit_ms:
                    self._done = i  # a page that could not be written stays
            else:
                encoder.cancel()
            self._make_room()
            self._done = i
            while not encoder.begin(self.clock.s, self.clock.ms, ticks):
                self._make_room()

    def _end(self):
        encoder = self._encoder
        if encoder.started:
            encoder.finish()
            if not self._commit_ms:
                self._commit()
            elif encoder.tag:
                self._late_done = encoder.tag & _LATE_ROUND - 1
        else:
            encoder.cancel()
        self._seq = self.ring.head_seq
        self._doubt = False

    def _commit(self):
        encoder = self._encoder
        ring = self.ring
        points = encoder.points
        if ring.room() < encoder.size:  # a page is not bound to a sector
            ring.turn()
        self._page_off = ring.head_off
        self._page_seq = ring.head_seq
        ring.append(encoder.size, points)
        self.accepted += points
        if self._commit_ms:
            self._open_page()
            self._since = ticks_ms()
            self._page_seq = 0
        else:
            if encoder.tag:
                self._late_done = encoder.tag & _LATE_ROUND - 1
            encoder.open(ring.room())
            self._opened_at = ring.head_off

    def _keep(self, ticks, cls, metric, value, tags, stamp_ms):
        if (self._late_count - self._late_done) % _LATE_ROUND == _LATE_MAX:
            self.refused += 1
            return False
        self._encoder.check(cls, metric, value, tags)
        slot = self._late[self._late_count % _LATE_MAX]
        slot[0] = ticks
        slot[1] = cls
        slot[2] = metric
        slot[3] = value
        slot[4] = tags
        slot[5] = stamp_ms
        self._late_count = (self._late_count + 1) % _LATE_ROUND
        return True

    def _keep_batch(self, ticks, points, tags, stamp_ms, to_ms):
        kept = True
        for point in points:
            own = to_ms(point[2]) if len(point) > 2 else stamp_ms
            kept = self._keep(ticks, None, point[0], point[1], tags, own) and kept
        return kept

    def _record_late(self):
        """Record the slots; one that is filled meanwhile is recorded too."""
        while self._late_done != self._late_count:
            slot = self._late[self._late_done % _LATE_MAX]
            done = (self._late_done + 1) % _LATE_ROUND
            try:
                # Interrupted after it was recorded it is not recorded again: its number is stored with it.
                self._record(slot[0], slot[1], slot[2], slot[3], slot[4], slot[5], done | _LATE_ROUND)
            except (PlexusError, TypeError, ValueError):  # nobody is left to be told
                self.refused += 1
            self._late_done = done
