"""Answers as values, and how they are sent over ASGI."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson
from starlette.types import Send

Headers = tuple[tuple[bytes, bytes], ...]

CORS_HEADERS: Headers = (
    # As sent by ingest.go of the Plexus gateway on every answer of /ingest.
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"POST, OPTIONS"),
    (b"access-control-allow-headers", b"Content-Type, x-api-key"),
    (b"access-control-max-age", b"86400"),
)


@dataclass(frozen=True)
class Reply:
    """An HTTP answer: status, body bytes, and headers beyond type and length."""

    status: int
    body: bytes = b""
    headers: Headers = ()

    @classmethod
    def json(cls, status: int, content: Any, headers: Headers = ()) -> Reply:
        return cls(status, orjson.dumps(content), ((b"content-type", b"application/json"), *headers))

    @classmethod
    def error(cls, status: int, text: str) -> Reply:
        """The error body of the device endpoints: `{"error":"…"}`."""
        return cls.json(status, {"error": text})


async def send_reply(send: Send, reply: Reply) -> None:
    headers = list(reply.headers)
    if reply.status != 204:
        headers.append((b"content-length", b"%d" % len(reply.body)))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
