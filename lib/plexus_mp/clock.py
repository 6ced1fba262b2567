"""Ticks to uptime, and uptime to Unix milliseconds.

The board counts its uptime in seconds and milliseconds, both small integers, from ticks that wrap. What it knows of
Unix time is an interval: each answer of a gateway was made between the question and its arrival, whatever
the way there and back took. Intervals of several answers are laid over each other, and widened by what the board's
oscillator may drift meanwhile; the drift itself comes out of intervals that lie far apart.

A mapping is a list of segments `(uptime_ms, unix_ms, ppb, estimated)`: from that uptime on, time goes on from
there, faster by `ppb`. A new segment begins behind the readings that were sent already: those keep their time.
"""

from .ports import const, ticks_diff, ticks_ms

# Half of what ticks count before they wrap must not pass between two calls of `at`: the anchor keeps close.
_ANCHOR_MS = const(1 << 20)
# 25 years: what a gateway says that lies further behind the library's making is no time to learn from.
_LIFE_MS = 788_940_000_000
# Crystals of boards are good for 10 to 50 ppm (ESP32 hardware design guidelines), bad and warm ones for more.
_DRIFT_MAX_PPB = const(200_000)
# What a known drift may change with the temperature, per base; and how old a base becomes.
_DRIFT_SLACK_PPB = const(3_000)
_BASE_MS = const(6 * 3600 * 1000)
# So many answers in a row, over so long, that contradict what was known: the gateway's clock was set.
_FOLLOW_AFTER = const(3)
_FOLLOW_MS = const(300_000)
_JUMP_MS = const(10_000)  # a greater change is not led to gently
_STALE_MS = const(25)  # growth of the error after which a new answer is worth a connection
# Segments of a boot. With one of this boot, which has sent nothing then, they fill a table on flash.
_KEEP = const(3)


