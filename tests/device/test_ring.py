"""The log over a block device against a list of commits, and the block device in RAM."""

from plexus_mp.blocks import RamBlocks
from plexus_mp.log import HEADER_BYTES, PAYLOAD_AT
from plexus_mp.ring import Ring

from . import fakes, gen


class Model:
    """What a ring must hold: for each sector its commits as [offset, payload, points]."""

    def __init__(self, ring, count):
        # In flash the block after the newest sector's counts as empty: erasing it can be cut at any instant.
        self.keeps = count if ring.volatile else count - 1
        self.align = ring._align
        self.first = ring.first
        self.sectors = {}
        self.settled = {}  # commits done with, per sector
        self.dropped = 0
        self.claimed = (0, 0)
        self.orphaned = 0

    def turn(self, seq):
        for old in sorted(self.sectors):
            if old <= seq - self.keeps:
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

    def commit_bytes(self, payload):
        n = len(payload) + (4 if len(payload) < 128 else 5)
        return n + self.align - 1 & -self.align

    @property
    def left(self):
        return sum([self.unsettled(seq) for seq in self.sectors])


def _append(g, ring, model, page_bytes):
    n = g.between(1, page_bytes)
    if ring.room() < n:
        seq = ring.head_seq + 1
        ring.turn()
        model.turn(seq)
    elif g.chance(4):
        ring.prepare()
    assert ring.room() >= n
    payload = g.take(n)
    points = g.below(5)
    ring.page[PAYLOAD_AT : PAYLOAD_AT + n] = payload
    off = ring.head_off
    ring.append(n, points)
    assert bytes(ring.page[PAYLOAD_AT : PAYLOAD_AT + n]) == payload, "to be appended again elsewhere"
    assert ring.head_off - off == model.commit_bytes(payload)
    model.sectors[ring.head_seq].append([off, payload, points])


def _read_all(ring, model):
    for seq in sorted(model.sectors):
        off = model.first
        for _, payload, _ in model.sectors[seq]:
            assert ring.read(seq, off) == len(payload)
            assert bytes(ring.buf[ring.at : ring.at + len(payload)]) == payload
            off = ring.next_off
        assert ring.read(seq, off) == 0


def _claim(g, ring, model):
    for seq in sorted(model.sectors):
        rest = model.sectors[seq][model.settled[seq] :]
        if rest:
            taken = rest[: g.between(1, len(rest))]
            points = sum([commit[2] for commit in taken])
            ring.claim(seq, points)
            model.claimed = (seq, points)
            model.orphaned = 0
            return len(taken), taken[-1][0] + model.commit_bytes(taken[-1][1]), seq, points
    return None


def _settle(ring, model, claim):
    count, off, seq, points = claim
    if seq in model.sectors:
        model.settled[seq] += count
    head_seq = ring.head_seq
    before = model.sectors.get(seq, [])[: model.settled[seq]]
    ring.settle(seq, off, points, 0, sum([commit[2] for commit in before]))
    model.claimed = (0, 0)
    model.orphaned = 0
    if ring.head_seq != head_seq:  # a mark found no room
        dropped = model.dropped
        model.turn(ring.head_seq)
        assert model.dropped == dropped, "a mark must cost no reading"


def _against_model(g, blocks, count, page, align):
    ring = Ring(blocks, page, align)
    model = Model(ring, count)
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
            _read_all(ring, model)
    assert not getattr(blocks, "spoiled", 0), "a program on what was not erased"


def test_against_a_list_of_commits():
    def check(g, count, sector, page):
        _against_model(g, RamBlocks(count * sector, sector), count, page, 1)

    for count, sector, page in ((3, 192, 64), (3, 512, 200), (8, 512, 300), (4, 1024, 100), (3, 4096, 3970)):
        gen.for_seeds(4, check, count, sector, page)


def test_in_flash_against_a_list_of_commits():
    def check(g, count, sector, page, align):
        _against_model(g, fakes.NorBlocks(count * sector, sector), count, page, align)

    for count, sector, page, align in (
        (5, 256, 64, 1),
        (4, 512, 300, 1),
        (6, 1024, 100, 16),
        (5, 1024, 700, 32),
        (4, 2048, 512, 256),
        (9, 4096, 1000, 128),
    ):
        gen.for_seeds(3, check, count, sector, page, align)


def test_programs_are_aligned():
    for align in (16, 32, 256):
        programs = []

        class Watched(fakes.NorBlocks):
            def writeblocks(self, n, buf, off=0):
                programs.append((off, len(buf)))
                super().writeblocks(n, buf, off)

        def check(g):
            _against_model(g, Watched(6 * 2048, 2048), 6, 300, align)

        gen.for_seeds(2, check)
        assert programs and all([not off % align and not n % align for off, n in programs]), align


