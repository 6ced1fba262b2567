"""Makes a scenario happen to a board: arms its events, counts them, and ends what has an end."""

from __future__ import annotations

import random
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from .faults import FAULTS
from .scenario import Event, Scenario, moments

if TYPE_CHECKING:
    from .world import Placement, World


class Director:
    """Plays `scenario` on `placement` for `duration_s`. `injected` counts faults by kind."""

    def __init__(
        self, world: World, placement: Placement, scenario: Scenario, duration_s: float, rng: random.Random
    ) -> None:
        self._world = world
        self._placement = placement
        self._kernel = world.kernel
        self.injected: Counter[str] = Counter()
        self._by_post: dict[int, list[Event]] = {}
        start_us = self._kernel.now_us()
        for event in scenario.events:
            if event.call is not None:
                self._arm_call(event)
            elif event.post is not None:
                self._by_post.setdefault(event.post, []).append(event)
            for moment_s in moments(event, duration_s, rng):
                self._kernel.call_at(start_us + int(moment_s * 1e6), partial(self._inject, event))
        world.answers.on_post = self._post_came

    def _arm_call(self, event: Event) -> None:
        assert event.call is not None
        self._placement.board.watch_call(event.call, event.nth, partial(self._inject, event))

    def _post_came(self, number: int) -> None:
        for event in self._by_post.pop(number, []):
            self._inject(event)

    def _inject(self, event: Event) -> None:
        self.injected[event.fault] += 1
        undo = FAULTS[event.fault].start(self._world, self._placement, event.settings)
        for_s = event.settings.get("for")
        if undo is not None and for_s is not None:
            self._kernel.call_at(self._kernel.now_us() + int(for_s * 1e6), undo)
