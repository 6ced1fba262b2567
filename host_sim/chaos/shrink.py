"""The shortest history that still fails: delta debugging over its events, then over its times.

A. Zeller, R. Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002: ddmin.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace

from ..scenario import Event
from .history import History

Fails = Callable[[History], bool]

PLAYS_MAX = 300
_SHORTEST_S = 0.1
_ROUNDS_MAX = 4  # of shortening times, each halves them


class _Budget:
    """So many plays, and so long."""

    def __init__(self, fails: Fails, plays: int, seconds: float) -> None:
        self._fails = fails
        self._left = plays
        self._end_s = time.monotonic() + seconds

    def over(self) -> bool:
        return self._left <= 0 or time.monotonic() > self._end_s

    def fails(self, history: History) -> bool:
        if self.over():
            return False
        self._left -= 1
        return self._fails(history)


def shrink(history: History, fails: Fails, plays: int = PLAYS_MAX, seconds: float = math.inf) -> History:
    """The shortest history found for which `fails` is true, as it is for `history`, within so many plays."""
    budget = _Budget(fails, plays, seconds)
    history = _earliest(history, budget)
    history = history.with_events(_ddmin(history, list(history.events), budget))
    history = _earliest(history, budget)
    return _shorter(history, budget)


def _earliest(history: History, budget: _Budget) -> History:
    """End soon after an event, with those before it: the first after which it fails, by bisection."""
    low, high = 0, len(history.events)
    best = history
    while low < high and not budget.over():
        middle = (low + high) // 2
        shorter = _ending(history, list(history.events[:middle]))
        if budget.fails(shorter):
            best, high = shorter, middle
        else:
            low = middle + 1
    return best


def _ending(history: History, events: list[Event]) -> History:
    """Only these events, and the calm behind the last of them."""
    ends = [(event.at_s or 0.0) + (event.settings.get("for") or 0.0) for event in events]
    seconds = round(min(history.seconds, max(ends, default=0.0) + 2 * history.calm_s), 3)
    return replace(history, events=tuple(events), seconds=seconds)


def _ddmin(history: History, events: list[Event], budget: _Budget) -> list[Event]:
    parts = 2
    while len(events) >= 2 and not budget.over():
        size = -(-len(events) // parts)
        for start in range(0, len(events), size):
            rest = events[:start] + events[start + size :]
            if budget.fails(history.with_events(rest)):
                events, parts = rest, max(parts - 1, 2)
                break
        else:
            if size == 1:
                break
            parts = min(parts * 2, len(events))
    return events


def _shorter(history: History, budget: _Budget) -> History:
    """Halve how long each fault holds, and when it comes, while it still fails."""
    for index in range(len(history.events)):
        for shorten in (_briefer, _sooner):
            for _ in range(_ROUNDS_MAX):
                events = list(history.events)
                changed = shorten(events[index])
                if changed is None:
                    break
                events[index] = changed
                events.sort(key=lambda event: event.at_s or 0.0)
                shorter = _ending(history, events)
                if events.index(changed) != index or not budget.fails(shorter):
                    break
                history = shorter
    return history


def _briefer(event: Event) -> Event | None:
    for_s = event.settings.get("for")
    if for_s is None or for_s < 2 * _SHORTEST_S:
        return None
    return replace(event, settings={**event.settings, "for": round(for_s / 2, 3)})


def _sooner(event: Event) -> Event | None:
    if event.at_s is None or event.at_s < 2 * _SHORTEST_S:
        return None
    return replace(event, at_s=round(event.at_s / 2, 3))
