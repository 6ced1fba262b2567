"""Scenario files: what happens to a board, and when, as data.

    [[event]]
    at = "2m"              # or: every = "1h", times = 5, call = "machine.i2c_read_mem", post = 7
    fault = "wifi"
    for = "30s"

Times are seconds or texts such as 90, "30s", "10m", "2h", "7d". What each fault takes: `faults.FAULTS`. Above the
events a file may say what it `teaches`, how long it takes (`seconds`), on which `board` it is meant to be played, with
which `seed`, and how the board reaches the `gateway`.
"""

from __future__ import annotations

import json
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
# How boards reach the gateway: by its address, by a name that has to be resolved, or by that name over TLS.
ROUTES = ("address", "name", "tls")
GALLERY = Path(__file__).resolve().parent / "scenarios"
_HEAD = ("name", "teaches", "seconds", "board", "seed", "gateway", "event")
# Settings that tell kinds of one fault apart.
_CHOICES = ("state", "mode", "action", "answer", "certificate", "socket", "to")


class ScenarioError(ValueError):
    """A scenario file says something that cannot be: `file:line: key: what is wrong`."""


@dataclass(frozen=True)
class Event:
    """One fault. One of the first five says when, or `call` and `at_s`; times in seconds of board time.

    `at_s` once; `every_s` again and again; `times` so often, at moments drawn from the seed; the `nth` call
    of the board operation `call`, with `at_s` counted from then on; the gateway's POST number `post`.
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

    def kind(self) -> str:
        """The fault, and which of its kind: "wifi down", "gateway lost"."""
        told = [str(self.settings[key]) for key in _CHOICES if key in self.settings]
        if self.fault == "tls":  # the certificate counts where it is shown
            told = told[-1:] if told[0] == "tls" else told[:1]
        elif self.fault == "gateway" and self.settings["answer"] == "status":
            told = [str(self.settings["status"])]
        return " ".join([self.fault, *told])


@dataclass(frozen=True)
class Scenario:
    """A named list of events; `seconds` is how long it wants to run, `path` its file, if it says.

    `teaches` is a sentence for people, `board` the constants file it is meant for, as it is written there.
    """

    name: str
    events: list[Event] = field(default_factory=list)
    seconds: float | None = None
    path: Path | None = None
    teaches: str = ""
    board: str | None = None
    seed: int | None = None
    gateway: str = ROUTES[0]

    def board_file(self) -> Path | None:
        """Where its board is: beside the file, or in boards/."""
        if self.board is None:
            return None
        beside = (self.path or GALLERY).parent / self.board
        return beside if beside.exists() else GALLERY.parent.parent / "boards" / self.board

    def kinds(self) -> set[str]:
        return {event.fault for event in self.events}

    def error(self, event: Event, key: str, what: str) -> ScenarioError:
        """What is wrong with an event that reads well but cannot be played."""
        return ScenarioError(f"{self.path or self.name}:{event.line}: {key}: {what}")


def gallery() -> list[Scenario]:
    """The scenarios that come with the simulator, by name."""
    return [load_scenario(path) for path in sorted(GALLERY.glob("*.toml"))]


def find_scenario(name: str) -> Scenario:
    """A scenario file by its path, or one of the gallery by its name. Raises `ScenarioError`."""
    for path in (Path(name), GALLERY / f"{name}.toml"):
        if path.is_file():
            return load_scenario(path)
    known = ", ".join(path.stem for path in sorted(GALLERY.glob("*.toml")))
    raise ScenarioError(f"{name}: no such file, and none of the gallery: {known}")


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
            if key not in _HEAD:
                raise self._error(None, key, f"is no key of a scenario: {', '.join(_HEAD[:-1])}, [[event]]")
        entries = document.get("event", [])
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise self._error(None, "event", "must be written [[event]]")
        if len(entries) > EVENTS_MAX:
            raise self._error(None, "event", f"occurs {len(entries)} times, the limit is {EVENTS_MAX}")
        head = {"name": self._path.stem, **self._head(document)}
        events = [self._event(i, entry) for i, entry in enumerate(entries)]
        return Scenario(events=events, path=self._path, **head)

    def _head(self, document: dict[str, Any]) -> dict[str, Any]:
        keys = {name: Key("text") for name in ("name", "teaches", "board")}
        keys |= {"seconds": Key("time"), "seed": Key("whole", maximum=_NTH_MAX)}
        keys["gateway"] = Key("text", choices=ROUTES)
        return {
            name: self._checked(None, name, document[name], keys[name]) for name in keys if name in document
        }

    def _event(self, index: int, entry: dict[str, Any]) -> Event:
        fault = entry.get("fault")
        if fault is None:
            raise self._error(index, None, "has no fault")
        if fault not in FAULTS:
            raise self._error(index, "fault", f"{fault!r} is none of {', '.join(sorted(FAULTS))}")
        when = [key for key in _WHEN if key in entry]
        if len(when) != 1 and when != ["at", "call"]:
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
    """When an event of given times happens, or is armed, in a run of `duration_s`, in seconds from its start."""
    if event.at_s is not None:
        return [event.at_s] if event.at_s < duration_s else []
    if event.every_s is not None:
        return [event.every_s * i for i in range(1, int(duration_s / event.every_s) + 1)]
    if event.times is not None:
        return sorted(rng.uniform(0, duration_s) for _ in range(event.times))
    return []


def dump(scenario: Scenario) -> str:
    """The text of a scenario file: what `load_scenario` reads as the same events."""
    head = {name: getattr(scenario, name) for name in _HEAD[:-1]}
    lines = [f"{name} = {_toml(value)}" for name, value in head.items() if value not in (None, "")]
    for event in scenario.events:
        when = {"at": event.at_s, "every": event.every_s, "times": event.times, "call": event.call}
        when |= {"nth": event.nth if event.call else None, "post": event.post, "fault": event.fault}
        defaults = {name: key.default for name, key in FAULTS[event.fault].keys.items()}
        told = {name: value for name, value in event.settings.items() if value != defaults[name]}
        lines += ["", "[[event]]"]
        lines += [f"{name} = {_toml(value)}" for name, value in (when | told).items() if value is not None]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    return json.dumps(value) if isinstance(value, str) else repr(value)
