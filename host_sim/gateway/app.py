"""The gateway as one ASGI application: devices, readers and the live page."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Router
from starlette.types import Message, Receive, Scope, Send

from .auth import Authenticator
from .command_runs import CommandRuns
from .command_runs_api import CommandRunsApi
from .commands_api import CommandsApi
from .conditions import Conditions, Script
from .counters import Counters
from .data_api import DataApi
from .device_socket import DeviceSocket
from .devices import Devices
from .ingest import PATHS as INGEST_PATHS
from .ingest import Ingest
from .intake import Intake
from .live import Live
from .live_socket import LiveSocket
from .page import Page
from .presence import Presence
from .read_api import TelemetryApi
from .reading import Reading, json_response
from .replies import Reply, send_reply
from .runs_api import RunsApi
from .sessions_api import SessionsApi
from .settings import Generation, Settings
from .store import Store

_log = logging.getLogger("plexus.gateway")
_PAGE_TOKEN_BITS = 128


class Gateway:
    """ASGI application. Clock, randomness and store are given; timers are the running loop's.

    `conditions` may be changed and `script` set at any time; `counters` tells what went wrong.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        now_ms: Callable[[], int],
        rng: random.Random,
        conditions: Conditions | None = None,
        script: Script | None = None,
    ) -> None:
        self.settings = settings
        self.store = store
        self.now_ms = now_ms
        self.conditions = conditions if conditions is not None else Conditions()
        self.counters = Counters()
        self._rng = rng
        self.page_token = f"{rng.getrandbits(_PAGE_TOKEN_BITS):032x}"
        self._started_ms = now_ms()
        self._dated = (-1, b"")
        self._authenticator = Authenticator(settings, self.conditions)
        self._presence = Presence(settings, store, now_ms)
        self.live = Live(settings, store, self._presence, self.counters, now_ms, rng)
        self.devices = Devices(settings, self.live, self._presence, self.counters, rng)
        self._intake = Intake(settings, store, self.live, self._presence, self.counters, self.conditions)
        self._ingest = Ingest(
            settings, self._intake, self.counters, self._authenticator, self.conditions, now_ms
        )
        self.runs = CommandRuns(settings, self.devices, self.live, self.counters, now_ms, rng)
        self._device = DeviceSocket(
            settings,
            self._intake,
            self.devices,
            self.live,
            self.counters,
            self._authenticator,
            self.conditions,
            now_ms,
            self.runs,
        )
        self.script = script
        self._browser = LiveSocket(
            settings, self.live, self.counters, self._authenticator, now_ms, self.page_token
        )
        self._router = self._make_router()

    @property
    def generation(self) -> Generation:
        """Which gateway is imitated at the moment: the settings', unless the conditions say another."""
        return self._intake.generation

    @property
    def script(self) -> Script | None:
        """Decides about single POSTs and about what devices do on WebSockets; None interferes with nothing."""
        return self._ingest.script

    @script.setter
    def script(self, script: Script | None) -> None:
        self._ingest.script = self._device.script = script

    def _make_router(self) -> Router:
        reading = Reading(self.settings, self.store, self._presence, self._authenticator, self.now_ms)
        router = Router(redirect_slashes=False, default=_not_found)
        router.routes += [*TelemetryApi(reading).routes(), *DataApi(reading).routes()]
        router.routes += CommandsApi(reading, self.devices).routes()
        router.routes += CommandRunsApi(reading, self.runs).routes()
        router.routes += RunsApi(reading, lambda: self.generation, self._rng).routes()
        router.routes += SessionsApi(reading, lambda: self.generation, self._rng).routes()
        router.routes += Page(self.settings).routes()
        router.add_route("/health", self._health)
        return router

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def send_dated(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message["headers"], (b"date", self._date())]
            await send(message)

        handler = self._ingest if scope["path"] in INGEST_PATHS else self._router
        try:
            await handler(scope, receive, send_dated)
        except Exception:
            self.counters.add("internal_errors")
            _log.exception("request failed: %s %s", scope["method"], scope["path"])
            if not started:
                await send_reply(send_dated, Reply.error(500, "internal error"))

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path == "/ws/browser":
            await self._browser(scope, receive, send)
        elif path == "/ws/device":
            reply = await self._device(scope, receive, send)
            if reply is not None:
                await self._refuse_websocket(reply, send)
        else:
            await receive()
            await self._refuse_websocket(Reply.error(404, "not found"), send)

    async def _refuse_websocket(self, reply: Reply, send: Send) -> None:
        """A plain HTTP answer instead of a WebSocket: device clients then fall back to POST /ingest."""
        self.counters.add("websockets_refused")
        headers = [*reply.headers, (b"content-length", b"%d" % len(reply.body)), (b"date", self._date())]
        start = {"type": "websocket.http.response.start", "status": reply.status, "headers": headers}
        await send(start)
        await send({"type": "websocket.http.response.body", "body": reply.body})

    def _date(self) -> bytes:
        second = self.now_ms() // 1000
        if self._dated[0] != second:
            self._dated = (second, formatdate(second, usegmt=True).encode())
        return self._dated[1]

    async def _health(self, request: Request) -> Response:
        """As the Plexus gateway's /health; with a key that may read also the counters."""
        down = self.conditions.circuit_open
        now_ms = self.now_ms()
        content: dict[str, Any] = {
            "status": "degraded" if down else "ok",
            "devices": len(self._presence.online()),
            "browsers": self.live.viewers,
            "redis": "disconnected" if down else "connected",
            "uptime_s": (now_ms - self._started_ms) // 1000,
        }
        api_key = request.headers.get("x-api-key")
        grant = self._authenticator.verify(api_key, now_ms) if api_key else None
        if grant is not None and "read" in grant.scopes:
            content["generation"] = self.generation
            content["counters"] = self.counters.snapshot()
        return json_response(content, 503 if down else 200)


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    await send_reply(send, Reply.error(404, "not found"))


def create_app(
    settings: Settings,
    store: Store,
    now_ms: Callable[[], int],
    rng: random.Random,
    conditions: Conditions | None = None,
    script: Script | None = None,
) -> Gateway:
    """The gateway. `now_ms` gives Unix milliseconds; `rng` makes the page's token and trace ids.

    Give `random.SystemRandom()` where others can reach the gateway, a seeded `Random` in simulations.
    """
    return Gateway(settings, store, now_ms, rng, conditions, script)
