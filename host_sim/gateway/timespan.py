"""Times and spans of time as the read APIs write them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import NamedTuple

from .validate import SECONDS_BELOW

HOUR_MS = 3_600_000
_UNIT_MS = {"m": 60_000, "h": HOUR_MS, "d": 24 * HOUR_MS}
_LAST = re.compile(r"([0-9]{1,6})([mhd])")
_DIGITS = re.compile(r"[0-9]{1,14}(\.[0-9]{1,6})?")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Span(NamedTuple):
    """From and to, Unix milliseconds, both included."""

    from_ms: int
    to_ms: int


def parse_time_ms(text: str) -> int:
    """ISO 8601 (UTC when it names no zone) or a Unix time in seconds or ms; raises ValueError."""
    if _DIGITS.fullmatch(text):
        number = float(text)
        return round(number * 1000 if number < SECONDS_BELOW else number)
    # A '+' in a query string arrives as a space, and Python 3.10 does not read a final Z.
    moment = datetime.fromisoformat(re.sub(r" (\d\d:\d\d)$", r"+\1", text).replace("Z", "+00:00"))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def parse_last_ms(text: str) -> int:
    """A length of time such as 15m, 1h or 7d, in ms; raises ValueError."""
    found = _LAST.fullmatch(text)
    if found is None:
        raise ValueError(f"last must be digits followed by m, h or d, got {text[:32]!r}")
    return int(found[1]) * _UNIT_MS[found[2]]


def span_of(query: Mapping[str, str], now_ms: int, default_ms: int = HOUR_MS) -> Span:
    """The span that `last`, or `start` with `end`, ask for; raises ValueError."""
    start, end = query.get("start"), query.get("end")
    if (start is None) != (end is None):
        raise ValueError("start and end must be given together")
    if start is not None and end is not None:
        return Span(parse_time_ms(start), parse_time_ms(end))
    last = query.get("last")
    return Span(now_ms - (default_ms if last is None else parse_last_ms(last)), now_ms)


def iso_text(ms: int) -> str:
    """`2026-10-20T08:30:00.000Z`"""
    return _moment(ms).strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03d}Z"


def clickhouse_text(ms: int) -> str:
    """`2026-10-20 08:30:00.000`: ClickHouse's default, UTC; sorts as text."""
    return _moment(ms).strftime("%Y-%m-%d %H:%M:%S.") + f"{ms % 1000:03d}"


def _moment(ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=ms)
