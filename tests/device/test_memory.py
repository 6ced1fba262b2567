"""Numbers allocate nothing: send() under a locked heap, where the VM can lock it."""

import struct

from plexus_mp import clock, http, link, points, recorder
from plexus_mp.http import Http
from plexus_mp.link import Link

from . import fakes, talks

try:
    from micropython import heap_lock, heap_unlock
except ImportError:  # CPython allocates for every float: there the same calls must merely work

    def heap_lock():
        pass

    def heap_unlock():
        return 0


# Made beforehand: a float, or an int beyond 30 bits, is an object.
_NUMBERS = [1, -300, 70000, 0x3FFFFFFF, 1 << 40, -(1 << 63), 0.0, 22.5, 0.1, 1e300, 5e-324, True, False]
_NAMES = ("temperature", "humidity", "pressure")
_DAY_MS = 86_400_000


# By their number: a call with *arguments allocates on CircuitPython.
_CALLS = (
    lambda function, a: function(),
    lambda function, a: function(a[0]),
    lambda function, a: function(a[0], a[1]),
    lambda function, a: function(a[0], a[1], a[2]),
    lambda function, a: function(a[0], a[1], a[2], a[3]),
    lambda function, a: function(a[0], a[1], a[2], a[3], a[4]),
)


def _under_lock(function, *arguments):
    call = _CALLS[len(arguments)]
    heap_lock()
    try:
        return call(function, arguments)
    finally:
        heap_unlock()


def _without_what_the_vm_cannot():
    """CircuitPython's own `struct` allocates for the lowest number there is."""
    try:
        _under_lock(struct.pack_into, "<q", bytearray(8), 0, _NUMBERS[5])
    except MemoryError:
        del _NUMBERS[5]


_without_what_the_vm_cannot()


def _slices_take_memory():
    """MicroPython up to 1.25 makes an object of each slice that is assigned."""
    buf = bytearray(8)
    try:
        _under_lock(_assign, buf, b"ab")
    except MemoryError:
        return True
    return False


def _assign(buf, data):
    buf[2:4] = data


def lacking(name):
    """What this VM has not that a test needs; None when it has all."""
    if name in ("test_an_idle_conversation", "test_no_memory_at_all_costs_the_call_only"):
        return None
    return "slices that take no memory" if _slices_take_memory() else None


class _Ticks:
    """A tick counter that allocates nothing, and stands still until told; ticks are those of the VM."""

    def __init__(self, now):
        self.now = now
        self._patches = [fakes.Patch(module, "ticks_ms", self.ms) for module in (clock, http, link, recorder)]

    def ms(self):
        return self.now

    def advance(self, ms):
        # Ticks have 30 bits: step by step the numbers stay small.
        while ms:
            step = min(ms, 1 << 28)
            self.now = points.ticks_add(self.now, step)
            ms -= step

    def __enter__(self):
        for patch in self._patches:
            patch.__enter__()
        return self

    def __exit__(self, *_):
        for patch in self._patches:
            patch.__exit__()


# Whether in flash, alignment, commit_ms.
_RINGS = (
    (False, 1, 0),
    (True, 1, 0),
    (True, 16, 0),
    (True, 1, 60_000),
    (True, 32, 60_000),
    (False, 1, 60_000),
)


def _device(ring, sector=1024):
    flash, align, commit_ms = ring
    blocks = fakes.NorBlocks(6 * sector, sector) if flash else None
    device = fakes.Device(fakes.Ticks(), 6 * sector, sector, 128, 1024, blocks, align, commit_ms)
    for name in _NAMES:
        assert device.recorder.send(None, name, 1, None, None)
        assert device.recorder.send(None, name, True, None, None)
    return device


def test_send_of_numbers_across_sectors():
    """Commits, keyframes, pages and sectors, with dropping, prepared ones and others."""
    for ring in _RINGS:
        device = _device(ring)
        before = device.ring.head_seq
        for round_ in range(60):
            for value in _NUMBERS:
                assert _under_lock(device.recorder.send, None, _NAMES[round_ % 3], value, None, None)
            if round_ < 30:
                device.recorder.upkeep(False)
        assert device.ring.head_seq - before > 6 and device.ring.dropped, ring


def test_send_of_tagged_numbers():
    for ring in _RINGS:
        device = _device(ring)
        tags = {"room": "north"}
        assert device.send("m", 1, tags)
        for _ in range(100):
            for value in _NUMBERS[:4]:
                assert _under_lock(device.recorder.send, None, "m", value, tags, None)


def test_send_batch_of_numbers_across_sectors():
    for ring in _RINGS:
        device = _device(ring)
        before = device.ring.head_seq
        batch = [(_NAMES[i % 3], value) for i, value in enumerate(_NUMBERS)]
        for _ in range(60):
            assert _under_lock(device.recorder.send_batch, batch, None, None, int)
        assert device.ring.head_seq - before > 4


def test_dense_records():
    """The same series over and over, values that change a little, for several keyframes."""
    values = [struct.unpack("<f", struct.pack("<f", 20 + i / 128))[0] for i in range(50)]
    for ring in _RINGS:
        with _Ticks(1000) as ticks:
            device = _device(ring)
            batches = [[(_NAMES[0], value), (_NAMES[1], -value), (_NAMES[2], 7)] for value in values]
            for batch in batches:
                ticks.advance(2000)
                assert _under_lock(device.recorder.send_batch, batch, None, None, int)


