"""Reading a request body without ever holding more than the limit allows."""

from __future__ import annotations

import zlib

from starlette.types import Receive

_GZIP_WBITS = 31
_GZIP_MAGIC = b"\x1f\x8b\x08"
# Real bodies have one member. Each further one costs a copy of what is left, so thousands of
# empty members would keep the gateway busy for minutes.
_GZIP_MEMBERS_MAX = 16


class BodyTooLarge(Exception):
    """More bytes than the limit, as sent or after decompression."""


class BadGzip(Exception):
    """Announced as gzip, but it is not."""


class ClientGone(Exception):
    """The client left, or was cut off for being slow, before its body was complete."""


async def read_body(receive: Receive, gzipped: bool, declared_bytes: int, max_bytes: int) -> bytes:
    """The whole body, decompressed; counts while it streams in and stops at the limit."""
    if declared_bytes > max_bytes and not gzipped:
        raise BodyTooLarge
    raw = await _read_raw(receive, gzipped, max_bytes)
    return gunzip(raw, max_bytes) if gzipped else raw


async def _read_raw(receive: Receive, gzipped: bool, max_bytes: int) -> bytes:
    raw = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGone
        raw += message.get("body", b"")
        more = message.get("more_body", False)
        if gzipped:
            _check_magic(raw)
        if len(raw) > max_bytes:
            raise BodyTooLarge
    return bytes(raw)


def _check_magic(raw: bytearray) -> None:
    head = bytes(raw[: len(_GZIP_MAGIC)])
    if head != _GZIP_MAGIC[: len(head)]:
        raise BadGzip("not gzip")


def gunzip(raw: bytes, max_bytes: int) -> bytes:
    """Decompress all members of `raw`, never making more than `max_bytes` + 1 bytes."""
    out = bytearray()
    for _ in range(_GZIP_MEMBERS_MAX):
        member = zlib.decompressobj(wbits=_GZIP_WBITS)
        try:
            out += member.decompress(raw, max_bytes + 1 - len(out))
        except zlib.error as error:
            raise BadGzip(str(error)) from error
        if len(out) > max_bytes:
            raise BodyTooLarge
        if not member.eof:
            raise BadGzip("ends early")
        raw = member.unused_data
        if not raw:
            return bytes(out)
    raise BadGzip(f"more than {_GZIP_MEMBERS_MAX} members")
