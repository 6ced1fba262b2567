"""Where boots lie in time that never met a gateway: each ended right before the next one began.

Loaded when readings of an earlier boot are to be sent whose times are not known yet.
"""

from struct import unpack_from

from .clock import unix_ms
from .decoder import Decoder


def date(ring, boot, seq):
    """Find the times of `boot`, whose readings lie in sector `seq` and behind, or place it before the next boot.

    Reads the last sector of each boot up to the first whose times are known: blocks for that.
    """
    run = []
    while boot < ring.boot and boot not in ring.times:
        length_ms, after, seq = _end_of(ring, boot, seq)
        if boot not in ring.times:  # reading has come across no table with them
            run.append((boot, length_ms))
            boot = after
    start_ms = unix_ms(ring.times[boot], 0)
    for boot, length_ms in reversed(run):
        start_ms -= length_ms + 1
        ring.estimate(boot, start_ms)


def _end_of(ring, boot, seq):
    """(the last uptime of `boot` in ms, the boot after it, in which sector that begins)."""
    while seq < ring.head_seq and ring.read_header((seq + 1) % ring.sectors) == seq + 1:
        if unpack_from("<I", ring.header, 9)[0] > boot:
            break
        seq += 1
    last_ms, after, damaged = _scan(ring, boot, seq)
    if damaged and boot not in ring.times and seq > ring.tail_seq:
        _scan(ring, boot, seq - 1)  # a table of times may be among it: the one before that
    while not after and seq < ring.head_seq:  # the header behind it was lost
        seq += 1
        later_ms, after, _ = _scan(ring, boot, seq)
        last_ms = max(last_ms, later_ms)
    return last_ms, after or ring.boot, seq


def _scan(ring, boot, seq):
    """(the last uptime of `boot` in a sector, a later boot in it or 0, whether something is damaged)."""
    decoder = Decoder()
    ring.next_off = ring.first
    last_ms = 0
    damaged = False
    while True:
        n = ring.read(seq, ring.next_off)
        damaged = damaged or ring.damaged
        if not n:
            return last_ms, 0, damaged
        decoder.load(ring.buf, ring.at, n, ring.damaged)
        ring.damaged = False
        while decoder.more:
            if decoder.boot > boot:
                return last_ms, decoder.boot, damaged
            if decoder.boot == boot:
                last_ms = decoder.uptime_ms
            decoder.advance()
