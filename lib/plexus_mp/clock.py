"""Ticks to uptime, and uptime to Unix milliseconds.

The board counts its uptime in seconds and milliseconds, both small integers, from ticks that wrap. One
sync per boot maps uptime to Unix time, for the readings taken before it as well as for those after.
"""

from .ports import const, ticks_diff, ticks_ms

# Half of what ticks count before they wrap must not pass between two calls of `at`: the anchor keeps close.
_ANCHOR_MS = const(1 << 20)
# 2025-01-01 and 2100-01-01: a gateway that says otherwise has no clock to learn from.
_FLOOR_MS = 1_735_689_600_000
_CEILING_MS = 4_102_444_800_000


class Clock:
    """`at(ticks)` sets `s` and `ms`, the uptime; once `synced`, uptime 0 was at `zero_ms` of Unix time."""

    def __init__(self):
        self._ticks = ticks_ms()
        self._s = 0
        self._ms = 0
        self.s = 0
        self.ms = 0
        self.zero_ms = None  # Unix ms at uptime 0, once it is known
        self.refused = 0

    @property
    def synced(self):
        return self.zero_ms is not None

    def at(self, ticks):
        """Set `s` and `ms` to the uptime at `ticks`. Allocates nothing.

        Right as long as six days at most (half of the 2^30 ms after which ticks wrap) pass between calls.
        """
        since = ticks_diff(ticks, self._ticks)
        if since > _ANCHOR_MS:
            self._move_anchor(ticks, since)
            since = 0
        ms = self._ms + since
        self.s = self._s + ms // 1000
        self.ms = ms % 1000

    def uptime_ms(self, ticks):
        """The uptime at `ticks`; `s` and `ms` stay, which may be those of a `send()` that this interrupts."""
        return self._s * 1000 + self._ms + ticks_diff(ticks, self._ticks)

    def _move_anchor(self, ticks, since):
        ms = self._ms + since
        self._s += ms // 1000
        self._ms = ms % 1000
        self._ticks = ticks

    def sync(self, unix_ms, ticks, keep=None):
        """At `ticks` it was `unix_ms`. The first answer counts: all readings of a boot share one mapping.

        `keep(zero_ms)` is called before anything can be dated by it.
        """
        if not _FLOOR_MS < unix_ms < _CEILING_MS:
            self.refused += 1
        elif self.zero_ms is None:
            self.at(ticks)
            zero_ms = unix_ms - self.s * 1000 - self.ms
            if keep is not None:
                keep(zero_ms)
            self.zero_ms = zero_ms
