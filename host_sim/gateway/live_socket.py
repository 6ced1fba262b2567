"""`/ws/browser`: one browser's conversation, after browser.go of the Plexus gateway."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable
from typing import Any

import orjson
from starlette.types import Receive, Scope, Send

from .auth import Authenticator
from .counters import Counters
from .live import Live, Viewer
from .settings import Settings

POLICY_VIOLATION = 1008
TOO_BIG = 1009
TRY_AGAIN_LATER = 1013


class _Closed(Exception):
    """The conversation is over; `code` is what to close with, None when the browser closed."""

    def __init__(self, code: int | None = None, reason: str = "") -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class LiveSocket:
    """ASGI application for the browser's socket. `page_token` opens it for reading only."""

    def __init__(
        self,
        settings: Settings,
        live: Live,
        counters: Counters,
        authenticator: Authenticator,
        now_ms: Callable[[], int],
        page_token: str,
    ) -> None:
        self._settings = settings
        self._live = live
        self._counters = counters
        self._authenticator = authenticator
        self._now_ms = now_ms
        self._page_token = page_token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        await send({"type": "websocket.accept"})
        try:
            await self._converse(receive, send)
        except _Closed as closed:
            if closed.code is not None:
                self._counters.add(f"browser_closed_{closed.code}")
                await _send_json(send, {"type": "error", "message": closed.reason})
                await send({"type": "websocket.close", "code": closed.code, "reason": closed.reason})

    async def _converse(self, receive: Receive, send: Send) -> None:
        self._authenticate(await self._read(receive, self._settings.browser_auth_s))
        viewer = self._live.attach()
        if viewer is None:
            raise _Closed(TRY_AGAIN_LATER, f"too many browsers (max {self._settings.browsers_max})")
        writer: asyncio.Task[None] | None = None
        try:
            await send({"type": "websocket.send", "text": self._live.init_message()})
            writer = asyncio.get_running_loop().create_task(self._write(viewer, send))
            while True:
                self._obey(await self._read(receive, self._settings.browser_idle_s), viewer)
        finally:
            self._live.detach(viewer)
            if writer is not None:
                await self._finish(writer)

    async def _write(self, viewer: Viewer, send: Send) -> None:
        while True:
            await send({"type": "websocket.send", "text": await viewer.next()})

    async def _finish(self, writer: asyncio.Task[None]) -> None:
        """Stop the writer; one that ended by itself met a broken socket, or a fault."""
        writer.cancel()
        await asyncio.wait([writer])
        if not writer.cancelled() and writer.exception() is not None:
            self._counters.add(f"browser_writer_{type(writer.exception()).__name__}")

    def _authenticate(self, message: dict[str, Any]) -> None:
        kind = message.get("type")
        if kind == "share_auth" and self._token_fits(message.get("token")):
            return
        api_key = message.get("api_key")
        if kind == "data_api_auth" and isinstance(api_key, str):
            grant = self._authenticator.verify(api_key, self._now_ms())
            if grant is not None and "read" in grant.scopes:
                return
        raise _Closed(POLICY_VIOLATION, "auth failed")

    def _token_fits(self, token: Any) -> bool:
        return isinstance(token, str) and hmac.compare_digest(token.encode(), self._page_token.encode())

    def _obey(self, message: dict[str, Any], viewer: Viewer) -> None:
        kind = message.get("type")
        if kind == "ready":
            viewer.ready()
        elif kind == "ping":
            viewer.push_urgent('{"type":"pong"}')
        else:
            self._counters.add("browser_messages_unknown")

    async def _read(self, receive: Receive, timeout_s: float) -> dict[str, Any]:
        try:
            event = await asyncio.wait_for(receive(), timeout_s)
        except asyncio.TimeoutError:
            raise _Closed(POLICY_VIOLATION, f"silent for {timeout_s:g} s") from None
        if event["type"] == "websocket.disconnect":
            raise _Closed
        text = event.get("text") or ""
        if len(text) > self._settings.browser_message_max_bytes:
            raise _Closed(TOO_BIG, f"message too big (max {self._settings.browser_message_max_bytes} bytes)")
        try:
            message = orjson.loads(text)
        except orjson.JSONDecodeError:
            raise _Closed(POLICY_VIOLATION, "not JSON") from None
        return message if isinstance(message, dict) else {}


async def _send_json(send: Send, content: dict[str, Any]) -> None:
    await send({"type": "websocket.send", "text": orjson.dumps(content).decode()})
