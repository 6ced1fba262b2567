"""Everything that a programmer can get wrong: which error says so, and that it names field and limit.

docs/settings.md shows the table; tests/e2e/test_settings_docs.py compares.
"""

from plexus_mp import assemble, client, settings
from plexus_mp.client import Plexus
from plexus_mp.errors import AuthenticationError, PlexusError

from . import fakes, gen

_KEY = "plx_0123456789abcdefghijklmnopqrstuv"
NAN = float("nan")
INF = float("inf")


def _deep(levels):
    value = 1
    for _ in range(levels):
        value = [value]
    return value


# What is wrong, the error, a part of its text, the call on a client `px`.
TABLE = (
    ("a metric that is no str", TypeError, "metric must be a str", lambda px: px.send(5, 1)),
    ("an empty metric", ValueError, "metric is empty", lambda px: px.send("", 1)),
    ("a metric of more than 256 bytes", ValueError, "metric is 257 bytes, the limit is 256",
     lambda px: px.send("m" * 257, 1)),
    ("a value of None", TypeError, "value must be a number", lambda px: px.send("m", None)),
    ("a value that is no JSON", TypeError, "value must be a number", lambda px: px.send("m", px)),
    ("NaN or infinity", PlexusError, "value must be finite", lambda px: px.send("m", NAN)),
    ("NaN in a list", PlexusError, "value must be finite", lambda px: px.send("m", [1, INF])),
    ("an int beyond 64 bits", PlexusError, "value must fit into 64 bits", lambda px: px.send("m", 1 << 63)),
    ("a text of more than 256 bytes", ValueError, "value is 257 bytes, the limit is 256",
     lambda px: px.send("m", "x" * 257)),
    ("a list or dict of more than 4,096 bytes of JSON", ValueError, "the limit is 4096",
     lambda px: px.send("m", ["x" * 250] * 20)),
    ("more than page and frame can hold", PlexusError, "page_bytes and frame_bytes leave",
     lambda px: px.send("m", ["x" * 200] * 8)),
    ("more than 16 levels of lists", PlexusError, "nested deeper than 16 levels",
     lambda px: px.send("m", _deep(17))),
    ("a key of a dict that is no str", PlexusError, "a key that is not a str", lambda px: px.send("m", {1: 2})),
    ("a thing in a list that is no JSON", TypeError, "JSON cannot carry", lambda px: px.send("m", [b"x"])),
    ("a text as metric", PlexusError, "value of a metric must be a number",
     lambda px: px.send("m", "x", data_class="metric")),
    ("a wrong data_class", ValueError, "data_class must be 'metric' or 'event'",
     lambda px: px.send("m", 1, data_class="x")),
    ("tags that are no dict", TypeError, "tags must be a dict", lambda px: px.send("m", 1, tags=["a"])),
    ("a tag that is no str", TypeError, "tags must map str to str", lambda px: px.send("m", 1, tags={"a": 1})),
    ("more than 16 tags", ValueError, "tags has 17 entries, the limit is 16",
     lambda px: px.send("m", 1, tags={str(n): "" for n in range(17)})),
    ("a tag's key of more than 256 bytes", ValueError, "a key of tags is 257 bytes, the limit is 256",
     lambda px: px.send("m", 1, tags={"k" * 257: ""})),
    ("a tag of more than 256 bytes", ValueError, "tags['k'] is 257 bytes, the limit is 256",
     lambda px: px.send("m", 1, tags={"k": "x" * 257})),
    ("a timestamp that is no number", TypeError, "timestamp must be a number",
     lambda px: px.send("m", 1, timestamp="now")),
    ("a timestamp of 0, below, or NaN", ValueError, "timestamp must be seconds or milliseconds since 1970",
     lambda px: px.send("m", 1, timestamp=-1)),
    ("a timestamp that counts from 2000, as an ESP32's `time.time()` does", ValueError, "after 2001",
     lambda px: px.send("m", 1, timestamp=802094400)),
    ("a point of a batch without value", IndexError, "", lambda px: px.send_batch([("m",)])),
    ("a wrong value in a batch", PlexusError, "value must be finite",
     lambda px: px.send_batch([("m", 1), ("m", NAN)])),
    ("interval_ms of batch() below 2", ValueError, "interval_ms must be 2 or more",
     lambda px: px.batch(interval_ms=1)),
    ("max_points of batch() below 1", ValueError, "max_points must be 1 or more",
     lambda px: px.batch(max_points=0)),
    ("a run's name that is no str", TypeError, "name must be a str", lambda px: px.run(5)),
    ("a run's name of more than 200 characters", ValueError, "name must have 1 to 200 characters",
     lambda px: px.run("x" * 201)),
    ("a run's tags that are no dict", TypeError, "tags must be a dict", lambda px: px.run("x", tags=["a"])),
    ("an argument that run() has not", TypeError, "run() knows no source", lambda px: px.run("x", source="a")),
    ("pass_criteria without operator", ValueError, "pass_criteria need metric, operator",
     lambda px: px.run("x", pass_criteria=[{"metric": "m"}])),
    ("more than 32 pass_criteria", ValueError, "pass_criteria must be a list of at most 32",
     lambda px: px.run("x", pass_criteria=[{}] * 33)),
    ("a session's id of more than 200 characters", ValueError, "session_id must have 1 to 200 characters",
     lambda px: px.session("x" * 201)),
    ("the end of a run that nobody began", PlexusError, "was begun by start_run()", lambda px: px.end_run("none")),
    ("a wrong status of end_run()", ValueError, "status must be one of completed and aborted",
     lambda px: px.end_run("none", "odd")),
    ("on_status without a function", TypeError, "on_status needs a function", lambda px: px.on_status("x")),
    ("a ninth on_status", ValueError, "on_status takes 8 functions",
     lambda px: [px.on_status(repr) for _ in range(9)]),
    ("anything on a closed client", PlexusError, "closed", lambda px: px.halt() or px.send("m", 1)),
)  # fmt: skip

