"""Values on their way through record, ring and JSON, and what the protocol cannot carry."""

import json
import struct

from plexus_mp.errors import PlexusError
from plexus_mp.points import EVENT, METRIC

from . import fakes, gen

_INF = float("inf")


def _expected_class(cls, value):
    if cls is not None:
        return "metric" if cls == METRIC else "event"
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return "metric" if number else "event"


def _random_point(g, series):
    value = g.a_value()
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    cls = g.pick((None, METRIC, EVENT) if number else (None, EVENT))
    stamp = UNIX - g.below(1 << 30) if g.chance(6) else None
    return cls, "m%d" % g.below(series), value, g.some_tags(), stamp


UNIX = fakes.UNIX_MS


def _compare(got, wanted):
    """`wanted`: (class, metric, value, tags, explicit timestamp, time of send) each, in order."""
    assert len(got) == len(wanted), (len(got), len(wanted))
    newest = {}
    for point, (cls, metric, value, tags, stamp, sent) in zip(got, wanted):
        assert point["class"] == cls and point["metric"] == metric, (point, cls, metric)
        assert gen.same(point["value"], value), (point, value)
        assert point.get("tags") == (tags or None), (point, tags)
        if stamp is not None:
            assert point["timestamp"] == stamp
            continue
        series = (cls, metric, json.dumps(sorted((tags or {}).items())))
        assert point["timestamp"] >= sent, (point, sent)
        assert point["timestamp"] > newest.get(series, 0), point
        assert point["timestamp"] <= max(sent + 70, newest.get(series, 0) + 1), (point, sent)
        newest[series] = point["timestamp"]


def _round_trip(g, series, ring_sector, page):
    with fakes.Ticks((1 << 30) - g.below(3000)) as ticks:
        device = fakes.Device(ticks, 32 * ring_sector, ring_sector, page, 2048)
        wanted = []
        for _ in range(60):
            ticks.advance(g.pick((0, 0, 0, 1, 5, 999, 70_000)))
            point = _random_point(g, series)
            assert device.send(point[1], point[2], point[3], point[4], point[0])
            wanted.append((_expected_class(point[0], point[2]),) + point[1:] + (device.unix_ms(),))
        assert not device.ring.dropped
        _compare(device.drain(), wanted)


def test_what_was_given_comes_out_again():
    gen.for_seeds(25, _round_trip, 4, 1024, 890)


def test_many_series_evict_each_other():
    gen.for_seeds(6, _round_trip, 200, 1024, 890)


def test_batches_of_more_series_than_are_remembered():
    def check(g):
        with fakes.Ticks() as ticks:
            device = fakes.Device(ticks, 65536, 8192, 4000, 2048)
            wanted = []
            for _ in range(4):
                ticks.advance(g.below(2))
                points = [("m%d" % g.below(90), g.a_number()) for _ in range(g.between(60, 150))]
                assert device.batch(points)
                wanted += [
                    ("metric", metric, value, None, None, device.unix_ms()) for metric, value in points
                ]
            _compare(device.drain(), wanted)

    gen.for_seeds(4, check)


def test_every_sector_and_page_size():
    for sector, page in ((512, 380), (1024, 512), (4096, 256), (8192, 4096)):
        gen.for_seeds(2, _round_trip_numbers, sector, page)


def _round_trip_numbers(g, sector, page):
    with fakes.Ticks() as ticks:
        device = fakes.Device(ticks, 16 * sector, sector, page, 512)
        wanted = []
        for _ in range(150):
            ticks.advance(g.below(3))
            value = g.a_number()
            assert device.send("m%d" % g.below(3), value)
            wanted.append(("metric", None, value, None, None, device.unix_ms()))
        got = device.drain()
        for point in got:
            point["metric"] = None
        dropped = device.ring.dropped
        assert len(got) == len(wanted) - dropped
        assert all([gen.same(a["value"], b[2]) for a, b in zip(got, wanted[dropped:])])