def test_a_burst_in_one_millisecond():
    """Up to the last number of ticks, which is the last small int as well."""
    for ring in _RINGS:
        with _Ticks((1 << 30) - 50) as ticks:
            device = _device(ring)
            for _ in range(16):
                ticks.now += 3
                for _ in range(10):
                    assert _under_lock(device.recorder.send, None, "pressure", 1, None, None)


def test_a_month_of_uptime():
    """Ticks wrap after 12.4 days, and the clock's anchor moves: by a send() as by a tick of the link."""
    for ring in _RINGS:
        with _Ticks(1000) as ticks:
            device = _device(ring)
            batch = [(name, 22.5) for name in _NAMES]
            for step in range(120):
                ticks.advance((2000, _DAY_MS // 4, 1 << 20, (1 << 20) + 1, 5 * _DAY_MS // 2)[step % 5])
                assert _under_lock(device.recorder.send, None, "pressure", 1, None, None)
                assert _under_lock(device.recorder.send_batch, batch, None, None, int)
            device.recorder.clock.at(ticks.now)
            assert device.recorder.clock.s > 30 * 86_400


def test_send_inside_send():
    for ring in _RINGS[:3]:
        device = _device(ring)
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


def test_send_inside_the_link():
    """What a timer's send() leaves for later is recorded by the link, which may allocate; what comes then does not."""
    for ring in _RINGS:
        device = _device(ring)
        upkeep = device.ring.prepare
        kept = []

        def interrupted():
            if not kept:
                kept.extend(
                    [_under_lock(device.recorder.send, None, "pressure", i, None, None) for i in range(5)]
                )
            upkeep()

        device.ring.prepare = interrupted
        device.ring.ahead_off = 0
        accepted = device.recorder.accepted + device.recorder.pending
        device.recorder.upkeep(True)
        device.recorder.upkeep(False)
        assert kept == [True] * 5
        assert device.recorder.accepted + device.recorder.pending == accepted + 5
        assert _under_lock(device.recorder.send, None, "pressure", 1, None, None)


def test_whatever_the_link_does():
    """Connected, in the midst of an answer, in backoff: send() does not touch it, nor the heap."""
    for ring in _RINGS:
        with _Ticks(1000) as ticks, fakes.Network() as network:
            device = _device(ring)
            the_link = Link(
                device.outbox, Http(fakes.dial, "gw", 80, "/ingest", "key", "agent"), device.recorder
            )
            batch = [(name, 22.5) for name in _NAMES]
            states = []
            for step in range(60):
                network.reachable = step % 20 < 10
                device.recorder.upkeep(the_link.hungry)
                the_link.step()
                state = the_link.busy, the_link.waiting
                if state not in states:
                    states.append(state)
                ticks.advance(400)
                assert _under_lock(device.recorder.send, None, "pressure", step, None, None)
                assert _under_lock(device.recorder.send_batch, batch, None, None, int)
            assert (True, False) in states and (False, True) in states


def test_no_memory_at_all_costs_the_call_only():
    """A heap that is full at the first allocation: of a new series, a text, a frame, a page. Then it goes on."""
    for ring in _RINGS:
        device = _device(ring)
        sent = 0
        for step in range(40):
            what = step % 5
            try:
                if what == 0:
                    _under_lock(device.send, "new%d" % step, 1)
                elif what == 1:
                    _under_lock(device.send, "m", "text")
                elif what == 2:
                    _under_lock(device.outbox.next_frame)
                elif what == 3:
                    _under_lock(device.recorder.upkeep, True)
                elif device.outbox.next_frame():
                    _under_lock(device.outbox.release)
            except MemoryError:
                pass
            assert device.send("sent", sent)
            sent += 1
        device.recorder.upkeep(True)
        got = [p["value"] for p in device.drain() if p["metric"] == "sent"]
        assert got == sorted(set(got)) and got[-1] == sent - 1
        assert device.outbox.waiting == 0 and device.ring.left == 0


def test_client_with_a_ticker():
    from plexus_mp.client import Plexus

    for commit_ms in (0, 60_000):
        px = Plexus("key", "a", "http://gw", 2048, 512, 128, 1024, 0, "ram", commit_ms)
        px._ticker = px  # delivery is not this test's business
        for name in _NAMES:
            assert px.send(name, 1)
        batch = [(name, 22.5) for name in _NAMES]
        assert px.send_batch(batch)
        for _ in range(100):
            assert _under_lock(px.send, "temperature", 22.5)
            assert _under_lock(px.send_batch, batch)
        px._ticker = None


def test_an_idle_conversation():
    """Nobody says anything: without commands, and with commands that nobody asks for."""
    for listening in (False, True):
        with talks.Talk(talks.Ticks(1000, 1 << 28)) as talk:  # a tick counter of small integers
            talk.commands.declare("c", len)
            talk.connect()
            if not listening:
                talk.session.commands = None
            for _ in range(20):
                assert _under_lock(talk.link.step) is False
                _under_lock(talk.commands.run_due, False)
                _under_lock(talk.commands.run_due, True)
