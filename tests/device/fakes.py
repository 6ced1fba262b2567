"""Stand-ins for what surrounds the library: the tick counter, the network, a failing flash."""

import json
import sys

import plexus_mp
from plexus_mp import clock, http, link, outbox, points, ports, recorder, series, ws
from plexus_mp.blocks import RamBlocks
from plexus_mp.mount import mount
from plexus_mp.outbox import HEADROOM, Outbox
from plexus_mp.recorder import Recorder
from plexus_mp.ring import Ring

# 2027-01-15 08:00:00 UTC
UNIX_MS = 1_800_000_000_000
# Before it no time can be right.
FLOOR_MS = 1_790_000_000_000
SOURCE = b'"test-1"'

LOADED_WHEN_MET = ("trouble", "closing", "dates", "sync", "times", "names", "checks")


class Patch:
    """In a `with` block `module.name` is `value`."""

    def __init__(self, module, name, value):
        self._module = module
        self._name = name
        self._value = value

    def __enter__(self):
        self._before = getattr(self._module, self._name)
        setattr(self._module, self._name, self._value)
        return self._value

    def __exit__(self, *_):
        setattr(self._module, self._name, self._before)


class Ticks:
    """A tick counter that stands still until told: in a `with` block the library's own."""

    def __init__(self, now=1000, period=1 << 30):
        self.now = now
        self.period = period
        self.total = 0
        self._patches = [
            Patch(module, name, value)
            for module in (ports, clock, http, link, outbox, points, recorder, series, ws)
            for name, value in (("ticks_ms", self.ms), ("ticks_add", self.add), ("ticks_diff", self.diff))
            if hasattr(module, name)
        ]

    def __enter__(self):
        for patch in self._patches:
            patch.__enter__()
        self._forget()
        return self

    def __exit__(self, *_):
        for patch in self._patches:
            patch.__exit__()
        self._forget()

    def _forget(self):
        """What is loaded when it is met takes the ticks of `ports` as they are then."""
        for module in LOADED_WHEN_MET:
            sys.modules.pop("plexus_mp." + module, None)
            if hasattr(plexus_mp, module):
                delattr(plexus_mp, module)

    def ms(self):
        return self.now

    def add(self, ticks, ms):
        assert 0 <= ticks < self.period
        return (ticks + ms) % self.period

    def diff(self, a, b):
        # MicroPython takes the arguments for small ints unseen, and computes nonsense with others.
        assert 0 <= a < self.period and 0 <= b < self.period, "ticks out of range: %d %d" % (a, b)
        half = self.period >> 1
        return (a - b + half) % self.period - half

    def advance(self, ms):
        self.total += ms
        self.now = (self.now + ms) % self.period


class Device:
    """Recorder and outbox over a ring in RAM, on a tick counter whose first tick was `UNIX_MS`."""

    def __init__(
        self, ticks, ring=4096, sector=1024, page=256, frame=1024, blocks=None, align=1, commit_ms=0, synced=True,
        source=SOURCE, rtc_ms=None, linger_ms=0,
    ):  # fmt: skip
        self.ticks = ticks
        self.blocks = blocks or RamBlocks(ring, sector)
        self.ring = Ring(self.blocks, page, align)
        if not self.ring.volatile:
            mount(self.ring)
        stored = b"" if self.ring.volatile else source
        self.recorder = Recorder(self.ring, page, Outbox.json_max(source, frame), stored, commit_ms, rtc_ms)
        self.outbox = Outbox(self.recorder, source, frame, linger_ms)
        if synced:
            self.sync()

    def sync(self):
        """Hear what time it is, exactly."""
        now, sent_ms = self.ticks.now, self.outbox.sent_ms
        self.recorder.hear_time(self.unix_ms(), self.unix_ms(), now, now, sent_ms, "test")

    def unix_ms(self):
        return UNIX_MS + self.ticks.total

    def send(self, metric, value, tags=None, stamp_ms=None, cls=None):
        return self.recorder.send(cls, metric, value, tags, stamp_ms)

    def batch(self, points, tags=None, stamp_ms=None):
        return self.recorder.send_batch(points, tags, stamp_ms, int)

    def next_frame(self):
        """As the outbox's, however many calls it takes to date the points."""
        while not self.outbox.next_frame():
            if not self.outbox.surveying:
                return 0
        return self.outbox.points

    def frame_bytes(self):
        return bytes(self.outbox.view[HEADROOM : self.outbox.close(b'"source_id":' + self.outbox.source)])

    def drain(self):
        """All points that wait, as a gateway that accepts everything sees them."""
        found = []
        while True:
            if not self.next_frame():
                return found
            found += parse_frame(self.frame_bytes())
            assert self.outbox.release()


