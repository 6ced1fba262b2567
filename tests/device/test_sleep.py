"""What a deep sleep keeps in RTC memory: readings of every kind, the clock, the page, and what does not fit."""

import json

from plexus_mp import sleep
from plexus_mp.link import Link
from plexus_mp.points import CALL

from . import fakes, gen

_HOUR_MS = 3_600_000


class Http:
    """Nobody is there."""

    busy = connected = False

    def close(self):
        pass


class Px:
    """What `suspend` looks at of a client."""

    def __init__(self, device):
        self._recorder = device.recorder
        self._outbox = device.outbox
        self._link = Link(device.outbox, Http(), device.recorder)
        self._wifi = None


class Port:
    """The port's part, with RTC memory that is `kept`, and an RTC that goes on while the ticks stand still."""

    def __init__(self, ticks):
        self._ticks = ticks
        self.kept = b""
        self.drift = 1.0

    def memory(self, data=None):
        if data is None:
            return self.kept
        assert len(data) <= sleep.MEMORY_MAX
        self.kept = data

    def rtc_ms(self):
        return 1000 + int(self._ticks.total * self.drift)


class night:
    """`with night(ticks) as port`: the library's sleep uses it."""

    def __init__(self, ticks):
        self._ticks = ticks
        self.port = Port(ticks)
        self._patches = (
            fakes.Patch(sleep, "ticks_ms", ticks.ms),
            fakes.Patch(sleep, "ticks_diff", ticks.diff),
            fakes.Patch(sleep, "ticks_add", lambda a, b: (a + b) % ticks.period),
            fakes.Patch(sleep, "rtc_memory", self.port.memory),
            fakes.Patch(sleep, "_port", self.port),
            fakes.Patch(sleep, "collect", lambda: None),  # it is the whole process' garbage here
        )

    def __enter__(self):
        for patch in self._patches:
            patch.__enter__()
        return self.port

    def __exit__(self, *_):
        for patch in self._patches:
            patch.__exit__()


def nap(px, ticks, ms):
    """To bed and up again; the ticks begin anew."""
    sleep._put_away(px, ms)
    ticks.total += ms
    ticks.now = 0


def woken(ticks, **sizes):
    """A board of the same kind after that boot, and what it is told to wait."""
    device = fakes.Device(ticks, synced=False, **sizes)
    px = Px(device)
    return device, px, sleep.resume(device.recorder, device.outbox, px._link)


_RAM = {"ring": 12288, "sector": 2048, "page": 1792, "frame": 2048}
_VALUES = (0, -1, 5, 1 << 40, 0.5, -2.25, 0.1, 1e30, True, False, "text", {"a": [1, None]}, [1.5, "Mühle"])


def _told(device):
    return sorted(json.dumps(point) for point in device.drain())


def _fill(device):
    for n in range(5):
        device.ticks.advance(777)
        for value in _VALUES:
            device.send("m%d" % n, value, tags={"n": str(n)} if n % 2 else None)
        device.send("own", n, stamp_ms=1_700_000_000_000 + n)
        device.send("event", n, cls=1)


def test_what_waits_in_ram_is_the_same_after_the_sleep():
    with fakes.Ticks() as ticks:
        awake = fakes.Device(ticks, **_RAM)
        _fill(awake)
        wanted = _told(awake)
    with fakes.Ticks() as ticks, night(ticks):
        device = fakes.Device(ticks, **_RAM)
        _fill(device)
        nap(Px(device), ticks, 60_000)
        device, px, wait_ms = woken(ticks, **_RAM)
        assert wait_ms == 0 and device.recorder.clock.synced
        assert _told(device) == wanted and len(wanted) == 75


def test_uptime_goes_on_and_dates_what_comes():
    with fakes.Ticks() as ticks, night(ticks):
        device = fakes.Device(ticks, **_RAM)
        sent = []
        for n in range(300):
            sent.append((n, device.unix_ms()))
            device.send("n", n)
            ticks.advance(40)
            nap(Px(device), ticks, 60_000)
            device, px, _ = woken(ticks, **_RAM)
        found = [(point["value"], point["timestamp"]) for point in device.drain()]
        assert found == sent and device.ring.dropped == 0


