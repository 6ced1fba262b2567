"""Named counters: everything that goes wrong is counted here, nothing is swallowed."""

from __future__ import annotations

from collections import Counter


class Counters:
    """Counts by name; read with `counters["name"]` (0 when never counted) or `snapshot()`."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, name: str, count: int = 1) -> None:
        self._counts[name] += count

    def __getitem__(self, name: str) -> int:
        return self._counts[name]

    def snapshot(self) -> dict[str, int]:
        return dict(sorted(self._counts.items()))
