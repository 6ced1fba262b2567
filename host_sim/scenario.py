"""Scenario files: what happens to a board, and when, as data.

    [[event]]
    at = "2m"              # or: every = "1h", times = 5, call = "machine.i2c_read_mem", post = 7
    fault = "wifi"
    for = "30s"

Times are seconds or texts such as 90, "30s", "10m", "2h", "7d". What each fault takes: `faults.FAULTS`.
"""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .durations import seconds_of
from .faults import FAULTS, Key

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

EVENTS_MAX = 10_000
_NTH_MAX = 1_000_000_000
_WHEN = ("at", "every", "times", "call", "post")


class ScenarioError(ValueError):
    """A scenario file says something that cannot be: `file:line: key: what is wrong`."""


@dataclass(frozen=True)
class Event:
    """One fault. Exactly one of the first five says when; times in seconds of board time.

    `at_s` once; `every_s` again and again; `times` so often, at moments drawn from the seed; the `nth` call
    of the board operation `call`; the gateway's POST number `post`.
    """

    fault: str
    settings: Mapping[str, Any]
    at_s: float | None = None
    every_s: float | None = None
    times: int | None = None
    call: str | None = None
    nth: int = 1
    post: int | None = None
    line: int = 0


@dataclass(frozen=True)
class Scenario:
    """A named list of events; `seconds` is how long it wants to run, `path` its file, if it says."""

    name: str
    events: list[Event] = field(default_factory=list)
    seconds: float | None = None
    path: Path | None = None

    def kinds(self) -> set[str]:
        return {event.fault for event in self.events}

    def error(self, event: Event, key: str, what: str) -> ScenarioError:
        """What is wrong with an event that reads well but cannot be played."""
        return ScenarioError(f"{self.path or self.name}:{event.line}: {key}: {what}")


def load_scenario(path: Path) -> Scenario:
    """Read a scenario file. Raises `ScenarioError` naming file, line and key."""
    text = path.read_text()
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise ScenarioError(f"{path}: {e}") from None
    return _Reader(path, text).scenario(document)


def make_scenario(name: str, entries: Sequence[Mapping[str, Any]]) -> Scenario:
    """A scenario of events as a file would have them. Raises `ScenarioError`."""
    return _Reader(Path(name), "").scenario({"name": name, "event": [dict(entry) for entry in entries]})


class _Reader:
    """Turns the parsed document into a scenario; knows where each key stands in the file."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._lines = text.splitlines()

    def scenario(self, document: dict[str, Any]) -> Scenario:
        for key in document:
            if key not in ("name", "seconds", "event"):
                raise self._error(None, key, "is no key of a scenario: name, seconds, [[event]]")
        name = document.get("name", self._path.stem)
        if not isinstance(name, str):
            raise self._error(None, "name", "must be a text")
        entries = document.get("event", [])
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise self._error(None, "event", "must be written [[event]]")
        if len(entries) > EVENTS_MAX:
            raise self._error(None, "event", f"occurs {len(entries)} times, the limit is {EVENTS_MAX}")
        seconds = document.get("seconds")
        if seconds is not None:
            seconds = self._checked(None, "seconds", seconds, Key("time"))
        events = [self._event(i, entry) for i, entry in enumerate(entries)]
        return Scenario(name, events, seconds, self._path)

    def _event(self, index: int, entry: dict[str, Any]) -> Event:
        fault = entry.get("fault")
        if fault is None:
            raise self._error(index, None, "has no fault")
        if fault not in FAULTS:
            raise self._error(index, "fault", f"{fault!r} is none of {', '.join(sorted(FAULTS))}")
        when = [key for key in _WHEN if key in entry]
        if len(when) != 1:
            raise self._error(index, None, f"needs exactly one of {', '.join(_WHEN)}")
        if "nth" in entry and "call" not in entry:
            raise self._error(index, "nth", "needs call")
        settings = self._settings(index, fault, entry)
        return Event(fault, settings, line=self._line(index, None), **self._when(index, entry))

    def _when(self, index: int, entry: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, name, kind in (
            ("at", "at_s", "time"),
            ("every", "every_s", "time"),
            ("times", "times", "count"),
        ):
            if key in entry:
                found[name] = self._checked(index, key, entry[key], Key(kind))
        if "call" in entry:
            found["call"] = self._checked(index, "call", entry["call"], Key("text"))
        for key in ("nth", "post"):
            if key in entry:
                found[key] = self._checked(index, key, entry[key], Key("count", maximum=_NTH_MAX))
        return found

    def _settings(self, index: int, fault: str, entry: dict[str, Any]) -> dict[str, Any]:
        keys = FAULTS[fault].keys
        settings = {name: key.default for name, key in keys.items()}
        for name, value in entry.items():
            if name in _WHEN or name in ("fault", "nth"):
                continue
            if name not in keys:
                known = ", ".join(sorted(keys)) or "no settings"
                raise self._error(index, name, f"is no setting of {fault}: {known}")
            settings[name] = self._checked(index, name, value, keys[name])
        for name, key in keys.items():
            if key.required and settings[name] is None:
                raise self._error(index, None, f"{fault} needs {name}")
        return settings

    def _checked(self, index: int | None, name: str, value: Any, key: Key) -> Any:
        try:
            return key.check(value, seconds_of)
        except ValueError as e:
            raise self._error(index, name, str(e)) from None

    # where things stand

    def _error(self, index: int | None, key: str | None, what: str) -> ScenarioError:
        where = f"{self._path}:{self._line(index, key)}"
        subject = key if key is not None else "event"
        return ScenarioError(f"{where}: {subject}: {what}")

    def _line(self, index: int | None, key: str | None) -> int:
        """The line of `key`, of the event with that number or of the file's head; 1 when it is not found."""
        seen = -1
        start = 1
        for number, line in enumerate(self._lines, 1):
            if re.match(r"\s*\[\[\s*event\s*\]\]", line):
                seen += 1
                start = number if seen == index else start
            here = seen == (-1 if index is None else index)
            if here and key is not None and re.match(rf"""\s*["']?{re.escape(key)}["']?\s*=""", line):
                return number
        return start


def moments(event: Event, duration_s: float, rng: random.Random) -> list[float]:
    """When an event of given times happens in a run of `duration_s`, in seconds from its start."""
    if event.at_s is not None:
        return [event.at_s] if event.at_s < duration_s else []
    if event.every_s is not None:
        return [event.every_s * i for i in range(1, int(duration_s / event.every_s) + 1)]
    if event.times is not None:
        return sorted(rng.uniform(0, duration_s) for _ in range(event.times))
    return []
