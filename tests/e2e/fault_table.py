"""What the fault menu came to: a line for each fault over each transport."""

from __future__ import annotations

from typing import NamedTuple

from tests.e2e import fault_menu

HEAD = """| fault | transport | runs | faults injected | frames sent again | worst recovery, s |
|---|---|--:|--:|--:|--:|"""


class Played(NamedTuple):
    """What a table says of a history: small enough to come from another process."""

    faults: int
    resent: int
    recovery_s: float
    complaint: str | None

    @classmethod
    def of(cls, result: fault_menu.Result) -> Played:
        return cls(result.faults, result.resent, result.recovery_s, result.complaint())


def play(name: str, transport: str, seed: int) -> Played:
    """As fault_menu's."""
    return Played.of(fault_menu.play(name, transport, seed))


def row(name: str, transport: str, played: list[Played]) -> str:
    """A line of the table, for one fault over one transport."""
    sums = (sum(one.faults for one in played), sum(one.resent for one in played))
    worst_s = max(one.recovery_s for one in played)
    return f"| {name} | {transport} | {len(played)} | {sums[0]} | {sums[1]} | {worst_s:.1f} |"