# As above, of `Plexus(...)`: the arguments.
MAKING = (
    ("no api_key", ValueError, "no API key", {"api_key": None}),
    ("an api_key that cannot be in a header", ValueError, "api_key must be a str of 1 to 128",
     {"api_key": "a\nb"}),
    ("a source_id that is no str", TypeError, "source_id must be a str", {"source_id": 5}),
    ("a source_id of more than 256 characters", ValueError, "source_id must have 1 to 256 characters, not 257",
     {"source_id": "x" * 257}),
    ("a source_id that begins with anything but a-z, 0-9", ValueError, "source_id must begin with a-z or 0-9",
     {"source_id": "-a"}),
    ("a source_id with anything but a-z, 0-9 and . _ -", ValueError, "source_id must hold only a-z, 0-9 and . _ -",
     {"source_id": "aB"}),
    ("a source_id like a UUID", ValueError, "source_id must not look like a UUID",
     {"source_id": "0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f"}),
    ("a gateway_url without http:// or https://", ValueError, "gateway_url must begin with",
     {"gateway_url": "gw"}),
    ("an endpoint without http:// or https://", ValueError, "endpoint must begin with", {"endpoint": "gw"}),
    ("a size that is no whole number", ValueError, "ring_bytes must be a whole number, not 'many'",
     {"ring_bytes": "many"}),
    ("a ring of fewer than 3 sectors", ValueError, "ring_bytes must hold 4 to 65534 sectors", {"ring_bytes": 100}),
    ("sector_bytes that is no multiple of 64", ValueError, "sector_bytes must be a multiple of 64",
     {"sector_bytes": 1000}),
    ("page_bytes that do not fit into a sector", ValueError, "page_bytes", {"page_bytes": 1 << 20}),
    ("frame_bytes too small for a point", ValueError, "frame_bytes must be at least", {"frame_bytes": 100}),
    ("another transport", ValueError, "transport must be 'auto', 'http' or 'ws'", {"transport": "tcp"}),
    ("commit_ms of 0 with ring files", ValueError, "commit_ms must be above 0 with ring files",
     {"ring": "files", "commit_ms": 0}),
    ("a partition that is not there", ValueError, "ring", {"ring": "nowhere"}),
    ("a ring that is no text", ValueError, "ring must be 'ram', 'files' or the name of a partition", {"ring": 5}),
    ("an argument that nobody knows", TypeError, "Plexus() knows no argument 'colour'", {"colour": "red"}),
)  # fmt: skip
_SIZES = {"ring_bytes": 8192, "sector_bytes": 2048, "page_bytes": 1024, "frame_bytes": 2048, "ring": "ram"}


