"""Durations as people write them."""

from __future__ import annotations

from typing import Any

MAX_S = 366 * 86400
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds_of(value: Any) -> float:
    """Seconds, out of a number or a text such as `90`, `250ms`, `30s`, `10m`, `2h` or `7d`.

    Raises `ValueError` for anything else, for 0 or less, and for more than 366 days.
    """
    text = str(value)
    unit = next((unit for unit in _UNITS if text.endswith(unit)), "")
    try:
        seconds = float(text.removesuffix(unit)) * _UNITS.get(unit, 1)
    except ValueError:
        seconds = 0.0
    if isinstance(value, bool) or not 0 < seconds <= MAX_S:
        raise ValueError(f"{value!r} is no duration such as 90, 250ms, 30s, 10m, 2h or 7d, at most 366d")
    return seconds
