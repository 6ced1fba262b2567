"""Frames against a simulated gateway that refuses, loses and splits: every point once, and all accounted for."""

from plexus_mp.errors import PlexusError

from . import fakes, gen


class Gateway:
    """Stores whole frames, each only once, except that values divisible by `poison` are refused.

    `names_index` of 0 to 4 refusals tell which point it was.
    """

    def __init__(self, g, poison, names_index):
        self._g = g
        self.poison = poison
        self.names_index = names_index
        self.stored = []
        self.seen = set()

    def post(self, frame):
        """None when stored, else the index of the refused point, -1 when the answer does not tell it."""
        points = fakes.parse_frame(frame)
        assert points
        for index, point in enumerate(points):
            if self.poison and not point["value"] % self.poison:
                return index if self._g.below(4) < self.names_index else -1
        if frame not in self.seen:  # a re-send must be the very same bytes
            self.seen.add(frame)
            self.stored += points
        return None


def _check_account(device):
    outbox = device.outbox
    total = (
        outbox.delivered + device.ring.dropped + outbox.rejected + outbox.waiting - device.recorder.pending
    )
    assert device.recorder.accepted == total, (
        device.recorder.accepted,
        outbox.delivered,
        device.ring.dropped,
        outbox.rejected,
        outbox.waiting,
    )


def _exchange(g, device, gateway, size):
    """One attempt with the frame under way; the size of the frame that is under way afterwards."""
    frame = device.frame_bytes()
    if g.chance(5):  # lost on the way there
        return size
    refused = gateway.post(frame)
    if g.chance(5):  # the answer is lost
        return size
    if refused is None:
        assert device.outbox.release()
    elif refused >= 0:
        device.outbox.quarantine(refused)
    elif g.chance(8) or not device.outbox.split():  # a gateway may also refuse for no reason that we see
        if device.outbox.points == 1:
            device.outbox.quarantine(0)
    return 0


def _some_points(g, first, series):
    n = g.pick((1, 1, 1, 3, 20, 100))
    return [("m%d" % g.below(series), first + i) for i in range(n)]


# Whether in flash, alignment, commit_ms.
_RINGS = ((False, 1, 0), (True, 1, 0), (True, 16, 3000), (True, 256, 3000))


def _history(g, series, sector, page, frame_bytes, poison, names_index):
    flash, align, commit_ms = g.pick(_RINGS if sector >= 2048 else _RINGS[:2])
    with fakes.Ticks((1 << 30) - 20_000) as ticks:
        blocks = fakes.NorBlocks(8 * sector, sector) if flash else None
        device = fakes.Device(ticks, 6 * sector, sector, page, frame_bytes, blocks, align, commit_ms)
        gateway = Gateway(g, poison, names_index)
        size = 0
        number = 1
        names = {}
        for step in range(400):
            ticks.advance(g.below(500))
            if step < 250 and g.chance(2):
                points = _some_points(g, number, series)
                assert device.batch(points)
                number += len(points)
                for metric, value in points:
                    names[value] = metric
            elif not size:
                device.recorder.upkeep(g.chance(3))
                committed = device.outbox.waiting - device.recorder.pending
                size = device.outbox.next_frame()
                assert len(device.frame_bytes()) <= frame_bytes and bool(size) == bool(committed)
            else:
                size = _exchange(g, device, gateway, size)
            _check_account(device)
        if size:
            _exchange_well(device, gateway, size)
        device.recorder.upkeep(True)
        _check_account(device)
        _check_stored(device, gateway, names, number - 1)


def _check_stored(device, gateway, names, sent):
    outbox = device.outbox
    values = [point["value"] for point in gateway.stored]
    assert device.recorder.accepted == sent
    assert values == sorted(set(values)), "out of order, or twice"
    assert all([names[point["value"]] == point["metric"] for point in gateway.stored])
    # Stored without an answer that got through, then dropped: the device cannot know better.
    assert len(values) >= outbox.delivered
    if not device.ring.dropped:
        assert len(values) + outbox.rejected + outbox.waiting == sent
        if not outbox.waiting:
            poisoned = sent // gateway.poison if gateway.poison else 0
            assert outbox.rejected == poisoned and len(values) == sent - poisoned


def test_histories_without_refusals():
    gen.for_seeds(3, _history, 3, 1024, 512, 1024, 0, 4)
    gen.for_seeds(3, _history, 3, 32768, 4000, 1500, 0, 4)


