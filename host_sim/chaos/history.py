"""A history: a board, a way to the gateway, and the faults that come; all of it drawn from a seed."""

from __future__ import annotations

import math
import random
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..faults import FAULTS
from ..scenario import Event, Scenario
from .breaks import draw_break
from .devices import DEVICES, Device, period_ms
from .kinds import Setting, draw_event

# After the last fault: a pause of the link is a minute and a quarter, and several may follow each other.
CALM_S = 900.0
DAY_S = 86_400.0
_GENERATION_S = 25 * 365.25 * DAY_S
# How long a fault holds at most, as a part of the history.
_LONGEST = 0.15
_EVENTS_A_DAY = (10, 120)
_EVENTS_MIN = 5
_FOLLOWS = 0.5  # of them come soon after the end of another, and of those
_AT_CALL = 0.5  # at a call: when the backlog goes out, and its answers come in
_BREAKS = 0.25  # of them are an outage, and what strikes when its backlog goes out
_SAMPLE_BYTES = 180  # of JSON: chaos's own firmware
_CALLS = ("sockets.send", "sockets.send", "sockets.recv")
_NTH_MAX = 60
# Crystals of boards (`clock.py` names the source), and where ticks may stand when the power comes.
_DRIFT_PPM = 50.0
_TICKS = (0, 0, (1 << 30) - 60_000, (1 << 30) - 3_600_000, (1 << 29) - 30_000)


@dataclass(frozen=True)
class History:
    """`seconds` of board time, the last `calm_s` of them without a fault; `board` is the text of the board file.

    `plain`: firmware of which nothing is known; its readings may have equal values, and so tell little about time.
    """

    seed: int
    seconds: float
    device: str
    board: str = field(repr=False)
    gateway: str
    events: tuple[Event, ...]
    plain: bool = False
    calm_s: float = CALM_S

    def scenario(self) -> Scenario:
        name = f"chaos {self.seed}"
        return Scenario(name, list(self.events), self.seconds, seed=self.seed, gateway=self.gateway)

    def with_events(self, events: list[Event]) -> History:
        return replace(self, events=tuple(events))

    def skews(self) -> bool:
        """Whether the gateway's own clock is wrong in it, so that nobody can tell the time."""
        return any(event.fault == "gateway_clock" for event in self.events)


def draw(seed: int, seconds: float = DAY_S, board: Path | None = None, plain: bool = False) -> History:
    """The history of `seed`, on `board` or on one that is drawn too. Raises `OSError` for a board that is not there."""
    rng = random.Random(f"{seed}/chaos")
    device = rng.choice(DEVICES)
    period = period_ms(rng)
    more = [f"CHAOS_PERIOD_MS = {period}", f"TICKS_START_MS = {rng.choice(_TICKS)}"]
    transport, gateway = rng.choice(("auto", "auto", "http")), rng.choice(("address", "name", "tls"))
    if board is None:
        source = device.source()
        more.append(f'TRANSPORT = "{transport}"')
        if seed % 2:  # a frame for each sample: more under way when something breaks
            more.append("LINGER_MS = 0")
    else:
        device, source = Device(board.stem, board.name), board.read_text()
    source = source.rstrip() + "\n" + "\n".join(more) + "\n"
    calm_s = min(CALM_S, seconds / 2)
    drift_ppm = round(rng.uniform(-_DRIFT_PPM, _DRIFT_PPM), 3)
    longest_s, frame_s = max(1.0, seconds * _LONGEST), _frame_s(source, period)
    setting = Setting(rng, device, gateway, drift_ppm, plain, longest_s, frame_s)
    events = [_crystal(drift_ppm), *_events(setting, seconds, calm_s)]
    if gateway == "tls":  # a clock that is set to another year rightly takes every certificate for expired
        events = [event for event in events if event.fault != "gateway_clock" and not _next_year(event)]
    return History(seed, seconds, device.name, source, gateway, tuple(events), plain, calm_s)


def _next_year(event: Event) -> bool:
    """The board's clock is set ahead, and not so far that the library sees it (tls.py)."""
    return event.fault == "clock" and DAY_S < event.settings["rtc_jump_s"] < _GENERATION_S


def _frame_s(source: str, period: int) -> float:
    """How long a frame's readings take, of a firmware that samples every `period` ms."""
    frame = re.search(r"^FRAME_BYTES = (\d+)", source, re.M)
    return int(frame[1]) / _SAMPLE_BYTES * period / 1000 if frame else math.inf


def _crystal(drift_ppm: float) -> Event:
    """How wrong the board's crystal is, from its first moment on."""
    settings = {name: key.default for name, key in FAULTS["clock"].keys.items()}
    return Event("clock", settings | {"drift_ppm": drift_ppm}, at_s=0.001)


def _events(setting: Setting, seconds: float, calm_s: float) -> list[Event]:
    low, high = _EVENTS_A_DAY
    a_day = setting.rng.uniform(low, high)
    # Short histories are dense: much shall happen in them.
    count = max(_EVENTS_MIN, int(a_day * max(seconds / DAY_S, (seconds / DAY_S) ** 0.5)))
    latest_s = seconds - calm_s
    events: list[Event] = []
    for _ in range(count):
        if setting.rng.random() < _BREAKS:
            events += draw_break(setting, latest_s)
            continue
        event = draw_event(setting, latest_s)
        if events and setting.rng.random() < _FOLLOWS:
            event = _soon_after(events[-1], event, setting.rng, latest_s)
        events.append(event)
    return sorted((_ended(event, latest_s) for event in events), key=lambda event: event.at_s or 0.0)


def _soon_after(before: Event, event: Event, rng: random.Random, latest_s: float) -> Event:
    """When the fault before has just ended is when most is under way: after a while, or at one of the next calls."""
    if before.at_s is None or event.at_s is None:
        return event
    end_s = before.at_s + (before.settings.get("for") or 0.0)
    if rng.random() < _AT_CALL:
        event = replace(event, call=rng.choice(_CALLS), nth=int(_NTH_MAX ** rng.random()))
    else:
        end_s += 10 ** rng.uniform(-1.5, 1.5)
    return replace(event, at_s=round(end_s, 3)) if end_s < latest_s else event


def _ended(event: Event, latest_s: float) -> Event:
    """A fault that would hold into the calm ends with its beginning."""
    for_s = event.settings.get("for")
    if for_s is None or event.at_s is None or event.at_s + for_s <= latest_s:
        return event
    return replace(event, settings={**event.settings, "for": round(max(0.1, latest_s - event.at_s), 3)})
