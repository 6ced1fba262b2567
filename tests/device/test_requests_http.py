"""The link over somebody's `requests`: the same answers do the same, whatever it raises keeps the readings."""

from plexus_mp.link import OFFLINE, ONLINE, Link
from plexus_mp.requests_http import RequestsHttp

from . import fakes, gen

_OK = b'{"success":true,"count":2}'
_DATE = "Fri, 15 Jan 2027 08:00:00 GMT"


class Answer:
    """Shaped like a response of micropython-lib's requests."""

    def __init__(self, session, status, content, headers):
        self.status_code = status
        self.content = content
        self.headers = headers
        self._session = session

    def close(self):
        self._session.open -= 1


class Session:
    """Shaped like the module: `say` is what the next request meets, (status, content, headers) or an exception."""

    def __init__(self):
        self.open = 0
        self.asked = []
        self.say = (200, _OK, {"Date": _DATE})

    def post(self, url, data=None, headers=None, timeout=None):
        return self._request("POST", url, data, headers)

    def patch(self, url, data=None, headers=None, timeout=None):
        return self._request("PATCH", url, data, headers)

    def _request(self, method, url, data, headers):
        assert isinstance(data, bytes)
        self.asked.append((method, url, data, headers))
        if isinstance(self.say, Exception):
            raise self.say
        self.open += 1
        return Answer(self, *self.say)


class Old(Session):
    """As urequests before it took timeouts."""

    def post(self, url, data=None, headers=None):
        return self._request("POST", url, data, headers)


def _bench(session, ticks):
    device = fakes.Device(ticks)
    http = RequestsHttp(session, "http://gw:81/x/", "plx_secret", "agent/1")
    return device, Link(device.outbox, http, device.recorder)


def _steps(link):
    for _ in range(50):
        if not link.step() and not link.busy:
            return


def test_readings_are_posted():
    for session in (Session(), Old()):
        with fakes.Ticks() as ticks:
            device, link = _bench(session, ticks)
            device.send("m", 1)
            device.send("m", 2)
            _steps(link)
            assert link.status == ONLINE and device.outbox.waiting == 0
        [(method, url, body, headers)] = session.asked
        assert (method, url) == ("POST", "http://gw:81/x/ingest") and headers["x-api-key"] == "plx_secret"
        assert [point["value"] for point in fakes.parse_frame(body)] == [1, 2]
        assert session.open == 0


def test_the_time_comes_from_the_date():
    for name, date in (("date", _DATE), ("Date", _DATE.encode())):
        session = Session()
        session.say = (200, _OK, {"content-type": "x", name: date})
        with fakes.Ticks() as ticks:
            device = fakes.Device(ticks, synced=False)
            link = Link(device.outbox, RequestsHttp(session, "http://gw", "k", "a"), device.recorder)
            device.send("m", 1)
            _steps(link)
            assert device.recorder.clock.synced and device.recorder.clock.source == "date"


def test_whatever_it_raises_keeps_the_readings():
    for error in (
        OSError(113),
        RuntimeError("Sending request failed"),
        ValueError("bad"),
        IndexError(),
        KeyError("x"),
    ):
        session = Session()
        session.say = error
        with fakes.Ticks() as ticks:
            device, link = _bench(session, ticks)
            device.send("m", 1)
            _steps(link)
            assert link.status == OFFLINE and device.outbox.waiting == 1 and link.failures == 1
            assert "plx_secret" not in link.last_error
            session.say = (200, _OK, {})
            ticks.advance(2000)
            _steps(link)
            assert device.outbox.waiting == 0 and link.retries == 1


def test_answers_do_what_they_do_over_sockets():
    for status, content, waiting, rejected in (
        (400, b'{"error":"points[0].value cannot be null"}', 0, 1),
        (401, b'{"error":"invalid API key"}', 1, 0),
        (200, b'{"success":true,"count":0,"dropped":1}', 1, 0),
        (200, b"<html>Please log in</html>", 1, 0),
        (503, b"", 1, 0),
    ):
        session = Session()
        session.say = (status, content, {})
        with fakes.Ticks() as ticks:
            device, link = _bench(session, ticks)
            device.send("m", 1)
            link.step()
            link.step()
            assert (device.outbox.waiting, device.outbox.rejected) == (waiting, rejected), status
        assert session.open == 0


def test_memory_errors_are_the_links():
    session = Session()
    session.say = MemoryError()
    http = RequestsHttp(session, "http://gw", "k", "a")
    http.post(memoryview(b"{}"))
    gen.raises(MemoryError, http.poll)
    assert not http.busy


def test_a_twin_asks_elsewhere_with_the_same_key():
    session = Session()
    http = RequestsHttp(session, "http://gw/x", "plx_secret", "a")
    for api, url in ((None, "http://gw/x/api/runs/7"), ("https://app", "https://app/api/runs/7")):
        twin = http.twin("PATCH", "/api/runs/7", api)
        twin.post(memoryview(b"{}"))
        assert twin.poll() == 200 and twin.kept == _OK
        assert (
            session.asked[-1][:3] == ("PATCH", url, b"{}")
            and session.asked[-1][3]["x-api-key"] == "plx_secret"
        )
