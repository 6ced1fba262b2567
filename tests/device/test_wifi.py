"""The Wi-Fi supervisor against an interface that does what the worst boards do."""

from plexus_mp import wifi
from plexus_mp.wifi import Wifi, supervise

from . import fakes

_HOME = ("home", "secret-1")
_AWAY = ("away", None)
_CONNECT_MS = 2000
_SLICE_MS = 100


class Wlan:
    """An interface on a tick counter: `accepts(ssid)` decides at `connect` whether an address will come."""

    def __init__(self, ticks):
        self._ticks = ticks
        self._on = False
        self._address_at = None
        self.connecting = False
        self.accepts = lambda ssid: True
        self.calls = []  # (when, what)
        self.configured = {}
        self.code = 1000
        self.broken = None

    def _note(self, what):
        self.calls.append((self._ticks.total, what))
        if self.broken:
            raise self.broken

    def active(self, on=None):
        if on is not None:
            self._note("on" if on else "off")
            self._on = on
            self.connecting = self.connecting and on
        return self._on

    def connect(self, ssid, password):
        self._note(ssid)
        assert self._on
        if self.connecting:
            raise OSError("Wifi Internal Error")
        self.connecting = True
        self._address_at = self._ticks.total + _CONNECT_MS if self.accepts(ssid) else None

    def disconnect(self):
        self._note("leave")
        self.connecting = False

    def isconnected(self):
        return self.connecting and self._address_at is not None and self._ticks.total >= self._address_at

    def status(self):
        return self.code

    def config(self, **settings):
        if "txpower" in settings:
            raise ValueError("unknown config param")
        self.configured.update(settings)

    def drop(self, for_ms=None):
        """The link is gone, for ever or for so long."""
        self._address_at = None if for_ms is None else self._ticks.total + for_ms


