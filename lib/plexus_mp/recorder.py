"""From a value to a commit in the ring: stamp, encode, append, under one guard.

A timer callback may call `send()` while another `send()`, or the link, holds the guard. Its reading then
waits in a small queue of prepared slots until the holder leaves, stamped with its own time.
"""

from .clock import Clock
from .errors import PlexusError
from .points import Encoder
from .ports import Guard, const, ticks_ms
from .ring import PAYLOAD_AT

_LATE_MAX = const(8)
# A record of less is not worth what its frame costs; the time alone may take seven bytes.
_ROOM_MIN = const(24)


class Recorder:
    """Accepts points into `ring`; `json_max` bytes bound what one record may become as JSON.

    `accepted` counts points that are in the ring, `refused` those that arrived nested and found all slots taken
    or fit into no page.
    """

    def __init__(self, ring, page_bytes, json_max):
        self.ring = ring
        self.clock = Clock()
        self.guard = Guard()
        self.accepted = 0
        self.refused = 0
        self._encoder = Encoder(ring.page, PAYLOAD_AT, page_bytes, json_max)
        self._in_doubt = True  # an earlier record may not be stored: the next one refers to none
        self._late = [[None] * 6 for _ in range(_LATE_MAX)]
        self._late_count = 0
        self._late_done = 0

    def send(self, cls, metric, value, tags, stamp_ms):
        """Record one point; True when it is in the ring. Blocks for one commit, at worst one sector erase."""
        ticks = ticks_ms()
        if not self.guard.take(True):
            return self._keep(ticks, cls, metric, value, tags, stamp_ms)
        try:
            self._begin(ticks)
            self._put(ticks, cls, metric, value, tags, stamp_ms)
            self._commit()
        finally:
            self.leave()
        return True

    def send_batch(self, points, tags, stamp_ms, to_ms):
        """Record `(metric, value)` and `(metric, value, timestamp)` at one time, as few commits as fit.

        `to_ms` turns a timestamp into Unix milliseconds.
        """
        ticks = ticks_ms()
        if not self.guard.take(True):
            return self._keep_batch(ticks, points, tags, stamp_ms, to_ms)
        try:
            self._begin(ticks)
            for point in points:
                own = to_ms(point[2]) if len(point) > 2 else stamp_ms
                self._put(ticks, None, point[0], point[1], tags, own)
            self._commit()
        finally:
            self.leave()
        return True

    def sync(self, unix_ms, ticks):
        """At `ticks` it was `unix_ms`: kept with the readings before the first of them is dated by it."""
        if self.guard.take(False):
            try:
                fresh = not self.clock.synced
                self.clock.sync(unix_ms, ticks)
                if fresh and self.clock.synced:
                    self.ring.sync(self.ring.boot, self.clock.zero_ms, False)
            finally:
                self.leave()

    def keep_time(self):
        """Look at the ticks, before they wrap unseen: at least once in five days."""
        if self.guard.take(False):
            self.clock.at(ticks_ms())
            self.leave()

    def leave(self):
        """Let go of the guard, then record what arrived meanwhile. It stays for the next time if the device fails."""
        self.guard.drop()
        while self._late_count and self.guard.take(False):
            try:
                self._record_late()
            except OSError:
                return
            finally:
                self.guard.drop()

    def _begin(self, ticks):
        if self._in_doubt:
            self._encoder.forget()
        self._in_doubt = True
        room = self.ring.room()
        if room < _ROOM_MIN:
            self._turn()
            room = self.ring.room()
        self.clock.at(ticks)
        self._encoder.begin(self.clock.s, self.clock.ms, ticks, room)

    def _turn(self):
        self.ring.turn()
        self._encoder.forget()

    def _put(self, ticks, cls, metric, value, tags, stamp_ms):
        while not self._encoder.put(cls, metric, value, tags, stamp_ms):
            if self._encoder.points:
                self._commit()
            else:
                self._turn()
            self._begin(ticks)

    def _commit(self):
        points = self._encoder.points
        if points:
            self.ring.append(self._encoder.size, points)
            self._encoder.done()
            self.accepted += points
        self._in_doubt = False

    def _keep(self, ticks, cls, metric, value, tags, stamp_ms):
        if self._late_count == _LATE_MAX:
            self.refused += 1
            return False
        self._encoder.check(cls, metric, value, tags)
        slot = self._late[self._late_count]
        slot[0] = ticks
        slot[1] = cls
        slot[2] = metric
        slot[3] = value
        slot[4] = tags
        slot[5] = stamp_ms
        self._late_count += 1
        return True

    def _keep_batch(self, ticks, points, tags, stamp_ms, to_ms):
        kept = True
        for point in points:
            own = to_ms(point[2]) if len(point) > 2 else stamp_ms
            kept = self._keep(ticks, None, point[0], point[1], tags, own) and kept
        return kept

    def _record_late(self):
        """Record the slots; one that is filled meanwhile is recorded too."""
        while self._late_done < self._late_count:
            slot = self._late[self._late_done]
            try:
                self._begin(slot[0])
                self._put(slot[0], slot[1], slot[2], slot[3], slot[4], slot[5])
                self._commit()
            except PlexusError:  # larger than a page: nobody is left to be told
                self.refused += 1
            self._late_done += 1
        self._late_count = self._late_done = 0
