"""What a gateway says of the time, laid over what is known: intervals, drift, and the mapping that follows.

Loaded when a gateway tells the time; `clock` is the `Clock`. Over a WebSocket that is once a conversation, and it is
given back then.
"""

from .clock import unix_ms
from .ports import const, ticks_diff

# 25 years: what a gateway says that lies further behind the library's making is no time to learn from.
_LIFE_MS = 788_940_000_000
_DRIFT_MAX_PPB = const(200_000)  # as in clock.py
# What a known drift may change with the temperature, per base; and how old a base becomes.
_DRIFT_SLACK_PPB = const(3_000)
_BASE_MS = const(6 * 3600 * 1000)
# So many answers in a row, over so long, that contradict what was known: the gateway's clock was set.
_FOLLOW_AFTER = const(3)
_FOLLOW_MS = const(300_000)
_JUMP_MS = const(10_000)  # a greater change is not led to gently
# Segments of two boots for which a table on flash has room (times.py); one keeps three at most.
_TABLE = const(4)


def hear(clock, times, earliest_ms, latest_ms, asked, heard, sent_ms, source):
    """A gateway said that it is `earliest_ms` to `latest_ms`, asked and heard at these ticks.

    `times`: the segments of this boot and of those that stand beside it on flash. `sent_ms`: the uptime up to which
    readings were sent with the mapping so far, -1 when there are none.
    True when the mapping changed: `segments` must be on flash before a reading is dated by it.
    """
    if not 0 <= earliest_ms - clock._floor_ms < _LIFE_MS:
        clock.refused += 1
        return False
    now = clock.uptime_ms(heard)
    # The offset of Unix time from uptime, whenever in between the answer was made.
    lo = earliest_ms - now
    hi = latest_ms - now + ticks_diff(heard, asked)
    if not clock.segments:
        _begin(clock, now, lo, hi)
    elif not _narrow(clock, now, lo, hi):
        return False
    clock.syncs += 1
    clock.source = source
    beside = [len(segments) for segments in times.values() if segments is not clock.segments]
    return _map(clock, now, sent_ms, _TABLE - max(beside + [1]))


def _begin(clock, now, lo, hi):
    clock._u = clock._base_u = now
    clock._lo = clock._base_lo = lo
    clock._hi = clock._base_hi = hi


def _narrow(clock, now, lo, hi):
    """Lay a new interval over what is known; False when they contradict each other."""
    known_lo, known_hi = clock._bounds(now)
    if lo > known_hi or hi < known_lo:
        clock.outliers += 1
        if not clock._against:
            clock._against_u = now
        clock._against += 1
        if clock._against < _FOLLOW_AFTER or now - clock._against_u < _FOLLOW_MS:
            return False
        clock._rate_lo, clock._rate_hi = -_DRIFT_MAX_PPB, _DRIFT_MAX_PPB
        _begin(clock, now, lo, hi)
        clock._against = 0
        return True
    clock._against = 0
    clock._lo, clock._hi = max(lo, known_lo), min(hi, known_hi)
    clock._u = now
    _learn_rate(clock, now - clock._base_u)
    return True


def _learn_rate(clock, since):
    if since < 1000:
        return
    lo = (clock._lo - clock._base_hi) * 1_000_000_000 // since
    hi = -((clock._base_lo - clock._hi) * 1_000_000_000 // since)
    clock._rate_lo = max(clock._rate_lo, lo)
    clock._rate_hi = min(clock._rate_hi, hi)
    if clock._rate_lo > clock._rate_hi:  # the temperature has changed it
        clock._rate_lo, clock._rate_hi = lo, hi
    if since > _BASE_MS:
        clock._base_u, clock._base_lo, clock._base_hi = clock._u, clock._lo, clock._hi
        clock._rate_lo -= _DRIFT_SLACK_PPB
        clock._rate_hi += _DRIFT_SLACK_PPB


def _map(clock, now, sent_ms, room):
    """Lead the mapping to the middle of what is known; True when that changes it.

    No reading is dated worse by that than was promised when it was taken: what lies before the last answer stays
    as it is, unless the whole becomes better than any promise was.
    """
    target = now + (clock._lo + clock._hi) // 2
    rate = clock.drift_ppb
    half = (clock._hi - clock._lo) // 2 + 2  # and what rounding makes of it
    since_first = now - clock._first if clock.segments else 0
    at_first = half + since_first * max(clock._rate_hi - rate, rate - clock._rate_lo) // 1_000_000_000
    if not clock.segments or (sent_ms < 0 and at_first <= clock._promise):
        clock._first = now - since_first
        clock.segments[:] = [(0, target - now - now * rate // 1_000_000_000, rate, 0)]
        changed = True
    else:
        # Readings behind the end of a lead were promised that end: it is not led anew from its beginning.
        led = clock.segments[-1][0]
        start = max(sent_ms + 1, clock._last, led if led <= now else 0)
        changed = _change(clock, now, start, target, rate, room)
    off_ms = abs(unix_ms(clock.segments, now) - target)
    clock._promise = off_ms + half if not since_first else min(clock._promise, off_ms + half)
    clock._last = now
    return changed


def _change(clock, now, start, target, rate, room):
    """Have the segments from `start` on arrive at `target`; False when that is not worth it, or not possible.

    There are `room` at most: those of an earlier boot, whose readings go first, stand on flash beside them.
    """
    before = unix_ms(clock.segments, now)
    worth = (clock._hi - clock._lo) // 8 + 2
    kept = [segment for segment in clock.segments if segment[0] < start]
    while len(kept) > 1 and kept[1][0] <= clock.stored_ms + 1:
        kept.pop(0)
    if -worth < target - before < worth or len(kept) + 2 > room or start > now:
        return False
    kept += _lead(clock, now, start, target, rate)
    clock.segments[:] = kept  # in one step: an interrupt finds the old ones or the new ones
    return True


def _lead(clock, now, start, target, rate):
    """Segments from `start` on that arrive at `target`, the Unix time of the uptime `now`."""
    value = unix_ms(clock.segments, start)
    change = abs(target - unix_ms(clock.segments, now))
    if change > _JUMP_MS:
        return [(start, target + (start - now), rate, 0)]
    # From the last reading sent to now by interpolation; a change that is left goes in at 2 %.
    meet = max(now, start + change * 50)
    goal = target + (meet - now) + (meet - now) * rate // 1_000_000_000
    slope = (goal - value - (meet - start)) * 1_000_000_000 // (meet - start)
    return [(start, value, slope, 0), (meet, goal, rate, 0)]
