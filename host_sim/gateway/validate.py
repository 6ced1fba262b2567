"""The checks of the Plexus gateway on a request body, in its order and its words. Pure.

Sources of the rules: ingest.go and validate.go of the Plexus gateway. Stricter in one point: a
timestamp that the Plexus store would lose without a word (after the year 2299) is refused here.
"""

from __future__ import annotations

import re
from typing import Any

from .settings import Settings
from .store.model import Point
from .strict_json import canonical

Groups = dict[str, list[Point]]
"""Points by source, sources in the order of their first point."""

SECONDS_BELOW = 1e12
"""A timestamp below this is in seconds: the rule of the Plexus gateway and of its SDKs."""

_SOURCE_ID = re.compile(r"[a-z0-9][a-z0-9._-]*")
_SOURCE_ID_TEXT = "^[a-z0-9][a-z0-9._-]*$"
_BYTES_PER_CHAR_MAX = 4
_QUOTED_MAX = 64
_NO_TAGS = "{}"


class Invalid(ValueError):
    """The request breaks a rule; the text is what the client is told."""


def validate(body: Any, settings: Settings, received_ms: int) -> Groups:
    """Check a parsed body and return its points by source; raises Invalid at the first fault.

    `received_ms` dates the points that carry no usable timestamp.
    """
    raw_points, default_source = _envelope(body, settings)
    checker = _Checker(settings, received_ms)
    groups: Groups = {}
    for index, raw in enumerate(raw_points):
        point = checker.point(index, raw, default_source)
        group = groups.get(point.source_id)
        if group is None:
            groups[point.source_id] = [point]
        else:
            group.append(point)
    return groups


def validate_frame(raw_points: Any, source_id: str, settings: Settings, received_ms: int) -> list[Point]:
    """Check the points of a WebSocket frame; raises Invalid at the first fault.

    All belong to the connection's source, whatever they say themselves: as device.go has it.
    """
    if type(raw_points) is not list:
        raise Invalid("points must be an array")
    if len(raw_points) > settings.points_max:
        raise Invalid(f"points array exceeds max size ({settings.points_max})")
    checker = _Checker(settings, received_ms)
    points = []
    for index, raw in enumerate(raw_points):
        if type(raw) is not dict:
            raise Invalid(f"points[{index}] must be an object")
        points.append(checker.own_point(index, raw, source_id))
    return points


def check_source_id(source_id: Any, settings: Settings) -> str:
    """The source_id of a `device_auth`; raises Invalid for one that cannot be."""
    if type(source_id) is not str:
        raise Invalid("source_id must be a string")
    if len(source_id) > settings.string_max_bytes:
        raise Invalid(f"source_id exceeds max length ({settings.string_max_bytes})")
    if not _SOURCE_ID.fullmatch(source_id):
        raise Invalid(f"source_id must match {_SOURCE_ID_TEXT}")
    return source_id


def _envelope(body: Any, settings: Settings) -> tuple[list[Any], str]:
    body = {} if body is None else body
    source_id = body.get("source_id") if type(body) is dict else 0
    if source_id is not None and type(source_id) is not str:
        raise Invalid("invalid JSON body")
    points = body.get("points")
    if type(points) is not list:
        raise Invalid("'points' array is required")
    if len(points) > settings.points_max:
        raise Invalid(f"too many points: {len(points)} (max {settings.points_max})")
    return points, source_id or ""


