"""Numbers allocate nothing: send() under a locked heap, where the VM can lock it."""

from plexus_mp import clock, recorder

from . import fakes

try:
    from micropython import heap_lock, heap_unlock
except ImportError:  # CPython allocates for every float: there the same calls must merely work

    def heap_lock():
        pass

    def heap_unlock():
        return 0


# Made beforehand: a float, or an int beyond 30 bits, is an object.
_NUMBERS = (1, -300, 70000, 0x3FFFFFFF, 1 << 40, -(1 << 63), 0.0, 22.5, 0.1, 1e300, 5e-324, True, False)
_NAMES = ("temperature", "humidity", "pressure")


def _under_lock(function, *arguments):
    heap_lock()
    try:
        return function(*arguments)
    finally:
        heap_unlock()


def _warm(device):
    for name in _NAMES:
        assert device.recorder.send(None, name, 1, None, None)
        assert device.recorder.send(None, name, True, None, None)


def test_send_of_numbers_across_sectors():
    device = fakes.Device(fakes.Ticks(), 2048, 512, 128, 1024)
    _warm(device)
    before = device.ring.head_seq
    for round_ in range(60):
        for value in _NUMBERS:
            assert _under_lock(device.recorder.send, None, _NAMES[round_ % 3], value, None, None)
    assert device.ring.head_seq - before > 4 and device.ring.dropped


def test_send_of_tagged_numbers():
    device = fakes.Device(fakes.Ticks(), 2048, 512, 128, 1024)
    tags = {"room": "north"}
    assert device.send("m", 1, tags)
    for _ in range(100):
        for value in _NUMBERS[:4]:
            assert _under_lock(device.recorder.send, None, "m", value, tags, None)


def test_send_batch_of_numbers_across_sectors():
    device = fakes.Device(fakes.Ticks(), 2048, 512, 128, 1024)
    _warm(device)
    before = device.ring.head_seq
    points = [(_NAMES[i % 3], value) for i, value in enumerate(_NUMBERS)]
    for _ in range(60):
        assert _under_lock(device.recorder.send_batch, points, None, None, int)
    assert device.ring.head_seq - before > 4


def test_a_burst_in_one_millisecond():
    now = [(1 << 30) - 50]  # up to the last number of ticks, which is the last small int as well
    with fakes.Patch(clock, "ticks_ms", lambda: now[0]), fakes.Patch(recorder, "ticks_ms", lambda: now[0]):
        device = fakes.Device(fakes.Ticks(now[0]), 4096, 1024, 128, 1024)
        _warm(device)
        for _ in range(16):
            now[0] += 3
            for _ in range(10):
                assert _under_lock(device.recorder.send, None, "pressure", 1, None, None)


def test_send_inside_send():
    device = fakes.Device(fakes.Ticks(), 2048, 512, 128, 1024)
    _warm(device)
    append = device.ring.append
    state = [0]

    def interrupted(n, points):
        append(n, points)
        if state[0] < 8:
            state[0] += 1
            state[0] = state[0] if device.recorder.send(None, "humidity", 7, None, None) else 99

    device.ring.append = interrupted
    for _ in range(20):
        state[0] = 0
        assert _under_lock(device.recorder.send, None, "pressure", 1, None, None)
        assert state[0] == 8


def test_client_with_a_ticker():
    from plexus_mp.client import Plexus

    px = Plexus("key", "a", "http://gw", 2048, 512, 128, 1024, 0)
    px._ticker = px  # delivery is not this test's business
    for name in _NAMES:
        assert px.send(name, 1)
    points = [(name, 22.5) for name in _NAMES]
    assert px.send_batch(points)
    for _ in range(100):
        assert _under_lock(px.send, "temperature", 22.5)
        assert _under_lock(px.send_batch, points)
    px._ticker = None
