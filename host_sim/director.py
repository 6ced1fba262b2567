"""Makes a scenario happen to a board: arms its events, counts them, and ends what has an end."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from .faults import FAULTS, GATEWAY, VIRTUAL
from .scenario import Event, Scenario, moments

if TYPE_CHECKING:
    from .world import Placement, World


class Director:
    """Plays `scenario` on `placement` for `duration_s`. `injected` counts faults by name, `kinds` by kind.

    Raises `ScenarioError` for an event that this board or this run cannot have.
    """

    def __init__(
        self, world: World, placement: Placement, scenario: Scenario, duration_s: float, rng: random.Random
    ) -> None:
        self._world = world
        self._placement = placement
        self._scenario = scenario
        self._start_us = world.kernel.now_us()
        self.injected: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.last_us = self._start_us  # when the last fault came, or ends
        self._by_post: dict[int, list[Event]] = {}
        for event in scenario.events:
            self._check(event)
            if event.call is not None and event.at_s is None:
                self._arm_call(event)
            elif event.post is not None:
                self._by_post.setdefault(event.post, []).append(event)
            self._arm_next(event, iter(moments(event, duration_s, rng)))
        self._told_before = world.answers.on_post
        world.answers.on_post = self._post_came

    def _check(self, event: Event) -> None:
        world, needs = self._world, FAULTS[event.fault].needs
        if world.gateway is None and (needs == GATEWAY or event.post is not None):
            what = "needs the simulator's own gateway, not one elsewhere"
            raise self._scenario.error(event, "post" if event.post else event.fault, what)
        if not world.kernel.virtual and needs == VIRTUAL:
            raise self._scenario.error(event, event.fault, "needs virtual time")
        try:
            if event.call is not None:
                self._placement.board.check_call(event.call)
        except ValueError as e:
            raise self._scenario.error(event, "call", str(e)) from None

    def _arm_call(self, event: Event) -> None:
        assert event.call is not None
        self._placement.board.watch_call(event.call, event.nth, partial(self._inject, event))

    def _arm_next(self, event: Event, coming: Iterator[float]) -> None:
        """One at a time: a week of one every second is long."""
        moment_s = next(coming, None)
        if moment_s is not None:
            after_us = self._start_us + int(moment_s * 1e6) - self._world.kernel.now_us()
            self._world.later(after_us, partial(self._come, event, coming))

    def _come(self, event: Event, coming: Iterator[float]) -> None:
        self._arm_next(event, coming)
        if event.call is None:
            self._inject(event)
        else:
            self._arm_call(event)

    def _post_came(self, number: int) -> None:
        self._told_before(number)
        for event in self._by_post.pop(number, []):
            self._inject(event)

    def _inject(self, event: Event) -> None:
        if self._world.ended:
            return
        self.injected[event.fault] += 1
        self.kinds[event.kind()] += 1
        now_us = self._world.kernel.now_us()
        self.last_us = max(self.last_us, now_us)
        undo = FAULTS[event.fault].start(self._world, self._placement, event.settings)
        for_s = event.settings.get("for")
        if undo is not None and for_s is not None:
            self.last_us = max(self.last_us, now_us + int(for_s * 1e6))
            self._world.later(int(for_s * 1e6), undo)
