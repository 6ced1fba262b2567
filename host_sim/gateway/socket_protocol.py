"""uvicorn's WebSocket protocol with what ASGI has no word for: pings, a silent end, a goodbye."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import wsproto.events
from uvicorn.config import Config
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.wsproto_impl import WSProtocol
from uvicorn.server import ServerState
from wsproto.connection import ConnectionState

from .plain_frames import Between, frame_of, text_of

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent

    from .app import Gateway

GOING_AWAY = 1001
GOODBYE_REASON = "gateway restarting"


class GatewayWebSocket(WSProtocol):
    """WebSocket on one connection; the application finds it in `scope["state"]["socket"]`.

    Plain text frames, which nearly all are, go past wsproto, whenever that stands between two messages.
    `hears_goodbye` is None until the application says that a device is at the other end, and then whether
    it may be sent a close frame at a shutdown.
    """

    gateway: Gateway

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, {**app_state, "socket": self}, _loop)
        self.hears_goodbye: bool | None = None
        self.ended = False  # by the gateway: what is still queued of the device is not looked at
        self._heard_s = self.loop.time()
        self._between = Between()  # wsproto is in the midst of neither a frame nor a message
        self._left_open = False
        self._watch: asyncio.TimerHandle | None = None

    @property
    def open(self) -> bool:
        """Whether frames still go both ways."""
        return self.handshake_complete and not (
            self.close_sent or self.disconnected or self.transport.is_closing()
        )

    def data_received(self, data: bytes) -> None:
        if self._left_open:
            self.gateway.counters.add("bytes_after_goodbye", len(data))
            return
        self._heard_s = self.loop.time()
        text = text_of(data) if self._between and self.open else None
        if text is None or len(data) > self.config.ws_max_size:
            self._between.hear(data)
            super().data_received(data)
        else:
            self._take(text)

    def _take(self, text: str) -> None:
        """One message at a time, as uvicorn does it: until the application asks for it nothing more is read."""
        self.queue.put_nowait({"type": "websocket.receive", "text": text})
        if not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_watch()
        super().connection_lost(exc)

    def handle_close(self, event: wsproto.events.CloseConnection) -> None:
        # What breaks RFC 6455 comes as a close that nobody sent: uvicorn would end without saying why.
        if self.conn.state is ConnectionState.OPEN and not self.transport.is_closing():
            self.transport.write(self.conn.send(event))
        super().handle_close(event)

    def handle_ping(self, event: wsproto.events.Ping) -> None:
        if self.writable.is_set():
            super().handle_ping(event)
        elif not self.ended:  # answers that nobody reads would pile up
            self.gateway.counters.add("pings_unread")
            self.abort()

    async def send(self, message: ASGISendEvent) -> None:
        if not self.writable.is_set():
            await self.writable.wait()
        if message["type"] == "websocket.send":
            if self.close_sent:  # a goodbye came in between
                raise ClientDisconnected
            text = message.get("text")
            frame = frame_of(text) if text is not None and self.open else None
            if frame is not None:
                self.transport.write(frame)
                return
        await super().send(message)

    def watch(self, ping_s: float, silence_s: float) -> None:
        """Ping every `ping_s`; abort when nothing was heard for `silence_s`, looking at every ping.

        While the gateway does not read because it is busy, and not because the other side does not, it waits.
        """
        busy = self.read_paused and self.writable.is_set()
        if not busy and self.loop.time() - self._heard_s >= silence_s:
            self.gateway.counters.add("devices_silent")
            self.abort()
            return
        self._watch = self.loop.call_later(ping_s, self._ping, ping_s, silence_s)

    def _ping(self, ping_s: float, silence_s: float) -> None:
        if self.open:
            self.transport.write(self.conn.send(wsproto.events.Ping()))
            self.watch(ping_s, silence_s)

    def _end_watch(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def abort(self) -> None:
        """End the connection without a close frame."""
        self.ended = True
        self.transport.abort()

    def say_goodbye(self, left_open_s: float = 0.0) -> None:
        """Close with 1001. The socket closes when the client answers.

        With `left_open_s` it stays open for so long, whatever the client answers or sends, as behind a proxy.
        """
        if not self.open:
            return
        self._end_watch()
        close = wsproto.events.CloseConnection(code=GOING_AWAY, reason=GOODBYE_REASON)
        self.transport.write(self.conn.send(close))
        self.close_sent = self.ended = True
        self.queue.put_nowait({"type": "websocket.disconnect", "code": GOING_AWAY, "reason": GOODBYE_REASON})
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self._left_open = left_open_s > 0
        self.close_timer = self.loop.call_later(left_open_s or self.close_timeout, self.transport.close)

    def shutdown(self) -> None:
        """The server goes: a goodbye to devices that hear it, a silent end to the others."""
        if self.hears_goodbye is None or not self.open:
            super().shutdown()
        elif self.hears_goodbye:
            self.say_goodbye()
        else:
            self.ended = True
            self.transport.close()
