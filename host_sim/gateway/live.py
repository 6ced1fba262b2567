"""Live data for browsers: every point that was stored, in batches, to whoever watches.

After browser.go of the Plexus gateway: points are collected for 25 ms; a browser pulls one batch at
a time and a batch that it has not pulled is replaced by the next one. The view loses, never the store.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from .counters import Counters
from .presence import Presence
from .settings import Settings
from .store import Point, Row, Selection, Store

_NOTHING_SAID: Mapping[str, Any] = {"platform": "", "sensors": [], "cameras": []}


class Viewer:
    """One browser's outgoing queue: urgent messages in order, the history, and at most one batch."""

    def __init__(self, queue_max: int, history: str) -> None:
        self._urgent: deque[str] = deque(maxlen=queue_max)
        self._history: str | None = history
        self._batch: str | None = None
        self._pictures: dict[tuple[str, str], str] = {}  # the newest of each camera that is not sent
        self._ready = False
        self._wake = asyncio.Event()

    def push_urgent(self, text: str) -> int:
        """Queue a message that goes out at once; returns 1 when the oldest had to make room."""
        lost = len(self._urgent) == self._urgent.maxlen
        self._urgent.append(text)
        self._wake.set()
        return int(lost)

    def push_batch(self, text: str) -> int:
        """Offer the newest batch; returns 1 when it replaced one that was not pulled yet."""
        replaced = self._batch is not None
        self._batch = text
        self._wake.set()
        return int(replaced)

    def push_picture(self, camera: tuple[str, str], text: str) -> int:
        """Offer a camera's newest picture; returns 1 when it replaced one that was not sent yet."""
        replaced = camera in self._pictures
        self._pictures[camera] = text
        self._wake.set()
        return int(replaced)

    def ready(self) -> None:
        """The browser has drawn what it got and wants the next batch."""
        self._ready = True
        self._wake.set()

    async def next(self) -> str:
        """The next message to send; waits until there is one."""
        while True:
            text = self._urgent.popleft() if self._urgent else self._pull() or self._picture()
            if text is not None:
                return text
            self._wake.clear()
            await self._wake.wait()

    def _picture(self) -> str | None:
        for camera in self._pictures:
            return self._pictures.pop(camera)
        return None

    def _pull(self) -> str | None:
        if not self._ready:
            return None
        text, self._history = self._history, None
        if text is None:
            text, self._batch = self._batch, None
        if text is not None:
            self._ready = False
        return text