def test_what_was_sent_stays_dated_as_it_was():
    """A frame is on its way when the board sleeps: it goes out again with the same bytes, whatever is heard since."""
    with fakes.Ticks() as ticks, night(ticks):
        device = fakes.Device(ticks, **_RAM)
        device.send("n", 1)
        assert device.outbox.next_frame()
        before = device.frame_bytes()
        nap(Px(device), ticks, _HOUR_MS)
        device, px, _ = woken(ticks, **_RAM)
        late = device.unix_ms() + 5_000
        device.recorder.hear_time(late, late, ticks.now, ticks.now, device.outbox.sent_ms, "test")
        device.send("n", 2)
        assert device.outbox.next_frame()
        points = fakes.parse_frame(device.frame_bytes())
        assert points[0] == fakes.parse_frame(before)[0]
        assert late - 2000 <= points[1]["timestamp"] <= late + 2000


def test_what_does_not_fit_costs_the_oldest_and_is_counted():
    with fakes.Ticks() as ticks, night(ticks):
        device = fakes.Device(ticks, **_RAM)
        for n in range(30):
            ticks.advance(1000)
            device.send("text", "%d" % n + "x" * 200)
        nap(Px(device), ticks, 60_000)
        device, px, _ = woken(ticks, **_RAM)
        left = [int(point["value"].split("x")[0]) for point in device.drain()]
        assert left == list(range(30 - len(left), 30)) and 4 <= len(left) < 10
        assert device.ring.dropped == 30 - len(left)


def test_calls_sleep_too():
    with fakes.Ticks() as ticks, night(ticks):
        device = fakes.Device(ticks, **_RAM)
        device.recorder.send(CALL, "run", {"key": "k", "name": "x"}, None, None)
        device.send("m", 1)
        nap(Px(device), ticks, 60_000)
        device, px, _ = woken(ticks, **_RAM)
        assert device.outbox.next_frame() == 1 and device.outbox.call
        assert device.outbox.release() and device.outbox.next_frame() == 1 and not device.outbox.call


def test_a_page_is_taken_up_where_it_was():
    with fakes.Ticks() as ticks, night(ticks) as port:
        blocks = fakes.NorBlocks(16384, 2048)
        sizes = {"blocks": blocks, "page": 512, "commit_ms": 300_000}
        device = fakes.Device(ticks, **sizes)
        commits = 0
        for n in range(40):
            device.send("n", n, tags={"side": "left"})
            ticks.advance(40)
            nap(Px(device), ticks, 60_000)
            device, px, _ = woken(ticks, **sizes)
            before = device.recorder.pending
            device.recorder.upkeep(False)
            commits += device.recorder.pending < before
            assert port.kept == b"", "used twice"
        # Every five minutes, as commit_ms says, not every minute.
        assert 6 <= commits <= 10
        device.recorder.upkeep(True)
        assert [point["value"] for point in device.drain()] == list(range(40))


def test_a_silent_gateway_is_asked_more_and_more_rarely():
    with fakes.Ticks() as ticks, night(ticks):
        device = fakes.Device(ticks, **_RAM)
        px = Px(device)
        asked = []
        for n in range(200):
            if not px._link.waiting:
                asked.append(n)
                px._link.lost("nobody there")
            nap(px, ticks, 60_000)
            device, px, _ = woken(ticks, **_RAM)
        steps = [b - a for a, b in zip(asked, asked[1:])]
        assert steps[:4] == [2, 4, 8, 15] and max(steps) <= 16


def test_ready():
    with fakes.Ticks() as ticks:
        device = fakes.Device(ticks, **_RAM)
        px = Px(device)
        link = px._link
        assert sleep.ready(px)
        device.send("m", 1)
        with fakes.Patch(sleep, "has_network", lambda: True):
            assert not sleep.ready(px)
            link.lost("nobody")
            assert sleep.ready(px)
            ticks.advance(100_000)
            assert not sleep.ready(px)
        with fakes.Patch(sleep, "has_network", lambda: False):
            assert sleep.ready(px)


def test_what_is_not_ours_is_left_alone():
    with fakes.Ticks() as ticks, night(ticks) as port:
        for memory in (b"PX\x01", b"PX\x01\x05\x00\x00\x00\x00\x00{", b"PX\x01\x02\x00\x00\x00\x00\x00{}"):
            port.kept = memory
            device = fakes.Device(ticks, **_RAM)
            link = Link(device.outbox, Http(), device.recorder)
            assert sleep.resume(device.recorder, device.outbox, link) == 0
            assert device.send("m", 1)


def test_readings_in_ram_need_rtc_memory():
    with fakes.Ticks() as ticks:
        device = fakes.Device(ticks, **_RAM)
        device.send("m", 1)
        with fakes.Patch(sleep, "rtc_memory", lambda data=None: None):
            error = gen.raises(sleep.PlexusError, sleep.suspend, Px(device), 1000, 1)
            assert "ring='files'" in str(error)
