"""Loops of the device library over bytes, in the few calls into C that CPython has for them.

A board computes a CRC or a WebSocket mask byte by byte, and its virtual time does not pass meanwhile; here that
would be an eighth of a simulated week. The `cpython` VM puts these functions in the place of the library's, after it
has seen them agree on bytes of each length: a library that computes something else keeps its own.
"""

from __future__ import annotations

import random
import types
from collections.abc import Callable
from typing import Any

import crcmod

_LENGTHS = 80


def _crc24(table: tuple[int, ...]) -> Callable[..., int]:
    of = crcmod.mkCrcFun(1 << 24 | table[1], initCrc=0, rev=False)
    return lambda crc, buf, start, end: of(buf[start:end], crc)


def _mask(table: tuple[int, ...]) -> Callable[..., None]:
    def mask(buf: Any, at: int, n: int) -> None:
        key = bytes(buf[at - 4 : at]) * (n // 4 + 1)
        masked = int.from_bytes(buf[at : at + n], "big") ^ int.from_bytes(key[:n], "big")
        buf[at : at + n] = masked.to_bytes(n, "big")

    return mask


def _crcs_agree(one: Callable[..., int], other: Callable[..., int]) -> bool:
    data = bytearray(random.Random(0).randbytes(_LENGTHS))
    return all(one(n << 16, data, 3, n) == other(n << 16, data, 3, n) for n in range(3, _LENGTHS))


def _masks_agree(one: Callable[..., None], other: Callable[..., None]) -> bool:
    ours, theirs = (memoryview(bytearray(random.Random(0).randbytes(_LENGTHS))) for _ in range(2))
    for n in range(_LENGTHS - 8):
        one(ours, 7, n)
        other(theirs, 7, n)
    return ours == theirs


_SHORTCUTS: dict[str, tuple[str, Callable[..., Any], Callable[..., bool]]] = {
    "plexus_mp.crc": ("crc24", _crc24, _crcs_agree),
    "plexus_mp.ws": ("mask", _mask, _masks_agree),
}
_agreed: dict[tuple[types.CodeType, tuple[int, ...]], Callable[..., Any] | None] = {}


def take(name: str, module: types.ModuleType) -> None:
    """Put the shortcuts for the module that was loaded under `name` into it, where they do what its own do."""
    if name not in _SHORTCUTS:
        return
    function, make, agree = _SHORTCUTS[name]
    own = getattr(module, function, None)
    if not isinstance(own, types.FunctionType):
        return
    table = tuple(getattr(module, "_TABLE", ()))
    key = own.__code__, table
    if key not in _agreed:
        _agreed[key] = _agreed_on(make, agree, own, table)
    if _agreed[key] is not None:
        setattr(module, function, _agreed[key])


def _agreed_on(
    make: Callable[..., Any], agree: Callable[..., bool], own: types.FunctionType, table: tuple[int, ...]
) -> Callable[..., Any] | None:
    try:
        shortcut: Callable[..., Any] = make(table)
        return shortcut if agree(shortcut, own) else None
    except Exception:  # one that takes other arguments, or has another table, is another function: it stays
        return None