def test_every_double_is_exact():
    def check(g):
        with fakes.Ticks() as ticks:
            device = fakes.Device(ticks, 16384, 1024, 512, 4096)
            values = [g.wild_float() for _ in range(100)]
            for value in values:
                assert device.send("m", value)
            for point, value in zip(device.drain(), values):
                assert gen.same(point["value"], value), (point["value"], value)

    gen.for_seeds(10, check)


def test_every_float32_is_exact():
    """What a board with single precision sends; and its neighbours, of which only the difference is stored."""

    def check(g):
        with fakes.Ticks() as ticks:
            device = fakes.Device(ticks, 16384, 1024, 512, 4096)
            bits = g.bits()
            values = []
            while len(values) < 150:
                bits = (
                    bits + g.pick((0, 1, -1, 63, -64, 8191, -8192, 1 << 20, -(1 << 24), 1 << 28, 1 << 31))
                    & 0xFFFFFFFF
                )
                value = struct.unpack("<f", struct.pack("<I", bits))[0]
                if value - value == 0:
                    values.append(value)
                    assert device.send("m%d" % g.below(2), value)
                    ticks.advance(1000)
            for point, value in zip(device.drain(), values):
                assert gen.same(point["value"], value), (point["value"], value)

    gen.for_seeds(10, check)


# Whether in flash, alignment, commit_ms, sector.
_RINGS = ((False, 1, 0, 1024), (True, 1, 0, 1024), (True, 16, 0, 2048), (True, 256, 0, 8192), (True, 1, 30_000, 1024),
          (True, 32, 30_000, 2048), (False, 1, 30_000, 1024))  # fmt: skip


def _walk(g, value, kind):
    """A value like the one before, now and then one of another kind."""
    if g.chance(25):
        return g.a_value()
    if kind == 0:
        return struct.unpack("<f", struct.pack("<f", value + (g.below(200) - 100) / 256))[0]
    if kind == 1:
        return int(value) + g.below(9) - 4
    return g.chance(2) if kind == 2 else g.a_float()


def _dense(g, ring):
    """The same series again and again, as a program with a loop sends them, at steady and at odd times."""
    flash, align, commit_ms, sector = ring
    with fakes.Ticks((1 << 30) - g.below(90_000)) as ticks:
        blocks = fakes.NorBlocks(64 * sector, sector) if flash else None
        device = fakes.Device(ticks, 64 * sector, sector, 600, 2048, blocks, align, commit_ms)
        size = g.between(1, 8)
        kinds = [g.below(4) for _ in range(size)]
        values = [0.0] * size
        tags = [g.some_tags() if g.chance(3) else None for _ in range(size)]
        wanted = []
        for _ in range(90):
            ticks.advance(g.pick((2000, 2000, 2000, 2000, 2001, 1985, 2016, 100, 0, 90_000, 3)))
            order = list(range(size))
            if g.chance(12):
                order = order[g.below(size) :] + order[:1]
            for i in order:
                value = _walk(g, values[i], kinds[i])
                if isinstance(value, (int, float)) and abs(value) < 1e6:
                    values[i] = float(value)
                number = isinstance(value, (int, float)) and not isinstance(value, bool)
                wanted.append(
                    ("metric" if number else "event", "m%d" % i, value, tags[i], None, device.unix_ms())
                )
            if all([tag is None for tag in tags]):
                assert device.batch([(w[1], w[2]) for w in wanted[-len(order) :]])
            else:
                for w in wanted[-len(order) :]:
                    assert device.send(w[1], w[2], w[3])
            device.recorder.upkeep(False)
        device.recorder.upkeep(True)
        assert not device.ring.dropped and not getattr(blocks, "spoiled", 0)
        _compare(device.drain(), wanted)


def test_dense_records():
    for ring in _RINGS:
        gen.for_seeds(4, _dense, ring)


