"""Keeps the Wi-Fi connected: a state machine of slices, none of which waits for the radio.

Loaded only when there are credentials. The rules are what real boards taught: one `connect()` at a time (a
second raises "Wifi Internal Error", micropython#17661); a second's pause after `disconnect()`, or the next
attempt may end as a wrong password (micropython-mqtt#132); IDLE in the midst of connecting means nothing
(micropython-mqtt#129), so only an address or the time ends an attempt; the interface off and on when
nothing else helps.
"""

from .ports import (
    NAME,
    collect,
    const,
    forget,
    load_boot,
    pace_ticker,
    random_bits,
    start_ticker,
    ticks_diff,
    ticks_ms,
)

# An attempt, and a link that was lost, get so long: an ESP32 goes on by itself after a loss.
_TRY_MS = const(15_000)
_PAUSE_MS = const(1000)
_PAUSE_MAX_MS = const(8000)
# Failures in a row after which the interface is switched off and on.
_RESTART_AFTER = const(5)
# How much rarer its timer comes while it is connected.
_UP_TICKS = const(4)

_PAUSE = const(0)
_TRY = const(1)
_UP = const(2)

# STAT_NO_AP_FOUND and STAT_WRONG_PASSWORD of the ESP32 port and of CYW43.
_WORDS = {201: "no such network", -2: "no such network", 202: "wrong password", -3: "wrong password"}


class Wifi:
    """Keeps `wlan` in one of `networks`, (ssid, password) each, by calls of `step()`.

    `config` are settings of the interface (`pm`, `txpower`, …), given to it each time it is switched on.
    `connects` counts how often there was an address, `failures` attempts without one, and errors;
    `last_error` is a line for a person, which names no password.
    """

    def __init__(self, wlan, networks, config=None):
        self._wlan = wlan
        self._networks = networks
        self._config = config or {}
        self._state = _PAUSE
        self._since = ticks_ms()
        self._wait_ms = 0
        self._tries = 0  # that failed in a row
        self._at = 0
        self._stepping = False
        self.ticker = None  # a timer of its own, that drives it
        self._tick_ms = 0
        self.connects = 0
        self.failures = 0
        self.last_error = ""

    @property
    def up(self):
        """There is an address."""
        return self._state == _UP

    def step(self):
        """One slice of work: call it some times a second, from a timer or a loop.

        Blocks while the interface is switched on or off, at the beginning and after five failures in a row:
        some 0.1 s on an ESP32, 1 to 2 s on a Pico W, which is then given its firmware. Raises nothing.
        """
        if self._stepping:  # a timer callback in the midst of a step
            return
        self._stepping = True
        try:
            try:
                self._step()
            except OSError as e:
                self._failed(e)
        except MemoryError:  # wherever it struck: begin again
            collect()
            self.failures += 1
            self.last_error = "Wi-Fi: out of memory"
            self._wait(_PAUSE, _PAUSE_MAX_MS)
        finally:
            self._stepping = False

    def _step(self):
        if self._state == _PAUSE:
            if self._over():
                self._begin()
        elif self._wlan.isconnected():
            if self._state == _TRY:
                self._state = _UP
                self._tries = 0
                self.connects += 1
        elif self._state == _UP:
            self._wait(_TRY, _TRY_MS)
        elif self._over():
            status = self._wlan.status()
            self._failed(_WORDS.get(status, "no address, status %s" % status))

    def _over(self):
        return ticks_diff(ticks_ms(), self._since) >= self._wait_ms

    def _wait(self, state, wait_ms):
        self._state = state
        self._wait_ms = wait_ms
        self._since = ticks_ms()

    def _begin(self):
        if not self._wlan.active():
            self._wlan.active(True)
            self._configure()
        self._wait(_TRY, _TRY_MS)
        if not self._wlan.isconnected():  # a soft reset leaves the link as it was
            self._wlan.connect(*self._networks[self._at])

    def _configure(self):
        for name, value in self._config.items():
            try:
                self._wlan.config(**{name: value})
            except (OSError, ValueError, TypeError) as e:
                self.failures += 1
                self.last_error = "wifi_%s: %s" % (name, e)

    def _failed(self, why):
        """Let go, and try the next network after a pause that differs from board to board."""
        self.failures += 1
        self.last_error = "Wi-Fi %s: %s" % (self._networks[self._at][0], why)
        self._at = (self._at + 1) % len(self._networks)
        self._tries += 1
        pause_ms = min(_PAUSE_MS << min(self._tries - 1, 3), _PAUSE_MAX_MS)
        self._wait(_PAUSE, pause_ms + pause_ms * random_bits(7) // 256)
        try:
            if self._tries % _RESTART_AFTER:
                self._wlan.disconnect()
            else:
                self._wlan.active(False)
        except OSError:  # the interface is not on: then there is nothing to let go of
            self.failures += 1


_shared = None


def station(hostname, country):
    """The port's Wi-Fi interface, or None."""
    found = load_boot().station(hostname, country)
    forget("ports.%s_boot" % NAME)  # it has done what it is for
    return found


def supervise(settings=None, tick_ms=0, wait_ms=0):
    """The one `Wifi` of this board, made from `settings`; None without credentials or without Wi-Fi.

    It begins after `wait_ms`. With `tick_ms` a timer of its own drives it, as boot.py does, a fourth as often while it
    is connected; else call its `step()`.
    Settings:
    `wifi_ssid` and `wifi_password`, or `wifi`, for more than one network a list; `hostname`,
    `wifi_country`, `wifi_pm`, `wifi_txpower`; `timer_id`, beside which it takes the next one. Raises
    `ValueError` naming a setting that does not fit.
    """
    global _shared
    if _shared is None:
        if settings is None:
            from .settings import Settings

            settings = Settings()
        networks = settings.networks()
        wlan = station(settings.get("hostname"), settings.get("wifi_country")) if networks else None
        if wlan is None:
            return None
        config = {name: settings.get("wifi_" + name) for name in ("pm", "txpower")}
        config = {name: value for name, value in config.items() if value is not None}
        _shared = Wifi(wlan, networks, config)
        _shared._wait(_PAUSE, wait_ms)
        _shared.step()
        if tick_ms:
            _shared._tick_ms = tick_ms
            timer_id = settings.integer("timer_id")
            _shared.ticker = start_ticker(_on_timer, tick_ms, timer_id if timer_id < 0 else timer_id + 1)
    return _shared


def _on_timer(_):
    wifi = _shared
    was_up = wifi.up
    wifi.step()
    if wifi.up != was_up:
        pace_ticker(wifi.ticker, _on_timer, wifi._tick_ms if was_up else wifi._tick_ms * _UP_TICKS)
