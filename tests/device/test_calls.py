"""Runs and sessions on their way: what each answer does to a call, and to the readings around it."""

import json

from plexus_mp import calls as calls_module
from plexus_mp import state
from plexus_mp.calls import iso, quote
from plexus_mp.http import Http
from plexus_mp.link import Link
from plexus_mp.points import CALL

from . import fakes

_DATE = "Fri, 15 Jan 2027 08:00:00 GMT"
_STORED = '{"success":true,"count":1}'
_RUN = '{"run":{"id":"r-7","name":"x"}}'
_MISSING = '{"error":"NOT_FOUND","message":"source not found"}'


def answer(status, body, date=True):
    head = "HTTP/1.1 %d X\r\nContent-Length: %d\r\n" % (status, len(body))
    return (head + ("Date: %s\r\n" % _DATE if date else "") + "\r\n" + body).encode()


class Bench:
    """A link to a gateway that takes readings, and answers calls with `say(line)`, (status, body) or None: nothing."""

    def __init__(self, ticks, network):
        self.ticks = ticks
        network.serve = self._serve
        self.device = fakes.Device(ticks)
        self.outbox = self.device.outbox
        http = Http(fakes.dial, "gw", 80, "/x/ingest", "plx_secret", "agent/1")
        self.link = Link(self.outbox, http, self.device.recorder)
        self.lines = []  # of requests that are no readings: method, path, body
        self.readings = []
        self.keys = []
        self.say = lambda line: (201, _RUN)

    def _serve(self, wire, body):
        line = wire.heads[-1].split("\r\n")[0]
        self.keys.append("x-api-key: plx_secret" in wire.heads[-1])
        if "/ingest" in line:
            self.readings += [point["value"] for point in json.loads(body)["points"]]
            wire.answer(answer(200, _STORED))
            return
        method, path, _ = line.split(" ")
        self.lines.append((method, path, json.loads(body)))
        said = self.say(self.lines[-1])
        if said is not None:
            wire.answer(answer(*said))

    def call(self, kind, **said):
        assert self.device.recorder.send(CALL, kind, said, None, None)

    def step(self, ms=0):
        self.ticks.advance(ms)
        for _ in range(300):
            if not self.link.step() and not self.link.busy:
                return


class on_bench:
    def __init__(self):
        self._ticks = fakes.Ticks()
        self._network = fakes.Network()
        self._patches = (
            fakes.Patch(calls_module, "ticks_ms", self._ticks.ms),
            fakes.Patch(calls_module, "ticks_diff", self._ticks.diff),
            fakes.Patch(fakes, "Wire", Wire),
        )

    def __enter__(self):
        self._before = state._path[0]
        state._path[0] = None
        for part in (self._ticks, self._network) + self._patches:
            part.__enter__()
        return Bench(self._ticks, self._network)

    def __exit__(self, *_):
        for part in (self._ticks, self._network) + self._patches:
            part.__exit__()
        state._path[0] = self._before


_PlainWire = fakes.Wire


class Wire(_PlainWire):
    """Keeps the heads of requests."""

    def __init__(self, network):
        _PlainWire.__init__(self, network)
        self.heads = []

    def _look_for_request(self):
        end = self._sent.find(b"\r\n\r\n")
        if end >= 0 and (not self.heads or self.requests == len(self.heads)):
            self.heads.append(self._sent[:end].decode())
        _PlainWire._look_for_request(self)


def start(b, key="k1"):
    b.call("run", key=key, name="x", tags={"build": "1"}, pass_criteria=[{"metric": "m"}])


def end(b, key="k1", status="completed"):
    b.call("run", key=key, name="x", status=status, ago=2500)


def test_a_run_among_readings_keeps_its_place():
    with on_bench() as b:
        b.device.send("m", 1)
        start(b)
        b.device.send("m", 2)
        end(b)
        b.device.send("m", 3)
        b.step()
        assert b.readings == [1, 2, 3] and b.outbox.waiting == 0 and all(b.keys)
        (method, path, body), (method2, path2, body2) = b.lines
        assert (method, path, method2, path2) == ("POST", "/x/api/runs", "PATCH", "/x/api/runs/r-7")
        assert body["source_id"] == "test-1" and body["started_at"] == "2027-01-15T08:00:00.000Z"
        assert body["metadata"] == {"client_run_id": "k1"} and body["tags"] == {"build": "1"}
        # No two points of a series are at one millisecond.
        assert body2 == {"status": "completed", "ended_at": "2027-01-15T08:00:00.001Z"}


def test_a_session():
    with on_bench() as b:
        b.call("session", key="a b/ä", name="N")
        b.call("session", key="a b/ä", name="N", status="aborted")
        b.step()
        assert b.lines[0][1] == "/x/api/sessions" and b.lines[0][2]["session_id"] == "a b/ä"
        assert b.lines[1][:2] == ("PATCH", "/x/api/sessions/a%20b%2F%C3%A4") and b.outbox.waiting == 0