def test_dense_records_are_small():
    """Three readings that change a little, every two seconds: what a ring holds is what an outage may last."""
    for commit_ms, most in ((0, 20), (60_000, 13)):
        with fakes.Ticks() as ticks:
            device = fakes.Device(ticks, 65536, 4096, 512, 4096, None, 1, commit_ms)
            g = gen.Gen(5)
            count = 600
            for _ in range(count):
                ticks.advance(2000)
                points = [
                    ("temperature", 22 + g.below(40) / 100),
                    ("humidity", 50 + g.below(60) / 64),
                    ("n", g.below(50)),
                ]
                rounded = [
                    (m, struct.unpack("<f", struct.pack("<f", v))[0] if m != "n" else v) for m, v in points
                ]
                assert device.batch(rounded)
            device.recorder.upkeep(True)
            used = (device.ring.head_seq - 1) * 4096 + device.ring.head_off
            assert used < most * count, used / count


def test_a_definition_is_told_twice():
    """Any one commit of a sector may be lost: only its own readings are, and those up to the next keyframe."""
    for lost in range(0, 40, 3):
        with fakes.Ticks() as ticks:
            blocks = fakes.NorBlocks(8 * 4096, 4096)
            device = fakes.Device(ticks, 0, 0, 128, 2048, blocks)
            offs = []
            for i in range(60):
                ticks.advance(2000)
                offs.append(device.ring.head_off if device.ring.head_seq else len(device.ring._opening))
                assert device.batch([("a", i), ("b", i + 0.5)])
            assert device.ring.head_seq == 1
            blocks._mem[4096 + offs[lost] + 2] ^= 1
            got = [p["value"] for p in fakes.Device(ticks, 0, 0, 128, 2048, blocks).drain()]
            assert len(set(got)) == len(got) and all([0 <= v < 60 and v % 1 in (0, 0.5) for v in got])
            missing = [i for i in range(60) if i not in got]
            assert (
                lost in missing and len(missing) <= 16 and missing == list(range(missing[0], missing[-1] + 1))
            )
            if lost < 2:  # the first two records tell the same
                assert missing == [lost]


def test_a_burst_in_one_millisecond_keeps_its_order():
    with fakes.Ticks((1 << 30) - 1) as ticks:
        device = fakes.Device(ticks, 32768, 1024)
        for i in range(300):
            assert device.send("m", i)
        ticks.advance(100)
        assert device.send("m", 300)
        got = device.drain()
        assert [p["value"] for p in got] == list(range(301))
        assert [p["timestamp"] for p in got] == [UNIX + i for i in range(301)]


def _nested(depth, item=0):
    for _ in range(depth):
        item = [item]
    return item


# Arguments of send(), the errors that they may raise, what the message names.
def _refused():
    sixteen = {"k%d" % i: "v" for i in range(16)}
    number = (TypeError, ValueError, PlexusError)
    return (
        (("", 1), ValueError, ("metric",)),
        (("m" * 257, 1), ValueError, ("metric", "257", "256")),
        (("ü" * 129, 1), ValueError, ("metric", "258", "256")),
        ((5, 1), TypeError, ("metric", "int")),
        ((None, 1), TypeError, ("metric",)),
        ((["m"], 1), TypeError, ("metric", "list")),
        ((b"m", 1), TypeError, ("metric", "bytes")),
        (("m", 1, dict(sixteen, more="v")), ValueError, ("tags", "17", "16")),
        (("m", 1, {"k" * 257: "v"}), ValueError, ("tags", "257", "256")),
        (("m", 1, {"k": "ü" * 129}), ValueError, ("tags", "k", "258", "256")),
        (("m", 1, {"k": 5}), TypeError, ("tags", "5")),
        (("m", 1, {5: "v"}), TypeError, ("tags", "5")),
        (("m", 1, "tags"), TypeError, ("tags", "str")),
        (("m", 1, []), TypeError, ("tags", "list")),
        (("m", "x" * 257), ValueError, ("value", "257", "256")),
        (("m", "ü" * 129), ValueError, ("value", "258", "256")),
        (("m", ["x" * 4093]), ValueError, ("value", "4097", "4096")),
        (("m", _nested(17)), PlexusError, ("value", "16")),
        (("m", float("nan")), PlexusError, ("value", "finite")),
        (("m", _INF), PlexusError, ("value", "finite")),
        (("m", -_INF), PlexusError, ("value", "finite")),
        (("m", [1, {"a": [_INF]}]), PlexusError, ("value", "finite")),
        (("m", {"a": {5: 1}}), PlexusError, ("value", "key", "5")),
        (("m", {"a": {1, 2}}), number, ("value", "set")),
        (("m", 1 << 63), PlexusError, ("value", "64 bits")),
        (("m", -(1 << 63) - 1), PlexusError, ("value", "64 bits")),
        (("m", None), TypeError, ("value", "NoneType")),
        (("m", b"bytes"), TypeError, ("value", "bytes")),
        (("m", object()), TypeError, ("value",)),
        (("m", "text", None, None, METRIC), PlexusError, ("value", "metric", "str")),
        (("m", True, None, None, METRIC), PlexusError, ("value", "metric", "bool")),
        (
            ("m", "x" * 250, {"k%d" % i: "v" * 200 for i in range(16)}),
            PlexusError,
            ("page_bytes", "frame_bytes"),
        ),
    )


