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


class Incoming:
    """The body of one request as it streams in."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.complete = False

    async def chunk(self) -> bytes:
        """The next piece; raises ClientGone when there will be none."""
        message = await self._receive()
        if message["type"] != "http.request":
            raise ClientGone
        self.complete = not message.get("more_body", False)
        body: bytes = message.get("body", b"")
        return body

    async def drain(self, max_bytes: int) -> None:
        """Take in and forget what is left, at most `max_bytes` of it."""
        while not self.complete and max_bytes > 0:
            max_bytes -= len(await self.chunk())

    async def gone(self) -> None:
        """Wait until the client has hung up."""
        while (await self._receive())["type"] != "http.disconnect":
            pass


async def read_body(incoming: Incoming, gzipped: bool, declared_bytes: int, max_bytes: int) -> bytes:
    """The whole body, decompressed; counts while it streams in and stops at the limit."""
    if declared_bytes > max_bytes and not gzipped:
        raise BodyTooLarge
    raw = await _read_raw(incoming, gzipped, max_bytes)
    return gunzip(raw, max_bytes) if gzipped else raw


async def _read_raw(incoming: Incoming, gzipped: bool, max_bytes: int) -> bytes:
    raw = bytearray()
    while not incoming.complete:
        raw += await incoming.chunk()
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