def test_histories_with_an_index():
    gen.for_seeds(4, _history, 5, 16384, 900, 1200, 7, 4)
    gen.for_seeds(4, _history, 5, 512, 300, 600, 3, 4)


def test_histories_without_an_index():
    gen.for_seeds(4, _history, 5, 16384, 900, 1200, 37, 0)


def test_histories_with_some_indices():
    gen.for_seeds(6, _history, 5, 16384, 900, 1200, 17, 2)
    gen.for_seeds(4, _history, 5, 512, 300, 600, 5, 2)


def test_histories_of_many_series():
    gen.for_seeds(4, _history, 150, 16384, 4000, 1500, 0, 0)
    gen.for_seeds(4, _history, 150, 16384, 4000, 1500, 31, 0)


def test_everything_arrives_from_a_patient_device():
    def check(g, frame_bytes, poison):
        with fakes.Ticks() as ticks:
            device = fakes.Device(ticks, 65536, 2048, 1000, frame_bytes)
            gateway = Gateway(g, poison, g.below(5))
            sent = 0
            for _ in range(30):
                points = _some_points(g, sent + 1, 90)
                assert device.batch(points)
                sent += len(points)
                ticks.advance(1000)
            while device.outbox.waiting:
                size = device.outbox.next_frame()
                while size:
                    size = _exchange_well(device, gateway, size)
                _check_account(device)
            wanted = [v for v in range(1, sent + 1) if not poison or v % poison]
            assert [p["value"] for p in gateway.stored] == wanted

    for frame_bytes in (400, 1000, 8192):
        gen.for_seeds(1, check, frame_bytes, 0)
        gen.for_seeds(2, check, frame_bytes, 11)


def _exchange_well(device, gateway, size):
    refused = gateway.post(device.frame_bytes())
    if refused is None:
        assert device.outbox.release()
    elif refused >= 0:
        device.outbox.quarantine(refused)
    elif not device.outbox.split():
        device.outbox.quarantine(0)
    return 0


def test_overflow_under_a_frame():
    """Its sector is overwritten while a frame is under way: whether its points arrived decides what they count as."""
    for arrives in (True, False):
        with fakes.Ticks() as ticks:
            device = fakes.Device(ticks, 1536, 512, 128, 400)
            for i in range(10):
                assert device.send("m", i)
            device.outbox.next_frame()
            frame = device.frame_bytes()
            held = device.outbox.points
            assert 0 < held < 10
            while device.ring.tail_seq == 1:
                assert device.send("m", 100)
                _check_account(device)
            assert device.frame_bytes() == frame
            dropped = device.ring.dropped
            if arrives:
                assert device.outbox.release()
                assert device.outbox.delivered == held and device.ring.dropped == dropped
            else:
                device.outbox.quarantine(0)
                assert device.outbox.next_frame()
                assert device.outbox.rejected == 1 and device.ring.dropped == dropped + held - 1
            _check_account(device)
            assert device.drain()[-1]["value"] == 100
            _check_account(device)


def test_a_frame_inside_send_waits():
    with fakes.Ticks() as ticks:
        device = fakes.Device(ticks)
        assert device.send("m", 1)
        size = device.outbox.next_frame()
        seen = []
        append = device.ring.append

        def interrupted(n, points):
            seen.append((device.outbox.release(), device.outbox.next_frame()))
            append(n, points)

        device.ring.append = interrupted
        assert size and device.send("m", 2)
        assert seen == [(False, 0)]
        assert device.outbox.release() and device.outbox.next_frame()


def test_send_inside_a_frame_waits():
    with fakes.Ticks() as ticks:
        device = fakes.Device(ticks)
        assert device.send("m", 1)
        read = device.ring.read
        sent = []

        def interrupted(seq, off):
            if not sent:
                sent.append(device.send("m", 2))
            return read(seq, off)

        device.ring.read = interrupted
        first = device.drain()
        assert sent == [True] and [p["value"] for p in first] == [1, 2]


def test_empty_frame_is_a_valid_request():
    with fakes.Ticks() as ticks:
        device = fakes.Device(ticks)
        assert device.outbox.next_frame() == 0
        device.outbox.empty_frame()
        assert fakes.parse_frame(device.frame_bytes()) == []


def test_a_point_that_no_frame_holds_is_refused():
    with fakes.Ticks() as ticks:
        device = fakes.Device(ticks, 12288, 4096, 2048, 400)
        error = gen.raises(PlexusError, device.send, "m" * 200, "x" * 200)
        assert "frame_bytes" in str(error)
        assert device.send("m", 1)
        assert len(device.drain()) == 1


