"""Requests that are no readings: runs and sessions, begun and ended. Loaded when the first of them is to be sent.

They wait in the ring among the readings, as records of a class of their own, and are made one at a time on a
connection of their own when everything before them is stored. One that is answered by nobody does not hold the
readings up for long: it is put behind them, with the time it has, and tried again later and later.
"""

import json

from .http import Http
from .outbox import HEADROOM
from .points import CALL
from .ports import const, forget, ticks_diff, ticks_ms
from .state import load, save

# Where the vendor's gateway has its runs; any other gateway has them itself.
_VENDOR = "gateway.plexus.company"
_VENDOR_API = "https://app.plexus.company"
# Failures in a row after which the readings go first, and how long the next attempt then waits: doubled each time.
_PATIENCE = const(3)
_WAIT_MS = const(60_000)
_WAIT_MAX_MS = const(3_600_000)
_OPEN_MAX = const(8)  # runs that are remembered: their number at the gateway, and whether they begin later
_UNRESERVED = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~"


class Calls:
    """Makes the call at the head of `outbox` when it is time; `link` is told what became of it."""

    def __init__(self, link, http, outbox, recorder):
        self._link = link
        self._base = http  # the key and the way to the gateway
        self._outbox = outbox
        self._recorder = recorder
        self._http = None  # of the call under way
        self._registering = False  # it is one that makes the source known first
        self._tries = self._wait_ms = self._since = 0
        self._turns = 0  # ends put behind their beginnings in a row
        self._behind = []  # keys of beginnings that were put off
        self._put_offs = self._frames = 0  # calls put behind the readings since a frame of those was stored
        self._stuck = 0  # points left when nothing but such calls was
        self._runs = load().get("runs", {})  # number at the gateway, by the key that this board chose

    @property
    def busy(self):
        return self._http is not None

    def turn(self):
        """The next frame is a call: make it, or let the readings pass. True when something was done."""
        if self._wait_ms and ticks_diff(ticks_ms(), self._since) < self._wait_ms:
            return self._put_off()
        said = self._point()[1]
        if said.get("status") and said["key"] in self._behind:
            # Its beginning is behind it by now, and so must it be.
            self._turns += 1
            if self._turns <= self._outbox.unsettled:
                return self._put_off(True)
            self._behind.remove(said["key"])  # the ring has lost it
        self._turns = 0
        self._link.drop_connections()
        if not self._outbox.next_frame() or not self._outbox.call:
            return False
        self._begin()
        return True

    def _point(self):
        """(what kind, what it says, when, its tags) of the call in the frame."""
        outbox = self._outbox
        frame = json.loads(bytes(outbox.view[HEADROOM : outbox.close(b'"n":0')]))
        point = frame["points"][0]
        return point["metric"], point["value"], point["timestamp"], point.get("tags")

    def _put_off(self, always=False):
        """Let the readings behind pass, if there can be any, or what is behind in any case."""
        left = self._outbox.unsettled
        frames = self._link.frames - self._put_offs
        if frames != self._frames or (self._stuck and left > self._stuck):  # readings went, or came
            self._frames = self._link.frames
            self._put_offs = self._stuck = 0
        if not always and (left < 2 or self._put_offs >= left):  # all that is left are calls
            self._stuck = left
            return False
        kind, said, when_ms, tags = self._point()
        if not self._recorder.send(CALL, kind, said, tags, when_ms):
            return False
        self._recorder.upkeep(True)  # it must be safe before it leaves its place
        if not said.get("status") and said["key"] not in self._behind and len(self._behind) < _OPEN_MAX:
            self._behind.append(said["key"])
        self._put_offs += 1
        self._link.stored()
        return True

    def _begin(self):
        kind, said, when_ms, tags = self._point()
        self._said = said
        self._kind = kind
        if kind == "run":
            method, path, body = self._run_request(said, when_ms)
        else:
            method, path, body = self._session_request(said, iso(when_ms))
        if tags:  # a boot that never had the time
            body.setdefault("metadata", {})["clock"] = "estimated"
        self._registering = False
        self._request = method, path, body
        self._ask(method, path, body)

    def _source(self):
        return json.loads(self._outbox.source)

    def _run_request(self, said, when_ms):
        number = self._runs.get(said["key"])
        status = said.get("status")
        if status and number:
            return (
                "PATCH",
                "/api/runs/" + quote(number),
                {"status": status, "ended_at": said.get("at") or iso(when_ms)},
            )
        body = {"name": said["name"], "source_id": said["source"] if "source" in said else self._source()}
        for name in ("tags", "pass_criteria"):
            if said.get(name):
                body[name] = said[name]
        body["metadata"] = dict(said.get("metadata") or {}, client_run_id=said["key"])
        if status:  # the answer to its beginning was lost with the power: the key tells which run it is
            body["status"] = status
            body["started_at"] = iso(when_ms - said["ago"])
            body["ended_at"] = said.get("at") or iso(when_ms)
        else:
            body["started_at"] = said.get("at") or iso(when_ms)
        return "POST", "/api/runs", body

    def _session_request(self, said, when):
        status = said.get("status")
        if status:
            return "PATCH", "/api/sessions/" + quote(said["key"]), {"status": status, "ended_at": when}
        body = {"session_id": said["key"], "name": said["name"], "source_id": self._source()}
        body["status"] = "active"
        body["started_at"] = when
        return "POST", "/api/sessions", body

    def _ask(self, method, path, body):
        try:
            self._http = self._open(method, path)
            self._http.post(memoryview(json.dumps(body, separators=(",", ":")).encode()))
        except OSError as e:
            self._failed(e)

    def _open(self, method, path):
        """A connection for this request, with the key of the readings'."""
        base = self._base
        api = self._link.endpoint
        if hasattr(base, "twin"):
            return base.twin(method, path, api)
        head = bytes(base._head).decode()
        host, port, connect = base._host, base._port, base._connect
        prefix = head[5 : head.find("/ingest ")]
        if not api and host == _VENDOR:
            api = _VENDOR_API
        if api:
            from .settings import parse_url

            tls, host, port, prefix = parse_url(api)
            forget("settings")
            if tls:
                from .tls import Connector

                if not isinstance(connect, Connector):
                    connect = Connector(None, self._recorder.now_ms)
        head = "%s %s%s HTTP/1.1\r\nHost: %s:%d\r\n%s" % (
            method, prefix, path, host, port, head[head.find("User-Agent") :],
        )  # fmt: skip
        http = Http(connect, host, port, "", "", "", base._buf)
        http._head = memoryview(bytearray(head.encode()))
        return http

    def step(self):
        """One slice of the call under way; True when its answer came."""
        try:
            status = self._http.poll()
        except OSError as e:
            self._failed(e)
            return False
        if status:
            body = self._http.kept
            self.close()
            self._answer(status, body)
        return bool(status)

    def _answer(self, status, body):
        """What the answer does to the call. Only JSON counts: others have these numbers too."""
        told = "%d %s" % (status, body[:80].decode("utf-8", "replace") if body else "")
        if not body.startswith(b"{") or status >= 500 or status in (408, 429):
            self._failed(told)
        elif status in (401, 403):
            self._tries = _PATIENCE
            self._failed(told)
        elif status < 300 or status == 409:
            self._done(body)
        elif self._registering:
            self._refused(told)
        elif status == 404 and self._request[0] == "POST" and b"NOT_FOUND" in body and self._kind == "run":
            self._register()
        else:
            self._refused(told)

    def _done(self, body):
        if self._registering:
            self._registering = False
            return self._ask(*self._request)
        if self._kind == "run":
            self._note(body)
        self._settled()
        self._tries = self._wait_ms = 0
        self._link.stored()

    def _note(self, body):
        """Remember which number the gateway gave the run, over a reboot too, until it has ended."""
        key = self._said["key"]
        if self._said.get("status"):
            self._runs.pop(key, None)
        else:
            at = body.find(b'"id":"') + 6
            if at < 6:
                return
            while len(self._runs) >= _OPEN_MAX:
                self._runs.pop(next(iter(self._runs)))
            self._runs[key] = body[at : body.find(b'"', at)].decode()
        found = load()
        found["runs"] = self._runs
        save(found)

    def _register(self):
        """A source is known from its first reading on, and a run may begin before that."""
        self._registering = True
        body = {"source_type": "device", "slug": self._source(), "device_type": "microcontroller"}
        body["metadata"] = {"created_by": "plexus-mp"}
        self._ask("POST", "/api/sources", body)

    def _refused(self, why):
        """As it is it will never be taken: it is counted as rejected, and the next frame leaves it out."""
        self._link.last_error = why
        self._settled()
        self._tries = self._wait_ms = 0
        self._outbox.quarantine(0)

    def _settled(self):
        key = self._said["key"]
        if key in self._behind:
            self._behind.remove(key)

    def _failed(self, why):
        """No answer, or none that says anything about the call."""
        self.close()
        self._tries += 1
        if self._tries < _PATIENCE:
            self._link.lost(why)
        else:
            self._link.failures += 1
            self._link.last_error = str(why)
            self._wait_ms = min(_WAIT_MS << min(self._tries - _PATIENCE, 6), _WAIT_MAX_MS)
            self._since = ticks_ms()

    def close(self):
        """Drop the call under way: it is made again."""
        if self._http is not None:
            http = self._http
            self._http = None
            http.close()


def iso(ms):
    """Unix milliseconds as ISO 8601 in UTC, `2027-01-15T08:00:00.123Z`."""
    s = ms // 1000
    days = s // 86400 + 719468
    # Years that begin in March, in eras of 400 (the Gregorian calendar repeats after 146,097 days).
    era = days // 146097
    day = days % 146097
    year = (day - day // 1460 + day // 36524 - day // 146096) // 365
    day -= year * 365 + year // 4 - year // 100
    month = (5 * day + 2) // 153
    day -= (153 * month + 2) // 5 - 1
    month += 3 if month < 10 else -9
    year += era * 400 + (month < 3)
    told = (year, month, day, s // 3600 % 24, s // 60 % 60, s % 60, ms % 1000)
    return "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ" % told


def quote(text):
    """A text as one segment of a path (RFC 3986 §2.1)."""
    if all(c in _UNRESERVED for c in text):
        return text
    return "".join([chr(b) if chr(b) in _UNRESERVED else "%%%02X" % b for b in text.encode()])
