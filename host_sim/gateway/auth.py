"""Which key may do what, remembered the way the Plexus gateway remembers it."""

from __future__ import annotations

from collections import OrderedDict

from .conditions import Conditions
from .settings import Grant, Settings


class Authenticator:
    """Looks keys up; a good answer is cached 60 s and a bad one 10 s (ingest.go's auth client).

    So an outage of the verification shows late for known keys, and lingers after it has ended.
    """

    def __init__(self, settings: Settings, conditions: Conditions) -> None:
        self._settings = settings
        self._conditions = conditions
        self._cache: OrderedDict[str, tuple[Grant | None, int]] = OrderedDict()

    def verify(self, api_key: str, now_ms: int) -> Grant | None:
        """The key's grant, or None when it is unknown, unpaid, or cannot be verified."""
        cached = self._cache.get(api_key)
        if cached is not None and now_ms < cached[1]:
            return cached[0]
        grant = self._ask(api_key)
        self._remember(api_key, grant, now_ms)
        return grant

    def _ask(self, api_key: str) -> Grant | None:
        if self._conditions.auth_down or api_key in self._conditions.billing_disabled:
            return None
        return self._settings.keys.get(api_key)

    def _remember(self, api_key: str, grant: Grant | None, now_ms: int) -> None:
        good_ms, bad_ms = self._settings.auth_cache_good_ms, self._settings.auth_cache_bad_ms
        self._cache[api_key] = (grant, now_ms + (bad_ms if grant is None else good_ms))
        self._cache.move_to_end(api_key)
        if len(self._cache) > self._settings.auth_cache_max:
            self._cache.popitem(last=False)
