"""The HTTP client against answers in every division, a connection that breaks, and bytes of no sense."""

from plexus_mp.answers import word
from plexus_mp.dates import unix_seconds
from plexus_mp.http import Http

from . import fakes, gen

_OK = b'{"success":true,"count":3}'
_DATE = b"Fri, 15 Jan 2027 08:00:00 GMT"
_LENGTH = b"HTTP/1.1 200 OK\r\nDate: " + _DATE + b"\r\nContent-Length: 26\r\n\r\n" + _OK
_BIG = b"x" * 1500

# answer, status, what is kept of the body, whether the connection can be used again
_ANSWERS = (
    (_LENGTH, 200, _OK, True),
    (b"HTTP/1.1 200 OK\r\ncontent-LENGTH:26  \r\nX: y:z\r\n\r\n" + _OK, 200, _OK, True),
    (b"HTTP/1.1 200\r\nContent-Length: 26\n\n" + _OK, 200, _OK, True),
    (b"HTTP/1.1 100 Continue\r\n\r\n" + _LENGTH, 200, _OK, True),
    (b"HTTP/1.1 103 Hints\r\nLink: a\r\n\r\nHTTP/1.1 100 C\r\n\r\n" + _LENGTH, 200, _OK, True),
    (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", False),
    (b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n", 400, b"", True),
    (b"HTTP/1.1 413 Big\r\nConnection: Close\r\nContent-Length: 2\r\n\r\n{}", 413, b"{}", False),
    (b"HTTP/1.0 200 OK\r\nContent-Length: 26\r\n\r\n" + _OK, 200, _OK, False),
    (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 1500\r\n\r\n" + _BIG, 502, _BIG[:512], True),
    (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b'5;name="v"\r\n{"suc\r\n015;x\r\ncess":true,"count":3}\r\n0;last\r\nTrailer: t\r\nDate: no\r\n\r\n',
        200,
        _OK,
        True,
    ),
    (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n5DC\r\n" + _BIG + b"\r\n0\r\n\r\n",
        200,
        _BIG[:512],
        True,
    ),
)
_CLOSED = (
    (b"HTTP/1.1 200 OK\r\n\r\n" + _OK, 200, _OK),
    (b"HTTP/1.0 404 Not Found\r\nX-A: b\r\n\r\n", 404, b""),
    (b"HTTP/1.1 500 No\r\nConnection: close\r\n\r\n" + _BIG, 500, _BIG[:512]),
)


_OTHERS = (
    b"Accept-Ranges Access-Control-Allow-Origin Age Allow Alt-Svc Cache-Control CF-RAY Content- "
    b"Disposition Content-Encoding Content-Language Content-Location Content-Range Content-Security- "
    b"Policy Content-Type ETag Expires Fly-Request-Id Keep-Alive Last-Modified Link Location NEL "
    b"Pragma Proxy-Authenticate Referrer-Policy Report-To Retry-After Sec-WebSocket-Extensions Sec- "
    b"WebSocket-Protocol Server Set-Cookie Strict-Transport-Security Trailer Vary Via Warning WWW- "
    b"Authenticate X-Content-Type-Options X-Frame-Options X-Powered-By X-Request-Id gzip identity "
    b"h2c"
).split()


def _http():
    return Http(fakes.dial, "gateway", 8080, "/ingest", "plx_secret", "agent/1")


def _poll(http, limit=2000):
    for _ in range(limit):
        status = http.poll()
        if status:
            return status
    return 0


def _post(http, body=b'{"points":[]}'):
    http.post(memoryview(body))
    return _poll(http)


def _check_answer(pieces, status, body, reusable):
    with fakes.Ticks(), fakes.Network(lambda wire, _: wire.answer(*pieces)) as network:
        http = _http()
        assert _post(http) == status, pieces
        assert http.kept == body and not http.busy
        assert http.connected == reusable and network.open == reusable, pieces
        http.close()
        assert not network.open


def test_every_split_of_every_answer():
    for answer, status, body, reusable in _ANSWERS:
        end = len(answer)
        for at in range(1, min(end, 200)):
            _check_answer((answer[:at], answer[at:]), status, body, reusable)
        _check_answer([answer[at : at + 1] for at in range(end)], status, body, reusable)
        _check_answer([answer[at : at + 300] for at in range(0, end, 300)], status, body, reusable)


def test_every_split_of_answers_that_end_with_the_connection():
    for answer, status, body in _CLOSED:
        for at in range(1, min(len(answer), 80)):
            _check_answer((answer[:at], answer[at:], b""), status, body, False)
        _check_answer([answer[at : at + 1] for at in range(len(answer))] + [b""], status, body, False)


def test_date_is_kept():
    with fakes.Ticks(), fakes.Network(lambda wire, _: wire.answer(_LENGTH)):
        http = _http()
        assert _post(http) == 200 and http.date == _DATE


def test_find_looks_at_the_whole_body_only():
    for body, found in ((_OK, 0), (b"x" * 512, -1), (_OK + b"x" * 487, -1), (_OK + b"x" * 486, 0)):
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        with fakes.Ticks(), fakes.Network(lambda wire, _: wire.answer(answer)):
            http = _http()
            assert _post(http) == 200
            assert http.find(b'{"success":true,') == found, body
            assert http.find(b"HTTP") == http.find(b"dropped") == -1


def test_request_and_partial_writes():
    seen = []

    def serve(wire, body):
        seen.append(body)
        wire.answer(_LENGTH)

    for write_bytes in (1, 7, 100, 1 << 20):
        with fakes.Ticks(), fakes.Network(serve) as network:
            network.write_bytes = write_bytes
            http = _http()
            for i in range(3):
                body = b"%d" % i * 50 * (i < 2)  # the last one is empty
                assert _post(http, body) == 200 and seen.pop() == body
            assert http.connections == 1 and len(network.wires) == 1


def test_a_kept_connection_that_is_gone_is_replaced_once():
    def break_reads(wire):
        wire.answer(b"")

    def break_writes(wire):
        wire.broken = OSError(104)

    for spoil in (break_reads, break_writes):
        with fakes.Ticks(), fakes.Network(lambda wire, _: wire.answer(_LENGTH)) as network:
            http = _http()
            assert _post(http) == 200
            spoil(network.wires[0])
            assert _post(http) == 200
            assert len(network.wires) == 2 and network.open == 1


def test_the_second_connection_is_not_replaced():
    def serve(wire, _):
        wire.answer(*((_LENGTH,) if len(wire._network.wires) == 1 and wire.requests == 1 else (b"",)))

    with fakes.Ticks(), fakes.Network(serve) as network:
        http = _http()
        assert _post(http) == 200
        gen.raises(OSError, _post, http)
        assert len(network.wires) == 2 and not network.open and not http.busy


def test_a_kept_connection_that_breaks_amid_the_answer_is_not_replaced():
    """The gateway may have stored what it began to answer: that is for the caller to decide."""
    answers = [(_LENGTH,), (b"HTTP", b"")]
    with fakes.Ticks(), fakes.Network(lambda wire, _: wire.answer(*answers.pop(0))) as network:
        http = _http()
        assert _post(http) == 200
        gen.raises(OSError, _post, http)
        assert len(network.wires) == 1 and not network.open


def test_what_an_answer_lacks_is_not_the_last_ones():
    answers = [_LENGTH, b"HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n"]
    with fakes.Ticks(), fakes.Network(lambda wire, _: wire.answer(answers.pop(0))):
        http = _http()
        assert _post(http) == 200 and http.date == _DATE
        assert _post(http) == 204 and http.date is None and http.kept == b"" and http.find(b"{") < 0


def test_an_answer_nobody_asked_for_is_not_taken_for_the_next():
    """Some servers say 408 before they close; another's answer would release readings that were never stored."""
    bad = b"HTTP/1.1 408 Timeout\r\nContent-Length: 0\r\n\r\n"
    with fakes.Ticks(), fakes.Network(lambda wire, _: wire.answer(_LENGTH)) as network:
        http = _http()
        assert _post(http) == 200
        network.wires[0].answer(bad)
        assert _post(http) == 200 and len(network.wires) == 2
    with fakes.Ticks(), fakes.Network(lambda wire, _: wire.answer(_LENGTH + bad)) as network:
        http = _http()
        assert _post(http) == 200 and not http.connected
        assert _post(http) == 200 and len(network.wires) == 2


def test_the_time_of_asking_is_that_of_the_first_byte():
    """A gateway may refuse a request whose body is still on its way, with the Date of then."""
    with fakes.Ticks() as ticks, fakes.Network(lambda wire, _: wire.answer(_LENGTH)) as network:
        network.write_bytes = 40
        http = _http()
        http.post(memoryview(b"x" * 100))
        ticks.advance(500)
        asked = ticks.now  # the connection is open: the first byte goes with the next poll
        while not http.poll():
            ticks.advance(50)
        assert http.asked == asked < ticks.now


def test_timeouts():
    for pieces in ((), (b"HTTP/1.1 200 OK\r\n",), (_LENGTH[:-1],), (b"HTTP/1.1 100 C\r\n\r\n",)):
        near_wrap = (1 << 30) - 500
        with fakes.Ticks(near_wrap) as ticks, fakes.Network(lambda wire, _: wire.answer(*pieces)) as network:
            http = _http()
            assert _post(http) == 0
            ticks.advance(10_000)
            assert _poll(http) == 0 and http.busy
            ticks.advance(1)
            gen.raises(OSError, http.poll)
            assert not network.open and not http.busy


def test_a_connection_that_is_never_made():
    with fakes.Ticks() as ticks, fakes.Network() as network:
        http = _http()
        http.post(memoryview(b"{}"))
        network.wires[0].connected = lambda: False
        assert _poll(http) == 0
        ticks.advance(10_001)
        gen.raises(OSError, http.poll)
        assert not network.open
        network.reachable = False
        gen.raises(OSError, http.post, memoryview(b"{}"))
        assert not http.busy and not network.open


_BROKEN = (
    b"\r\n",
    b"SSH-2.0-OpenSSH\r\n",
    b"HTTP/2 200 OK\r\n",
    b"HTTP/1.1 abc\r\n",
    b"HTTP/1.1 000 Zero\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 20000 Long\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: \xff\xfe\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
    b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 80,
    b"HTTP/1.1 200 OK\r\n" + b"A" * 600,
    b"HTTP/1.1 100 C\r\n\r\n" * 80,
    _LENGTH[:-3] + b"",
)


def test_broken_answers_are_errors():
    for answer in _BROKEN:
        with fakes.Ticks(), fakes.Network(lambda wire, _: wire.answer(answer, b"")) as network:
            http = _http()
            gen.raises(OSError, _post, http)
            assert not network.open and not http.busy, answer


def _mutated(g):
    data = bytearray(g.pick(_ANSWERS + _CLOSED)[0][:600])
    for _ in range(g.between(1, 6)):
        at = g.below(len(data))
        kind = g.below(3)
        if kind == 0:
            data[at] = g.below(256)
        elif kind == 1:
            data = data[:at] + g.take(g.below(4)) + data[at:]
        else:
            data = data[:at] + data[at + g.between(1, 8) :] + b" "
    return bytes(data)


def _survives(g):
    data = g.take(g.below(700)) if g.chance(4) else _mutated(g)
    size = g.between(1, 300)
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    with fakes.Ticks() as ticks, fakes.Network(lambda wire, _: wire.answer(*(pieces + [b""]))) as network:
        http = _http()
        try:
            status = _post(http)
            assert 100 <= status <= 999 and not http.busy
            assert len(http.kept) <= 512
            assert http.connected == network.open
        except OSError:
            assert not network.open and not http.busy
        ticks.advance(20_000)
        http.close()
        assert not network.open


def test_hostile_bytes():
    gen.for_seeds(400, _survives)


def test_endless_answers_end():
    """A body, or interim answers, without end: bounded memory, and over after ten seconds."""
    starts = (
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
    )
    flood = (b"x" * 100, b"3\r\nabc\r\n", b"T: t\r\n")
    for start, more in zip(starts, flood):
        with fakes.Ticks() as ticks, fakes.Network(lambda wire, _: wire.answer(start)) as network:
            http = _http()
            http.post(memoryview(b"{}"))

            def flooded():
                for _ in range(300):
                    network.wires[0].answer(more)
                    assert not http.poll()
                    assert len(http.kept) <= 512
                    ticks.advance(100)

            gen.raises(OSError, flooded)
            assert not network.open


def test_words_of_headers():
    """Their hashes are those that the parsers compare with, and no other common name has one of them."""

    def hashed(text):
        http = _http()
        http._buf[: len(text)] = text
        return word(http, 0, len(text))

    known = {
        b"Content-Length": 0xB816D8,
        b"Date": 0x354714,
        b"Connection": 0xD3E8B6,
        b"Close": 0xF5D096,
        b"Transfer-Encoding": 0x318025,
        b"Chunked": 0xF443DA,
        b"Upgrade": 0xA60F30,
        b"WebSocket": 0x98FFB5,
        b"Sec-WebSocket-Accept": 0xF2B7E0,
    }
    for name, number in known.items():
        assert hashed(name) == hashed(name.upper()) == hashed(name + b": x") == number, (
            name,
            hex(hashed(name)),
        )
    others = set([hashed(name) for name in _OTHERS])
    assert len(others) == len(_OTHERS) and not others & set(known.values())


# days since 1970 of the first day of months, counted one by one
def _days():
    day = 0
    for year in range(1970, 2101):
        leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
        for month, length in enumerate((31, 29 if leap else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)):
            yield year, month, length, day
            day += length


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def test_unix_seconds_by_the_calendar():
    for year, month, length, first in _days():
        for day in (1, 2, 28, length):
            date = ("Xxx, %02d %s %d 07:08:09 GMT" % (day, _MONTHS[month], year)).encode()
            assert unix_seconds(date) == (first + day - 1) * 86400 + 25689, date


def test_unix_seconds_of_known_dates():
    assert unix_seconds(b"Sun, 06 Nov 1994 08:49:37 GMT") == 784111777
    assert unix_seconds(b"Thu, 01 Jan 1970 00:00:00 GMT") == 0
    assert unix_seconds(b"Tue, 29 Feb 2028 23:59:60 GMT") == 1835481600
    assert unix_seconds(_DATE) == fakes.UNIX_MS // 1000


def test_unix_seconds_of_no_date():
    for date in (
        b"",
        b"Sun",
        b"Sunday, 06-Nov-94 08:49:37 GMT",
        b"Sun Nov  6 08:49:37 1994",
        b"Sun, 06 nov 1994 08:49:37 GMT",
        b"Sun, 06 anF 1994 08:49:37 GMT",
        b"Sun, 00 Nov 1994 08:49:37 GMT",
        b"Sun, 32 Nov 1994 08:49:37 GMT",
        b"Sun, 06 Nov 1994 24:49:37 GMT",
        b"Sun, 06 Nov 1994 08:60:37 GMT",
        b"Sun, 06 Nov 1994 08:49:37 CET",
        b"Sun, 06 Nov 1994 08:49:37 GMT and more",
        b"Sun, -6 Nov 1994 08:49:37 GMT",
        b"Sun, 06 Nov 19\xff4 08:49:37 GMT",
    ):
        assert unix_seconds(date) is None, date
