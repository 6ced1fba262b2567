"""`/ws/device`: how a device connects, after device.go of the Plexus gateway."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.utils import ClientDisconnected

from .auth import Authenticator
from .command_runs import CommandRuns
from .conditions import Conditions, Fate, Hello, Request, Say, Script, Upgrade
from .counters import Counters
from .device_session import Closed, DeviceSession
from .devices import Device, Devices
from .intake import Intake
from .live import Live
from .replies import Reply
from .settings import Settings
from .socket_protocol import GatewayWebSocket
from .strict_json import InvalidJson, parse
from .validate import Invalid, check_source_id

_log = logging.getLogger("plexus.gateway")

POLICY_VIOLATION = 1008
INTERNAL_ERROR = 1011


class DeviceSocket:
    """ASGI application for the device's socket; calling it returns a Reply when it is to be refused over HTTP."""

    def __init__(
        self,
        settings: Settings,
        intake: Intake,
        devices: Devices,
        live: Live,
        counters: Counters,
        authenticator: Authenticator,
        conditions: Conditions,
        now_ms: Callable[[], int],
        runs: CommandRuns,
    ) -> None:
        self.settings = settings
        self.runs = runs
        self.intake = intake
        self.devices = devices
        self.live = live
        self.counters = counters
        self.now_ms = now_ms
        self._authenticator = authenticator
        self.conditions = conditions
        self._upgrades = 0
        self._hellos = 0
        self._frames = 0
        self.script: Script | None = None

    def number_frame(self) -> int:
        """The number of one more telemetry frame, of whichever device."""
        self._frames += 1
        return self._frames

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Reply | None:
        await receive()  # websocket.connect
        socket: GatewayWebSocket = scope["state"]["socket"]
        refusal = await self._refusal(socket, receive)
        if refusal is not None:
            return refusal
        if socket.disconnected:
            return None
        await send({"type": "websocket.accept"})
        socket.hears_goodbye = False
        try:
            await self._converse(socket, receive, send)
        except Closed as closed:
            await self._close(socket, send, closed)
        except ClientDisconnected:
            self.counters.add("device_gone_while_told")
        except asyncio.CancelledError:  # the server is killed; uvicorn would report a fault
            self.counters.add("device_conversations_killed")
        except Exception:
            self.counters.add("internal_errors")
            _log.exception("device socket failed")
            await self._close(socket, send, Closed(code=INTERNAL_ERROR, reason="internal error"))
        return None

    async def _refusal(self, socket: GatewayWebSocket, receive: Receive) -> Reply | None:
        self._upgrades += 1
        action = None
        if self.script is not None:
            action = await self.script.before(Upgrade(self._upgrades, self.now_ms()))
        if isinstance(action, Reply):
            return action
        if isinstance(action, Fate):
            self.counters.add(f"device_upgrade_{action.value}")
            if action is Fate.ABORT:
                socket.abort()
            await receive()  # websocket.disconnect: nothing else comes before the answer
            return None
        if action is not None:
            raise _misplaced(action)
        if self.conditions.circuit_open:
            return Reply.error(503, "gateway degraded: redis unavailable")
        return None

    async def _converse(self, socket: GatewayWebSocket, receive: Receive, send: Send) -> None:
        hello = await self._hello(receive)
        await self._scripted(socket, hello, receive)
        if self.conditions.names_suffixed:
            hello["source_id"] = self.devices.names.assign(hello["source_id"], hello.get("install_id"))
        device = self._admit(socket, hello)
        await send({"type": "websocket.send", "text": orjson.dumps(self._welcome(device)).decode()})
        for complaint in device.complaints:
            self.counters.add(f"device_{complaint['code']}")
            await send({"type": "websocket.send", "text": orjson.dumps(complaint).decode()})
        self.devices.join(device)
        self.runs.joined(device)
        socket.watch(self.settings.device_ping_s, self.settings.device_silence_s)
        session = DeviceSession(self, device, receive, send)
        writer = asyncio.get_running_loop().create_task(session.write())
        try:
            await session.read()
        finally:
            self.devices.leave(device)
            session.stop()
            await self._finish(writer)

    async def _finish(self, writer: asyncio.Task[None]) -> None:
        """Stop the writer; one that ended by itself met a broken socket, or a fault."""
        writer.cancel()
        await asyncio.wait([writer])
        if not writer.cancelled() and writer.exception() is not None:
            self.counters.add(f"device_writer_{type(writer.exception()).__name__}")

    async def _hello(self, receive: Receive) -> dict[str, Any]:
        """The device's first message, with a source_id and a key that look like such."""
        try:
            event = await asyncio.wait_for(receive(), self.settings.device_auth_s)
        except asyncio.TimeoutError:
            raise _refused() from None
        if event["type"] == "websocket.disconnect":
            raise Closed
        data = event.get("bytes") or (event.get("text") or "").encode()
        try:
            message = parse(data)
        except InvalidJson:
            raise _refused() from None
        try:
            well_formed = message["type"] == "device_auth" and type(message["api_key"]) is str
            check_source_id(message["source_id"], self.settings)
        except (TypeError, KeyError, Invalid):
            well_formed = False
        if not well_formed:
            raise _refused("first message must be device_auth")
        return dict(message)

    async def _scripted(self, socket: GatewayWebSocket, hello: Mapping[str, Any], receive: Receive) -> None:
        self._hellos += 1
        if self.script is None:
            return
        request: Request = Hello(self._hellos, hello["source_id"], self.now_ms())
        action = await self.script.before(request)
        if isinstance(action, Say):
            raise Closed(action.close, action.reason, action.message)
        if isinstance(action, Fate):
            self.counters.add(f"device_hello_{action.value}")
            if action is Fate.ABORT:
                socket.abort()
            while (await receive())["type"] != "websocket.disconnect":
                self.counters.add("device_messages_unheard")
            raise Closed
        if action is not None:
            raise _misplaced(action)

    def _admit(self, socket: GatewayWebSocket, hello: Mapping[str, Any]) -> Device:
        grant = self._authenticator.verify(hello["api_key"], self.now_ms())
        if grant is None:
            raise _refused("Invalid API key")
        if "write" not in grant.scopes:
            raise _refused("API key lacks write scope")
        generation = self.intake.generation
        if generation == "oct" and grant.source_id not in (None, hello["source_id"]):
            raise _refused("API key is limited to another device")
        takes_commands = "commands" in grant.scopes
        return Device(hello["source_id"], socket, generation, hello, self.settings, takes_commands)

    def _welcome(self, device: Device) -> dict[str, Any]:
        content: dict[str, Any] = {"type": "authenticated", "source_id": device.source_id}
        content["server_time_ms"] = self.now_ms()
        if device.protocol:
            content["protocol"] = device.protocol
            content["max_frame_bytes"] = self.settings.ws_message_max_bytes
        if device.acks:
            content["acks"] = True
        return content

    async def _close(self, socket: GatewayWebSocket, send: Send, closed: Closed) -> None:
        """Say what there is to say, to a device that is still there."""
        try:
            if closed.message is not None and socket.open:
                await send({"type": "websocket.send", "text": orjson.dumps(closed.message).decode()})
            if closed.code is not None and socket.open:
                self.counters.add(f"device_closed_{closed.code}")
                await send({"type": "websocket.close", "code": closed.code, "reason": closed.reason})
        except ClientDisconnected:
            self.counters.add("device_gone_while_told")


def _refused(text: str | None = None) -> Closed:
    """As handleDeviceAuth in device.go: an error frame except for silence and what is no JSON, then 1008."""
    message = None if text is None else {"type": "error", "message": text}
    return Closed(POLICY_VIOLATION, "auth failed", message)


def _misplaced(action: object) -> TypeError:
    return TypeError(f"a script cannot do that to a device that connects: {action!r}")