class bench:
    """`with bench() as make`: `make(**arguments)` is a client in RAM, no settings but those; no network."""

    def __init__(self):
        self._patches = (
            fakes.Patch(settings, "getenv", {}.get),
            fakes.Patch(settings, "_read_file", lambda path: {}),
            fakes.Patch(settings, "unique_id", lambda: "a0b1c2"),
            fakes.Network().patch,
            fakes.Patch(client, "forget", lambda module: None),
            fakes.Patch(assemble, "forget", lambda module: None),
        )

    def __enter__(self):
        for patch in self._patches:
            patch.__enter__()
        return self.make

    def make(self, **arguments):
        given = dict(_SIZES, api_key=_KEY, source_id="a", gateway_url="http://gw", tick_ms=0)
        given.update(arguments)
        return Plexus(**given)

    def __exit__(self, *_):
        for patch in self._patches:
            patch.__exit__()


def test_every_mistake_has_its_error():
    with bench() as make:
        for what, kind, text, call in TABLE:
            px = make()
            error = gen.raises(kind, call, px)
            assert text in str(error), (what, str(error))
            assert px.buffer_size() == 0, what
            if "closed" not in what:
                assert px.send("m", 1) and px.buffer_size() == 1, what


def test_every_wrong_setting_has_its_error():
    with bench() as make:
        for what, kind, text, arguments in MAKING:
            error = gen.raises(kind, lambda given=arguments: make(**given))
            assert text in str(error), (what, str(error))
            assert _KEY not in str(error)


def test_what_is_at_the_limit_is_taken():
    with bench() as make:
        px = make(source_id="x" * 250)
        px.send("m" * 256, 1)
        px.send("m", "x" * 256)
        px.send("m", (1 << 63) - 1)
        px.send("m", -(1 << 63))
        px.send("m", _deep(16))
        px.send("m", 1, tags={str(n): "" for n in range(16)})
        px.send("m", 1, tags={"k" * 256: "v" * 256})
        px.send("m", 1, timestamp=1000000000)
        assert px.buffer_size() == 8


def test_errors_are_what_plexus_python_calls_them():
    assert issubclass(AuthenticationError, PlexusError) and issubclass(PlexusError, Exception)


def test_wrong_settings_name_where_they_stand():
    class Board:
        PAGE_BYTES = "big"

    import sys

    with bench() as make:
        with fakes.Patch(settings, "getenv", {"PLEXUS_SOURCE_ID": "No"}.get):
            error = gen.raises(ValueError, lambda: make(source_id=None))
            assert str(error).startswith("PLEXUS_SOURCE_ID must begin")
        with fakes.Patch(settings, "_read_file", lambda path: {"gateway_url": "gw", "wifi": 5}):
            error = gen.raises(ValueError, lambda: make(gateway_url=None))
            assert str(error).startswith("gateway_url in /plexus.json must begin")
            error = gen.raises(ValueError, make)
            assert str(error).startswith("wifi in /plexus.json must be an object")
        sys.modules["plexus_board"] = Board
        error = gen.raises(ValueError, lambda: make(page_bytes=None))
        del sys.modules["plexus_board"]
        assert str(error) == "PAGE_BYTES in plexus_board.py must be a whole number, not 'big'"