def frame_body(frame):
    body = json.loads(frame)
    assert sorted(body) == ["points", "source_id"]
    return body


def parse_frame(frame):
    body = frame_body(frame)
    assert body["source_id"] == text(SOURCE)
    return body["points"]


def text(source_json):
    return json.loads(source_json)


class NorBlocks(RamBlocks):
    """RAM that behaves as NOR flash: erased at first, and a program only clears bits. Allocates nothing."""

    volatile = False

    def __init__(self, size, block_bytes):
        super().__init__(size, block_bytes)
        for n in range(self._count):
            self.ioctl(6, n)
        self.spoiled = 0  # bytes that a program could not make what it was given

    def readblocks(self, n, buf, off=0):
        at = n * self._block_bytes + off
        for i in range(len(buf)):
            buf[i] = self._mem[at + i]

    def writeblocks(self, n, buf, off=0):
        at = n * self._block_bytes + off
        for i in range(len(buf)):
            before = self._mem[at + i]
            if buf[i] & ~before and buf[i] != 0xFF:
                self.spoiled += 1
            self._mem[at + i] = before & buf[i]


class Flaky:
    """A block device over `blocks` that raises `error` at the call number `fails_at`, before or after doing it.

    Reads count only with `counts_reads`. A write that fails before leaves `torn_bytes`.
    """

    def __init__(self, blocks):
        self.blocks = blocks
        self.volatile = blocks.volatile
        self.calls = 0
        self.fails_at = -1
        self.error = OSError
        self.after = False
        self.torn_bytes = 0
        self.counts_reads = False

    def _due(self):
        self.calls += 1
        return self.calls == self.fails_at

    def _fails_before(self, due):
        if due and not self.after:
            raise self.error

    def readblocks(self, n, buf, off=0):
        self._fails_before(self.counts_reads and self._due())
        self.blocks.readblocks(n, buf, off)

    def writeblocks(self, n, buf, off=0):
        due = self._due()
        if due and not self.after:
            self.blocks.writeblocks(n, bytes(buf)[: self.torn_bytes], off)
        self._fails_before(due)
        self.blocks.writeblocks(n, buf, off)
        if due:
            raise self.error

    def ioctl(self, op, arg):
        due = op == 6 and self._due()
        self._fails_before(due)
        result = self.blocks.ioctl(op, arg)
        if due:
            raise self.error
        return result


def dial(host, port):
    """A connection of the network whose `with` block this is."""
    return ports.Tcp(host, port)


class Network:
    """Dials `Wire`s for the library; `serve(wire, body)` is called with each whole request."""

    def __init__(self, serve=None):
        self.serve = serve
        self.open = 0
        self.wires = []
        self.reachable = True
        self.write_bytes = 1 << 20  # taken at a time
        self.patch = Patch(ports, "Tcp", self.dial)

    def __enter__(self):
        self.patch.__enter__()
        return self

    def __exit__(self, *_):
        self.patch.__exit__()

    def dial(self, host, port):
        if not self.reachable:
            raise OSError(113)
        wire = Wire(self)
        self.wires.append(wire)
        return wire


class Wire:
    """One TCP connection: `answer` queues pieces, each of which is read on its own; b"" ends the stream."""

    def __init__(self, network):
        self._network = network
        self._sent = b""
        self._pieces = []
        self._is_open = True
        self.requests = 0
        self.broken = None  # an error for writes
        network.open += 1

    def answer(self, *pieces):
        self._pieces += pieces

    def connected(self):
        return True

    def write(self, data):
        assert self._is_open
        if self.broken:
            raise self.broken
        n = min(len(data), self._network.write_bytes)
        self._sent += bytes(data[:n])
        self._look_for_request()
        return n

    def _look_for_request(self):
        end = self._sent.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._sent[:end]
        length = int(head[head.find(b"Content-Length: ") + 16 :].split(b"\r\n")[0])
        body = self._sent[end + 4 :]
        if len(body) >= length:
            self._sent = body[length:]
            self.requests += 1
            if self._network.serve:
                self._network.serve(self, body[:length])

    def readinto(self, buf):
        assert self._is_open
        if not self._pieces:
            return None
        piece = self._pieces[0]
        if not piece:
            return 0
        n = min(len(piece), len(buf))
        buf[:n] = piece[:n]
        if n < len(piece):
            self._pieces[0] = piece[n:]
        else:
            self._pieces.pop(0)
        return n

    def close(self):
        assert self._is_open, "closed twice"
        self._is_open = False
        self._network.open -= 1