class Live:
    """Collects stored points and hands them to the viewers. Costs nothing while nobody watches."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        presence: Presence,
        counters: Counters,
        now_ms: Callable[[], int],
        rng: random.Random,
    ) -> None:
        self._settings = settings
        self._store = store
        self._presence = presence
        self._counters = counters
        self._now_ms = now_ms
        self._rng = rng
        self._viewers: set[Viewer] = set()
        self._batch: deque[dict[str, Any]] = deque(maxlen=settings.live_batch_max)
        self._flush_timer: asyncio.TimerHandle | None = None
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._online: set[str] = set()
        self._commands: dict[str, Any] = {}  # what connected devices declared
        self._cameras: dict[tuple[str, str], None] = {}

    @property
    def viewers(self) -> int:
        return len(self._viewers)

    def attach(self) -> Viewer | None:
        """A new viewer with recent history to pull first; None when there are too many."""
        if len(self._viewers) >= self._settings.browsers_max:
            self._counters.add("browsers_refused")
            return None
        viewer = Viewer(self._settings.browser_queue_max, self._history())
        self._viewers.add(viewer)
        if self._sweep_timer is None:
            self._online = set(self._presence.online())
            self._arm_sweep()
        return viewer

    def detach(self, viewer: Viewer) -> None:
        self._viewers.discard(viewer)
        if not self._viewers:
            for timer in (self._flush_timer, self._sweep_timer):
                if timer is not None:
                    timer.cancel()
            self._flush_timer = self._sweep_timer = None
            self._batch.clear()

    def init_message(self) -> str:
        """The first message to a browser: who is there, and what time it is here."""
        sources = [known._asdict() for known in self._presence.all()]
        online = [s["source_id"] for s in sources if s["online"]]
        content = {"type": "init", "online_sources": online, "sources": sources, "commands": self._commands}
        return _text({**content, "server_time_ms": self._now_ms(), "online_ms": self._settings.online_ms})

    def publish(self, points: Sequence[Point], received_ms: int) -> None:
        """Show stored points to the viewers; called after each commit."""
        if not self._viewers or not points:
            return
        trace_id = f"{self._rng.getrandbits(128):032x}"
        for source_id in {p.source_id for p in points} - self._online:
            self.status(source_id, True)
        for point in points:
            self._show(self._flat(point, trace_id))
        if self._batch and self._flush_timer is None:
            delay_s = self._settings.live_flush_ms / 1000
            self._flush_timer = asyncio.get_running_loop().call_later(delay_s, self._flush)

    def _show(self, flat: dict[str, Any]) -> None:
        if flat["class"] == "event":
            self._urgent({"type": "event", **flat})
            return
        if len(self._batch) == self._batch.maxlen:
            self._counters.add("live_points_skipped")
        self._batch.append(flat)

    def _flat(self, point: Point, trace_id: str) -> dict[str, Any]:
        return {
            "v": 1,
            "org_id": self._settings.org_id,
            "source_id": point.source_id,
            "class": point.cls,
            "metric": point.metric,
            "value": orjson.loads(point.value),
            "timestamp": point.timestamp_ms,
            "tags": orjson.loads(point.tags),
            "trace_id": trace_id,
        }

    def _flush(self) -> None:
        self._flush_timer = None
        text = _text({"type": "telemetry", "points": list(self._batch)})
        self._batch.clear()
        for viewer in self._viewers:
            self._counters.add("live_batches_replaced", viewer.push_batch(text))

    def show_picture(self, picture: Mapping[str, Any]) -> bool:
        """Give a `video_frame` to every viewer; False when that is one camera too many."""
        camera = (picture["source_id"], picture["camera_id"])
        if camera not in self._cameras and len(self._cameras) >= self._settings.video_cameras_max:
            return False
        self._cameras[camera] = None
        if self._viewers:
            text = _text(dict(picture))
            for viewer in self._viewers:
                self._counters.add("live_pictures_replaced", viewer.push_picture(camera, text))
        return True

    def _urgent(self, content: dict[str, Any]) -> None:
        if self._viewers:
            self.relay(_text(content))

    def relay(self, text: str) -> None:
        """Give one message to every viewer, before any batch."""
        for viewer in self._viewers:
            self._counters.add("live_messages_lost", viewer.push_urgent(text))

    def status(self, source_id: str, online: bool, described: Mapping[str, Any] = _NOTHING_SAID) -> None:
        """Tell the viewers that a source came or went; `described` is what it says of itself."""
        if online:
            self._online.add(source_id)
        else:
            self._online.discard(source_id)
            self._commands.pop(source_id, None)
            self._cameras = {camera: None for camera in self._cameras if camera[0] != source_id}
        if described is not _NOTHING_SAID:
            self._commands.pop(source_id, None)
            if described.get("commands"):
                self._commands[source_id] = described["commands"]
        state = "online" if online else "offline"
        self._urgent({"type": "source_status", "source_id": source_id, "status": state, **described})

    def heartbeat(self, source_id: str, uptime_s: Any) -> None:
        """Tell the viewers that a device said it is alive, and for how long if it said so."""
        head = {"type": "heartbeat", "class": "heartbeat", "org_id": self._settings.org_id}
        tail = {} if uptime_s is None else {"uptime_s": uptime_s}
        said = {"source_id": source_id, "status": "running", "timestamp": self._now_ms()}
        self._urgent({**head, **said, **tail})

    def _arm_sweep(self) -> None:
        self._sweep_timer = asyncio.get_running_loop().call_later(self._settings.live_sweep_s, self._sweep)

    def _sweep(self) -> None:
        online = set(self._presence.online())
        for source_id in sorted(self._online - online):
            self.status(source_id, False)
        self._online = online
        self._arm_sweep()

    def _history(self) -> str:
        now_ms = self._now_ms()
        window = Selection(
            from_ms=now_ms - self._settings.live_history_ms,
            to_ms=now_ms + self._settings.live_history_ms,
            limit=self._settings.live_history_points_max,
        )
        rows = self._store.select(window)
        return _text({"type": "telemetry", "points": [self._flat_row(row) for row in rows]})

    def _flat_row(self, row: Row) -> dict[str, Any]:
        return {
            "v": 1,
            "org_id": self._settings.org_id,
            "source_id": row.source_id,
            "class": row.cls,
            "metric": row.metric,
            "value": row.value,
            "timestamp": row.timestamp_ms,
            "tags": row.tags,
        }


def _text(content: dict[str, Any]) -> str:
    return orjson.dumps(content).decode()
