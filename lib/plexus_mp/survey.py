"""Where boots lie in time that never met a gateway: each ended right before the next one began.

Loaded when readings of such a boot are to be sent.
"""

from .decoder import Decoder


def date(ring, clock, boot, seq):
    """Place `boot`, whose readings begin in sector `seq` or before, and those between it and one that is known.

    What comes out is kept in the ring as an estimate. Reads the sectors of these boots: blocks for up to a
    sector's reading for each.
    """
    lengths = _last_uptimes(ring, boot, seq)
    start_ms = clock.zero_ms
    for earlier in sorted(lengths, reverse=True):
        if earlier not in ring.syncs:
            ring.sync(earlier, start_ms - lengths[earlier] - 1, True)
        start_ms = ring.syncs[earlier]


def _last_uptimes(ring, boot, seq):
    """The last uptime in ms of each boot from `boot` on, up to the next whose time is known."""
    lengths = {boot: 0}
    while seq <= ring.head_seq:
        decoder = Decoder()
        ring.next_off = ring.first
        while True:
            n = ring.read(seq, ring.next_off)
            if not n:
                break
            decoder.load(ring.buf, ring.at, n, ring.damaged)
            ring.damaged = False
            while decoder.more:
                if decoder.boot >= boot and decoder.boot != ring.boot:
                    lengths[decoder.boot] = decoder.uptime_ms
                decoder.advance()
        if any(known > boot and known in ring.syncs for known in lengths):
            break
        seq += 1
    return lengths
