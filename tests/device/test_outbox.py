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
    total = outbox.delivered + device.ring.dropped + outbox.rejected + outbox.waiting
    assert device.recorder.accepted == total, (
        device.recorder.accepted,
        outbox.delivered,
        device.ring.dropped,
        outbox.rejected,
        outbox.waiting,
    )


def _exchange(g, device, gateway, size):
    """One attempt with the frame under way; the size of the frame that is under way afterwards."""
    frame = device.frame_bytes(size)
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


def _history(g, series, sector, page, frame_bytes, poison, names_index):
    with fakes.Ticks((1 << 30) - 20_000) as ticks:
        device = fakes.Device(ticks, 6 * sector, sector, page, frame_bytes)
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
                size = device.outbox.next_frame()
                assert size <= frame_bytes and bool(size) == bool(device.outbox.waiting)
            else:
                size = _exchange(g, device, gateway, size)
            _check_account(device)
        if size:
            _exchange_well(device, gateway, size)
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
        gen.for_seeds(3, check, frame_bytes, 0)
        gen.for_seeds(3, check, frame_bytes, 11)


def _exchange_well(device, gateway, size):
    refused = gateway.post(device.frame_bytes(size))
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
            device = fakes.Device(ticks, 1024, 512, 128, 400)
            for i in range(10):
                assert device.send("m", i)
            size = device.outbox.next_frame()
            frame = device.frame_bytes(size)
            held = device.outbox.points
            assert 0 < held < 10
            while device.ring.tail_seq == 1:
                assert device.send("m", 100)
                _check_account(device)
            assert device.frame_bytes(size) == frame
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

        def interrupted(seq, off, buf):
            if not sent:
                sent.append(device.send("m", 2))
            return read(seq, off, buf)

        device.ring.read = interrupted
        first = device.drain()
        assert sent == [True] and [p["value"] for p in first] == [1, 2]


def test_empty_frame_is_a_valid_request():
    with fakes.Ticks() as ticks:
        device = fakes.Device(ticks)
        assert device.outbox.next_frame() == 0
        assert fakes.parse_frame(device.frame_bytes(device.outbox.empty_frame())) == []


def test_a_point_that_no_frame_holds_is_refused():
    with fakes.Ticks() as ticks:
        device = fakes.Device(ticks, 8192, 4096, 2048, 400)
        error = gen.raises(PlexusError, device.send, "m" * 200, "x" * 200)
        assert "frame_bytes" in str(error)
        assert device.send("m", 1)
        assert len(device.drain()) == 1
