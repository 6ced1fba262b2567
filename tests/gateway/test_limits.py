"""The message ceiling of a source: rate, bursts, and how many sources are remembered."""

from __future__ import annotations

from host_sim.gateway import Settings
from host_sim.gateway.limits import MessageRate, SourceCeiling, source_ceiling


def test_aug_spaces_messages_by_half_a_millisecond() -> None:
    ceiling = source_ceiling(Settings(), "aug")
    times_s = [10.0, 10.0004, 10.0005, 10.0006, 10.0010]
    assert [ceiling.allow("a", t) for t in times_s] == [True, False, True, False, True]


def test_oct_allows_bursts_of_500_and_2000_per_second() -> None:
    ceiling = source_ceiling(Settings(), "oct")
    assert sum(ceiling.allow("a", 10.0) for _ in range(600)) == 500
    assert ceiling.allow("b", 10.0)
    assert sum(ceiling.allow("a", 10.1) for _ in range(600)) == 200
    assert sum(ceiling.allow("a", 20 + n / 4000) for n in range(8000)) == 4000 + 499


def test_sources_remembered_are_limited() -> None:
    ceiling = SourceCeiling(1.0, 1, sources_max=2)
    assert [ceiling.allow(source, 0.0) for source in "aabcb"] == [True, False, True, True, False]
    assert ceiling.allow("a", 0.0)  # forgotten, so it starts afresh


def test_a_connection_s_rate_and_burst() -> None:
    rate = MessageRate(20.0, 60)
    assert sum(rate.allow(5.0) for _ in range(100)) == 60
    assert sum(rate.allow(5.5) for _ in range(100)) == 10
    assert sum(rate.allow(6 + n / 100) for n in range(1000)) == 199 + 10
