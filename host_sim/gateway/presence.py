"""Which sources there are, and which of them are there now."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import NamedTuple

from .settings import Settings
from .store import Source, Store


class Known(NamedTuple):
    """A source as readers see it; `last_seen_ms` in Unix milliseconds."""

    source_id: str
    online: bool
    last_seen_ms: int


class Presence:
    """Joins what is stored with who is connected.

    A source is online while its WebSocket is open, or when points of it came within `online_ms` and it has
    not closed a WebSocket since.
    """

    def __init__(self, settings: Settings, store: Store, now_ms: Callable[[], int]) -> None:
        self._settings = settings
        self._store = store
        self._now_ms = now_ms
        self._heard_ms: dict[str, int] = {}  # of connected devices, as many as connections
        self._left: OrderedDict[str, None] = OrderedDict()

    def heard(self, source_id: str) -> None:
        """A connected device has said something, the first time by connecting."""
        self._heard_ms[source_id] = self._now_ms()
        self._left.pop(source_id, None)

    def left(self, source_id: str) -> None:
        """The device has no connection any more. Of too many the first to leave is forgotten."""
        self._heard_ms.pop(source_id, None)
        self._left[source_id] = None
        if len(self._left) > self._settings.sources_tracked_max:
            self._left.popitem(last=False)

    def stored(self, source_ids: Iterable[str]) -> None:
        """Points of these sources were stored, whichever way they came."""
        for source_id in source_ids:
            self._left.pop(source_id, None)

    def all(self) -> list[Known]:
        """All sources, sorted by name; connected ones that have sent nothing too."""
        known = {source.source_id: self._known(source) for source in self._store.sources()}
        for source_id, heard_ms in self._heard_ms.items():
            known.setdefault(source_id, Known(source_id, True, heard_ms))
        return [known[source_id] for source_id in sorted(known)]

    def one(self, source_id: str) -> Known | None:
        source = self._store.source(source_id)
        if source is not None:
            return self._known(source)
        heard_ms = self._heard_ms.get(source_id)
        return None if heard_ms is None else Known(source_id, True, heard_ms)

    def online(self) -> list[str]:
        return [known.source_id for known in self.all() if known.online]

    def _known(self, source: Source) -> Known:
        name, seen_ms = source.source_id, source.last_seen_ms
        if name in self._heard_ms:
            return Known(name, True, max(seen_ms, self._heard_ms[name]))
        recent = self._now_ms() - seen_ms <= self._settings.online_ms
        return Known(name, recent and name not in self._left, seen_ms)
