"""What a ring in flash knows after a reboot: against a list of commits, and readings of several boots."""

import struct

from plexus_mp import times
from plexus_mp.log import PAYLOAD_AT
from plexus_mp.mount import mount
from plexus_mp.points import Encoder
from plexus_mp.ring import Ring

from . import fakes, gen

_PAGE = 100
_SECTOR = 512
_COUNT = 5


class Model:
    """Commits that wait, as [sector, payload, points], and how many points were dropped."""

    def __init__(self):
        self.waiting = []
        self.dropped = 0

    @property
    def left(self):
        return sum([points for _, _, points in self.waiting])

    def turned(self, tail_seq):
        """Sectors before `tail_seq` are gone."""
        self.dropped += sum([points for seq, _, points in self.waiting if seq < tail_seq])
        self.waiting = [commit for commit in self.waiting if commit[0] >= tail_seq]


def _open(blocks, align=1):
    ring = Ring(blocks, _PAGE, align)
    mount(ring)
    return ring


def _append(g, ring, model):
    """A page that stands for itself, of up to six points."""
    encoder = Encoder(ring.page, PAYLOAD_AT, _PAGE, 400, b"", True)
    encoder.boot = ring.boot
    encoder.open(_PAGE)
    assert encoder.begin(g.below(100_000), g.below(1000), 5)
    points = g.between(1, 6)
    for i in range(points):
        assert encoder.put(0, "m%d" % g.below(2), g.below(1000), None, None)
    encoder.finish()
    if ring.room() < encoder.size:
        ring.turn()
        model.turned(ring.tail_seq)
    payload = bytes(ring.page[PAYLOAD_AT : PAYLOAD_AT + encoder.size])
    ring.append(encoder.size, points)
    model.waiting.append([ring.head_seq, payload, points])


def _places(ring):
    """(sector, where it ends, payload) of every commit that waits, oldest first."""
    seq, off = ring.settled_seq, ring.settled_off
    if seq < ring.tail_seq:
        seq, off = ring.tail_seq, ring.first
    found = []
    while seq <= ring.head_seq:
        n = ring.read(seq, off)
        if n:
            off = ring.next_off
            found.append((seq, off, bytes(ring.buf[ring.at : ring.at + n])))
        else:
            seq, off = seq + 1, ring.first
    return found


def _settle(g, ring, model):
    places = _places(ring)
    if not places:
        return
    count = min(g.between(1, 6), len([1 for place in places if place[0] == places[0][0]]))
    seq, off, _ = places[count - 1]
    points = sum([commit[2] for commit in model.waiting[:count]])
    before = ring.settled_points if seq == ring.settled_seq else 0
    ring.settle(seq, off, points, 0, before + points)
    model.waiting = model.waiting[count:]
    model.turned(ring.tail_seq)  # the mark may have needed a sector


def _compare(ring, model):
    assert ring.left == model.left, (ring.left, model.left)
    assert ring.dropped == model.dropped, (ring.dropped, model.dropped)
    assert [place[2] for place in _places(ring)] == [payload for _, payload, _ in model.waiting]


def _against_model(g, align, sector):
    blocks = fakes.NorBlocks(_COUNT * sector, sector)
    ring, model = _open(blocks, align), Model()
    lazy = g.chance(2)
    for step in range(100):
        if g.chance(12 if lazy else 3):
            _settle(g, ring, model)
        else:
            _append(g, ring, model)
        if g.chance(8):
            ring.prepare()
        if g.chance(10):
            _compare(ring, model)
            ring = _open(blocks, align)
            _compare(ring, model)
    assert not blocks.spoiled


def test_mounting_finds_what_the_model_says():
    gen.for_seeds(12, _against_model, 1, _SECTOR)
    gen.for_seeds(4, _against_model, 16, 1024)
    gen.for_seeds(4, _against_model, 32, 2048)


