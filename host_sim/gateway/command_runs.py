"""Runs of commands, protocol 1: from a request to a device that may be away, restart, or answer twice.

A run is delivered, again and again, until the device acknowledges it or its time is up. On a new connection that is
safe only where running twice does no harm, or where the device remembers over a restart what it ran. A run
that a device had begun, and that it does not know any more after a restart, is delivered again under the same rule,
and the device says what is known of it; else it is lost. Runs are kept in memory, as many as the settings allow.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from .counters import Counters
from .devices import Device, Devices
from .live import Live
from .manifest import Entry
from .settings import Settings

OPEN_STATES = ("queued", "delivered", "acknowledged", "running")
_UNANSWERED = ("queued", "delivered")
_FINAL = ("succeeded", "failed", "expired")
_REPORTED = ("result", "error_code", "error_message", "message")


class RunRefused(Exception):
    """A run cannot be made: `status` is HTTP's."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass
class CommandRun:
    """One run. Times in Unix milliseconds; `seq` is the device's last status, `attempt` counts deliveries."""

    run_id: str
    source_id: str
    command: str
    params: Mapping[str, Any]
    idempotent: bool
    created_ms: int
    expires_ms: int
    updated_ms: int
    state: str = "queued"
    attempt: int = 0
    seq: int = 0
    progress: float | None = None
    reported: dict[str, Any] = field(default_factory=dict)
    device: Device | None = None  # on whose connection it was delivered last
    timer: asyncio.TimerHandle | None = None

    def described(self) -> dict[str, Any]:
        """What readers see."""
        shown = ("run_id", "source_id", "command", "params", "state", "attempt", "created_ms", "expires_ms")
        content = {name: getattr(self, name) for name in shown}
        if self.progress is not None:
            content["progress"] = self.progress
        return {**content, "updated_ms": self.updated_ms, **self.reported}