class Clock:
    """`at(ticks)` sets `s` and `ms`, the uptime. `segments` is this boot's mapping, empty before the first sync.

    It stays the same list. A time before `floor_ms` cannot be right; `ppb` is the drift that an earlier boot found.
    `refused` counts times that cannot, `outliers`
    those that contradict the others, `syncs` the rest; `source` is where the last one came from. Readings of this boot
    up to the uptime `stored_ms` need no mapping any more.
    """

    def __init__(self, floor_ms, ppb=0):
        self._floor_ms = floor_ms
        self._ppb = ppb
        # Ticks, seconds and milliseconds; the one that is not in use is written, so that no interrupt finds half of it.
        self._anchors = ([ticks_ms(), 0, 0], [0, 0, 0])
        self._side = 0
        self.s = 0
        self.ms = 0
        self.segments = []
        self.stored_ms = -1
        self.source = ""
        self.refused = self.outliers = self.syncs = 0
        self._against = 0  # outliers in a row
        self._first = self._last = 0  # uptimes of the first and the last answer
        self._promise = 0  # the least error that was promised since the first
        self._rate_lo = -_DRIFT_MAX_PPB
        self._rate_hi = _DRIFT_MAX_PPB

    @property
    def synced(self):
        return len(self.segments) > 0

    def at(self, ticks):
        """Set `s` and `ms` to the uptime at `ticks`. Allocates nothing.

        Right as long as half a round of the ticks at most (six days of 2^30, three of 2^29) pass between calls.
        """
        anchor = self._anchors[self._side]
        ms = ticks_diff(ticks, anchor[0])
        moves = ms > _ANCHOR_MS
        ms += anchor[2]
        self.s = anchor[1] + ms // 1000
        self.ms = ms % 1000
        if moves:
            anchor = self._anchors[self._side ^ 1]
            anchor[0] = ticks
            anchor[1] = self.s
            anchor[2] = self.ms
            self._side ^= 1

    def uptime_ms(self, ticks):
        """The uptime at `ticks`; `s` and `ms` stay, which may be those of a `send()` that this interrupts."""
        anchor = self._anchors[self._side]
        return anchor[1] * 1000 + anchor[2] + ticks_diff(ticks, anchor[0])

    def hear(self, earliest_ms, latest_ms, asked, heard, sent_ms, source):
        """A gateway said that it is `earliest_ms` to `latest_ms`, asked and heard at these ticks.

        `sent_ms`: the uptime up to which readings were sent with the mapping so far, -1 when there are none.
        True when the mapping changed: `segments` must be on flash before a reading is dated by it.
        """
        if not 0 <= earliest_ms - self._floor_ms < _LIFE_MS:
            self.refused += 1
            return False
        now = self.uptime_ms(heard)
        # The offset of Unix time from uptime, whenever in between the answer was made.
        lo = earliest_ms - now
        hi = latest_ms - now + ticks_diff(heard, asked)
        if not self.segments:
            self._begin(now, lo, hi)
        elif not self._narrow(now, lo, hi):
            return False
        self.syncs += 1
        self.source = source
        return self._map(now, sent_ms)

    def _begin(self, now, lo, hi):
        self._u = self._base_u = now
        self._lo = self._base_lo = lo
        self._hi = self._base_hi = hi

    def _narrow(self, now, lo, hi):
        """Lay a new interval over what is known; False when they contradict each other."""
        known_lo, known_hi = self._bounds(now)
        if lo > known_hi or hi < known_lo:
            self.outliers += 1
            if not self._against:
                self._against_u = now
            self._against += 1
            if self._against < _FOLLOW_AFTER or now - self._against_u < _FOLLOW_MS:
                return False
            self._rate_lo, self._rate_hi = -_DRIFT_MAX_PPB, _DRIFT_MAX_PPB
            self._begin(now, lo, hi)
            self._against = 0
            return True
        self._against = 0
        self._lo, self._hi = max(lo, known_lo), min(hi, known_hi)
        self._u = now
        self._learn_rate(now - self._base_u)
        return True

    def _learn_rate(self, since):
        if since < 1000:
            return
        lo = (self._lo - self._base_hi) * 1_000_000_000 // since
        hi = -((self._base_lo - self._hi) * 1_000_000_000 // since)
        self._rate_lo = max(self._rate_lo, lo)
        self._rate_hi = min(self._rate_hi, hi)
        if self._rate_lo > self._rate_hi:  # the temperature has changed it
            self._rate_lo, self._rate_hi = lo, hi
        if since > _BASE_MS:
            self._base_u, self._base_lo, self._base_hi = self._u, self._lo, self._hi
            self._rate_lo -= _DRIFT_SLACK_PPB
            self._rate_hi += _DRIFT_SLACK_PPB

    def _bounds(self, now):
        """Lowest and highest offset that Unix time may have from uptime."""
        since = now - self._u
        lo = self._lo + since * self._rate_lo // 1_000_000_000
        hi = self._hi - (-since * self._rate_hi // 1_000_000_000)
        return lo, hi

    @property
    def drift_ppb(self):
        """Nanoseconds per second by which Unix time goes faster than the board's."""
        if self._rate_hi - self._rate_lo < _DRIFT_MAX_PPB:
            return (self._rate_lo + self._rate_hi) // 2
        return max(self._rate_lo, min(self._ppb, self._rate_hi))

    @property
    def offset_ms(self):
        """Unix time minus uptime, now; None when nothing is known."""
        now = self.uptime_ms(ticks_ms())
        return unix_ms(self.segments, now) - now if self.segments else None

    @property
    def error_ms(self):
        """How far off a reading taken now may be dated, at most; None when nothing is known."""
        if not self.segments:
            return None
        now = self.uptime_ms(ticks_ms())
        lo, hi = self._bounds(now)
        offset = unix_ms(self.segments, now) - now
        return max(hi - offset, offset - lo) + 1  # ticks are whole milliseconds

    @property
    def stale(self):
        """Whether the error has grown so much that asking again is worth a connection."""
        if not self.segments:
            return True
        since = self.uptime_ms(ticks_ms()) - self._u
        return since * (self._rate_hi - self._rate_lo) > _STALE_MS * 2_000_000_000

    @property
    def width_ms(self):
        """How far apart the earliest and the latest time are that it may be now, if `synced`."""
        lo, hi = self._bounds(self.uptime_ms(ticks_ms()))
        return hi - lo

    def edge_ms(self):
        """How long until a second begins, by the best guess; -1 when knowing it would not help."""
        if self.source != "date" or self._hi - self._lo < 60:
            return -1
        return 1000 - (self.uptime_ms(ticks_ms()) + (self._lo + self._hi) // 2) % 1000

    def _map(self, now, sent_ms):
        """Lead the mapping to the middle of what is known; True when that changes it.

        No reading is dated worse by that than was promised when it was taken: what lies before the last answer stays
        as it is, unless the whole becomes better than any promise was.
        """
        target = now + (self._lo + self._hi) // 2
        rate = self.drift_ppb
        half = (self._hi - self._lo) // 2 + 2  # and what rounding makes of it
        since_first = now - self._first if self.segments else 0
        at_first = half + since_first * max(self._rate_hi - rate, rate - self._rate_lo) // 1_000_000_000
        if not self.segments or (sent_ms < 0 and at_first <= self._promise):
            self._first = now - since_first
            self.segments[:] = [(0, target - now - now * rate // 1_000_000_000, rate, 0)]
            changed = True
        else:
            changed = self._change(now, max(sent_ms + 1, self._last), target, rate)
        off_ms = abs(unix_ms(self.segments, now) - target)
        self._promise = off_ms + half if not since_first else min(self._promise, off_ms + half)
        self._last = now
        return changed

    def _change(self, now, start, target, rate):
        """Have the segments from `start` on arrive at `target`; False when that is not worth it, or not possible."""
        before = unix_ms(self.segments, now)
        worth = (self._hi - self._lo) // 8 + 2
        kept = [segment for segment in self.segments if segment[0] < start]
        while len(kept) > 1 and kept[1][0] <= self.stored_ms + 1:
            kept.pop(0)
        if -worth < target - before < worth or len(kept) + 2 > _KEEP or start > now:
            return False
        kept += self._lead(now, start, target, rate)
        self.segments[:] = kept  # in one step: an interrupt finds the old ones or the new ones
        return True

    def _lead(self, now, start, target, rate):
        """Segments from `start` on that arrive at `target`, the Unix time of the uptime `now`."""
        value = unix_ms(self.segments, start)
        change = abs(target - unix_ms(self.segments, now))
        if change > _JUMP_MS:
            return [(start, target + (start - now), rate, 0)]
        # From the last reading sent to now by interpolation; a change that is left goes in at 2 %.
        meet = max(now, start + change * 50)
        goal = target + (meet - now) + (meet - now) * rate // 1_000_000_000
        slope = (goal - value - (meet - start)) * 1_000_000_000 // (meet - start)
        return [(start, value, slope, 0), (meet, goal, rate, 0)]


def unix_ms(segments, uptime_ms):
    """Unix time at an uptime. Before the first segment it counts back from there."""
    u, unix, rate, _ = segments[0]
    for segment in segments:
        if segment[0] <= uptime_ms:
            u, unix, rate, _ = segment
    since = uptime_ms - u
    return unix + since + since * rate // 1_000_000_000
