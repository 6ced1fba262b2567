"""The faults that a key makes happen: some hold until the key is pressed again, others are over at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..faults import FAULTS, GATEWAY
from ..scenario import make_scenario

if TYPE_CHECKING:
    from ..world import Placement, World


@dataclass
class Switch:
    """A key, what it does, and whether that holds now. `settings` are those of a scenario file."""

    key: str
    label: str
    fault: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    holds: bool = True
    end: Callable[[], object] | None = None
    times: int = 0

    @property
    def on(self) -> bool:
        return self.end is not None


def all_switches() -> list[Switch]:
    return [
        Switch("w", "Wi-Fi off", "wifi"),
        Switch("n", "no internet", "wifi", {"state": "no_internet"}),
        Switch("d", "DNS fails", "dns", {"mode": "fail"}),
        Switch("s", "slow network", "latency", {"up_ms": 1500, "down_ms": 1500, "jitter_ms": 500}),
        Switch("x", "network stalls", "transport", {"action": "stall"}),
        Switch("g", "gateway down", "gateway_restart"),
        Switch(
            "5", "gateway answers 500", "gateway", {"answer": "status", "status": 500, "count": 1_000_000}
        ),
        Switch("e", "gateway drops all", "evict", holds=False),
        Switch("u", "sensor unplugged", "sensor"),
        Switch("m", "no memory for sockets", "heap"),
        Switch("p", "power cut, 2 s", "power", holds=False),
        Switch("b", "brown-outs", "power", {"action": "brown_out"}, holds=False),
        Switch("c", "RTC jumps an hour", "clock", {"rtc_jump_s": 3600}, holds=False),
    ]


class Switchboard:
    """The switches of one board in one world."""

    def __init__(self, world: World, placement: Placement) -> None:
        self._world = world
        self._placement = placement
        self.switches = all_switches()
        self._by_key = {switch.key: switch for switch in self.switches}

    def works(self, switch: Switch) -> bool:
        """A gateway elsewhere cannot be made to fail."""
        return self._world.gateway is not None or FAULTS[switch.fault].needs != GATEWAY

    def press(self, key: str) -> bool:
        """Begin what `key` stands for, or end it; False when it stands for nothing here."""
        switch = self._by_key.get(key)
        if switch is None or not self.works(switch):
            return False
        if switch.end is not None:
            switch.end()
            switch.end = None
            return True
        switch.times += 1
        entry = {"fault": switch.fault, "at": "1ms", **switch.settings}
        [event] = make_scenario(switch.label, [entry]).events
        end = FAULTS[switch.fault].start(self._world, self._placement, event.settings)
        if switch.holds and end is not None:
            switch.end = end
        return True