class CommandRuns:
    """All runs, and the manifests of the sources that declared commands."""

    def __init__(
        self,
        settings: Settings,
        devices: Devices,
        live: Live,
        counters: Counters,
        now_ms: Callable[[], int],
        rng: random.Random,
    ) -> None:
        self._settings = settings
        self._devices = devices
        self._live = live
        self._counters = counters
        self._now_ms = now_ms
        self._rng = rng
        self._runs: OrderedDict[str, CommandRun] = OrderedDict()
        self._manifests: OrderedDict[str, dict[str, Entry]] = OrderedDict()

    def manifest(self, source_id: str) -> dict[str, Entry] | None:
        """What the source declared when it was last connected, None if it never did."""
        return self._manifests.get(source_id)

    def find(self, run_id: str) -> CommandRun | None:
        return self._runs.get(run_id)

    def select(self, source_id: str | None, limit: int) -> list[CommandRun]:
        """The newest runs, of one source or of all, newest first."""
        found = [run for run in reversed(self._runs.values()) if source_id in (None, run.source_id)]
        return found[:limit]

    def start(
        self, source_id: str, command: str, params: Mapping[str, Any], ttl_s: float | None
    ) -> CommandRun:
        """A new run, delivered now or when the source connects in time. Raises RunRefused."""
        manifest = self._manifests.get(source_id)
        if manifest is None:
            raise RunRefused(404, "source has declared no commands")
        entry = manifest.get(command)
        if entry is None:
            raise RunRefused(404, "source has not declared this command")
        limit = self._settings.command_runs_open_max
        if len(self._open(source_id)) >= limit:
            raise RunRefused(409, f"too many open runs (max {limit})")
        now_ms = self._now_ms()
        ttl_ms = int(1000 * (entry["expires_in_s"] if ttl_s is None else ttl_s))
        run_id = str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
        run = CommandRun(
            run_id, source_id, command, params, entry["idempotent"], now_ms, now_ms + ttl_ms, now_ms
        )
        self._runs[run_id] = run
        self._make_room()
        self._deliver(run)
        self._tell(run)
        return run

    def _open(self, source_id: str) -> list[CommandRun]:
        return [run for run in self._runs.values() if run.source_id == source_id and run.state in OPEN_STATES]

    def _make_room(self) -> None:
        """The oldest run that is over goes; when none is, the oldest."""
        while len(self._runs) > self._settings.command_runs_max:
            over = next((run for run in self._runs.values() if run.state in _FINAL), None)
            gone = over or next(iter(self._runs.values()))
            self._stop(gone)
            del self._runs[gone.run_id]

    # delivery

    def _deliver(self, run: CommandRun) -> None:
        """Send it to the device, if that is there, and look again later."""
        device = self._devices.find(run.source_id)
        if device is not None and device.protocol and self._may_go(run, device):
            left_ms = max(0, run.expires_ms - self._now_ms())
            head = (run.source_id, run.run_id, run.command, run.params, left_ms, run.attempt + 1)
            if self._devices.send_command_run(*head):
                run.attempt += 1
                run.device = device
                run.seq = 0  # a device that restarted counts anew
                if run.state == "queued":
                    run.state = "delivered"
        self._look_later(run)

    def _may_go(self, run: CommandRun, device: Device) -> bool:
        """Whether delivering it cannot make the device run it twice where that does harm."""
        return not run.attempt or run.device is device or run.idempotent or device.remembers_runs

    def _look_later(self, run: CommandRun) -> None:
        self._stop(run)
        left_s = max(0, run.expires_ms - self._now_ms()) / 1000
        delay_s = min(left_s, self._settings.command_retry_s)
        run.timer = asyncio.get_running_loop().call_later(delay_s, self._look, run)

    def _look(self, run: CommandRun) -> None:
        run.timer = None
        if run.state not in _UNANSWERED:
            return
        if self._now_ms() >= run.expires_ms:
            self._change(run, "expired")
        else:
            self._deliver(run)

    def _stop(self, run: CommandRun) -> None:
        if run.timer is not None:
            run.timer.cancel()
            run.timer = None

    # what devices say

    def joined(self, device: Device) -> None:
        """The device is connected: what waits for it goes out."""
        if device.protocol and device.manifest:
            self._manifests[device.source_id] = device.manifest
            self._manifests.move_to_end(device.source_id)
            if len(self._manifests) > self._settings.connections_max:
                self._manifests.popitem(last=False)
            delay_s = self._settings.command_sync_s
            asyncio.get_running_loop().call_later(delay_s, self._missed_sync, device)
        for run in self._open(device.source_id):
            if run.state in _UNANSWERED:
                self._deliver(run)

    def _missed_sync(self, device: Device) -> None:
        if not device.synced and self._devices.find(device.source_id) is device:
            self.synced(device, ())

    def synced(self, device: Device, known: Iterable[Any]) -> None:
        """The device told which runs it knows. Those that it had begun and forgot are asked for, or lost.

        What it knows may come in several messages: the first one waits for the others.
        """
        ids = [run.get("run_id") for run in known if isinstance(run, dict)]
        device.known_runs.update(run_id for run_id in ids if isinstance(run_id, str))
        if not device.synced:
            device.synced = True
            delay_s = self._settings.command_retry_s
            asyncio.get_running_loop().call_later(delay_s, self._ask_for_forgotten, device)

    def _ask_for_forgotten(self, device: Device) -> None:
        if self._devices.find(device.source_id) is not device:
            return
        for run in self._open(device.source_id):
            begun = run.state not in _UNANSWERED and run.device is not device
            if not begun or run.run_id in device.known_runs:
                continue
            if self._may_go(run, device):
                self._counters.add("command_runs_asked_for")
                self._deliver(run)
            else:
                self._counters.add("command_runs_lost")
                run.reported = {"error_code": "lost", "error_message": "the device restarted while it ran"}
                self._change(run, "failed")

    def status(self, source_id: str, message: Mapping[str, Any]) -> None:
        """One `command_status`, well formed; what is old or of no run is counted."""
        run = self._runs.get(message["run_id"])
        if run is None or run.source_id != source_id:
            self._counters.add("command_statuses_of_no_run")
            return
        state, seq = message["state"], message["seq"]
        if seq <= run.seq or run.state in ("succeeded", "failed"):
            self._counters.add("command_statuses_repeated")
            return
        run.seq = seq
        if state == "progress":
            percent = message.get("progress")
            if isinstance(percent, (int, float)) and not isinstance(percent, bool):
                run.progress = float(percent)
            state = run.state if run.state not in _UNANSWERED else "running"
        elif state not in ("acknowledged", "running", "succeeded", "failed"):
            self._counters.add("command_statuses_unknown")
            return
        run.reported.update({name: message[name] for name in _REPORTED if name in message})
        self._change(run, state)

    def _change(self, run: CommandRun, state: str) -> None:
        run.state = state
        run.updated_ms = self._now_ms()
        if state not in _UNANSWERED:
            self._stop(run)
        self._tell(run)

    def _tell(self, run: CommandRun) -> None:
        self._live.relay(orjson.dumps({"type": "command_run", "run": run.described()}).decode())