def test_a_point_from_a_time_of_larger_frames_is_refused():
    """What no frame can hold is left out, not stuck: the rest comes."""
    for around in (0, 1, 3):
        with fakes.Ticks() as ticks:
            blocks = fakes.NorBlocks(8 * 4096, 4096)
            device = fakes.Device(ticks, 0, 0, 2000, 4096, blocks)
            for i in range(around):
                assert device.send("m", i)
            assert device.send("long", ["x" * 1000]) and device.send("long", ["y" * 900])
            for i in range(around):
                assert device.send("m", 10 + i)
            device = fakes.Device(ticks, 0, 0, 400, 600, blocks)
            ticks.advance(1)
            assert device.send("end", 99)
            got = [p["value"] for p in device.drain()]
            assert got == list(range(around)) + [10 + i for i in range(around)] + [99]
            assert device.outbox.rejected == 2 and device.outbox.waiting == 0 and device.ring.left == 0


def test_a_frame_ends_within_a_commit_and_the_next_goes_on_there():
    """Also when other commits, and readings of the ring for other reasons, come between the two."""

    def check(g, flash, commit_ms):
        with fakes.Ticks() as ticks:
            blocks = fakes.NorBlocks(8 * 8192, 8192) if flash else None
            device = fakes.Device(ticks, 65536, 8192, 4000, 500, blocks, 1, commit_ms)
            wanted, got = [], []
            for _ in range(6):
                points = [("m%d" % g.below(9), g.a_number()) for _ in range(g.between(20, 60))]
                assert device.batch(points)
                wanted += [value for _, value in points]
                ticks.advance(2000)
            device.recorder.upkeep(True)
            while device.outbox.next_frame():
                if g.chance(3):
                    frame = device.frame_bytes()
                    assert device.outbox.next_frame() and device.frame_bytes() == frame, (
                        "built again, the same"
                    )
                if g.chance(3):
                    device.ring.read(1, device.ring.first)
                got += [p["value"] for p in fakes.parse_frame(device.frame_bytes())]
                if g.chance(2) and len(wanted) < 400:
                    assert device.send("more", len(wanted))
                    wanted.append(len(wanted))
                    device.recorder.upkeep(True)
                assert device.outbox.release()
            assert len(got) == len(wanted) and all([gen.same(a, b) for a, b in zip(got, wanted)])

    for flash in (False, True):
        gen.for_seeds(2, check, flash, 0)
        gen.for_seeds(2, check, flash, 10_000)


def test_frames_handed_over():
    """Up to three frames under way, released in their order or taken back: the same points again, each once."""

    def check(g, flash):
        with fakes.Ticks() as ticks:
            blocks = fakes.NorBlocks(16 * 1024, 1024) if flash else None
            device = fakes.Device(ticks, 16384, 1024, 300, 500, blocks)
            outbox = device.outbox
            sent, stored, flight = 0, [], []
            for step in range(300):
                ticks.advance(g.below(3000))
                if step < 200 and g.chance(2):
                    for _ in range(g.between(1, 5)):
                        assert device.send("m%d" % g.below(5), sent)
                        sent += 1
                elif g.chance(3) and flight:
                    assert outbox.release()
                    stored += flight.pop(0)
                elif g.chance(8):
                    outbox.take_back()
                    del flight[:]
                elif len(flight) < 3 and outbox.next_frame():
                    flight.append([p["value"] for p in fakes.parse_frame(device.frame_bytes())])
                    outbox.hand_over()
                assert outbox.ready == (device.ring.left > sum([len(frame) for frame in flight]))
                _check_account(device)
            outbox.take_back()
            stored += [p["value"] for p in device.drain()]
            assert stored == list(range(sent)) and not device.ring.dropped
            assert outbox.waiting == 0

    gen.for_seeds(6, check, False)
    gen.for_seeds(6, check, True)


def test_a_refusal_told_twice_costs_one_point():
    """The frame whose point was refused may be sent again when a program is interrupted right then."""
    with fakes.Ticks() as ticks:
        device = fakes.Device(ticks)
        for i in range(6):
            assert device.send("m", i)
        for index, left in ((2, [0, 1, 3, 4, 5]), (2, [0, 1, 4, 5]), (0, [1, 4, 5])):
            assert device.outbox.next_frame()
            device.outbox.quarantine(index)
            device.outbox.quarantine(index)
            assert device.outbox.next_frame()
            assert [p["value"] for p in fakes.parse_frame(device.frame_bytes())] == left
        assert device.outbox.rejected == 3 and device.outbox.waiting == 3
