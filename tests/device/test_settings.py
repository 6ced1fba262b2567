"""Where settings come from, what they may be, and that the key is never shown."""

import sys

from plexus_mp import assemble, client, ports, settings
from plexus_mp.client import Plexus
from plexus_mp.errors import AuthenticationError
from plexus_mp.settings import Settings, check_source_id, parse_url

from . import disks, fakes, gen

_KEY = "plx_0123456789abcdefghijklmnopqrstuv"


class Board:
    """Stands for the module `plexus_board`."""

    PAGE_BYTES = 333
    SOURCE_ID = "from-board"
    API_KEY = _KEY


_FILES = {"ring_bytes": 8192, "sector_bytes": 1024, "page_bytes": 444, "commit_ms": 60000}


class sources:
    """In a `with` block settings see this environment, `/plexus.json` and board file."""

    def __init__(self, environment=None, file=None, board=None):
        self._board = board
        self._patches = (
            fakes.Patch(settings, "getenv", (environment or {}).get),
            fakes.Patch(settings, "_read_file", lambda path: dict(file or {})),
            fakes.Patch(settings, "DEFAULTS", dict(settings.DEFAULTS, page_bytes=444)),
            fakes.Patch(settings, "unique_id", lambda: "a0b1c2"),
            fakes.Network().patch,
            fakes.Patch(client, "forget", lambda module: None),  # the patched one stays
            fakes.Patch(assemble, "forget", lambda module: None),
            fakes.Patch(client, "start_ticker", lambda callback, period_ms, timer_id: None),
        )

    def __enter__(self):
        for patch in self._patches:
            patch.__enter__()
        sys.modules["plexus_board"] = self._board or object()

    def __exit__(self, *_):
        for patch in self._patches:
            patch.__exit__()
        del sys.modules["plexus_board"]


def test_first_found_wins():
    environment = {"PLEXUS_PAGE_BYTES": "111"}
    file = {"page_bytes": 222}
    for arguments, argument, wanted in (
        ((environment, file, Board), 100, 100),
        ((environment, file, Board), 0, 0),
        ((environment, file, Board), None, 111),
        (({}, file, Board), None, 222),
        (({}, {}, Board), None, 333),
        (({}, {}, None), None, 444),
    ):
        with sources(*arguments):
            assert Settings().integer("page_bytes", argument) == wanted


def test_every_setting_of_the_client():
    with sources(
        {"PLEXUS_API_KEY": _KEY}, {"gateway_url": "http://gw:1234/x", "source_id": "from-file"}, Board
    ):
        px = Plexus(tick_ms=0)
        assert px.source_id == "from-file"
        before = px.buffer_size()  # a ring in files keeps what an earlier client left
        assert px.send("m", 1) and px.buffer_size() == before + 1
        assert Plexus(source_id="mine", tick_ms=0).source_id == "mine"
    with sources({}, {}, Board):
        assert Plexus(gateway_url="http://gw", tick_ms=0).source_id == "from-board"


def test_a_board_has_a_name_of_its_own():
    with sources():
        assert Settings().source_id(None) == "board-a0b1c2"
        with fakes.Patch(settings, "unique_id", lambda: ""):
            assert "source_id" in str(gen.raises(ValueError, Settings().source_id, None))


def test_source_id_rules():
    for good in ("a", "0", "rig-01", "a.b_c-d", "z" * 256):
        assert check_source_id(good) == good
    for bad in ("", "A", "-a", ".a", "_a", "a b", "aB", "ä", "aä", "a/b", "a\n", "z" * 257):
        assert "source_id" in str(gen.raises(ValueError, check_source_id, bad))
    for bad in (None, 5, b"a", ["a"]):
        assert "source_id" in str(gen.raises(TypeError, check_source_id, bad))


def test_gateway_url():
    for url, wanted in (
        ("http://gw", (False, "gw", 80, "")),
        ("http://gw/", (False, "gw", 80, "")),
        ("http://gw:8080", (False, "gw", 8080, "")),
        ("http://10.0.0.7:65535/a/b/", (False, "10.0.0.7", 65535, "/a/b")),
        ("https://gw", (True, "gw", 443, "")),
        ("https://gw:8443/", (True, "gw", 8443, "")),
        ("https://gw.example/a//", (True, "gw.example", 443, "/a")),
    ):
        assert parse_url(url) == wanted
    for bad in (
        "",
        "gw",
        "ws://gw",
        "HTTP://gw",
        "https:/gw",
        "https://",
        "https://:443",
        "https://gw:0",
        "http://",
        "http://:80",
        "http://gw:",
        "http://gw:0",
        "http://gw:65536",
        "http://gw:x",
        "http://gw:-1",
    ):
        assert "gateway_url" in str(gen.raises(ValueError, parse_url, bad)), bad
    assert "gateway_url" in str(gen.raises((TypeError, ValueError), parse_url, 5))


