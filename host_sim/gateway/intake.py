"""What HTTP and WebSocket share: how much a source may send, and the commit."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from .conditions import Conditions
from .counters import Counters
from .limits import source_ceiling
from .live import Live
from .presence import Presence
from .settings import Generation, Settings
from .store import Point, Store, StoreError

_log = logging.getLogger("plexus.gateway")

DEVICE_LIMIT = "DEVICE_LIMIT"
SOURCE_LIMIT = "SOURCE_LIMIT"


class Intake:
    """Says what a source may send, stores it, and shows it to those who watch."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        live: Live,
        presence: Presence,
        counters: Counters,
        conditions: Conditions,
    ) -> None:
        self._settings = settings
        self._store = store
        self._live = live
        self._presence = presence
        self._counters = counters
        self._conditions = conditions
        self._ceilings = {
            "aug": source_ceiling(settings, "aug"),
            "oct": source_ceiling(settings, "oct"),
        }

    @property
    def generation(self) -> Generation:
        """Which gateway is imitated at the moment."""
        return self._conditions.generation or self._settings.generation

    def limit_of(self, source_id: str, now_s: float) -> str | None:
        """Count one message of the source, at the loop's time: None, or the limit it is over (and counted under)."""
        if self.generation == "oct" and self._over_device_limit(source_id):
            self._counters.add("dropped_device_limit")
            return DEVICE_LIMIT
        ceiling = self._ceilings[self.generation]
        if source_id in self._conditions.over_ceiling or not ceiling.allow(source_id, now_s):
            self._counters.add("dropped_source_limit")
            return SOURCE_LIMIT
        return None

    def _over_device_limit(self, source_id: str) -> bool:
        devices_max = self._settings.devices_max
        if source_id in self._conditions.over_device_limit:
            return True
        if devices_max is None or self._store.source(source_id) is not None:
            return False
        return len(self._store.sources()) >= devices_max

    def commit(self, points: Sequence[Point], received_ms: int) -> None:
        """Store the points; raises StoreError (counted) having stored none. Blocks for the commit only."""
        try:
            result = self._store.insert(points, received_ms)
        except StoreError as error:
            self._counters.add("store_errors")
            _log.error("store refused a commit: %s", error)
            raise
        self._counters.add("points_stored", result.stored)
        self._counters.add("points_repeated", result.repeated)
        self._presence.stored({point.source_id for point in points})
        self._live.publish(points, received_ms)