def test_limits_are_named_and_nothing_is_stored():
    with fakes.Ticks() as ticks:
        device = fakes.Device(ticks, 65536, 8192, 2048, 8192)
        sent = 0
        for arguments, kinds, words in _refused():
            error = gen.raises(kinds, device.send, *arguments)
            for word in words:
                assert word in str(error), (arguments, word, str(error))
            assert len(str(error)) < 700, arguments
            assert device.send("good", sent)
            sent += 1
        assert device.outbox.waiting == device.recorder.accepted == sent
        assert [p["value"] for p in device.drain()] == list(range(sent))


def test_limits_themselves_are_accepted():
    with fakes.Ticks() as ticks:
        device = fakes.Device(ticks, 262144, 32768, 16383, 65536)
        text = ["x" * 4092]
        full = {"k%02d" % i + "k" * 253: "v" * 256 for i in range(16)}
        for metric, value, tags in (
            ("m" * 256, 1, None),
            ("ü" * 128, "ü" * 128, None),
            ("t", "x" * 256, full),
            ("l", text, full),
            ("d", _nested(16), None),
            ("e", {}, {}),
            ("e", [], {"": ""}),
        ):
            assert device.send(metric, value, tags)
            point = device.drain()[0]
            assert point["metric"] == metric and point["value"] == value
            assert point.get("tags") == (tags or None)


def test_a_refused_point_of_a_batch_leaves_its_commit_out():
    with fakes.Ticks() as ticks:
        device = fakes.Device(ticks)
        assert device.batch([("a", 1), ("b", 2, UNIX - 5)])
        gen.raises(PlexusError, device.batch, [("a", 3), ("b", float("nan"))])
        assert device.batch([("a", 4)])
        got = device.drain()
        assert [(p["metric"], p["value"]) for p in got] == [("a", 1), ("b", 2), ("a", 4)]
        assert got[1]["timestamp"] == UNIX - 5


def test_a_point_too_big_for_the_page_costs_no_reading():
    with fakes.Ticks() as ticks:
        device = fakes.Device(ticks, 1536, 512, 128, 4096)
        while device.ring.head_seq < 3 or device.ring.room() > 100:
            assert device.send("m", 1)
        gen.raises(PlexusError, device.send, "e", "x" * 200)
        assert device.ring.dropped == 0 and device.ring.head_seq == 3


def test_subclasses_of_numbers_are_numbers():
    class Celsius(float):
        pass

    class Count(int):
        pass

    try:
        float(Celsius(22.5))
    except TypeError:
        return  # MicroPython has such classes, but no way from them to a number
    with fakes.Ticks() as ticks:
        device = fakes.Device(ticks)
        assert device.send("c", Celsius(22.5)) and device.send("n", Count(7))
        assert [p["value"] for p in device.drain()] == [22.5, 7]
