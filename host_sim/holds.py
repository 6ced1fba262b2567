"""Faults that overlap: of those on one thing the newest shows, and each ends only itself."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any


class Hold:
    """One fault's hold on a thing: from `begin` to `end` the thing is `value`, if no newer one says otherwise."""

    def __init__(
        self, layers: list[Hold], read: Callable[[], Any], put: Callable[[Any], object], value: Any
    ) -> None:
        self._layers = layers
        self._read = read
        self._put = put
        self._value = value
        self._rest: Any = None

    def begin(self) -> None:
        """Take hold; `put` is called last, for it may be the end of who calls."""
        newest = self._layers[-1] if self._layers else None
        self._rest = newest._rest if newest else self._read()
        before = newest._value if newest else self._rest
        self._layers.append(self)
        if self._value != before:
            self._put(self._value)

    def end(self) -> None:
        """Let go; the last one gives back what was before the first."""
        if self not in self._layers:
            return
        before = self._layers[-1]._value
        self._layers.remove(self)
        after = self._layers[-1]._value if self._layers else self._rest
        if after != before:
            self._put(after)


class Holds:
    """All holds on the things of one board, or of the gateway; a thing has a name."""

    def __init__(self) -> None:
        self._layers: dict[Hashable, list[Hold]] = {}

    def make(
        self, thing: Hashable, read: Callable[[], Any], put: Callable[[Any], object], value: Any
    ) -> Hold:
        """A hold that has not begun. `read` gives what the thing is now, `put` changes it."""
        return Hold(self._layers.setdefault(thing, []), read, put, value)

    def begin(
        self, thing: Hashable, read: Callable[[], Any], put: Callable[[Any], object], value: Any
    ) -> Callable[[], None]:
        """Hold from now on; call the result to end it."""
        hold = self.make(thing, read, put, value)
        hold.begin()
        return hold.end
