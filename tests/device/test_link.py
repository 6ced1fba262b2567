"""What each answer of a gateway, or of something else that answers, does to the readings."""

import json

from plexus_mp import link as link_module
from plexus_mp.http import Http
from plexus_mp.link import AUTH_FAILED, OFFLINE, ONLINE, RATE_LIMITED, Link

from . import fakes, gen

_DATE = "Fri, 15 Jan 2027 08:00:00 GMT"
STORED = '{"success":true,"count":4}'


def answer(status, body, date=_DATE):
    head = "HTTP/1.1 %d X\r\nContent-Length: %d\r\n" % (status, len(body))
    if date:
        head += "Date: %s\r\n" % date
    return (head + "\r\n" + body).encode()


class Bench:
    """A link over the real HTTP client to a gateway whose answers are `say`, newest last."""

    def __init__(self, ticks, network, synced=True):
        self.ticks = ticks
        self.network = network
        network.serve = self._serve
        self.device = fakes.Device(ticks, synced=synced)
        self.outbox = self.device.outbox
        http = Http(fakes.dial, "gateway", 80, "/ingest", "plx_secret", "agent/1")
        self.link = Link(self.outbox, http, self.device.recorder)
        self.frames = []
        self.say = lambda frame: answer(200, STORED)

    def _serve(self, wire, body):
        self.frames.append(body)
        said = self.say(body)
        if said is not None:
            wire.answer(said.replace(_DATE.encode(), self._date()))

    def _date(self):
        s = self.device.unix_ms() // 1000 - fakes.UNIX_MS // 1000 + 8 * 3600
        day = 15 + s // 86_400
        month = "Jan" if day < 32 else "Feb"
        told = ((day - 1) % 31 + 1, month, s // 3600 % 24, s // 60 % 60, s % 60)
        return ("Xxx, %02d %s 2027 %02d:%02d:%02d GMT" % told).encode()

    def step(self):
        """Steps until nothing is left to do at this time."""
        for _ in range(500):
            if not self.link.step() and not self.link.busy:
                return
        assert self.link.busy, "the link never rests"

    def send(self, n=4):
        for i in range(n):
            assert self.device.send("m", i)
        self.step()

    def pass_ms(self, ms):
        self.ticks.advance(ms)
        self.step()


class on_bench:
    """`with on_bench() as b`: a bench whose ticks and network are the library's."""

    def __init__(self, synced=True):
        self._ticks = fakes.Ticks((1 << 30) - 5000)
        self._network = fakes.Network()
        self._synced = synced

    def __enter__(self):
        self._ticks.__enter__()
        self._network.__enter__()
        return Bench(self._ticks, self._network, self._synced)

    def __exit__(self, *_):
        self._network.__exit__()
        self._ticks.__exit__()


RELEASED, KEPT, QUARANTINED, SPLIT = range(4)
_HTML = "<html><body>Please log in to the Wi-Fi of this hotel</body></html>"
_SLOW = (3750, 6250)
_BACKOFF = (750, 1250)
_REFUSED = (45_000, 75_000)

# status, body, effect, status of the link, bounds of the pause in ms
_TABLE = (
    (200, STORED, RELEASED, ONLINE, None),
    (200, '{"success":true,"count":0,"dropped":4,"source_id":"a"}', KEPT, RATE_LIMITED, _SLOW),
    (200, '{"success":true,"count":3,"dropped":1}', KEPT, RATE_LIMITED, _SLOW),
    (200, '{"success":true,"count":4,"dropped":0}', RELEASED, ONLINE, None),
    (200, '{"success":false}', KEPT, OFFLINE, _BACKOFF),
    (200, _HTML, KEPT, OFFLINE, _BACKOFF),
    (200, "", KEPT, OFFLINE, _BACKOFF),
    (200, "[1]", KEPT, OFFLINE, _BACKOFF),
    (200, "[" * 500, KEPT, OFFLINE, _BACKOFF),
    (302, _HTML, KEPT, OFFLINE, _BACKOFF),
    (400, '{"error":"points[2].value cannot be null"}', QUARANTINED, OFFLINE, None),
    (400, '{"error":"points[9].value cannot be null"}', SPLIT, OFFLINE, None),
    (400, '{"error":"points[-1].value cannot be null"}', SPLIT, OFFLINE, None),
    (400, '{"error":"invalid JSON body"}', SPLIT, OFFLINE, None),
    (400, '{"error":17}', SPLIT, OFFLINE, None),
    (400, _HTML, KEPT, OFFLINE, _BACKOFF),
    (401, '{"error":"invalid API key"}', KEPT, AUTH_FAILED, _REFUSED),
    (401, _HTML, KEPT, AUTH_FAILED, _REFUSED),
    (403, '{"error":"API key lacks write scope"}', KEPT, AUTH_FAILED, _REFUSED),
    (404, '{"error":"not found"}', KEPT, OFFLINE, _BACKOFF),
    (413, '{"error":"payload too large (max 5242880 bytes)"}', SPLIT, OFFLINE, None),
    (413, _HTML, KEPT, OFFLINE, _BACKOFF),
    (429, '{"error":"slow down"}', KEPT, RATE_LIMITED, _SLOW),
    (500, '{"error":"internal error"}', KEPT, OFFLINE, _BACKOFF),
    (502, '{"error":"failed to queue telemetry"}', KEPT, OFFLINE, _BACKOFF),
    (503, '{"error":"gateway degraded: redis unavailable"}', KEPT, OFFLINE, _BACKOFF),
    (204, "", KEPT, OFFLINE, _BACKOFF),
)


def _one_answer(status, body, effect, state, pause):
    with on_bench() as b:
        said = [answer(status, body)]
        b.say = lambda frame: said.pop() if said else None
        b.send()
        first = b.frames[0]
        assert b.link.status == state, (status, body, b.link.status)
        assert b.link.waiting == (pause is not None)
        wanted = {RELEASED: 0, QUARANTINED: 3}.get(effect, 4)
        assert b.outbox.waiting == wanted, (status, body, b.outbox.waiting)
        assert b.outbox.rejected == (1 if effect == QUARANTINED else 0)
        assert b.outbox.delivered == (4 if effect == RELEASED else 0)
        assert (b.link.last_error != "") == (effect != RELEASED)
        if pause:
            b.pass_ms(pause[0] - 1)
            assert len(b.frames) == 1, (status, body)
            b.pass_ms(pause[1] - pause[0] + 2)
        points = [[p["value"] for p in fakes.parse_frame(frame)] for frame in b.frames]
        again = {RELEASED: [], KEPT: [[0, 1, 2, 3]], QUARANTINED: [[0, 1, 3]], SPLIT: [[0, 1]]}[effect]
        assert points == [[0, 1, 2, 3]] + again, (status, body, points)
        assert effect != KEPT or b.frames[1] == first, "the very same bytes"


def test_answers():
    for row in _TABLE:
        _one_answer(*row)


def test_what_is_no_answer():
    for garbage in (b"SSH-2.0-x\r\n", b"", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"):
        with on_bench() as b:
            b.say = lambda frame: garbage
            b.send()
            if b.link.busy:  # b"" queues the end of the stream
                b.step()
            assert b.link.failures >= 1 and b.outbox.waiting == 4 and b.link.status == OFFLINE
            b.say = lambda frame: answer(200, STORED)
            b.pass_ms(1251)
            assert b.outbox.delivered == 4 and b.frames[0] == b.frames[-1]


def test_no_answer_at_all():
    with on_bench() as b:
        b.say = lambda frame: None
        b.send()
        assert b.link.busy
        b.pass_ms(10_001)
        assert not b.link.busy and b.link.waiting and not b.network.open
        b.say = lambda frame: answer(200, STORED)
        b.pass_ms(1251)
        assert b.outbox.delivered == 4 and b.frames[0] == b.frames[1] and b.link.retries == 1


def test_a_gateway_out_of_reach():
    with on_bench() as b:
        b.network.reachable = False
        b.send()
        assert b.link.waiting and b.outbox.waiting == 4
        b.network.reachable = True
        b.pass_ms(1251)
        assert b.outbox.delivered == 4 and b.link.status == ONLINE


def _pause_ms(b):
    """How long the link waits now, by trying."""
    low, high = 0, 100_000
    start = b.ticks.now
    while low < high:
        middle = (low + high) // 2
        wait_ms = b.link._wait_ms
        b.ticks.now = (start + middle) % b.ticks.period
        waits = b.link.waiting
        b.link._wait_ms = wait_ms
        low, high = (middle + 1, high) if waits else (low, middle)
    b.ticks.now = start
    return low


def test_backoff_grows_to_a_minute_with_jitter():
    for bits in (0, 64, 127):
        with fakes.Patch(link_module, "random_bits", lambda n: bits), on_bench() as b:
            b.network.reachable = False
            b.send()
            factor = (192 + bits) / 256
            assert 0.75 <= factor <= 1.25
            for nominal in (1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60, 60, 60, 60, 60, 60, 60, 60, 60):
                assert _pause_ms(b) == int(nominal * 1000 * factor)
                b.pass_ms(_pause_ms(b))
            b.network.reachable = True
            b.pass_ms(75_000)
            assert b.link.status == ONLINE
            for _ in range(8):  # what time it is has become less certain meanwhile: it is asked for
                b.pass_ms(1000)
            b.network.wires[-1].broken = OSError(104)
            b.network.reachable = False
            b.send()
            assert _pause_ms(b) == int(1000 * factor), "success starts anew"


def test_jitter_differs():
    pauses = []
    for _ in range(20):
        with on_bench() as b:
            b.network.reachable = False
            b.send()
            pauses.append(_pause_ms(b))
    assert all([750 <= pause <= 1250 for pause in pauses]) and len(set(pauses)) > 3


def test_a_refused_key_loses_nothing():
    with on_bench() as b:
        b.say = lambda frame: answer(401, '{"error":"invalid API key"}')
        b.send()
        for _ in range(30):
            b.pass_ms(75_001)
            assert b.link.status == AUTH_FAILED and b.outbox.waiting == 4
        assert len(b.frames) == 31 and len(set(b.frames)) == 1
        b.say = lambda frame: answer(200, STORED)
        b.pass_ms(75_001)
        assert b.outbox.delivered == 4


def test_retry_now_ends_the_pause():
    with on_bench() as b:
        b.say = lambda frame: answer(401, "{}")
        b.send()
        b.link.retry_now()
        b.say = lambda frame: answer(200, STORED)
        b.step()
        assert b.outbox.delivered == 4


def test_bisection_finds_the_one_point():
    with on_bench() as b:

        def say(frame):
            values = [p["value"] for p in fakes.parse_frame(frame)]
            return answer(400, '{"error":"no"}') if 7 in values else answer(200, STORED)

        b.say = say
        b.send(12)
        stored = [p["value"] for f in b.frames if b"200" in say(f)[:12] for p in fakes.parse_frame(f)]
        assert stored == [0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11]
        assert b.outbox.rejected == 1 and b.outbox.delivered == 11 and b.outbox.waiting == 0


def test_a_gateway_that_refuses_everything_ends():
    for error in ("points[0] is bad", "no", "points[-5]"):
        with on_bench() as b:
            b.say = lambda frame: answer(400, json.dumps({"error": error}))
            b.send(9)
            assert b.outbox.rejected == 9 and b.outbox.waiting == 0 and b.device.ring.left == 0
            b.say = lambda frame: answer(200, STORED)
            b.send(2)
            assert b.outbox.delivered == 2


def test_out_of_memory_keeps_everything():
    with on_bench() as b:

        def no_memory(host, port):
            raise MemoryError

        with fakes.Patch(fakes.ports, "Tcp", no_memory):
            b.send()
        assert b.link.last_error == "out of memory" and b.outbox.waiting == 4
        b.pass_ms(1251)
        assert b.outbox.delivered == 4


def _random_gateway(g):
    """Answers drawn from the table, acks that get lost: each reading ends stored once, or refused by name."""
    with fakes.Patch(link_module, "random_bits", lambda n: g.below(1 << n)), on_bench() as b:
        stored = {}
        refused = []

        def say(frame):
            points = fakes.parse_frame(frame)
            if g.chance(3):
                status, body, effect, _, _ = g.pick([row for row in _TABLE if row[2] == KEPT])
                return answer(status, body)
            if frame in stored:
                return answer(200, STORED)
            if g.chance(6) and points:
                index = g.below(len(points))
                refused.append(points[index]["value"])
                return answer(400, '{"error":"points[%d].value"}' % index)
            if g.chance(8) and len(points) > 1:
                return answer(413, '{"error":"too large"}')
            stored[frame] = [p["value"] for p in points]
            return None if g.chance(5) else answer(200, STORED)

        b.say = say
        number = 0
        for _ in range(60):
            for _ in range(g.below(6)):
                assert b.device.send("m", number)
                number += 1
            b.pass_ms(g.pick((50, 1000, 11_000, 80_000)))
        while b.outbox.waiting:
            b.pass_ms(80_000)
        values = sorted([v for frame in stored.values() for v in frame])
        assert sorted(values + refused) == list(range(number))
        assert b.outbox.delivered == len(values) and b.outbox.rejected == len(refused)


def test_random_histories():
    gen.for_seeds(12, _random_gateway)


def test_over_http_too_readings_wait_for_company():
    with on_bench() as b:
        b.outbox.linger_ms = 5000
        b.send(1)
        b.send(2)
        b.send(2)
        assert len(b.frames) == 1 and b.outbox.waiting == 4 and b.link.idle
        b.ticks.advance(5000)
        b.step()
        assert [len(fakes.parse_frame(frame)) for frame in b.frames] == [1, 4] and not b.outbox.waiting
