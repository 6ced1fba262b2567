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
# Crystals of boards are good for 10 to 50 ppm (ESP32 hardware design guidelines), bad and warm ones for more.
_DRIFT_MAX_PPB = const(200_000)
_STALE_MS = const(25)  # growth of the error after which a new answer is worth a connection


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
        self._u = self._lo = self._hi = 0  # lowest and highest offset at an uptime, once `synced`
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


def unix_ms(segments, uptime_ms):
    """Unix time at an uptime. Before the first segment it counts back from there."""
    u, unix, rate, _ = segments[0]
    for segment in segments:
        if segment[0] <= uptime_ms:
            u, unix, rate, _ = segment
    since = uptime_ms - u
    return unix + since + since * rate // 1_000_000_000
