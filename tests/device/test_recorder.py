"""send() under adverse conditions: inside itself, with a device that fails, at the edge of a sector."""

import sys

from plexus_mp import errors
from plexus_mp.blocks import RamBlocks
from plexus_mp.errors import PlexusError
from plexus_mp.fileblocks import FileBlocks
from plexus_mp.points import METRIC

from . import disks, fakes, gen


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


def test_a_send_within_the_loading_of_what_checks_names():
    """A timer may strike while names.py is half there: then its name is looked at when it is recorded."""
    with fakes.Ticks() as ticks:
        device = fakes.Device(ticks)
        results = []

        def callback():
            if not results:
                sys.modules["plexus_mp.names"] = errors  # has no series_json yet
                results.extend((device.send("n", 1), device.send("", 2)))
                del sys.modules["plexus_mp.names"]

        end = _interrupt(device.ring, "append", callback)
        assert device.send("outer", -1)
        end()
        assert results == [True, True] and device.recorder.refused == 1
        assert _values(device) == [-1, 1]


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


def _failing(g, error, after, flash, commit_ms):
    """Random sends; call number `fails_at` to the device fails. What was accepted is read, each once, in order."""
    made = fakes.NorBlocks(6 * 512, 512) if flash else RamBlocks(4 * 512, 512)
    blocks = fakes.Flaky(made)
    blocks.error = error
    blocks.after = after
    blocks.torn_bytes = g.below(40)
    with fakes.Ticks() as ticks:
        device = fakes.Device(ticks, page=200, blocks=blocks, commit_ms=commit_ms)
        accepted = []
        for i in range(80):
            blocks.fails_at = blocks.calls + 1 if g.chance(8) else -1
            ticks.advance(g.below(1500))
            points = [("m%d" % g.below(4), i * 10 + j) for j in range(g.between(1, 4))]
            try:
                assert device.batch(points)
                accepted += [value for _, value in points]
                if g.chance(6):
                    device.recorder.upkeep(g.chance(2))
            except error:
                pass
            _check_count(device)
        blocks.fails_at = -1
        assert device.send("end", -1)
        device.recorder.upkeep(True)
        got = _values(device)
        assert got[-1] == -1
        # Of a batch that raised, what was committed before may be there; all else is, from the oldest left on.
        assert got[:-1] == sorted(set(got[:-1]))
        assert [v for v in got if v in accepted] == [v for v in accepted if v >= got[0]]
        assert len(got) == device.recorder.accepted - device.ring.dropped
        assert device.outbox.waiting == 0 and device.ring.left == 0
        if flash:
            device = fakes.Device(ticks, page=200, blocks=blocks, commit_ms=commit_ms)
            assert device.ring.left == 0 and not made.spoiled


def _check_count(device):
    assert device.recorder.accepted == device.ring.left + device.ring.dropped


def test_a_failing_device_corrupts_nothing():
    for error in (OSError, MemoryError, KeyboardInterrupt):
        for after in (False, True):
            gen.for_seeds(3, _failing, error, after, False, 0)
            gen.for_seeds(3, _failing, error, after, False, 5000)
            gen.for_seeds(3, _failing, error, after, True, 0)
            gen.for_seeds(3, _failing, error, after, True, 5000)


def test_a_flash_call_that_fails_loses_nothing():
    """One call after the other fails once, reading calls too: of a send, of a commit, of a delivery."""

    def send(device):
        return device.batch([("m", 1001), ("n", 1002)])

    def deliver(device):
        while device.outbox.next_frame():
            _arrived.extend([p["value"] for p in fakes.parse_frame(device.frame_bytes())])
            assert device.outbox.release()

    _arrived = []
    for act in (send, lambda device: device.recorder.upkeep(True), deliver):
        for commit_ms in (0, 60_000):
            fails_in, struck = 0, True
            while struck:
                fails_in += 1
                with fakes.Ticks() as ticks:
                    blocks = fakes.Flaky(fakes.NorBlocks(8 * 512, 512))
                    blocks.counts_reads = True
                    device = fakes.Device(ticks, page=100, blocks=blocks, commit_ms=commit_ms)
                    del _arrived[:]
                    accepted = list(range(40))
                    for i in accepted:
                        ticks.advance(2000)
                        assert device.send("m", i)
                    blocks.fails_at = blocks.calls + fails_in
                    try:
                        if act(device) is True:
                            accepted += [1001, 1002]
                    except OSError:
                        pass
                    struck = blocks.calls >= blocks.fails_at
                    blocks.fails_at = -1
                    assert device.send("end", 2000)
                    device.recorder.upkeep(True)
                    deliver(device)
                    assert [v for v in _arrived if v < 1001] == accepted[:40], (commit_ms, fails_in)
                    assert len(set(_arrived)) == len(_arrived) and _arrived[-1] == 2000
                    assert not set(accepted) - set(_arrived) and device.outbox.waiting == 0
                    device = fakes.Device(ticks, page=100, blocks=blocks, commit_ms=commit_ms)
                    assert device.outbox.waiting == 0


