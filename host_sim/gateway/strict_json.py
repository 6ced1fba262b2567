"""JSON that means exactly one thing, or no JSON at all.

orjson refuses NaN, Infinity, numbers beyond a double, lone surrogates, invalid UTF-8 and nesting
beyond 1,024 levels. It lets two things pass that would silently change a reading: a key given
twice (the first value vanishes) and an integer beyond 64 bits (its digits vanish). Both are
refused here.
"""

from __future__ import annotations

import json
from typing import Any

import orjson

INT_MIN = -(2**63)
INT_MAX = 2**64 - 1
_INT_DIGITS_MAX = 20
_SAME_DIGITS = bytes.maketrans(b"123456789", b"0" * 9)
_MAYBE_HUGE = b"0" * 19


class InvalidJson(ValueError):
    """The bytes are not JSON, or not unambiguous JSON."""


def parse(body: bytes) -> Any:
    """Parse `body`; raises InvalidJson for whatever is not plain, unambiguous JSON."""
    try:
        value = orjson.loads(body)
        written = orjson.dumps(value)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError) as error:
        raise InvalidJson(str(error)) from error
    # Written again, the text has as many quotes as before unless a key was lost (or a quote was
    # spelled \u0022). That one comparison spares well-formed bodies the slow parser.
    huge = _MAYBE_HUGE in body.translate(_SAME_DIGITS)
    if huge or written.count(b'"') != body.count(b'"') or b"\\u0022" in body:
        _look_closely(body)
    return value


def _look_closely(body: bytes) -> None:
    try:
        json.loads(body.decode(), object_pairs_hook=_unique, parse_int=_bounded)
    except (ValueError, RecursionError) as error:
        raise InvalidJson(str(error)) from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise InvalidJson("key given twice")
    return found


def _bounded(digits: str) -> int:
    # The length is looked at first: converting megabytes of digits takes quadratic time.
    if len(digits.lstrip("-")) > _INT_DIGITS_MAX or not INT_MIN <= int(digits) <= INT_MAX:
        raise InvalidJson("integer beyond 64 bits")
    return int(digits)


def canonical(value: Any) -> str:
    """Compact JSON with sorted keys and integral numbers as integers: equal values, equal text."""
    return orjson.dumps(_integral(value), option=orjson.OPT_SORT_KEYS).decode()


def _integral(value: Any) -> Any:
    if type(value) is float:
        return int(value) if value.is_integer() and INT_MIN <= value <= INT_MAX else value
    if type(value) is dict:
        return {key: _integral(item) for key, item in value.items()}
    if type(value) is list:
        return [_integral(item) for item in value]
    return value