def test_wifi_networks():
    one = {"ssid": "home", "password": "secret-1"}
    for environment, file, wanted in (
        ({}, {}, []),
        ({}, {"wifi": one}, [("home", "secret-1")]),
        ({}, {"wifi": [one, {"ssid": "open"}]}, [("home", "secret-1"), ("open", None)]),
        ({}, {"wifi_ssid": "a", "wifi_password": "12345678"}, [("a", "12345678")]),
        ({"PLEXUS_WIFI_SSID": "b"}, {"wifi_ssid": "a", "wifi": one}, [("b", None), ("home", "secret-1")]),
    ):
        with sources(environment, file):
            assert Settings().networks() == wanted
    for file in (
        {"wifi": "home"},
        {"wifi": ["home"]},
        {"wifi": {"password": "12345678"}},
        {"wifi_ssid": "x" * 33},
        {"wifi_ssid": 5},
        {"wifi_ssid": "a", "wifi_password": "s3cret7"},
        {"wifi_ssid": "a", "wifi_password": "s3cret7" * 10},
        {"wifi_ssid": "a", "wifi_password": 12345678},
    ):
        with sources({}, file):
            error = str(gen.raises(ValueError, Settings().networks))
            assert error.startswith("wifi") and "s3cret" not in error and "12345678" not in error


def test_errors_name_the_setting():
    good = {"api_key": _KEY, "source_id": "a", "gateway_url": "http://gw", "tick_ms": 0}
    for name, bad in (
        ("api_key", ""),
        ("api_key", "two\r\nlines: x"),
        ("api_key", 5),
        ("source_id", "Upper"),
        ("gateway_url", "ftp://gw"),
        ("ring_bytes", "many"),
        ("ring_bytes", 100),
        ("sector_bytes", 1000),
        ("page_bytes", 1 << 20),
        ("page_bytes", [1]),
        ("frame_bytes", 100),
        ("tick_ms", "often"),
    ):
        with sources():
            error = gen.raises((ValueError, TypeError), lambda: Plexus(**dict(good, **{name: bad})))
            assert name in str(error), (name, bad, str(error))
    with sources():
        assert "api_key" in str(gen.raises(ValueError, Plexus))


def test_the_key_is_never_shown():
    with sources(), fakes.Network() as network, fakes.Ticks() as ticks:
        network.serve = lambda wire, body: wire.answer(
            b"HTTP/1.1 401 No\r\nContent-Length: 27\r\n\r\n" + b'{"error":"invalid API key"}'
        )
        px = Plexus(_KEY, "a", "http://gw", tick_ms=0)
        px.send("m", 1)
        texts = [repr(px), str(px), repr(px._link), px._link.last_error]
        with fakes.Patch(client, "ticks_ms", ticks.ms), fakes.Patch(client, "ticks_diff", ticks.diff):
            texts.append(repr(gen.raises(AuthenticationError, px.flush_buffer)))
        texts += [repr(px), px._link.last_error]
        for bad in (_KEY + "\r\n", [_KEY]):
            texts.append(repr(gen.raises(ValueError, Plexus, bad, "a", "http://gw")))
        assert "API key" in texts[4] and not [text for text in texts if "plx_" in text]


def test_default_sizes_make_a_client():
    with sources():
        assert Plexus(_KEY, "a", "http://gw", tick_ms=0, page_bytes=None).send("m", 1)
    with sources(), fakes.Patch(settings, "DEFAULTS", ports.load_boot().DEFAULTS):
        assert Plexus(_KEY, "a", "http://gw", tick_ms=0).send("m", 1)


def test_the_timer_comes_rarely_while_nothing_waits():
    paces = []

    def start(callback, period_ms, timer_id):
        paces.append(period_ms)
        return "the timer"

    def pace(ticker, callback, period_ms):
        assert ticker == "the timer"
        paces.append(period_ms)

    with sources(), fakes.Network() as network, fakes.Ticks(), fakes.Patch(client, "start_ticker", start):
        network.serve = lambda wire, body: wire.answer(
            b"HTTP/1.1 200 OK\r\nDate: Sat, 21 Nov 2026 12:00:00 GMT\r\nContent-Length: 26\r\n\r\n"
            + b'{"success":true,"count":1}'
        )
        with fakes.Patch(client, "pace_ticker", pace):
            px = Plexus(_KEY, "a", "http://gw", ring="ram", tick_ms=100, transport="http")
            px._on_timer(None)
            assert paces == [100, 500]
            px.send("m", 1)
            px._on_timer(None)
            px._on_timer(None)
            assert paces == [100, 500, 10]  # until the answer is there, which tells the time
            px._closed = True
            px._outbox.release()
            px._on_timer(None)
            assert paces == [100, 500, 10]  # a timer that was let go stays so


def test_a_read_only_filesystem_leaves_the_ring_in_ram():
    """As CircuitPython's is while a computer has the drive; another error is the program's to see."""
    with sources(), disks.Disk() as disk:
        disk.read_only = True
        for disk.folder in (False, True):
            px = Plexus(_KEY, "a", "http://gw", ring="files", tick_ms=0, **_FILES)
            assert px.send("m", 1) and px._recorder.ring.volatile
        disk.read_only = disk.folder = False
        disk.fails_at = disk.calls + 1
        disk.error = OSError(28, "ENOSPC")
        error = gen.raises(OSError, lambda: Plexus(_KEY, "a", "http://gw", ring="files", tick_ms=0, **_FILES))
        assert error.errno == 28