def _out_of_memory(g, fat, commit_ms):
    """Readings in a few sectors of files, and between them whiles in which no file can be changed."""
    count = 12
    with disks.Disk(fat) as disk, fakes.Ticks() as ticks:
        disk.error = MemoryError()
        device = fakes.Device(
            ticks, page=100, blocks=FileBlocks("/ring", count * 512, 512), commit_ms=commit_ms
        )
        accepted = []
        for i in range(4):
            for j in range(g.between(1, 10)):
                ticks.advance(g.below(1500))
                assert device.send("m", i * 100 + j)
                accepted.append(i * 100 + j)
            disk.failing = True
            for _ in range(g.between(1, 2 * count)):
                ticks.advance(60_000)
                act = g.below(3)
                try:
                    if act == 0:
                        device.recorder.upkeep(True)
                    elif act == 1:
                        device.sync()
                    elif device.send("m", i * 100 + 99) and i * 100 + 99 not in accepted:
                        accepted.append(i * 100 + 99)
                except MemoryError:
                    pass
                _check_count(device)
            disk.failing = False
        device.recorder.upkeep(True)
        assert device.ring.dropped == 0 and device.recorder.pending == 0
        device = fakes.Device(ticks, page=100, blocks=FileBlocks("/ring", count * 512, 512))
        assert device.ring.dropped == 0
        got = _values(device)
        assert [value for value in accepted if value not in got] == []
        assert device.outbox.waiting == 0


def test_a_while_without_memory_gives_up_nothing_that_lies_in_files():
    for fat in (False, True):
        for commit_ms in (0, 60_000):
            gen.for_seeds(10, _out_of_memory, fat, commit_ms)


def test_a_failing_device_keeps_what_interrupted():
    """The flash fails while late points are recorded: they stay, each once, until it works again."""
    for fails_in in (1, 2, 3):
        blocks = fakes.Flaky(RamBlocks(4096, 512))
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
            device.recorder.upkeep(False)
        assert device.send("after", 2)
        before, after = [point["timestamp"] for point in device.drain()]
    assert after - before == 20 * day_ms


# pages


def test_a_page_is_committed_when_it_is_full_or_old():
    for flash in (False, True):
        with fakes.Ticks() as ticks:
            blocks = fakes.NorBlocks(8 * 1024, 1024) if flash else None
            device = fakes.Device(ticks, 8192, 1024, 200, 1024, blocks, 1, 10_000)
            recorder = device.recorder
            assert device.send("m", 1) and recorder.pending == 1 and device.ring.left == 0
            assert device.outbox.waiting == 1 and device.outbox.unsettled == 0
            ticks.advance(9_999)
            recorder.upkeep(False)
            assert recorder.pending == 1 and recorder.accepted == 0
            assert device.send("m", 2)
            ticks.advance(1)
            recorder.upkeep(False)
            assert recorder.pending == 0 and recorder.accepted == device.ring.left == 2
            for i in range(3, 300):
                assert device.send("m", i)
            assert device.ring.left > 100 and recorder.pending < 100
            assert device.ring.left + recorder.pending == device.outbox.waiting == 299
            recorder.upkeep(True)
            assert recorder.pending == 0 and _values(device) == list(range(1, 300))
            recorder.upkeep(True)  # an empty page is no commit
            assert device.ring.left == 0


def test_pages_stand_for_themselves():
    """Whichever pages of a sector are lost, the others are read, with their names, values and times."""
    for lost in range(6):
        with fakes.Ticks() as ticks:
            blocks = fakes.NorBlocks(8 * 2048, 2048)
            device = fakes.Device(ticks, 0, 0, 128, 2048, blocks, 1, 60_000)
            wanted = []
            pages = []
            for page in range(6):
                off = device.ring.head_off if device.ring.head_seq else 0
                for i in range(8):
                    ticks.advance(2000)
                    value = page * 100 + i + 0.5
                    assert device.batch([("t", value), ("n", page * 100 + i)])
                    if page != lost:
                        wanted += [("t", value, device.unix_ms()), ("n", page * 100 + i, device.unix_ms())]
                device.recorder.upkeep(True)
                pages.append(off or len(device.ring._opening))
            assert device.ring.head_seq == 1
            at = 2048 + pages[lost] + 20
            blocks._mem[at] = blocks._mem[at] ^ 4
            device = fakes.Device(ticks, 0, 0, 128, 2048, blocks, 1, 60_000)
            got = [(p["metric"], p["value"], p["timestamp"]) for p in device.drain()]
            assert got == wanted, lost


def test_a_page_survives_a_sector_that_fails():
    with fakes.Ticks() as ticks:
        blocks = fakes.Flaky(fakes.NorBlocks(8 * 512, 512))
        device = fakes.Device(ticks, page=100, blocks=blocks, commit_ms=60_000)
        for i in range(5):
            assert device.send("m", i)
        blocks.fails_at = blocks.calls + 2  # the header is written, and then
        device.recorder.upkeep(True)
        device.recorder.upkeep(True)
        assert device.recorder.faults + device.ring.bad == 1
        assert device.recorder.pending == 0 and _values(device) == [0, 1, 2, 3, 4]
