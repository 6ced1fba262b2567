"""What was sent goes out again with the same bytes, whatever was learned of the time since."""

from plexus_mp import times
from plexus_mp.log import TIMES_MAX

from . import fakes, gen


def _hear(device, error_ms, spread_ms):
    """An answer `error_ms` off, within the `spread_ms` that it may be."""
    now, at_ms = device.ticks.now, device.unix_ms() + error_ms
    earliest_ms = at_ms - spread_ms // 2
    device.recorder.hear_time(earliest_ms, earliest_ms + spread_ms, now, now, device.outbox.sent_ms, "test")


def _device(ticks, blocks, align, commit_ms):
    return fakes.Device(ticks, 0, 0, 128, 512, blocks, align, commit_ms, synced=False)


def _record(device, g, count):
    for i in range(count):
        device.ticks.advance(1000 + g.below(60_000))
        assert device.send("m%d" % g.below(3), g.below(1000))
    device.recorder.upkeep(True)


def _frame(device):
    assert device.next_frame()
    return [(p["metric"], p["value"], p["timestamp"]) for p in fakes.parse_frame(device.frame_bytes())]


def _lost_acknowledgement(g, align, commit_ms, power_cut, recycled):
    with fakes.Ticks() as ticks:
        blocks = fakes.NorBlocks(24 * 2048, 2048)
        device = _device(ticks, blocks, align, commit_ms)
        if g.chance(2):  # an earlier boot that met no gateway goes first
            _record(device, g, 10)
            device = _device(ticks, blocks, align, commit_ms)
        _record(device, g, 30)
        _hear(device, 100, 400)
        seen = {}
        for _ in range(6):
            for number in range(g.between(1, 3)):
                frame = _frame(device)
                for metric, value, stamp in frame:
                    seen.setdefault((metric, value, stamp), 0)
                if number:
                    assert device.outbox.release()
            sent = _frame(device)  # on its way
            _record(device, g, 5)
            device.outbox.hand_over()
            device.outbox.take_back()
            if g.chance(2):
                _hear(device, g.below(200) - 100, g.between(2, 300))
            if recycled:
                device.ring.turn()
            if power_cut:
                device = _device(ticks, blocks, align, commit_ms)
                _record(device, g, 3)
                _hear(device, g.below(100) - 50, 200)
            again = _frame(device)
            if not power_cut:
                assert again == sent
            # After a power cut a page, or with coarse programming a sector, may be sent from its beginning.
            assert all([point in again for point in sent[: len(again)]]) or power_cut
            left = {(m, v): stamp for m, v, stamp in sent}
            for metric, value, stamp in again:
                if (metric, value) in left and len(left) == len(sent):
                    assert left[(metric, value)] == stamp
            assert device.outbox.release()
            _record(device, g, 10)
        assert not blocks.spoiled


def test_a_lost_acknowledgement():
    for align, commit_ms in ((1, 0), (16, 0), (256, 5000)):
        gen.for_seeds(6, _lost_acknowledgement, align, commit_ms, False, False)
        gen.for_seeds(6, _lost_acknowledgement, align, commit_ms, False, True)


def test_a_lost_acknowledgement_and_a_power_cut():
    for align, commit_ms in ((1, 0), (16, 0)):
        gen.for_seeds(6, _lost_acknowledgement, align, commit_ms, True, False)
        gen.for_seeds(6, _lost_acknowledgement, align, commit_ms, True, True)


def _segments(start_ms, count):
    return [(start_ms + i * 60_000, fakes.UNIX_MS + start_ms + i * 60_001, 1000 + i, 0) for i in range(count)]


def test_two_boots_with_many_segments_leave_room_for_a_page():
    """What an earlier boot's readings are sent by is told whole; of this boot what fits, until it sends itself."""
    for count in (1, 2, 3):
        with fakes.Ticks() as ticks:
            blocks = fakes.NorBlocks(8 * 1024, 1024)
            device = _device(ticks, blocks, 1, 0)
            device.send("m", 1)
            device.recorder.upkeep(True)
            device = _device(ticks, blocks, 1, 0)
            device.send("m", 2)
            ring = device.ring
            ring.times[1], ring.times[2][:] = _segments(0, 3), _segments(500, count)
            times.fly(ring, 1)
            device.recorder.tell()
            ring.untold = True
            device.recorder.tell()
            assert len(ring._opening) <= ring.first + ring._up(TIMES_MAX)
            again = _device(ticks, blocks, 1, 0).ring
            assert again.times[1] == _segments(0, 3) and again.times[2] == _segments(500, count)[-1:]
            times.fly(ring, 2)
            device.recorder.tell()
            again = _device(ticks, blocks, 1, 0).ring
            assert again.times[2] == _segments(500, count)
            assert not blocks.spoiled


def test_a_boot_begins_with_the_drift_that_the_one_before_found():
    with fakes.Ticks() as ticks:
        blocks = fakes.NorBlocks(24 * 2048, 2048)
        device = _device(ticks, blocks, 1, 0)
        assert device.recorder.clock.drift_ppb == 0
        assert device.send("n", 1)
        for _ in range(12):
            drifted_ms = device.unix_ms() + ticks.total * 40 // 1_000_000
            device.recorder.hear_time(
                drifted_ms, drifted_ms + 20, ticks.now, ticks.now, device.outbox.sent_ms, "test"
            )
            ticks.advance(3_600_000)
            device.recorder.upkeep(False)
        found = device.recorder.clock.drift_ppb
        assert abs(found - 40_000) < 3_000
        again = _device(ticks, blocks, 1, 0)
        assert again.send("n", 2)
        assert abs(again.recorder.clock.drift_ppb - found) < 3_000