def _flip(blocks, block, at, bit):
    byte = bytearray(1)
    blocks.readblocks(block, byte, at)
    RamBlocks.writeblocks(blocks, block, bytes([byte[0] ^ bit]), at)


def _flips(g, blocks, page, align):
    ring = Ring(blocks, page, align)
    model = Model(ring, 5)
    for _ in range(20):
        _append(g, ring, model, page)
    for _ in range(60):
        seq = g.pick(sorted(model.sectors))
        commits = model.sectors[seq]
        if not commits:
            continue
        at, payload, _ = g.pick(commits)
        damaged_at = at
        at += g.below(len(payload) + 4)
        bit = 1 << g.below(8)
        _flip(blocks, seq % 5, at, bit)
        ring._window_seq = 0
        _only_true_commits(ring, seq, commits, damaged_at)
        _flip(blocks, seq % 5, at, bit)
        ring._window_seq = 0
    _read_all(ring, model)


def _only_true_commits(ring, seq, commits, damaged_at):
    """Read of the damaged sector is every commit but the damaged one, and the damage shows."""
    ring.damaged = False
    ring.next_off = ring.first
    read = []
    while True:
        n = ring.read(seq, ring.next_off)
        if not n:
            break
        read.append(bytes(ring.buf[ring.at : ring.at + n]))
    assert read == [payload for off, payload, _ in commits if off != damaged_at]
    assert ring.damaged or damaged_at == commits[-1][0]


def test_a_flipped_bit_costs_its_commit_and_no_other():
    gen.for_seeds(8, lambda g: _flips(g, RamBlocks(5 * 512, 512), 150, 1))
    gen.for_seeds(4, lambda g: _flips(g, fakes.NorBlocks(5 * 1024, 1024), 300, 16))


def test_a_flipped_bit_in_a_header_of_flash_costs_nothing():
    def check(g):
        blocks = fakes.NorBlocks(5 * 512, 512)
        ring = Ring(blocks, 150)
        model = Model(ring, 5)
        for _ in range(20):
            _append(g, ring, model, 150)
        for _ in range(20):
            seq = g.pick(sorted(model.sectors))
            at, bit = g.below(ring.first), 1 << g.below(8)
            _flip(blocks, seq % 5, at, bit)
            ring._ended_seq = ring._window_seq = 0
            _read_all(ring, model)
            _flip(blocks, seq % 5, at, bit)

    gen.for_seeds(3, check)


def test_a_commit_of_another_round_is_not_read():
    """The block of an old sector, erased for nothing but its header: stale bytes behind it are no commit."""
    ring = Ring(RamBlocks(3 * 256, 256), 64)
    ring.turn()
    ring.page[PAYLOAD_AT : PAYLOAD_AT + 10] = b"0123456789"
    ring.append(10, 1)
    assert ring.read(1, ring.first) == 10
    assert ring.read(4, ring.first) == 0  # the same block, three sectors later


def test_sizes_that_do_not_fit_are_named():
    for size, sector, page, word in (
        (1024, 1024, 64, "ring_bytes"),
        (2048, 1024, 64, "ring_bytes"),
        (3072, 1024, 1024, "page_bytes"),
        (3 * 65536, 65536, 16000, "sector_bytes"),
        (3 * 32768, 32768, 16384, "page_bytes"),
    ):
        assert word in str(gen.raises(ValueError, Ring, RamBlocks(size, sector), page))
    Ring(RamBlocks(3 * 32768, 32768), 16383)
    most = 1024 - HEADER_BYTES - 89 - 5
    _largest_page(most, RamBlocks(3072, 1024))
    for align in (1, 16, 256):
        most = 1024 - (2 * HEADER_BYTES + align - 1 & -align) - (89 + align - 1 & -align) - 5 - (align - 1)
        _largest_page(most, fakes.NorBlocks(4096, 1024), align)
    assert "ring_bytes" in str(gen.raises(ValueError, Ring, fakes.NorBlocks(3072, 1024), 64))
    for sector in (100, 64, 0, 1000):
        assert "sector_bytes" in str(gen.raises(ValueError, RamBlocks, 4096, sector))


def _largest_page(most, blocks, align=1):
    assert "page_bytes" in str(gen.raises(ValueError, Ring, blocks, most + 1, align))
    ring = Ring(blocks, most, align)
    for _ in range(2):
        ring.turn()
        assert ring.room() >= most
        ring.append(most, 1)


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