def test_a_commit_settled_in_part_comes_again_whole():
    blocks = fakes.NorBlocks(_COUNT * _SECTOR, _SECTOR)
    ring, model = _open(blocks), Model()
    ring.turn()
    g = gen.Gen(1)
    while len(model.waiting) < 3:
        _append(g, ring, model)
        if model.waiting[-1][2] < 3:
            model.waiting.pop()
            ring, model = _open(fakes.NorBlocks(_COUNT * _SECTOR, _SECTOR)), Model()
            ring.turn()
    blocks = ring._dev
    one, two, three = [points for _, _, points in model.waiting]
    assert ring.read(1, ring.first)
    first = ring.next_off
    ring.settle(1, first, one + 2, 2, one + 2)  # the first commit, and two points of the second
    assert ring.left == two - 2 + three
    again = _open(blocks)
    assert again.left == two + three and (again.settled_seq, again.settled_off) == (1, first)
    assert ring.read(1, first)
    ring.settle(1, ring.next_off, two - 2, 0, one + two)
    assert ring.left == _open(blocks).left == three


def _tell(ring, boot, *segments):
    ring.times[boot] = list(segments)
    times.tell(ring)
    return ring.times[boot]


def test_syncs_outlive_their_boot():
    blocks = fakes.NorBlocks(_COUNT * _SECTOR, _SECTOR)
    known = {}
    for boot in range(1, 6):
        ring = _open(blocks)
        assert ring.boot == boot and ring.times == known, boot
        if not ring.head_seq:
            ring.turn()
        unix_ms = fakes.UNIX_MS + boot * 86_400_000
        known[boot] = _tell(ring, boot, (0, unix_ms, 0, 0), (1000, unix_ms + 2000, -30_000, 0))
        assert ring.head_seq <= 2, "only the newest sector is read here"


def test_an_estimate_says_so():
    blocks = fakes.NorBlocks(_COUNT * _SECTOR, _SECTOR)
    ring = _open(blocks)
    _append(gen.Gen(1), ring, Model())
    ring = _open(blocks)
    assert ring.boot == 2
    times.estimate(ring, 1, fakes.UNIX_MS)
    times.fly(ring, 1)
    times.tell(ring)
    ring = _open(blocks)
    assert ring.times == {1: [(0, fakes.UNIX_MS, 0, 1)]}


def test_a_boot_that_met_a_gateway_and_recorded_nothing_keeps_its_number():
    blocks = fakes.NorBlocks(_COUNT * _SECTOR, _SECTOR)
    ring = _open(blocks)
    ring.turn()
    _tell(_open(blocks), 2, (0, fakes.UNIX_MS, 0, 0))
    ring = _open(blocks)
    assert ring.boot == 3


def test_boots_without_a_sync_lie_between_their_neighbours():
    """Of seven boots the second to fifth never met a gateway: in order, before what came after, and they say so."""
    for align, commit_ms in ((1, 0), (16, 0), (1, 5000), (256, 5000)):
        with fakes.Ticks() as ticks:
            blocks = fakes.NorBlocks(24 * 2048, 2048)
            for boot in range(7):
                device = fakes.Device(ticks, 0, 0, 128, 1024, blocks, align, commit_ms, boot in (0, 5, 6))
                for i in range(20):
                    ticks.advance(1000)
                    assert device.send("n", boot * 20 + i)
                device.recorder.upkeep(True)
                ticks.total += 40_000  # off for a while
            found = device.drain()
        assert [point["value"] for point in found] == list(range(140))
        for point in found:
            guessed = 20 <= point["value"] < 100
            assert point.get("tags") == ({"clock": "estimated"} if guessed else None), point
        stamps = [point["timestamp"] for point in found]
        assert stamps == sorted(stamps) and len(set(stamps)) == 140
        assert abs(stamps[0] - fakes.UNIX_MS - 1000) < 5 and stamps[99] < stamps[100]


def test_what_was_dated_once_keeps_its_date():
    """Frames built before a reboot are built again the same, estimates included, whatever is known by then."""
    with fakes.Ticks() as ticks:
        blocks = fakes.NorBlocks(24 * 1024, 1024)
        for boot in range(3):
            device = fakes.Device(ticks, 0, 0, 128, 1024, blocks, synced=boot == 2)
            for i in range(12):
                ticks.advance(1000)
                assert device.send("n", boot * 12 + i, {"room": "north"} if i % 2 else None)
        frames = []
        for _ in range(4):
            ticks.advance(3_600_000)
            device.outbox.take_back()
            assert device.next_frame()
            frames.append(device.frame_bytes())
            device = fakes.Device(ticks, 0, 0, 128, 1024, blocks)
        assert len(set(frames)) == 1 and b'"clock":"estimated"' in frames[0]


