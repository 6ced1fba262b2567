"""The `cpython` VM computes the library's byte loops in C, and only where they mean the same."""

from __future__ import annotations

import types

from hypothesis import given
from hypothesis import strategies as st
from plexus_mp import crc, ws

from host_sim.vms import shortcuts


def _module(name: str, **contents: object) -> types.ModuleType:
    module = types.ModuleType(name)
    vars(module).update(contents)
    shortcuts.take(name, module)
    return module


_CRC = _module("plexus_mp.crc", crc24=crc.crc24, _TABLE=crc._TABLE)
_WS = _module("plexus_mp.ws", mask=ws.mask)


def test_they_are_taken() -> None:
    assert _CRC.crc24 is not crc.crc24
    assert _WS.mask is not ws.mask


@given(st.integers(0, 0xFFFFFF), st.binary(max_size=300), st.integers(0, 20))
def test_crc(begin: int, data: bytes, start: int) -> None:
    start = min(start, len(data))
    assert _CRC.crc24(begin, data, start, len(data)) == crc.crc24(begin, data, start, len(data))


@given(st.binary(min_size=4, max_size=300), st.integers(4, 20))
def test_mask(data: bytes, at: int) -> None:
    at = min(at, len(data))
    ours, own = memoryview(bytearray(data)), memoryview(bytearray(data))
    _WS.mask(ours, at, len(data) - at)
    ws.mask(own, at, len(data) - at)
    assert ours == own


def test_a_library_that_computes_something_else_keeps_its_own() -> None:
    def crc24(crc: int, buf: bytes, start: int, end: int) -> int:
        return sum(buf[start:end]) & 0xFFFFFF

    def mask(buf: memoryview, at: int, n: int) -> None:
        """As a library that sends in the clear."""

    assert _module("plexus_mp.crc", crc24=crc24, _TABLE=crc._TABLE).crc24 is crc24
    assert _module("plexus_mp.ws", mask=mask).mask is mask
    assert _module("plexus_mp.link", mask=mask).mask is mask


def test_nor_does_one_with_other_arguments_or_another_table_lose_them() -> None:
    def mask(buf: memoryview) -> None:
        """As a library that masks a whole buffer."""

    assert _module("plexus_mp.ws", mask=mask).mask is mask
    assert _module("plexus_mp.crc", crc24=crc.crc24).crc24 is crc.crc24
    reflected = tuple(reversed(crc._TABLE))
    own = types.FunctionType(crc.crc24.__code__, {"_TABLE": reflected})
    changed = _module("plexus_mp.crc", crc24=own, _TABLE=reflected)
    assert changed.crc24(1, b"abc", 0, 3) == own(1, b"abc", 0, 3) != crc.crc24(1, b"abc", 0, 3)
