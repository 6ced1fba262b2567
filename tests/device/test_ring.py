"""The log over a block device against a list of records, and the block device in RAM."""

from plexus_mp.blocks import RamBlocks
from plexus_mp.ring import HEADER_BYTES, PAYLOAD_AT, Ring

from . import gen


class Model:
    """What a ring must hold: for each sector its commits as [offset, payload, points]."""

    def __init__(self, count):
        self.count = count
        self.sectors = {}
        self.settled = {}  # commits done with, per sector
        self.dropped = 0
        self.claimed = (0, 0)
        self.orphaned = 0

    def turn(self, seq):
        old = seq - self.count
        if old in self.sectors:
            lost = self.unsettled(old)
            if self.claimed[0] == old:
                self.orphaned = self.claimed[1]
                lost -= self.orphaned
                self.claimed = (0, 0)
            self.dropped += lost
            del self.sectors[old]
        self.sectors[seq] = []
        self.settled[seq] = 0

    def unsettled(self, seq):
        return sum([points for _, _, points in self.sectors[seq][self.settled[seq] :]])

    @property
    def left(self):
        return sum([self.unsettled(seq) for seq in self.sectors])


def _append(g, ring, model, page_bytes):
    n = g.between(1, page_bytes)
    if ring.room() < n:
        seq = ring.head_seq + 1
        ring.turn()
        model.turn(seq)
    assert ring.room() >= n
    payload = g.take(n)
    points = g.below(5)
    ring.page[PAYLOAD_AT : PAYLOAD_AT + n] = payload
    commits = model.sectors[ring.head_seq]
    off = commits[-1][0] + _commit_bytes(commits[-1][1]) if commits else HEADER_BYTES
    ring.append(n, points)
    commits.append([off, payload, points])


def _commit_bytes(payload):
    return len(payload) + (3 if len(payload) < 128 else 4)


def _read_all(ring, model, page_bytes):
    view = memoryview(bytearray(page_bytes + 4))
    for seq in sorted(model.sectors):
        off = HEADER_BYTES
        for at, payload, _ in model.sectors[seq]:
            assert off == at and ring.read(seq, off, view) == len(payload)
            assert bytes(view[ring.payload_at : ring.payload_at + len(payload)]) == payload
            off = ring.next_off
        assert ring.read(seq, off, view) == 0


def _claim(g, ring, model):
    for seq in sorted(model.sectors):
        rest = model.sectors[seq][model.settled[seq] :]
        if rest:
            taken = rest[: g.between(1, len(rest))]
            points = sum([commit[2] for commit in taken])
            ring.claim(seq, points)
            model.claimed = (seq, points)
            model.orphaned = 0
            return len(taken), taken[-1][0] + _commit_bytes(taken[-1][1]), seq, points
    return None


def _settle(ring, model, claim):
    count, off, seq, points = claim
    ring.settle(seq, off, points, 0)
    if seq in model.sectors:
        model.settled[seq] += count
    model.claimed = (0, 0)
    model.orphaned = 0


def _against_model(g, count, sector, page):
    blocks = RamBlocks(count * sector, sector)
    ring = Ring(blocks, page)
    model = Model(count)
    claim = None
    assert ring.room() <= 0
    for step in range(120):
        if claim and g.chance(6):
            _settle(ring, model, claim)
            claim = None
        elif not claim and g.chance(5):
            claim = _claim(g, ring, model)
        else:
            _append(g, ring, model, page)
        assert ring.left == model.left, (step, ring.left, model.left)
        assert ring.dropped == model.dropped, (step, ring.dropped, model.dropped)
        assert ring.orphaned == model.orphaned, step
        if step % 20 == 19:
            _read_all(ring, model, page)


def test_against_a_list_of_records():
    for count, sector, page in ((2, 128, 64), (3, 256, 204), (8, 512, 300), (4, 1024, 100), (2, 4096, 4044)):
        gen.for_seeds(4, _against_model, count, sector, page)


def test_a_flipped_bit_is_never_a_record():
    def check(g):
        sector = 512
        blocks = RamBlocks(4 * sector, sector)
        ring = Ring(blocks, 150)
        model = Model(4)
        for _ in range(20):
            _append(g, ring, model, 150)
        view = memoryview(bytearray(154))
        for _ in range(60):
            seq = g.pick(sorted(model.sectors))
            commits = model.sectors[seq]
            if not commits:
                continue
            at, payload, _ = g.pick(commits)
            at += g.below(_commit_bytes(payload))
            byte = bytearray(1)
            blocks.readblocks(seq % 4, byte, at)
            flip = 1 << g.below(8)
            blocks.writeblocks(seq % 4, bytes([byte[0] ^ flip]), at)
            _only_true_records(ring, seq, commits, view)
            blocks.writeblocks(seq % 4, byte, at)
        _read_all(ring, model, 150)

    gen.for_seeds(10, check)


def _only_true_records(ring, seq, commits, view):
    """What is read of the damaged sector is the commits before the damage, then nothing."""
    off = HEADER_BYTES
    read = 0
    while True:
        n = ring.read(seq, off, view)
        if not n:
            break
        assert bytes(view[ring.payload_at : ring.payload_at + n]) == commits[read][1]
        read += 1
        off = ring.next_off
    assert read < len(commits)


def test_a_commit_of_another_round_is_not_read():
    """The block of an old sector, erased for nothing but its header: stale bytes behind it are no record."""
    blocks = RamBlocks(512, 256)
    ring = Ring(blocks, 64)
    ring.turn()
    ring.page[PAYLOAD_AT : PAYLOAD_AT + 10] = b"0123456789"
    ring.append(10, 1)
    view = memoryview(bytearray(68))
    assert ring.read(1, HEADER_BYTES, view) == 10
    assert ring.read(3, HEADER_BYTES, view) == 0  # the same block, two sectors later


def test_sizes_that_do_not_fit_are_named():
    for size, sector, page, word in (
        (1024, 1024, 64, "ring_bytes"),
        (2048, 1024, 1024, "page_bytes"),
        (2048, 1024, 973, "sector_bytes"),
        (131072, 65536, 16384, "page_bytes"),
    ):
        assert word in str(gen.raises(ValueError, Ring, RamBlocks(size, sector), page))
    Ring(RamBlocks(2048, 1024), 972)
    for sector in (100, 64, 0, 1000):
        assert "sector_bytes" in str(gen.raises(ValueError, RamBlocks, 4096, sector))


def test_ram_blocks_speak_the_block_device_protocol():
    def check(g):
        blocks = RamBlocks(2048 + 100, 256)
        assert blocks.ioctl(4, 0) == 8 and blocks.ioctl(5, 0) == 256
        model = bytearray(2048)
        for _ in range(100):
            n = g.below(8)
            if g.chance(5):
                blocks.ioctl(6, n)
                model[n * 256 : n * 256 + 256] = b"\xff" * 256
            off = g.below(256)
            data = g.take(g.between(0, 256 - off))
            blocks.writeblocks(n, data, off)
            model[n * 256 + off : n * 256 + off + len(data)] = data
            n = g.below(8)
            off = g.below(256)
            found = bytearray(g.between(0, 256 - off))
            blocks.readblocks(n, found, off)
            assert found == model[n * 256 + off : n * 256 + off + len(found)]

    gen.for_seeds(5, check)
