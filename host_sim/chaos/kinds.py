"""Faults as chaos draws them: how often each comes, and with what settings."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..answers import CONNECT_ANSWERS, DELAYED_ANSWERS, FRAME_ANSWERS
from ..board.flash_faults import ERASE_TEARS, PROGRAM_TEARS
from ..faults import FAULTS
from ..scenario import Event
from .devices import Device

Settings = dict[str, Any]

# Statuses that say nothing about the readings, and those that slow a device down. 400 and 413 would have it give
# up readings that are right, which is what they are for: the fault menu has them.
_STATUSES = (500, 502, 503, 503, 504, 401, 403, 429, 404)
_SLOW_MAX_MS = 4000.0
# Where a reading's value may come again: the clock must stay so near that readings are not taken for each other.
_SLOW_MAX_PLAIN_MS = 500.0
_JUMPS_S = (-86_400, -3600, -30, 30, 3600, 86_400, -1e9, 1e9)
_RTC_JUMPS_S = (-1e9, -86_400.0, -3600.0, 3600.0, 31_536_000.0, 1e9)
# What a crystal changes with the weather; what it is off by from the start is the history's.
_WARMTH_PPM = 1.0
_CERTIFICATES = ("expired", "not_yet_valid", "wrong_host", "other_ca", "self_signed")
_NTH_MAX = 3000
_AFTER_MAX = 20


@dataclass(frozen=True)
class Setting:
    """What a history is about, for those who draw its faults. `plain`: its readings may have equal values.

    `longest_s` is how long a fault holds at most, `frame_s` how long it takes until readings fill a frame.
    """

    rng: random.Random
    device: Device
    gateway: str
    drift_ppm: float
    plain: bool
    longest_s: float
    frame_s: float

    def short_s(self) -> float:
        """A second to a minute or two, each order of magnitude as often."""
        return self._for(2.0)

    def long_s(self) -> float:
        """A second to hours, if the history has them."""
        return self._for(4.5)

    def _for(self, decades: float) -> float:
        return round(min(10 ** self.rng.uniform(0, decades), self.longest_s), 3)

    def delay_ms(self) -> float:
        most_ms = _SLOW_MAX_PLAIN_MS if self.plain else _SLOW_MAX_MS
        return round(self.rng.uniform(50, most_ms))


Drawer = Callable[[Setting], Settings]
Needs = Callable[[Setting], bool]


@dataclass(frozen=True)
class Kind:
    """A fault that comes with this weight where `needs` holds; `call`: at a call into the board, not at a time."""

    fault: str
    weight: int
    draw: Drawer
    needs: Needs = lambda setting: True
    call: bool = False


def _for(long: bool = False, **settings: Any) -> Drawer:
    return lambda s: {**settings, "for": s.long_s() if long else s.short_s()}


def _latency(s: Setting) -> Settings:
    most_ms = 100 if s.plain else 800
    times = {name: float(s.rng.randrange(most_ms)) for name in ("up_ms", "down_ms", "jitter_ms")}
    return {**times, "for": s.long_s()}


def _counted(s: Setting) -> Settings:
    """Either so many requests, or all of a time."""
    return {"count": s.rng.randrange(1, 20) if s.rng.random() < 0.5 else None, "for": s.long_s()}


def _gateway(s: Setting) -> Settings:
    answer = s.rng.choice(("status", "status", "dropped", "captive_portal", "hang", "reset", "lost", "slow"))
    return {"answer": answer, **_details(s, answer), **_counted(s)}


def _details(s: Setting, answer: str) -> Settings:
    """What only some answers have."""
    if answer == "status":
        return {"status": s.rng.choice(_STATUSES)}
    return {"delay_ms": s.delay_ms()} if answer in DELAYED_ANSWERS else {}


def _connect(s: Setting) -> Settings:
    answer = s.rng.choice(CONNECT_ANSWERS)
    return {"answer": answer, **_details(s, answer), **_counted(s)}


def _frame(s: Setting) -> Settings:
    answer = s.rng.choice(FRAME_ANSWERS)
    after = int(_AFTER_MAX ** s.rng.random()) - 1
    return {"answer": answer, "after": after, **_details(s, answer), **_counted(s)}


def _transport(s: Setting) -> Settings:
    action = s.rng.choice(("reset", "reset_after", "stall", "black_hole", "refuse", "half_close"))
    # Few bytes break a handshake or a frame, many the delivery of a backlog.
    return {"action": action, "bytes": int(10 ** s.rng.uniform(0, 4.7)), "for": s.short_s()}


def _tls(s: Setting) -> Settings:
    if s.rng.random() < 0.3:
        return {"mode": s.rng.choice(("plain", "stall")), "for": s.short_s()}
    return {"certificate": s.rng.choice(_CERTIFICATES), "for": s.long_s()}


def _power(s: Setting) -> Settings:
    action = s.rng.choice(("cut", "cut", "brown_out", "reset"))
    if action == "brown_out":
        return {"action": action, "count": s.rng.randrange(1, 6), "for": round(s.rng.uniform(0.06, 8), 3)}
    return {"action": action, "for": s.short_s()}


def _power_in_call(s: Setting) -> Settings:
    return {"action": "cut", "for": round(s.rng.uniform(0.1, 5), 3)}


def _flash_cut(s: Setting) -> Settings:
    tears = {"program_tear": s.rng.choice(PROGRAM_TEARS), "erase_tear": s.rng.choice(ERASE_TEARS)}
    return {"action": "cut", **tears, "for": s.short_s()}


def _bad_sector(s: Setting) -> Settings:
    """Only those kinds that say so: what is not told cannot be done elsewhere."""
    kind = s.rng.choice(("program_error", "erase_error"))
    return {"action": "bad_sector", "sector": s.rng.choice(s.device.sectors), "kind": kind, "for": s.long_s()}


def _clock(s: Setting) -> Settings:
    drift_ppm = s.drift_ppm + s.rng.uniform(-_WARMTH_PPM, _WARMTH_PPM)
    return {"rtc_jump_s": s.rng.choice(_RTC_JUMPS_S), "drift_ppm": round(drift_ppm, 3)}


def _gateway_clock(s: Setting) -> Settings:
    return {"jump_s": s.rng.choice(_JUMPS_S), "for": s.short_s()}


def _sensor(s: Setting) -> Settings:
    return {"state": s.rng.choice(FAULTS["sensor"].keys["state"].choices), "for": s.short_s()}


def _in_flash(s: Setting) -> bool:
    return bool(s.device.sectors)


def _has_name(s: Setting) -> bool:
    return s.gateway != "address"


KINDS = (
    Kind("wifi", 10, _for(long=True, state="down")),
    Kind("wifi", 5, _for(long=True, state="no_internet")),
    Kind("dns", 4, _for(mode="hang"), _has_name),
    Kind("dns", 4, _for(long=True, mode="fail"), _has_name),
    Kind("transport", 14, _transport),
    Kind("latency", 4, _latency),
    Kind("evict", 4, lambda s: {}),
    Kind("gateway", 14, _gateway),
    Kind("ws_connect", 10, _connect),
    Kind("ws_frame", 14, _frame),
    Kind("ws_goodbye", 3, lambda s: {"socket": "closed"}),
    Kind("ws_goodbye", 2, _for(socket="left_open")),
    Kind("ws_second_device", 2, lambda s: {}),
    Kind("generation", 3, _for(long=True, to="aug")),
    Kind("tls", 6, _tls, lambda s: s.gateway == "tls"),
    Kind("gateway_restart", 5, _for()),
    Kind("gateway_clock", 2, _gateway_clock, lambda s: not s.plain),
    Kind("power", 12, _power),
    Kind("power", 10, _power_in_call, lambda s: bool(s.device.writes), call=True),
    Kind("flash", 8, _flash_cut, _in_flash),
    Kind("flash", 4, lambda s: {"action": "error"}, _in_flash),
    Kind("flash", 2, _bad_sector, _in_flash),
    Kind("clock", 3, _clock),
    Kind("sensor", 4, _sensor, lambda s: s.plain),
    Kind("heap", 3, _for(kind="network")),
    Kind("heap", 2, _for(kind="python")),
)


def draw_event(setting: Setting, latest_s: float) -> Event:
    """One fault, at a time up to `latest_s` or at a call into the board."""
    rng = setting.rng
    kinds = [kind for kind in KINDS if kind.needs(setting)]
    [kind] = rng.choices(kinds, [kind.weight for kind in kinds])
    defaults = {name: key.default for name, key in FAULTS[kind.fault].keys.items()}
    settings = defaults | kind.draw(setting)
    if kind.call:
        nth = int(_NTH_MAX ** rng.random())
        return Event(kind.fault, settings, call=rng.choice(setting.device.writes), nth=nth)
    at_s = round(rng.uniform(0.001, latest_s), 3)
    return Event(kind.fault, settings, at_s=at_s)
