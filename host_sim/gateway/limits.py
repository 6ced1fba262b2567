"""How many messages: the ceiling of a source, and the rate of a connection."""

from __future__ import annotations

from collections import OrderedDict

from .settings import Generation, Settings

_ROUNDING_S = 1e-9


class SourceCeiling:
    """Lets `rate` messages per second through for each source, with bursts of `burst`.

    A generic cell rate limiter: one number per source, the time at which its bucket is full again.
    At most `sources_max` sources are remembered, the longest unheard is forgotten.
    """

    def __init__(self, rate_per_s: float, burst: int, sources_max: int) -> None:
        self._spacing_s = 1.0 / rate_per_s
        self._slack_s = (burst - 1) * self._spacing_s + _ROUNDING_S
        self._sources_max = sources_max
        self._full_at_s: OrderedDict[str, float] = OrderedDict()

    def allow(self, source_id: str, now_s: float) -> bool:
        full_at_s = max(self._full_at_s.get(source_id, now_s), now_s)
        if full_at_s - now_s > self._slack_s:
            return False
        self._full_at_s[source_id] = full_at_s + self._spacing_s
        self._full_at_s.move_to_end(source_id)
        if len(self._full_at_s) > self._sources_max:
            self._full_at_s.popitem(last=False)
        return True


def source_ceiling(settings: Settings, generation: Generation) -> SourceCeiling:
    """The ceiling of a generation: `aug` knows no bursts."""
    burst = settings.source_burst_oct if generation == "oct" else 1
    return SourceCeiling(settings.source_rate_per_s, burst, settings.sources_tracked_max)


class MessageRate:
    """Lets `rate` messages per second of one connection through, with bursts of `burst`."""

    def __init__(self, rate_per_s: float, burst: int) -> None:
        self._spacing_s = 1.0 / rate_per_s
        self._slack_s = (burst - 1) * self._spacing_s + _ROUNDING_S
        self._full_at_s = 0.0

    def allow(self, now_s: float) -> bool:
        full_at_s = max(self._full_at_s, now_s)
        if full_at_s - now_s > self._slack_s:
            return False
        self._full_at_s = full_at_s + self._spacing_s
        return True
