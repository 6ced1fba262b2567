"""The ring in flash against a list of commits, over reboots; and under a locked heap."""

from plexus_mp.decoder import count_points
from plexus_mp.flashring import FlashRing
from plexus_mp.outbox import Outbox
from plexus_mp.recorder import Recorder
from plexus_mp.ring import HEADER_BYTES, PAYLOAD_AT

from . import fakes, gen
from .test_memory import _NAMES, _NUMBERS, _under_lock

_PAGE = 100
_SECTOR = 512
_COUNT = 5


def _weigh(buf, at, n):
    return buf[at]


class Model:
    """Commits that wait, as [sector, payload], and how many points were dropped."""

    def __init__(self):
        self.waiting = []
        self.dropped = 0

    @property
    def left(self):
        return sum([payload[0] for _, payload in self.waiting])

    def turned(self, tail_seq):
        """Sectors before `tail_seq` are gone."""
        self.dropped += sum([payload[0] for seq, payload in self.waiting if seq < tail_seq])
        self.waiting = [commit for commit in self.waiting if commit[0] >= tail_seq]


def _open(blocks):
    return FlashRing(blocks, _PAGE, _weigh)


def _append(g, ring, model):
    n = g.between(1, _PAGE)
    if ring.room() < n:
        ring.turn()
        model.turned(ring.tail_seq)
    payload = bytes([g.below(6)]) + g.take(n - 1)
    ring.page[PAYLOAD_AT : PAYLOAD_AT + n] = payload
    ring.append(n, payload[0])
    model.waiting.append([ring.head_seq, payload])


def _places(ring):
    """(sector, where it ends, payload) of every commit that waits, oldest first."""
    view = memoryview(bytearray(_PAGE + 8))
    seq, off = ring.settled
    if seq < ring.tail_seq:
        seq, off = ring.tail_seq, HEADER_BYTES
    found = []
    while seq <= ring.head_seq:
        n = ring.read(seq, off, view)
        if n:
            off = ring.next_off
            found.append((seq, off, bytes(view[ring.payload_at : ring.payload_at + n])))
        else:
            seq, off = seq + 1, HEADER_BYTES
    return found


def _settle(g, ring, model):
    places = _places(ring)
    if not places:
        return
    count = min(g.between(1, 6), len([1 for place in places if place[0] == places[0][0]]))
    seq, off, _ = places[count - 1]
    ring.settle(seq, off, sum([place[2][0] for place in places[:count]]), 0)
    model.waiting = model.waiting[count:]
    model.turned(ring.tail_seq)  # the mark may have needed a sector


def _compare(ring, model):
    assert ring.left == model.left, (ring.left, model.left)
    assert ring.dropped == model.dropped, (ring.dropped, model.dropped)
    assert [place[2] for place in _places(ring)] == [payload for _, payload in model.waiting]


def _against_model(g):
    blocks = fakes.NorBlocks(_COUNT * _SECTOR, _SECTOR)
    ring, model = _open(blocks), Model()
    lazy = g.chance(2)
    for step in range(100):
        if g.chance(12 if lazy else 3):
            _settle(g, ring, model)
        else:
            _append(g, ring, model)
        if g.chance(10):
            _compare(ring, model)
            ring = _open(blocks)
            _compare(ring, model)
    assert not blocks.spoiled


def test_mounting_finds_what_the_model_says():
    gen.for_seeds(12, _against_model)


def test_a_commit_settled_in_part_comes_again_whole():
    blocks = fakes.NorBlocks(_COUNT * _SECTOR, _SECTOR)
    ring = _open(blocks)
    ring.turn()
    for _ in range(3):
        ring.page[PAYLOAD_AT] = 5
        ring.append(1, 5)
    first = ring.read(1, HEADER_BYTES, memoryview(bytearray(_PAGE + 8))) and ring.next_off
    ring.settle(1, first, 8, 3)  # the first commit, and three points of the second
    assert ring.left == 7
    again = _open(blocks)
    assert again.left == 10 and again.settled == (1, first)
    ring.settle(1, first + 4, 2, 0)
    assert ring.left == _open(blocks).left == 5


def test_syncs_outlive_their_boot():
    blocks = fakes.NorBlocks(_COUNT * _SECTOR, _SECTOR)
    known = {}
    for boot in range(1, 30):
        ring = _open(blocks)
        assert ring.boot == boot and ring.syncs == known, boot
        unix_ms = fakes.UNIX_MS + boot * 86_400_000
        ring.sync(boot, unix_ms, False)
        known[boot] = unix_ms
        if not ring.head_seq:
            ring.turn()
        if boot == 20:
            return


def test_an_estimate_says_so():
    blocks = fakes.NorBlocks(_COUNT * _SECTOR, _SECTOR)
    ring = _open(blocks)
    ring.turn()
    ring.page[PAYLOAD_AT] = 1
    ring.append(1, 1)
    ring = _open(blocks)
    ring.sync(1, fakes.UNIX_MS, True)
    ring = _open(blocks)
    assert ring.syncs == {1: fakes.UNIX_MS} and ring.estimated == {1: True}


def test_a_boot_that_met_a_gateway_and_recorded_nothing_keeps_its_number():
    blocks = fakes.NorBlocks(_COUNT * _SECTOR, _SECTOR)
    ring = _open(blocks)
    ring.turn()
    _open(blocks).sync(2, fakes.UNIX_MS, False)
    ring = _open(blocks)
    assert ring.boot == 3


class Device:
    """Recorder and outbox over a ring in flash, on a tick counter."""

    def __init__(self, blocks, sector=_SECTOR, page=128, frame=1024):
        self.ring = FlashRing(blocks, page, count_points)
        self.recorder = Recorder(self.ring, page, Outbox.json_max(fakes.SOURCE, frame))
        self.outbox = Outbox(self.recorder, fakes.SOURCE, page, frame)


def test_readings_of_three_boots_come_in_order():
    with fakes.Ticks() as ticks:
        blocks = fakes.NorBlocks(8 * _SECTOR, _SECTOR)
        for boot in range(3):
            device = Device(blocks)
            for i in range(20):
                ticks.advance(1000)
                assert device.recorder.send(None, "n", boot * 20 + i, None, None)
            if boot != 1:
                device.recorder.sync(fakes.UNIX_MS + ticks.total, ticks.now)
        found = []
        while True:
            size = device.outbox.next_frame()
            if not size:
                break
            found += fakes.parse_frame(bytes(device.outbox.view[:size]))
            assert device.outbox.release()
        assert [point["value"] for point in found] == list(range(60))
        assert [point["value"] for point in found if "tags" in point] == list(range(20, 40))
        stamps = [point["timestamp"] for point in found]
        assert stamps == sorted(stamps)


def test_send_of_numbers_under_a_locked_heap():
    """Across sectors too, with dropping: marks and headers are written from buffers made beforehand."""
    device = Device(fakes.NorBlocks(4 * _SECTOR, _SECTOR))
    for name in _NAMES:
        assert device.recorder.send(None, name, 1, None, None)
        assert device.recorder.send(None, name, True, None, None)
    before = device.ring.head_seq
    for round_ in range(30):
        for value in _NUMBERS:
            assert _under_lock(device.recorder.send, None, _NAMES[round_ % 3], value, None, None)
    assert device.ring.head_seq - before > 4 and device.ring.dropped
