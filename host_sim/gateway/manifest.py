"""What a device says it can be asked to do: the entries of `device_auth.commands`, checked as plexus-python does."""

from __future__ import annotations

import re
from typing import Any

NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
PARAMS_MAX = 16
ENUM_MAX = 64
EXPIRES_MIN_S, EXPIRES_MAX_S = 5.0, 3600.0
EXPIRES_DEFAULT_S = 30.0
_TYPES = ("string", "integer", "number", "boolean")
_WORDS = {"danger": ("normal", "dangerous", "critical"), "concurrency": ("accept", "reject")}
_TEXTS = ("title", "description")

Entry = dict[str, Any]


class BadEntry(ValueError):
    """An entry that is left out of the manifest."""


def read_manifest(entries: list[Any]) -> tuple[dict[str, Entry], list[str]]:
    """(the good entries by name, what is wrong with each of the others)."""
    good: dict[str, Entry] = {}
    faults = []
    for number, entry in enumerate(entries):
        try:
            found = _entry(entry)
        except BadEntry as fault:
            faults.append(f"commands[{number}]: {fault}")
        else:
            good[found["name"]] = found
    return good, faults


def _entry(entry: Any) -> Entry:
    if type(entry) is not dict:
        raise BadEntry("must be an object")
    name = _name("name", entry.get("name"))
    found: Entry = {"name": name, "params": _params(entry.get("params", {}))}
    for key, words in _WORDS.items():
        found[key] = entry.get(key, words[0])
        if found[key] not in words:
            raise BadEntry(f"{key} must be one of {', '.join(words)}")
    found["idempotent"] = entry.get("idempotent", False)
    if type(found["idempotent"]) is not bool:
        raise BadEntry("idempotent must be true or false")
    found["expires_in_s"] = entry.get("expires_in_s", EXPIRES_DEFAULT_S)
    check_expiry(found["expires_in_s"])
    for key in _TEXTS:
        if key in entry:
            if type(entry[key]) is not str:
                raise BadEntry(f"{key} must be a string")
            found[key] = entry[key]
    return found


def check_expiry(value: Any) -> None:
    if type(value) not in (int, float) or not EXPIRES_MIN_S <= value <= EXPIRES_MAX_S:
        raise BadEntry(f"expires_in_s must be a number from {EXPIRES_MIN_S:g} to {EXPIRES_MAX_S:g}")


def _name(what: str, name: Any) -> str:
    if type(name) is not str or NAME.fullmatch(name) is None:
        raise BadEntry(f"{what} must match ^{NAME.pattern}$")
    return name


def _params(params: Any) -> dict[str, Entry]:
    if type(params) is not dict or len(params) > PARAMS_MAX:
        raise BadEntry(f"params must be an object of at most {PARAMS_MAX} entries")
    return {_name("the name of a parameter", name): _spec(name, spec) for name, spec in params.items()}


def _spec(name: str, spec: Any) -> Entry:
    if type(spec) is not dict or spec.get("type") not in _TYPES:
        raise BadEntry(f"{name}: type must be one of {', '.join(_TYPES)}")
    choices = spec.get("enum", ["one"])
    good = type(choices) is list and 0 < len(choices) <= ENUM_MAX
    if not good or any(type(choice) is not str for choice in choices):
        raise BadEntry(f"{name}: enum must be a list of 1 to {ENUM_MAX} strings")
    return dict(spec)