class Bench:
    """In a `with` block the supervisor has these ticks and this interface."""

    def __init__(self, networks=(_HOME,), config=None):
        self.ticks = fakes.Ticks()
        self.wlan = Wlan(self.ticks)
        self._networks = list(networks)
        self._config = config
        self._patches = [
            fakes.Patch(wifi, "ticks_ms", self.ticks.ms),
            fakes.Patch(wifi, "ticks_diff", self.ticks.diff),
            fakes.Patch(wifi, "collect", self._collect),
        ]

    def _collect(self):
        self.collections += 1

    def __enter__(self):
        self.collections = 0
        for patch in self._patches:
            patch.__enter__()
        self.wifi = Wifi(self.wlan, self._networks, self._config)
        return self

    def __exit__(self, *_):
        for patch in self._patches:
            patch.__exit__()

    def run(self, seconds, until=lambda: False):
        for _ in range(seconds * 1000 // _SLICE_MS):
            self.wifi.step()
            if until():
                return
            self.ticks.advance(_SLICE_MS)

    def whats(self):
        return [what for _, what in self.wlan.calls]


def test_connects_at_once_and_once():
    with Bench(config={"pm": 0}) as bench:
        bench.wifi.step()
        assert bench.whats() == ["on", "home"] and not bench.wifi.up
        bench.run(60)
        assert bench.whats() == ["on", "home"] and bench.wifi.up
        assert (bench.wifi.connects, bench.wifi.failures) == (1, 0)
        assert bench.wlan.configured == {"pm": 0}


def test_a_link_that_survived_a_soft_reset_is_kept():
    with Bench() as bench:
        bench.wlan._on = bench.wlan.connecting = True
        bench.wlan._address_at = 0
        bench.run(5)
        assert bench.wifi.up and bench.whats() == []


def test_an_attempt_is_given_its_time_and_followed_by_a_pause():
    with Bench() as bench:
        bench.wlan.accepts = lambda ssid: False
        bench.run(3600)
        connects = [at for at, what in bench.wlan.calls if what == "home"]
        lets_go = [at for at, what in bench.wlan.calls if what in ("leave", "off")]
        assert 100 < len(connects) < 200
        for begun, ended, again in zip(connects, lets_go, connects[1:]):
            assert 15_000 <= ended - begun <= 15_200  # IDLE, all the while, ends nothing
            assert 1000 <= again - ended <= 12_200
        pauses = set(again - ended for ended, again in zip(lets_go, connects[1:]))
        assert len(pauses) > 10  # boards that fell together do not return together
        whats = bench.whats()
        assert whats.count("off") == len(lets_go) // 5 and whats[whats.index("off") + 1] == "on"
        assert bench.wifi.failures == len(lets_go) and "status 1000" in bench.wifi.last_error


def test_a_short_loss_is_left_to_the_port():
    with Bench() as bench:
        bench.run(5)
        for n in range(3):
            bench.wlan.drop(10_000)
            bench.run(3)
            assert not bench.wifi.up
            bench.run(10)
            assert bench.wifi.up and bench.wifi.connects == n + 2
        assert bench.whats() == ["on", "home"] and bench.wifi.failures == 0


def test_a_long_one_is_not():
    with Bench() as bench:
        bench.run(5)
        bench.wlan.drop()
        bench.run(60, lambda: bench.wifi.connects == 2)
        assert bench.whats() == ["on", "home", "leave", "home"]
        assert bench.wifi.up and bench.wifi.failures == 1


def test_the_next_network_when_one_fails():
    with Bench((_HOME, _AWAY)) as bench:
        bench.wlan.accepts = lambda ssid: ssid == "away"
        bench.wlan.code = 201
        bench.run(60, lambda: bench.wifi.up)
        assert bench.whats() == ["on", "home", "leave", "away"]
        assert bench.wifi.last_error == "Wi-Fi home: no such network"
        bench.wlan.accepts = lambda ssid: ssid == "home"
        bench.wlan.drop()
        bench.run(120, lambda: bench.wifi.connects == 2)
        assert bench.whats()[4:] == ["leave", "home"] and bench.wifi.up


def test_what_the_radio_raises_is_counted_and_survived():
    for error in (OSError("Wifi Internal Error"), OSError(12), MemoryError()):
        with Bench() as bench:
            bench.wlan.broken = error
            bench.run(600)
            assert bench.wifi.failures > 20 and not bench.wifi.up
            assert bench.wifi.last_error.startswith("Wi-Fi")
            assert bool(bench.collections) == isinstance(error, MemoryError)
            bench.wlan.broken = None
            bench.run(40, lambda: bench.wifi.up)
            assert bench.wifi.up


def test_an_attempt_that_somebody_else_began():
    with Bench() as bench:
        bench.wlan._on = bench.wlan.connecting = True
        bench.run(30, lambda: bench.wifi.up)
        assert bench.whats() == ["home", "leave", "home"] and bench.wifi.up
        assert "Internal" in bench.wifi.last_error


def test_a_setting_that_the_port_does_not_know():
    with Bench(config={"txpower": 8.5, "pm": 1}) as bench:
        bench.run(5)
        assert bench.wifi.up and bench.wifi.failures == 1
        assert bench.wifi.last_error.startswith("wifi_txpower") and bench.wlan.configured == {"pm": 1}


def test_a_timer_in_the_midst_of_a_step():
    with Bench() as bench:
        active = bench.wlan.active

        def interrupted(on=None):
            if on:
                bench.wifi.step()
            return active(on)

        bench.wlan.active = interrupted
        bench.run(5)
        assert bench.wifi.up and bench.whats() == ["on", "home"]


class _Settings:
    def __init__(self, networks, **found):
        self._networks = networks
        self.get = found.get
        self.integer = found.get

    def networks(self):
        return self._networks


def test_one_supervisor_for_a_board():
    asked, timers = [], []
    with Bench() as bench:

        def station(hostname, country):
            asked.append((hostname, country))
            return bench.wlan

        def start_ticker(callback, period_ms, timer_id):
            timers.append((callback, period_ms, timer_id))
            return timers

        def pace_ticker(ticker, callback, period_ms):
            assert ticker is timers and callback is timers[0][0]
            paces.append(period_ms)

        paces = []
        with fakes.Patch(wifi, "_shared", None), fakes.Patch(wifi, "start_ticker", start_ticker):
            with fakes.Patch(wifi, "station", station), fakes.Patch(wifi, "pace_ticker", pace_ticker):
                assert supervise(_Settings([])) is None
                found = _Settings([_HOME], hostname="rig", wifi_country="DE", wifi_pm=2, timer_id=1)
                first = supervise(found, 500)
                assert first is supervise() is supervise(_Settings([_AWAY]))
                assert asked == [("rig", "DE")] and bench.wlan.configured == {"pm": 2}
                assert [timer[1:] for timer in timers] == [(500, 2)]
                bench.ticks.advance(_CONNECT_MS)
                timers[0][0](None)
                assert first.up and paces == [2000]
                timers[0][0](None)
                bench.wlan.drop()
                timers[0][0](None)
                assert not first.up and paces == [2000, 500]
        with fakes.Patch(wifi, "_shared", None), fakes.Patch(wifi, "station", lambda *_: None):
            assert supervise(_Settings([_HOME])) is None


def test_no_password_is_told():
    with Bench() as bench:
        bench.wlan.accepts = lambda ssid: False
        bench.wlan.code = 202
        bench.run(20)
        assert bench.wifi.last_error == "Wi-Fi home: wrong password"
        assert "secret" not in repr(bench.wifi) + bench.wifi.last_error


def test_ticks_that_wrap():
    for start in ((1 << 30) - 20_000, (1 << 30) - 1000):
        with Bench() as bench:
            bench.ticks.now = start
            bench.wifi = Wifi(bench.wlan, [_HOME])
            bench.wlan.accepts = lambda ssid: len(bench.wlan.calls) > 6
            bench.run(120, lambda: bench.wifi.up)
            assert bench.wifi.up