class _Checker:
    """The rules for one point, with the limits at hand."""

    def __init__(self, settings: Settings, received_ms: int) -> None:
        self._string_max = settings.string_max_bytes
        self._short = settings.string_max_bytes // _BYTES_PER_CHAR_MAX
        self._event_max = settings.event_max_bytes
        self._tags_max = settings.tags_max
        self._timestamp_max_ms = settings.timestamp_max_ms
        self._received_ms = received_ms
        self._good_source = ""

    def point(self, index: int, raw: Any, default_source: str) -> Point:
        if raw is None:
            raise Invalid(f"points[{index}] is null")
        if type(raw) is not dict:
            raise Invalid(f"points[{index}] must be an object")
        return self.own_point(index, raw, self._source(index, raw.get("source_id"), default_source))

    def own_point(self, index: int, raw: dict[str, Any], source_id: str) -> Point:
        cls = self._class(index, raw)
        metric = raw.get("metric")
        if type(metric) is not str or not metric or self._too_long(metric):
            raise Invalid(f"points[{index}].metric invalid")
        number = raw.get("value")
        plain = cls == "metric" and (type(number) is float or type(number) is int)
        value = canonical(number) if plain else self._value(index, cls, raw)
        timestamp_ms = (
            self._timestamp_ms(index, raw["timestamp"]) if "timestamp" in raw else self._received_ms
        )
        tags = self._tags(index, raw["tags"]) if "tags" in raw else _NO_TAGS
        return Point(source_id, cls, metric, tags, timestamp_ms, value)

    def _too_long(self, text: str) -> bool:
        return len(text) > self._short and len(text.encode()) > self._string_max

    def _source(self, index: int, own: Any, default: str) -> str:
        source_id = own if type(own) is str and own else default
        if source_id == self._good_source and source_id:
            return source_id
        if not source_id:
            raise Invalid(
                f"points[{index}] missing source_id (set top-level source_id or per-point source_id)"
            )
        if len(source_id) > self._string_max:
            raise Invalid(f"points[{index}] source_id exceeds max length ({self._string_max})")
        if not _SOURCE_ID.fullmatch(source_id):
            raise Invalid(f"points[{index}] source_id must match {_SOURCE_ID_TEXT}")
        self._good_source = source_id
        return source_id

    def _class(self, index: int, raw: dict[str, Any]) -> str:
        cls = raw.get("class")
        if cls == "metric":
            return "metric"
        if type(cls) is not str:
            return "metric" if type(raw.get("value")) in (int, float) else "event"
        if cls != "metric" and cls != "event":
            raise Invalid(f"points[{index}].class must be 'metric' or 'event', got {_quoted(cls)}")
        return cls

    def _value(self, index: int, cls: str, raw: dict[str, Any]) -> str:
        value = raw.get("value")
        if value is None:
            fault = "cannot be null" if "value" in raw else "is required"
            raise Invalid(f"points[{index}].value {fault}")
        if cls == "metric" and type(value) is not int and type(value) is not float:
            raise Invalid(f"points[{index}].value must be a number for class=metric")
        if type(value) is str and self._too_long(value):
            raise Invalid(f"points[{index}].value string exceeds max length ({self._string_max})")
        text = canonical(value)
        if type(value) in (dict, list) and len(text.encode()) > self._event_max:
            raise Invalid(f"points[{index}].value exceeds max bytes ({self._event_max})")
        return text

    def _timestamp_ms(self, index: int, raw: Any) -> int:
        if type(raw) is not int and type(raw) is not float:
            raise Invalid(f"points[{index}].timestamp must be a number")
        scaled = raw * 1000 if 0 < raw < SECONDS_BELOW else raw
        if scaled > self._timestamp_max_ms:
            raise Invalid(f"points[{index}].timestamp out of range (max {self._timestamp_max_ms} ms)")
        # A time of 0 or before stands for "no clock": the receive time takes its place.
        return round(scaled) if scaled >= 0.5 else self._received_ms

    def _tags(self, index: int, raw: Any) -> str:
        if type(raw) is not dict:
            raise Invalid(f"points[{index}].tags must be an object")
        if len(raw) > self._tags_max:
            raise Invalid(f"points[{index}].tags exceeds max entries ({self._tags_max})")
        for key, value in raw.items():
            self._tag(index, key, value)
        return canonical(raw) if raw else _NO_TAGS

    def _tag(self, index: int, key: str, value: Any) -> None:
        if self._too_long(key):
            raise Invalid(f"points[{index}].tags key too long")
        if type(value) is not str:
            raise Invalid(f"points[{index}].tags[{_quoted(key)}] must be a string")
        if self._too_long(value):
            raise Invalid(f"points[{index}].tags[{_quoted(key)}] value too long")


def _quoted(text: str) -> str:
    """What a client wrote, quoted and cut, so that an answer never grows with the question."""
    return '"' + text[:_QUOTED_MAX].replace('"', "'") + '"'
