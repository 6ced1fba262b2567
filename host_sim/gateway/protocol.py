"""uvicorn's protocols with what they lack for untrusted clients: deadlines and a connection limit.

Both deadlines are timers of the running loop, so they also work in virtual time. Answers that the
application never sees (garbage, too slow, too many) are made here, with the gateway's own date.
"""

from __future__ import annotations

import asyncio
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import h11
import orjson
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from .socket_protocol import GatewayWebSocket

if TYPE_CHECKING:
    from .app import Gateway


# How often a server that closes looks whether all connections are gone.
_CLOSING_LOOK_S = 0.01


class GatewayHttp(H11Protocol):
    """HTTP/1.1 on one connection: the whole header in time, the whole body in time, or 408."""

    gateway: Gateway

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, {**app_state, "abort": self._abort}, _loop)
        self.access_log = False
        self._deadline: asyncio.TimerHandle | None = None
        self._awaits: str | None = None
        self._upgraded = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        settings = self.gateway.settings
        if len(self.connections) > settings.connections_max:
            self.gateway.counters.add("connections_refused")
            self._refuse(503, f"too many connections (max {settings.connections_max})")
            return
        self._await("header")

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self.transport.is_closing() and not self._upgraded:
            self._await(self._missing())

    def connection_lost(self, exc: Exception | None) -> None:
        self._await(None)
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self._await(None)
        self._upgraded = True
        super().handle_websocket_upgrade(event)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # A request whose answer did not wait for its body: what is left must still come in time.
        if not self.transport.is_closing():
            self._await(self._missing())

    def send_400_response(self, msg: str) -> None:
        self.gateway.counters.add("http_invalid")
        self._refuse(400, msg)

    def _missing(self) -> str | None:
        """What the client still owes: None, its `header`, or its `body`."""
        if self.conn.their_state is h11.SEND_BODY:
            return "body"
        begun = self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]
        return "header" if begun else None

    def _await(self, what: str | None) -> None:
        if what == self._awaits:
            return
        if self._deadline is not None:
            self._deadline.cancel()
        self._awaits, self._deadline = what, None
        if what is not None:
            settings = self.gateway.settings
            delay_s = settings.header_timeout_s if what == "header" else settings.body_timeout_s
            self._deadline = self.loop.call_later(delay_s, self._too_slow)

    def _too_slow(self) -> None:
        if self.flow.read_paused:  # it is the gateway that does not read: the client is given more time
            waiting, self._awaits = self._awaits, None
            self._await(waiting)
            return
        self.gateway.counters.add(f"slow_{self._awaits}")
        started = self.cycle is not None and self.cycle.response_started
        if self._awaits == "body" and started:
            self.transport.close()
        else:
            self._refuse(408, f"request {self._awaits} took too long")

    def _refuse(self, status: int, text: str) -> None:
        """Answer without the application and hang up."""
        self._await(None)
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.write(_plain_answer(status, text, self.gateway.now_ms()))
        self.transport.close()

    def _abort(self) -> None:
        self.transport.abort()


def _plain_answer(status: int, text: str, now_ms: int) -> bytes:
    body = orjson.dumps({"error": text})
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
        f"date: {formatdate(now_ms / 1000, usegmt=True)}\r\n"
        "content-type: application/json\r\n"
        f"content-length: {len(body)}\r\n"
        "connection: close\r\n\r\n"
    )
    return head.encode("ascii") + body


class ProtocolFactory:
    """Makes the protocol of a new connection; one per server, real or virtual.

    Call it once per accepted connection and attach the result to any asyncio transport. Must be
    called while the loop that serves the connection runs.
    """

    def __init__(self, gateway: Gateway) -> None:
        settings = gateway.settings
        self._http = type("GatewayHttp", (GatewayHttp,), {"gateway": gateway})
        self._state = ServerState()
        self._config = Config(
            gateway,
            http=self._http,
            ws=type("GatewayWebSocket", (GatewayWebSocket,), {"gateway": gateway}),
            lifespan="off",
            log_config=None,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=settings.keep_alive_s,
            h11_max_incomplete_event_size=settings.header_max_bytes,
            ws_max_size=settings.ws_message_max_bytes,
            ws_ping_interval=None,
            ws_per_message_deflate=False,
        )
        self._config.load()

    def __call__(self) -> asyncio.Protocol:
        protocol: asyncio.Protocol = self._http(self._config, self._state, {})
        return protocol

    @property
    def connections(self) -> int:
        """Open connections, HTTP and WebSocket together."""
        return len(self._state.connections)

    def kill(self) -> None:
        """End all connections at once and tell nobody, as when the process dies."""
        for connection in list(self._state.connections):
            connection.transport.abort()
        for task in list(self._state.tasks):
            task.cancel()

    async def close(self, grace_s: float = 1.0) -> None:
        """End all connections: idle ones at once, busy ones after their answer or `grace_s`.

        Devices that hear a goodbye are given the same time to answer it.
        """
        for connection in list(self._state.connections):
            connection.shutdown()
        loop = asyncio.get_running_loop()
        give_up_s = loop.time() + grace_s
        while (self._state.connections or self._state.tasks) and loop.time() < give_up_s:
            await asyncio.sleep(_CLOSING_LOOK_S)
        for connection in list(self._state.connections):
            connection.transport.abort()
        for task in list(self._state.tasks):
            task.cancel()
        if self._state.tasks:
            await asyncio.wait(list(self._state.tasks), timeout=grace_s)
