"""What a ring is told of time: when boots began, and what the real-time clock showed.

Loaded when there is something to tell, which is when a mapping changes, and given back after it.
"""

from struct import pack, pack_into

from .blocks import SYNC
from .crc import CRC_BYTES, seal
from .ports import const

# As in log.py.
_TIMES = const(0xC1)
_BEGUN = const(0xC2)
_BEGUN_BYTES = const(14)
_SEGMENT = "<BIIHIHi"
_SEGMENT_BYTES = const(21)
_SEGMENTS_MAX = const(4)
_STEP = const(32)  # as in ring.py


def estimate(ring, boot, unix_ms):
    """`boot`, an earlier one, began about then. To be told before a reading is dated by it, as `fly` sees to."""
    ring._learned[boot] = (ring.head_seq + 1, 0)
    ring.times[boot] = [(0, unix_ms, 0, 1)]


def meet(ring, rtc_ms, unix_ms):
    """The real-time clock shows `rtc_ms` now, at `unix_ms`: `tell` will tell that too."""
    ring.knot = (rtc_ms, unix_ms)
    ring._knotted = (ring.head_seq + 1, 0)


def fly(ring, boot):
    """Readings of `boot` are to be sent, and none of another are on their way: its times stay at hand."""
    for told in (ring.times, ring.rtc):
        for earlier in [known for known in told if known < boot]:
            del told[earlier]
    # Of an earlier boot more than one table may lie in its sectors: the one that its readings are sent by comes last.
    # Of this one there may not have been room for all.
    if boot != ring.boot or len(ring.times[boot]) > 1:
        ring.untold = True
    ring._flying = boot


def begin(ring, rtc_ms):
    """Tell what the real-time clock showed at this boot's uptime 0. Before its first record.

    Blocks for one program, rarely one erase; in files always for one. Can be called again as `tell` can.
    """
    if ring.room() < len(ring._mark):
        ring.turn()
    mark = bytearray(b"\xff" * ring._up(_BEGUN_BYTES))
    pack_into("<BIIH", mark, 0, _BEGUN, ring.boot, rtc_ms & 0xFFFFFFFF, rtc_ms >> 32 & 0xFFFF)
    seal(ring.head_seq & 0xFFFFFF, mark, 0, _BEGUN_BYTES - CRC_BYTES)
    ring._append_mark(mark)


def carry(ring):
    """Sectors begin with the times of the boot whose readings were on their way: an earlier boot has told them."""
    newest = (0, 0)
    for boot in ring._learned:
        if (ring._learned[boot], -boot) > (newest, -ring._flying):
            newest, ring._flying = ring._learned[boot], boot
    ring._opening = _put_times(ring)


def tell(ring):
    """Write the table of times, twice: a flipped bit must not move readings that were sent already.

    Blocks for two programs, rarely one erase. Can be called again when an exception struck in the midst of it.
    """
    ring._opening = opening = _put_times(ring)
    if ring.head_seq and len(opening) > ring.first:
        ring._seal_times(ring.head_seq)
        view = memoryview(opening)[ring.first :]
        if ring.write_once:
            ring.turn()  # begins with it
            ring.torn = True
            ring._dev.ioctl(SYNC, 0)
            ring.before_seq = 0  # these times may be relied on from now on: they stay
            ring.torn = False
        else:
            if ring._align > _STEP:  # times of what is settled are left out: that has to be known too
                ring._mark_settled(ring.settled_seq, ring.settled_off)
                ring._seal_times(ring.head_seq)
            if not (ring._append_mark(view) and (ring.volatile or ring._append_mark(view))):
                ring.turn()
    ring.untold = False


def _put_times(ring):
    """Headers and table as a sector begins with them."""
    boots = (ring.boot,) if ring._flying == ring.boot else (ring._flying, ring.boot)
    table = b""
    room = _SEGMENTS_MAX
    for boot in boots:
        # All that readings are sent by; of this boot, which has sent none then, the newest that there is room for.
        segments = ring.times.get(boot, ())
        segments = segments[max(0, len(segments) - room) :]
        room -= len(segments)
        for low, unix, ppb, flag in segments:
            table += pack(
                _SEGMENT, flag, boot, low & 0xFFFFFFFF, low >> 32, unix & 0xFFFFFFFF, unix >> 32, ppb
            )
    n = len(table) // _SEGMENT_BYTES
    if ring.knot and n < _SEGMENTS_MAX:
        n |= 0x80
        rtc, unix = ring.knot
        table += pack("<IHIH", rtc & 0xFFFFFFFF, rtc >> 32 & 0xFFFF, unix & 0xFFFFFFFF, unix >> 32)
    at = ring.first + 2
    opening = bytearray(b"\xff" * (ring.first + (n and ring._up(2 + len(table) + CRC_BYTES))))
    if n:
        opening[at - 2] = _TIMES
        opening[at - 1] = n
        opening[at : at + len(table)] = table
    return opening
