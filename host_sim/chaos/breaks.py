"""A backlog, and a connection that breaks while it goes out: some frames are answered, those behind them not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..faults import FAULTS
from ..scenario import Event
from .kinds import Setting

# Where the network is gone the board does not try, and so is back on its WebSocket at once; the others keep it away.
_OUTAGES: tuple[tuple[str, dict[str, Any]], ...] = (
    *(("wifi", {"state": "down"}),) * 4,
    ("wifi", {"state": "no_internet"}),
    ("transport", {"action": "stall"}),
    ("gateway_restart", {}),
)
_FRAMES_MIN = 2.0  # of a backlog
_FRAMES_MAX = 12.0
# What becomes of a frame in its midst, and of those behind it.
_ANSWERS = ("hang", "hang", "hang", "reset", "redis_unavailable", "rate_limited", "unacknowledged", "lost")
# A gateway that thinks before it fails: what it answered has been heard by then, if the board looks as often.
_THINKS_MS = (0, 250, 500)
_AT_SEND: tuple[tuple[str, dict[str, Any]], ...] = (
    ("transport", {"action": "reset"}),
    ("wifi", {"state": "down"}),
    ("wifi", {"state": "no_internet"}),
    ("power", {"action": "cut"}),
)
_SENDS_MAX = 16


def draw_break(setting: Setting, latest_s: float) -> list[Event]:
    """An outage in which some frames of readings come together, and what strikes when they go out; [] if none can."""
    rng = setting.rng
    most = setting.longest_s / setting.frame_s
    if most < _FRAMES_MIN:
        return []
    frames = rng.uniform(_FRAMES_MIN, min(most, _FRAMES_MAX))
    for_s = round(setting.frame_s * frames, 3)
    at_s = round(rng.uniform(0.001, latest_s), 3)
    end_s = round(at_s + for_s, 3)
    if end_s >= latest_s:
        return []
    fault, settings = rng.choice(_OUTAGES)
    outage = _event(fault, settings | {"for": for_s}, at_s)
    if rng.random() < 0.6:
        return [outage, _event("ws_frame", _frame(setting, int(frames)), end_s)]
    fault, settings = rng.choice(_AT_SEND)
    strikes = _event(fault, settings | {"for": setting.short_s()}, end_s)
    return [outage, replace(strikes, call="sockets.send", nth=rng.randint(1, _SENDS_MAX))]


def _frame(setting: Setting, frames: int) -> dict[str, Any]:
    """One of the first `frames` fails, but not the very first."""
    rng = setting.rng
    delay_ms = float(rng.choice(_THINKS_MS))
    settings = {
        "answer": rng.choice(_ANSWERS),
        "after": rng.randint(1, max(1, frames - 1)),
        "delay_ms": delay_ms,
    }
    return settings | {"count": rng.randint(1, 3), "for": setting.short_s() + 60.0}


def _event(fault: str, settings: dict[str, Any], at_s: float) -> Event:
    defaults = {name: key.default for name, key in FAULTS[fault].keys.items()}
    return Event(fault, defaults | settings, at_s=at_s)
