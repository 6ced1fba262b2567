"""The devices that are connected, and what is sent to them."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import deque
from collections.abc import Mapping
from typing import Any, TypeGuard

import orjson

from .counters import Counters
from .live import Live
from .manifest import Entry, read_manifest
from .presence import Presence
from .settings import Generation, Settings
from .socket_protocol import GatewayWebSocket

_PLATFORM_MAX = 256
_COMPLAINTS_MAX = 16
_INSTALL_ID_MAX = 64


class Device:
    """One connected device: what was agreed with it, and what waits to be sent (at most `queue_max`)."""

    def __init__(
        self,
        source_id: str,
        socket: GatewayWebSocket,
        generation: Generation,
        hello: Mapping[str, Any],
        settings: Settings,
        takes_commands: bool = True,
    ) -> None:
        self.source_id = source_id
        self.socket = socket
        self.generation = generation
        modern = generation == "oct"
        self.acks = modern and hello.get("acks") is True
        self.protocol = 1 if modern and is_count(hello.get("protocol")) else 0
        socket.hears_goodbye = modern and hello.get("hears_goodbye") is True
        platform = hello.get("platform")
        self.platform = platform[:_PLATFORM_MAX] if isinstance(platform, str) else ""
        limit = settings.manifest_max_bytes
        self.sensors, self.cameras, self.commands = (
            _bounded_list(hello.get(name), limit) for name in ("sensors", "cameras", "commands")
        )
        # Commands protocol 1: what it can be asked to do, and what is to be said of that.
        self.manifest: dict[str, Entry] = {}
        self.complaints: list[Mapping[str, str]] = []
        if self.protocol and self.commands:
            self._read_commands(takes_commands)
        self.remembers_runs = hello.get("remembers_runs") is True
        self.known_runs: set[str] = set()
        self.synced = False  # it told which runs it knows
        self._queue: deque[str] = deque()
        self._queue_max = settings.device_queue_max
        self._wake = asyncio.Event()

    def described(self) -> dict[str, Any]:
        """What it says of itself, for those who watch."""
        content = {"platform": self.platform, "sensors": self.sensors, "cameras": self.cameras}
        return {**content, "commands": list(self.manifest.values())} if self.manifest else content

    def _read_commands(self, takes_commands: bool) -> None:
        if not takes_commands:
            detail = "this API key may not receive commands"
            self.complaints.append({"type": "error", "code": "commands_not_permitted", "detail": detail})
            return
        self.manifest, faults = read_manifest(self.commands)
        error = {"type": "error", "code": "invalid_command"}
        self.complaints += [{**error, "detail": fault} for fault in faults[:_COMPLAINTS_MAX]]

    def push(self, content: Mapping[str, Any]) -> bool:
        """Queue a message; False when the queue is full, and then it is not."""
        if len(self._queue) >= self._queue_max:
            return False
        self._queue.append(orjson.dumps(content).decode())
        self._wake.set()
        return True

    async def next(self) -> str:
        """The next message to send; waits until there is one."""
        while not self._queue:
            self._wake.clear()
            await self._wake.wait()
        return self._queue.popleft()


class Names:
    """Which installation a name belongs to: the first that was heard under it. At most `names_max` are remembered."""

    def __init__(self, names_max: int) -> None:
        self._names_max = names_max
        self._owners: dict[str, str] = {}

    def assign(self, source_id: str, install_id: Any) -> str:
        """`source_id` if it is the installation's or nobody's, else the first of `_2`, `_3`, … that is."""
        if type(install_id) is not str or len(install_id) > _INSTALL_ID_MAX:
            return source_id
        name = source_id
        for number in range(2, self._names_max):
            owner = self._owners.get(name)
            if owner is None and len(self._owners) < self._names_max:
                self._owners[name] = install_id
            if owner in (None, install_id):
                return name
            name = f"{source_id}_{number}"
        return source_id


class Devices:
    """Connected devices by source_id, one connection each; as many as the server allows connections."""

    def __init__(
        self, settings: Settings, live: Live, presence: Presence, counters: Counters, rng: random.Random
    ) -> None:
        self._settings = settings
        self._live = live
        self._presence = presence
        self._counters = counters
        self._rng = rng
        self._connected: dict[str, Device] = {}
        self.names = Names(settings.sources_tracked_max)

    def __len__(self) -> int:
        return len(self._connected)

    def find(self, source_id: str) -> Device | None:
        return self._connected.get(source_id)

    def join(self, device: Device) -> None:
        """The device is connected; an older connection of the same source ends without a word."""
        self.evict(device.source_id)
        self._connected[device.source_id] = device
        self._presence.heard(device.source_id)
        self._live.status(device.source_id, True, device.described())

    def leave(self, device: Device) -> None:
        """The device's connection is over; nothing happens when a newer one has its place."""
        if self._connected.get(device.source_id) is device:
            del self._connected[device.source_id]
            self._presence.left(device.source_id)
            self._live.status(device.source_id, False)

    def heard(self, device: Device) -> None:
        """The device, which is connected, has said something."""
        self._presence.heard(device.source_id)

    def evict(self, source_id: str) -> bool:
        """End the source's connection as a second one does; False when there is none."""
        old = self._connected.get(source_id)
        if old is None:
            return False
        self._counters.add("devices_evicted")
        old.socket.abort()
        return True

    def say_goodbye(self, left_open_s: float = 0.0) -> None:
        """End all connections as a gateway does that restarts: 1001 to those that hear it, nothing to others."""
        for device in list(self._connected.values()):
            self._counters.add("devices_sent_off")
            if device.socket.hears_goodbye:
                device.socket.say_goodbye(left_open_s)
            else:
                device.socket.shutdown()

    def send(self, source_id: str, content: Mapping[str, Any]) -> bool:
        """Queue a message for a device; False when it is not connected or its queue is full."""
        device = self._connected.get(source_id)
        if device is None or not device.socket.open:
            return False
        queued = device.push(content)
        if not queued:
            self._counters.add("device_queue_full")
        return queued

    def send_typed_command(self, source_id: str, command: str, params: Mapping[str, Any]) -> str | None:
        """Send a command the old way; its id (a UUID), or None when it was not queued."""
        number = str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
        head = {"type": "typed_command", "id": number}
        return number if self.send(source_id, {**head, "command": command, "params": params}) else None

    def send_command_run(
        self,
        source_id: str,
        run_id: str,
        command: str,
        params: Mapping[str, Any],
        ttl_ms: int,
        attempt: int = 1,
    ) -> bool:
        """Send a run of commands protocol 1; False when it was not queued, or the device does not speak it."""
        device = self._connected.get(source_id)
        if device is None or not device.protocol:
            return False
        head = {"type": "command_run", "run_id": run_id, "command": command, "params": params}
        return self.send(source_id, {**head, "ttl_ms": ttl_ms, "attempt": attempt})


def is_count(value: Any) -> TypeGuard[int]:
    """An integer from 1, and not a bool, which Python takes for one."""
    return type(value) is int and value > 0


def _bounded_list(value: Any, limit_bytes: int) -> list[Any]:
    """A list whose JSON keeps within the limit, else an empty one: nothing depends on what it says."""
    return value if type(value) is list and len(orjson.dumps(value)) <= limit_bytes else []