def test_a_run_whose_number_is_unknown_ends_by_its_key():
    with on_bench() as b:
        end(b)
        b.step()
        [(method, path, body)] = b.lines
        assert (method, path) == ("POST", "/x/api/runs") and body["metadata"]["client_run_id"] == "k1"
        assert body["status"] == "completed" and body["ended_at"] == "2027-01-15T08:00:00.000Z"
        assert body["started_at"] == "2027-01-15T07:59:57.500Z"


# What it says; how many attempts within a minute; whether the call is still there; how many were rejected.
TABLE = (
    ((201, _RUN), 1, 0, 0),
    ((200, _RUN), 1, 0, 0),
    ((409, '{"error":"CONFLICT"}'), 1, 0, 0),
    ((400, '{"error":"VALIDATION_ERROR"}'), 1, 0, 1),
    ((402, '{"error":"UPGRADE_REQUIRED"}'), 1, 0, 1),
    ((404, '{"error":"not found"}'), 1, 0, 1),
    ((422, '{"error":"x"}'), 1, 0, 1),
    ((401, '{"error":"UNAUTHORIZED"}'), 1, 1, 0),
    ((403, '{"error":"FORBIDDEN"}'), 1, 1, 0),
    ((429, '{"error":"x"}'), 3, 1, 0),
    ((500, '{"error":"x"}'), 3, 1, 0),
    ((503, ""), 3, 1, 0),
    ((404, "<html>no such page</html>"), 3, 1, 0),
    ((200, "<html>please log in</html>"), 3, 1, 0),
)


def test_answers():
    for said, attempts, waiting, rejected in TABLE:
        with on_bench() as b:
            b.say = lambda line, said=said: said
            start(b)
            for _ in range(30):
                b.step(1000)
            assert len(b.lines) == attempts, (said, b.lines)
            assert (b.outbox.waiting, b.outbox.rejected) == (waiting, rejected), said
            assert all(line == b.lines[0] for line in b.lines), "it is not the same each time"
            b.device.send("m", 5)
            for _ in range(5):
                b.step(1000)
            assert b.readings == [5], (said, "the readings do not pass")
            b.say = lambda line: (201, _RUN)
            for _ in range(70):
                b.step(2000)
            assert b.outbox.waiting == 0 and (waiting == 0 or b.lines[-1] == b.lines[0])


def unanswered(b, count, ms):
    """A run's beginning and its end, which nobody answers, and readings so long apart."""
    b.say = lambda line: None
    start(b)
    end(b)
    for n in range(count):
        b.device.send("m", n)
        b.step(ms)


def test_nobody_answers():
    with on_bench() as b:
        unanswered(b, 40, 4000)
        assert b.readings and b.readings == list(range(len(b.readings))) and len(b.readings) > 20
        assert b.link.calls._put_offs < 5 and b.device.recorder.accepted < 200
        b.say = lambda line: (201, _RUN)
        for _ in range(100):
            b.step(40_000)
        assert b.outbox.waiting == 0 and b.readings == list(range(40))
        assert [line[0] for line in b.lines[-2:]] == ["POST", "PATCH"], "the end came before the beginning"


def test_an_end_whose_beginning_the_ring_has_lost():
    with on_bench() as b:
        unanswered(b, 20, 5000)
        assert b.link.calls._behind == ["k1"]
        b.link.calls._behind.append("k2")
        end(b, "k2")
        b.say = lambda line: (201, _RUN)
        for _ in range(20):
            b.step(40_000)
        assert b.outbox.waiting == 0 and b.link.calls._behind == []


def test_a_source_that_sent_nothing_is_made_known_first():
    known = []

    def say(line):
        if line[1] == "/x/api/sources":
            known.append(line[2]["slug"])
            return 201, '{"source":{}}'
        return (201, _RUN) if known else (404, _MISSING)

    with on_bench() as b:
        b.say = say
        start(b)
        b.step()
        assert [line[1] for line in b.lines] == ["/x/api/runs", "/x/api/sources", "/x/api/runs"]
        assert known == ["test-1"] and b.outbox.waiting == 0 and b.outbox.rejected == 0


def test_the_numbers_of_open_runs_outlive_a_reboot():
    kept = {}

    def load():
        return dict(kept)

    def save(found):
        kept.clear()
        kept.update(json.loads(json.dumps(found)))

    with fakes.Patch(calls_module, "load", load), fakes.Patch(calls_module, "save", save):
        with on_bench() as b:
            for n in range(10):
                start(b, "k%d" % n)
            b.step()
            assert len(kept["runs"]) == 8 and kept["runs"]["k9"] == "r-7"
        with on_bench() as b:
            end(b, "k9")
            b.step()
            assert b.lines[0][:2] == ("PATCH", "/x/api/runs/r-7") and "k9" not in kept["runs"]


def test_text_of_times_and_paths():
    assert iso(1_800_000_000_007) == "2027-01-15T08:00:00.007Z"
    assert iso(1_709_164_800_000) == "2024-02-29T00:00:00.000Z"
    assert quote("a-Z_0.9~") == "a-Z_0.9~" and quote("a%b") == "a%25b"