def test_readings_keep_their_source():
    """A board that got another source_id sends what it holds under the old one, and never both in one frame."""
    for commit_ms in (0, 60_000):
        with fakes.Ticks() as ticks:
            blocks = fakes.NorBlocks(16 * 1024, 1024)
            sources = (b'"a"', b'"b\\u00fc"', b'"a"', b'"c"')
            for boot, source in enumerate(sources):
                device = fakes.Device(ticks, 0, 0, 128, 4096, blocks, 1, commit_ms, source=source)
                for i in range(5):
                    ticks.advance(1000)
                    assert device.send("n", boot * 5 + i)
                device.recorder.upkeep(True)
            seen = []
            while device.next_frame():
                body = fakes.frame_body(device.frame_bytes())
                seen += [(body["source_id"], point["value"]) for point in body["points"]]
                assert device.outbox.release()
        wanted = [fakes.text(source) for source in sources for _ in range(5)]
        assert [source for source, _ in seen] == wanted
        assert [value for _, value in seen] == list(range(20))


def _random_boots(g, align, commit_ms, sector):
    """Sends, drains and reboots at random: what was committed comes, in order; what was released does not return."""
    with fakes.Ticks(1000 + g.below(1 << 29)) as ticks:
        blocks = fakes.NorBlocks(32 * sector, sector)
        made = [0]

        def boot():
            ticks.now = g.below(60_000)
            return fakes.Device(ticks, 0, 0, 200, 1024, blocks, align, commit_ms)

        device = boot()
        got, doubles = [], 0
        for _ in range(120):
            ticks.advance(g.pick((1, 100, 2000, 2000, 70_000)))
            points = [("m%d" % (made[0] + i), made[0] + i) for i in range(g.pick((1, 1, 3)))]
            assert device.batch([("m%d" % g.below(4), value) for _, value in points])
            made[0] += len(points)
            if g.chance(8):
                device.recorder.upkeep(True)
                got += [p["value"] for p in device.drain()]
            if g.chance(16):
                device.recorder.upkeep(True)
                device = boot()
                if align > 32 and got:  # marks are rare there: up to a sector's worth comes again
                    doubles += 1
        device.recorder.upkeep(True)
        got += [p["value"] for p in device.drain()]
        assert not device.ring.dropped and not blocks.spoiled and not device.ring.left
        if not doubles:
            assert got == list(range(made[0])), (len(got), made[0])
        assert sorted(set(got)) == list(range(made[0]))


def test_random_boots():
    for align, commit_ms, sector in (
        (1, 0, 512), (1, 10_000, 512), (16, 0, 512), (32, 10_000, 1024), (256, 0, 4096), (256, 10_000, 2048)
    ):  # fmt: skip
        gen.for_seeds(3, _random_boots, align, commit_ms, sector)


def test_damage_never_becomes_a_wrong_value():
    def check(g, commit_ms):
        with fakes.Ticks() as ticks:
            blocks = fakes.NorBlocks(8 * 1024, 1024)
            device = fakes.Device(ticks, 0, 0, 200, 1024, blocks, 1, commit_ms)
            sent = set()
            level = 20.0
            for i in range(120):
                ticks.advance(g.pick((2000, 2000, 2001, 5)))
                level = struct.unpack("<f", struct.pack("<f", level + (g.below(100) - 50) / 100))[0]
                points = [("t", level), ("n", i * i), ("u%d" % (i % 5), i)]
                assert device.batch(points)
                sent |= set([(m, repr(v), device.unix_ms()) for m, v in points])
            device.recorder.upkeep(True)
            for _ in range(g.between(1, 6)):
                at = g.below(8 * 1024)
                byte = bytearray(1)
                blocks.readblocks(at // 1024, byte, at % 1024)
                blocks._mem[at] = byte[0] ^ 1 << g.below(8)
            device = fakes.Device(ticks, 0, 0, 200, 1024, blocks, 1, commit_ms)
            ticks.advance(1000)
            assert device.send("end", 1)
            device.recorder.upkeep(True)
            found = device.drain()
            assert found.pop()["metric"] == "end"
            for point in found:
                if "tags" not in point:  # with one: the sync of its boot was lost, it says so
                    known = (point["metric"], repr(point["value"]), point["timestamp"])
                    assert known in sent, known
            # One bit costs at most a commit and, of those behind it, what up to a keyframe depends on.
            assert len(found) > 50, len(found)
            assert device.outbox.waiting == 0

    gen.for_seeds(12, check, 0)
    gen.for_seeds(6, check, 10_000)
