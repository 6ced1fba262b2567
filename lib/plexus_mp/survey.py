"""Where boots lie in time that never met a gateway: by the real-time clock, else each right before the next one.

A board that sleeps deeply boots at each waking. Its real-time clock (RTC) runs on meanwhile, up to 5 % too fast or too
slow; by how much on average is known between two moments of which Unix time is known too. Loaded when readings of an
earlier boot are to be sent whose times are not known yet.
"""

from struct import unpack_from

from .build import UNIX_MS
from .clock import unix_ms
from .decoder import Decoder
from .ports import const
from .times import estimate

_BOOTS_MAX = const(24)  # dated at a time: each takes some 200 bytes


def survey(ring, boot, seq):
    """Find the times of `boot`, whose readings lie in sector `seq` and behind, and of some boots behind it.

    A generator: each step reads one sector, and some headers. `ring` is told at its end.
    """
    knot = ring.passed
    # Of each boot its last uptime in ms, and whether the RTC ran on since the one before.
    run = [[boot, 0, False]]
    rest_ms = 0  # how long those were, in front of the last one, that are too many
    while True:
        # A sector between two others of one boot tells nothing.
        while seq < ring.head_seq and ring.read_header((seq + 1) % ring.sectors) == seq + 1:
            if unpack_from("<I", ring.header, 9)[0] > run[-1][0]:
                break
            seq += 1
        found = _boots(ring, seq) if seq <= ring.head_seq else (ring.boot, 0)
        for i in range(0, len(found), 2):
            if run[-1][0] not in ring.times:
                rest_ms += _add(ring, run, found[i], found[i + 1])
        if run[-1][0] in ring.times:
            return place(ring, run, rest_ms, knot)
        yield
        seq += 1


def _add(ring, run, number, last_ms):
    """Another boot, or more of the last one; how long one was that is left out for it."""
    last = run[-1]
    if number == last[0]:
        last[1] = max(last[1], last_ms)
    if number <= last[0]:
        return 0
    went_on = ran_on(ring, last, number)
    if len(run) <= _BOOTS_MAX:
        run.append([number, last_ms, went_on])
        return 0
    run[-1] = [number, last_ms, went_on and last[2]]
    ring.rtc.pop(last[0], 0)
    return last[1] + 1


def _boots(ring, seq):
    """The boots that a sector holds records of, each with its last uptime in ms. What is told of them is learned."""
    found, damaged = _read(ring, seq)
    if damaged and seq > ring.tail_seq:
        _read(ring, seq - 1)  # a table of times may be among it: the one before that
    return found


def _read(ring, seq):
    decoder = Decoder()
    ring.next_off = ring.first
    found = []
    damaged = False
    while True:
        n = ring.read(seq, ring.next_off)
        damaged = damaged or ring.damaged
        if not n:
            ring.damaged = False
            return found, damaged
        decoder.load(ring.buf, ring.at, n, ring.damaged)
        ring.damaged = False
        while decoder.more:
            if not found or found[-2] != decoder.boot:
                found += (decoder.boot, 0)
            found[-1] = decoder.uptime_ms
            decoder.advance()


def ran_on(ring, earlier, number):
    """Whether the RTC went on from a boot to the next, as far as can be told: a power cut stops it."""
    before, now = ring.rtc.get(earlier[0]), ring.rtc.get(number)
    return before is not None and now is not None and (now - before) * 10 >= earlier[1] * 9


def place(ring, run, rest_ms, knot):
    """Date the boots of `run` before the last one, whose times are known.

    `rest_ms`: how long boots were that are left out in front of that. `knot`: (RTC, Unix time) of a moment before
    them all, or None.
    """
    end, _, steady = run.pop()
    end_ms = unix_ms(ring.times[end], 0)
    later_ms = end_ms - rest_ms
    if knot and run:
        if ring.rtc.get(run[0][0], 0) < knot[0] or not (steady and all([one[2] for one in run[1:]])):
            knot = None  # the RTC has begun anew since
    for number, last_ms, went_on in reversed(run):
        start_ms = later_ms - last_ms - 1
        if steady:
            start_ms = min(start_ms, _by_rtc(ring.rtc[number], knot, (ring.rtc[end], end_ms)) or start_ms)
        estimate(ring, number, start_ms)
        later_ms = start_ms
        steady = steady and went_on


def _by_rtc(rtc_ms, knot, end):
    """Unix time when the RTC showed `rtc_ms`, between two knots, or before `end` alone; None when it was set."""
    since_ms = end[0] - rtc_ms
    if knot:
        ticked_ms, passed_ms = end[0] - knot[0], end[1] - knot[1]
        if not 9 * ticked_ms <= 10 * passed_ms <= 11 * ticked_ms or ticked_ms <= 0:
            return None
        since_ms = since_ms * passed_ms // ticked_ms
    return end[1] - since_ms if end[1] - since_ms >= UNIX_MS else None
