"""Records as JSON: the times of any mapping, and what that leaves on the heap."""

import json

from plexus_mp.clock import unix_ms
from plexus_mp.decoder import Decoder
from plexus_mp.points import METRIC, Encoder

from . import fakes, gen

try:
    from micropython import heap_lock, heap_unlock
except ImportError:  # CPython allocates for every number: there the same calls must merely work

    def heap_lock():
        pass

    def heap_unlock():
        return 0


_PAGE = 4000
_STEPS_MS = (1, 7, 999, 1000, 2000, 60_000, 999_999, 1_000_000, 86_400_000)
# Of our time, of a time before it, and of none.
_ORIGINS_MS = (fakes.UNIX_MS, fakes.UNIX_MS - fakes.UNIX_MS % 1_000_000 - 5, 0, 999_999_990_000)


def _page(uptimes_ms, values, ticks=None):
    """A page of one record at each uptime: (buffer, bytes). Ticks stand still unless they are given."""
    buf = bytearray(_PAGE)
    encoder = Encoder(buf, 0, _PAGE, 500, b"", True)
    encoder.boot = 1
    encoder.open(_PAGE)
    for i, uptime_ms in enumerate(uptimes_ms):
        assert encoder.begin(uptime_ms // 1000, uptime_ms % 1000, ticks[i] if ticks else 0)
        assert encoder.put(
            METRIC, "m%d" % (uptime_ms & 1), values[i], None, uptime_ms if uptime_ms % 5 == 4 else None
        )
        encoder.finish()
    return buf, encoder.size


def _uptimes_ms(g, count):
    now_ms = g.pick((0, 5, 1 << 30, 40 * 86_400_000))
    found = []
    for _ in range(count):
        now_ms += g.pick(_STEPS_MS) if g.chance(2) else g.below(5000)
        found.append(now_ms)
    return found


def _mapping(g, uptimes_ms):
    """Up to four segments, the first of them at any time, before or behind the first record."""
    starts = sorted(g.pick(uptimes_ms) + g.below(3) - 1 for _ in range(g.between(1, 4)))
    spread = g.pick((1, 100, 200_000, 20_000_000))
    return [(start, g.pick(_ORIGINS_MS) + start, g.below(2 * spread) - spread, 0) for start in starts]


def _times_agree(g):
    uptimes_ms = _uptimes_ms(g, 60)
    buf, n = _page(uptimes_ms, range(60))
    segments = _mapping(g, uptimes_ms)
    decoder = Decoder()
    decoder.segments = segments
    decoder.load(buf, 0, n, False)
    out = bytearray(400)
    last = {}
    for i, uptime_ms in enumerate(uptimes_ms):
        assert decoder.more and decoder.uptime_ms == uptime_ms
        if g.chance(15):  # what was learned meanwhile counts at once
            segments[:] = _mapping(g, uptimes_ms)
        if g.chance(10):
            decoder.advance()
            continue
        end = decoder.write(out, 0, 300)
        point = json.loads(bytes(out[:end]))
        own = uptime_ms if uptime_ms % 5 == 4 else None
        assert point["value"] == i and point["metric"] == "m%d" % (uptime_ms & 1)
        later = point["timestamp"] - unix_ms(segments, uptime_ms)
        # Ticks stand still here: each reading of a series comes a millisecond behind the one before.
        assert point["timestamp"] == own if own is not None else 0 <= later < 60, (point, uptime_ms, segments)
        assert later > last.get(point["metric"], -1) or own is not None
        last[point["metric"]] = later if own is None else last.get(point["metric"], -1)
        assert not decoder.write(out, 0, end - 1), "no room for the last byte"
        assert decoder.write(out, 0, end) == end
        decoder.advance()
    assert not decoder.more


def test_times_of_any_mapping():
    gen.for_seeds(60, _times_agree)


def test_small_numbers_leave_nothing_on_the_heap():
    """Small ints, that is: a float is an object."""
    uptimes_ms = [1_000_000 + 2000 * i for i in range(15)]  # one keyframe
    buf, n = _page(uptimes_ms, [i * 7 for i in range(15)], uptimes_ms)
    decoder = Decoder()
    decoder.segments = [(0, fakes.UNIX_MS, 0, 0)]
    out = bytearray(400)
    decoder.load(buf, 0, n, False)
    assert decoder.write(out, 0, 300)  # the first is dated from the mapping
    decoder.advance()
    for _ in range(13):
        heap_lock()
        try:
            end = decoder.write(out, 0, 300)
            decoder.advance()
        finally:
            heap_unlock()
        assert json.loads(bytes(out[:end]))["class"] == "metric"
    assert decoder.more


def test_a_number_means_another_series_in_another_sector():
    """What is kept of a sector to save garbage must not serve where nothing was told."""
    first, second = bytearray(_PAGE), bytearray(_PAGE)
    sizes = []
    for buf, names in ((first, ("a", "b")), (second, ("b", "c", "a"))):
        encoder = Encoder(buf, 0, _PAGE, 500, b"", True)
        encoder.boot = 1
        encoder.open(_PAGE)
        for i, name in enumerate(names):
            assert encoder.begin(10 + i, 0, 1000 * i)
            assert encoder.put(METRIC, name, i, {"t": name} if name == "a" else None, None)
            encoder.finish()
        sizes.append(encoder.size)
    decoder = Decoder()
    for buf, n, wanted in ((first, sizes[0], "ab"), (second, sizes[1], "bca"), (first, sizes[0], "ab")):
        decoder.reset()
        decoder.load(buf, 0, n, False)
        got = []
        while decoder.more:
            out = bytearray(400)
            point = json.loads(bytes(out[: decoder.write(out, 0, 300)]))
            assert point.get("tags") == ({"t": "a"} if point["metric"] == "a" else None)
            got.append((point["metric"], point["value"]))
            decoder.advance()
        assert got == [(name, i) for i, name in enumerate(wanted)]
