"""Find what an earlier boot left in a ring on flash. Needed once: its memory is given back."""

from struct import unpack_from

from .decoder import Decoder
from .log import HEADER, UNKNOWN
from .times import carry


def mount(ring):
    """Take over what `ring`'s device holds, and number this boot.

    Reads the header of every sector and the newest sector whole; one that holds unsettled points is read
    whole only when the header behind it is lost.
    """
    counts = _Counts(ring)
    head = 0
    for block in range(ring.sectors):
        seq = ring.read_header(block, 1)
        if seq:
            head = max(head, seq)
            counts.take(seq)
    # Where one ought to be, or might be the newest, the second copy is looked at too.
    for seq in range(max(1, head - ring.sectors + 1), head + 4):
        if seq not in counts.seqs and ring.read_header(seq % ring.sectors) == seq:
            head = max(head, seq)
            counts.take(seq)
    ring.boot = 0  # as long as no times are its own
    if head:
        ring.boot = _take_head(ring, head, counts)
    for boot in ring.times:
        ring.boot = max(ring.boot, boot)  # one that met a gateway and recorded nothing has its number too
    ring.boot += 1
    carry(ring)


class _Counts:
    """The points of each sector, as the header behind it tells them."""

    def __init__(self, ring):
        self._ring = ring
        self.seqs = {}

    def take(self, seq):
        ring = self._ring
        longest = unpack_from("<H", ring.header, 3)[0]
        self.seqs[seq] = unpack_from("<H", ring.header, 25)[0]
        if longest > len(ring.buf):  # written when pages were larger
            ring.make_buf(longest)

    def of(self, seq):
        ring = self._ring
        if ring.write_once and seq not in self.seqs:
            return 0  # the file is gone: it was done with
        points = self.seqs.get(seq + 1, UNKNOWN)
        return count_points(ring, seq)[0] if points == UNKNOWN else points


def _take_head(ring, head, counts):
    """Where the newest sector ends, what is settled, dropped and left; the newest boot that it tells of."""
    ring.read_header(head % ring.sectors)
    fields = unpack_from(HEADER, ring.header, 0)
    _, _, _, _, opened_by, ring.dropped, back, settled_back, off, points, _, _ = fields
    ring.tail_seq = max(1, head - back, head - ring.sectors + 1)
    ring.settled_seq = head - settled_back
    ring.settled_off = off
    ring.settled_points = points
    ring.head_seq = head
    ring.head_off = ring.sector_bytes
    total, boot, ring.head_off = count_points(ring, head)
    if ring.damaged and head > ring.tail_seq:
        count_points(ring, head - 1)  # a table of times may be among it: the one before that
    # What is not erased behind the last commit was being written when the power went: nothing goes behind it.
    ring.torn = ring.noise or not _is_erased(ring, head)
    ring._window_seq = ring._ended_seq = 0
    for seq in range(max(ring.settled_seq, ring.tail_seq), head + 1):
        here = total if seq == head else counts.of(seq)
        ring._points[seq % ring.sectors] = here
        ring.left += ring._unsettled(seq)
    ring.damaged = False
    return max(opened_by, boot)


def count_points(ring, seq):
    """(points, the newest boot, where the commits end) of a sector, by reading it; `ring.damaged` tells of damage."""
    decoder = Decoder()
    ring.next_off = ring.first
    points = boot = 0
    damaged = False
    while True:
        n = ring.read(seq, ring.next_off)
        damaged = damaged or ring.damaged
        if not n:
            ring.damaged = damaged
            return points, boot, ring.next_off
        decoder.load(ring.buf, ring.at, n, ring.damaged)
        ring.damaged = False
        while decoder.more:
            points += 1
            decoder.advance()
        boot = max(boot, decoder.boot)


def _is_erased(ring, seq):
    off = ring.head_off
    while off < ring.sector_bytes:
        part = ring._view[: min(len(ring.buf), ring.sector_bytes - off)]
        ring.load(seq % ring.sectors, part, off)
        for byte in part:
            if byte != 0xFF:
                return False
        off += len(part)
    return True
