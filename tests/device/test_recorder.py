"""send() under adverse conditions: inside itself, with a device that fails, at the edge of a sector."""

from plexus_mp.errors import PlexusError
from plexus_mp.points import METRIC

from . import fakes, gen


def _interrupt(owner, name, callback):
    """From now on `callback` runs in the midst of `owner.name`, as a timer's might. Call the result to end that."""
    inner = getattr(owner, name)

    def interrupted(*arguments):
        callback()
        result = inner(*arguments)
        callback()
        return result

    setattr(owner, name, interrupted)
    return lambda: setattr(owner, name, inner)


def _values(device):
    return [p["value"] for p in device.drain()]


_MIDDLES = (("ring", "append"), ("ring", "room"), ("clock", "at"), ("_encoder", "put"), ("_encoder", "begin"))


def test_send_inside_send():
    for part, name in _MIDDLES:
        with fakes.Ticks() as ticks:
            device = fakes.Device(ticks)
            late = []

            def callback():
                if len(late) < 6:
                    late.append(len(late))
                    ticks.advance(7)
                    assert device.send("late", late[-1])

            end = _interrupt(getattr(device.recorder, part), name, callback)
            assert device.send("outer", "first")
            end()
            assert device.recorder.accepted == 1 + len(late) and late
            got = device.drain()
            assert [p["value"] for p in got] == ["first"] + late
            assert [p["timestamp"] - fakes.UNIX_MS for p in got] == [7 * i for i in range(len(late) + 1)]


def test_eight_may_wait():
    with fakes.Ticks() as ticks:
        device = fakes.Device(ticks)
        results = []
        end = _interrupt(
            device.ring, "append", lambda: results or results.extend([device.send("n", i) for i in range(11)])
        )
        assert device.send("outer", -1)
        end()
        assert results == [True] * 8 + [False] * 3 and device.recorder.refused == 3
        assert _values(device) == [-1] + list(range(8))
        assert device.send("n", 9) and _values(device) == [9]


def test_batch_inside_send():
    with fakes.Ticks() as ticks:
        device = fakes.Device(ticks)
        results = []
        points = [("n", i, fakes.UNIX_MS + 5) if i else ("n", i) for i in range(3)]
        end = _interrupt(device.ring, "append", lambda: results or results.append(device.batch(points)))
        assert device.send("outer", -1)
        end()
        assert results == [True] and _values(device) == [-1, 0, 1, 2]


def test_what_interrupts_is_checked_at_once():
    with fakes.Ticks() as ticks:
        device = fakes.Device(ticks)
        seen = []

        def callback():
            if not seen:
                seen.append(gen.raises(PlexusError, device.send, "n", float("nan")))
                seen.append(gen.raises(PlexusError, device.send, "n", "text", None, None, METRIC))
                seen.append(gen.raises(ValueError, device.send, "n" * 300, 1))
                seen.append(gen.raises(TypeError, device.send, ["n"], 1))

        end = _interrupt(device.ring, "append", callback)
        assert device.send("outer", -1)
        end()
        assert len(seen) == 4 and _values(device) == [-1]


def test_a_late_point_that_never_fits_blocks_nothing():
    with fakes.Ticks() as ticks:
        device = fakes.Device(ticks, 4096, 1024, 64)
        results = []

        def callback():
            if not results:
                results.append(device.send("n", 1))
                results.append(device.send("n", "x" * 200))  # more than a page
                results.append(device.send("n", 2))

        end = _interrupt(device.ring, "append", callback)
        assert device.send("outer", -1)
        end()
        assert device.recorder.refused == 1
        assert device.send("n", 3)
        assert _values(device) == [-1, 1, 2, 3]


def _failing(g, error, after):
    """Random sends; call number `fails_at` to the device fails. What was accepted is read, each once, in order."""
    blocks = fakes.Flaky(2048, 512)
    blocks.error = error
    blocks.after = after
    blocks.torn_bytes = g.below(40)
    with fakes.Ticks() as ticks:
        device = fakes.Device(ticks, page=200, blocks=blocks)
        accepted = []
        for i in range(80):
            blocks.fails_at = blocks.calls + 1 if g.chance(8) else -1
            ticks.advance(g.below(1500))
            points = [("m%d" % g.below(4), i * 10 + j) for j in range(g.between(1, 4))]
            try:
                assert device.batch(points)
                accepted += [value for _, value in points]
            except error:
                pass
            _check_count(device)
        blocks.fails_at = -1
        assert device.send("end", -1)
        got = _values(device)
        assert got[-1] == -1
        # Of a batch that raised, what was committed before may be there; all else is, from the oldest left on.
        assert got[:-1] == sorted(set(got[:-1]))
        assert [v for v in got if v in accepted] == [v for v in accepted if v >= got[0]]
        assert len(got) == device.recorder.accepted - device.ring.dropped
        assert device.outbox.waiting == 0 and device.ring.left == 0


def _check_count(device):
    assert device.recorder.accepted == device.ring.left + device.ring.dropped


def test_a_failing_device_corrupts_nothing():
    for error in (OSError, MemoryError, KeyboardInterrupt):
        for after in (False, True):
            gen.for_seeds(6, _failing, error, after)


def test_a_failing_device_keeps_what_interrupted():
    """The flash fails while late points are recorded: they stay, each once, until it works again."""
    for fails_in in (1, 2, 3):
        blocks = fakes.Flaky(4096, 512)
        with fakes.Ticks() as ticks:
            device = fakes.Device(ticks, page=200, blocks=blocks)
            assert device.send("m", 0)
            results = []

            def callback():
                if not results:
                    results.extend([device.send("m", i) for i in (2, 3, 4)])
                    blocks.fails_at = blocks.calls + 1 + fails_in

            end = _interrupt(device.ring, "append", callback)
            assert device.send("m", 1)
            end()
            assert results == [True] * 3
            assert device.send("m", 5)
            # What waited is recorded behind the send() that finds the flash working.
            assert sorted(_values(device)) == [0, 1, 2, 3, 4, 5]
            assert device.recorder.accepted == 6


def test_times_count_on_across_sectors():
    def check(g):
        with fakes.Ticks((1 << 30) - 5000) as ticks:
            device = fakes.Device(ticks, 65536, 512)
            times = []
            for i in range(150):
                ticks.advance(g.pick((0, 1, 999, 1000, 1001, 86_400_000)))
                assert device.send("m", i)
                times.append(max(device.unix_ms(), times[-1] + 1 if times else 0))
            assert [p["timestamp"] for p in device.drain()] == times

    gen.for_seeds(3, check)


def test_a_program_that_never_sends_keeps_the_time():
    """Days without a reading: the ticks wrap meanwhile, and only the link's ticks see it."""
    day_ms = 24 * 3600 * 1000
    with fakes.Ticks() as ticks:
        device = fakes.Device(ticks)
        assert device.send("before", 1)
        for _ in range(20):
            ticks.advance(day_ms)
            device.recorder.keep_time()
        assert device.send("after", 2)
        before, after = [point["timestamp"] for point in device.drain()]
    assert after - before == 20 * day_ms
