"""What a connected device says, frame by frame, after device.go of the Plexus gateway."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import orjson
from starlette.types import Receive, Send

from .acks import LateAcks
from .conditions import Action, Fate, Frame, Late, Say
from .devices import Device, is_count
from .intake import DEVICE_LIMIT, SOURCE_LIMIT
from .limits import MessageRate
from .store import StoreError
from .strict_json import InvalidJson, parse
from .validate import Invalid, validate_frame
from .video import parse_video

if TYPE_CHECKING:
    from .device_socket import DeviceSocket

INTERNAL_ERROR = 1011
TRY_AGAIN_LATER = 1013
# device.go, when the breaker towards the queue is open; a frame that met it is not stored.
REDIS_UNAVAILABLE = {
    "type": "error",
    "code": "REDIS_UNAVAILABLE",
    "detail": "gateway degraded: redis unavailable, batch not queued",
}
REDIS_REASON = "redis unavailable"
_LATE_ACKS_MAX = 4_096
_RUNS_MAX = 256  # that a client remembers: ws.py of plexus-python
_SEQ_DIGITS_MAX = 15
# What `aug` never says: it drops such frames in silence.
_UNSAID_IN_AUG = (SOURCE_LIMIT, DEVICE_LIMIT)

Content = dict[str, Any]
Control = Callable[[Content, str], Mapping[str, Any] | None]


class Closed(Exception):
    """The conversation is over: send `message`, close with `code`; without a code it ended by itself."""

    def __init__(
        self, code: int | None = None, reason: str = "", message: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.message = message


class _Refused(Exception):
    """The message is not taken; `seq` names it where the device waits for an answer."""

    def __init__(self, code: str, detail: str = "", seq: int | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.detail = detail
        self.seq = seq


class DeviceSession:
    """One device from `authenticated` to the end of its connection.

    Frames are taken in their order, one after the other: each is stored, or answered with an error, before the
    next is looked at. So an acknowledgement covers all frames before it.
    """

    def __init__(self, desk: DeviceSocket, device: Device, receive: Receive, send: Send) -> None:
        self._desk = desk
        self._device = device
        self._receive = receive
        self._send = send
        self._counters = desk.counters
        settings = desk.settings
        modern = device.generation == "oct"
        rate_per_s = settings.telemetry_rate_oct_per_s if modern else settings.telemetry_rate_aug_per_s
        self._telemetry_rate = MessageRate(rate_per_s, settings.telemetry_burst)
        self._control_rate = MessageRate(settings.control_rate_per_s, settings.control_burst)
        self._mute = False
        self._time_s = asyncio.get_running_loop().time  # asking which loop runs costs a system call each time
        self._late = LateAcks(self._push_ack, _LATE_ACKS_MAX)
        self._controls: dict[str, Control] = {
            "heartbeat": self._heartbeat,
            "video_frame": self._video_frame,
            "device_error": self._device_error,
            "command_result": self._command_result,
            "pong": self._pong,
        }
        if modern:
            self._controls["command_status"] = self._command_status
            self._controls["command_sync"] = self._command_sync

    async def write(self) -> None:
        """Send what is queued for the device, for ever."""
        while True:
            await self._send({"type": "websocket.send", "text": await self._device.next()})

    def stop(self) -> None:
        """The connection is over; acknowledgements that wait are not sent any more."""
        self._late.stop()

    async def read(self) -> None:
        """Take the device's messages until it leaves; raises Closed when the gateway ends the connection."""
        while True:
            event = await self._receive()
            if event["type"] == "websocket.disconnect" or self._device.socket.ended:
                return
            if self._mute:
                self._counters.add("device_messages_unheard")
                continue
            self._desk.devices.heard(self._device)
            data = event.get("bytes")
            if data is None:
                await self._text(event["text"])
            else:
                self._binary(data)

    async def _text(self, text: str) -> None:
        try:
            message = self._parsed(text)
            if message.get("type") == "telemetry":
                await self._telemetry(message)
            else:
                await self._control(message, text)
        except _Refused as refused:
            self._counters.add(f"device_refused_{refused.code}")
            if self._device.generation == "oct" or refused.code not in _UNSAID_IN_AUG:
                await self._say_error(refused)

    def _parsed(self, text: str) -> Content:
        try:
            message = parse(text.encode())
        except InvalidJson:
            raise _Refused("INVALID_JSON", seq=self._seq_of_invalid(text)) from None
        if type(message) is not dict:
            raise _Refused("INVALID_JSON")
        return message

    def _seq_of_invalid(self, text: str) -> int | None:
        """The seq of a telemetry frame that is JSON to others, so that its device is not left waiting."""
        if not self._device.acks:
            return None
        try:
            message = json.loads(text, parse_int=_short_int)
        except (ValueError, RecursionError):
            return None
        seq = message.get("seq") if type(message) is dict else None
        return seq if is_count(seq) else None

    async def _say_error(self, refused: _Refused) -> None:
        content: Content = {"type": "error", "code": refused.code}
        if refused.detail:
            content["detail"] = refused.detail
        if refused.seq is not None:
            content["seq"] = refused.seq
        await self._say(content)

    async def _say(self, content: Mapping[str, Any]) -> None:
        await self._send({"type": "websocket.send", "text": orjson.dumps(content).decode()})

    # telemetry

    async def _telemetry(self, message: Content) -> None:
        desk, source_id = self._desk, self._device.source_id
        seq = self._seq_of(message)
        frame = Frame(desk.number_frame(), source_id, seq, desk.now_ms())
        action = None if desk.script is None else await desk.script.before(frame)
        if action is not None:
            await self._obey(action, seq)
            return
        received_ms = desk.now_ms()
        try:
            points = validate_frame(message.get("points"), source_id, desk.settings, received_ms)
        except Invalid as invalid:
            raise _Refused("INVALID_MESSAGE", str(invalid), seq) from None
        self._let_pass(self._telemetry_rate, seq)
        limit = desk.intake.limit_of(source_id, self._time_s())
        if limit is not None:
            raise _Refused(limit, seq=seq)
        try:
            self._check_queue()
            desk.intake.commit(points, received_ms)
        except StoreError:
            self._not_queued()
        else:
            await self._acknowledge(frame)

    def _seq_of(self, message: Content) -> int | None:
        if not self._device.acks:
            return None
        seq = message.get("seq")
        if not is_count(seq):
            raise _Refused("INVALID_MESSAGE", "seq must be an integer from 1")
        return seq

    def _let_pass(self, rate: MessageRate, seq: int | None = None) -> None:
        if not rate.allow(self._time_s()):
            raise _Refused("RATE_LIMITED", seq=seq)

    def _check_queue(self) -> None:
        """Conditions of the queue that a commit meets; raises Closed or StoreError."""
        conditions, source_id = self._desk.conditions, self._device.source_id
        if conditions.circuit_open:
            raise Closed(TRY_AGAIN_LATER, REDIS_REASON, REDIS_UNAVAILABLE)
        if source_id in conditions.queue_failing or source_id in conditions.marshal_failing:
            raise StoreError("scripted")

    def _not_queued(self) -> None:
        """`aug` drops the frame in silence. Where later acknowledgements would cover it, the connection ends."""
        self._counters.add("device_frames_not_queued")
        if self._device.generation == "oct":
            raise Closed(TRY_AGAIN_LATER, REDIS_REASON, REDIS_UNAVAILABLE)

    async def _acknowledge(self, frame: Frame) -> None:
        script = self._desk.script
        action = None if script is None else await script.after_commit(frame, None)
        if action is Fate.HANG:
            self._counters.add("device_acks_withheld")
        elif action is not None:
            await self._obey(action, frame.seq)
        elif frame.seq is not None and self._late:
            self._late.add(frame.seq, 0.0, False)
        elif frame.seq is not None:
            await self._say(_ack(frame.seq))

    async def _obey(self, action: Action, seq: int | None) -> None:
        """What a script wants instead of the truth."""
        if isinstance(action, Say):
            self._counters.add("device_frames_scripted")
            named = action.with_seq and seq is not None
            message = {**action.message, "seq": seq} if named else action.message
            if action.close is not None:
                raise Closed(action.close, action.reason, message)
            await self._say(message)
        elif isinstance(action, Late):
            if seq is not None:
                self._late.add(seq, action.delay_s, action.gathered)
        elif isinstance(action, Fate):
            self._counters.add(f"device_frame_{action.value}")
            self._mute = True
            if action is Fate.ABORT:
                self._device.socket.abort()
        else:
            raise TypeError(f"a frame cannot be answered with {action!r}")

    def _push_ack(self, seq: int) -> None:
        if not self._device.push(_ack(seq)):
            self._counters.add("device_queue_full")

    # everything else

    async def _control(self, message: Content, text: str) -> None:
        kind = message.get("type")
        if type(kind) is not str or not kind:
            raise _Refused("INVALID_MESSAGE", "type must be a string")
        control = self._controls.get(kind)
        if control is None:
            raise _Refused("INVALID_MESSAGE", "unknown message type")
        self._let_pass(self._telemetry_rate if kind == "video_frame" else self._control_rate)
        try:
            answer = control(message, text)
        except Invalid as invalid:
            raise _Refused("INVALID_MESSAGE", str(invalid)) from None
        if answer is not None:
            await self._say(answer)

    def _heartbeat(self, message: Content, text: str) -> None:
        uptime_s = message.get("uptime_s")
        known = type(uptime_s) in (int, float)
        self._desk.live.heartbeat(self._device.source_id, uptime_s if known else None)

    def _pong(self, message: Content, text: str) -> None:
        self._counters.add("device_pongs")

    def _device_error(self, message: Content, text: str) -> None:
        """Stored as an event; what it says keeps to the rules of an event."""
        now_ms = self._desk.now_ms()
        point: Content = {"class": "event", "metric": "device.error", "value": message.get("error")}
        if "source" in message:
            point["tags"] = {"error_source": message["source"]}
        points = validate_frame([point], self._device.source_id, self._desk.settings, now_ms)
        try:
            self._desk.intake.commit(points, now_ms)
        except StoreError:
            self._counters.add("device_errors_not_queued")

    def _command_result(self, message: Content, text: str) -> None:
        self._desk.live.relay(self._fitting(text))

    def _command_status(self, message: Content, text: str) -> Content:
        self._fitting(text)
        run_id, seq = message.get("run_id"), message.get("seq")
        if type(run_id) is not str or not run_id:
            raise Invalid("run_id must be a string")
        if not is_count(seq):
            raise Invalid("seq must be an integer from 1")
        if type(message.get("state")) is not str:
            raise Invalid("state must be a string")
        self._desk.runs.status(self._device.source_id, message)
        self._relay_named(message)
        return {"type": "command_status_ack", "run_id": run_id, "seq": seq}

    def _command_sync(self, message: Content, text: str) -> None:
        self._fitting(text)
        runs = message.get("runs")
        if type(runs) is not list or len(runs) > _RUNS_MAX:
            raise Invalid(f"runs must be an array (max {_RUNS_MAX})")
        self._desk.runs.synced(self._device, runs)
        self._relay_named(message)

    def _relay_named(self, message: Content) -> None:
        named = {**message, "source_id": self._device.source_id}
        self._desk.live.relay(orjson.dumps(named).decode())

    def _fitting(self, text: str) -> str:
        limit = self._desk.settings.command_max_bytes
        if len(text) > limit or len(text.encode()) > limit:
            raise Invalid(f"message too big (max {limit} bytes)")
        return text

    # video: the newest picture of each camera, for those who watch

    def _video_frame(self, message: Content, text: str) -> None:
        for name in ("camera_id", "frame"):
            if type(message.get(name)) is not str:
                raise Invalid(f"{name} must be a string")
        self._counters.add("video_frames")
        self._show({**message, "source_id": self._device.source_id})

    def _binary(self, data: bytes) -> None:
        """A video frame; whatever is wrong with it, nobody is told."""
        try:
            self._let_pass(self._telemetry_rate)
            frame = parse_video(data, self._desk.settings.video_max_bytes)
        except _Refused:
            self._counters.add("video_frames_over_rate")
        except ValueError:
            self._counters.add("video_frames_invalid")
        else:
            self._counters.add("video_frames")
            self._show(frame.described(self._device.source_id))

    def _show(self, picture: Content) -> None:
        if not self._desk.live.show_picture(picture):
            self._counters.add("video_frames_unshown")


def _ack(seq: int) -> Content:
    return {"type": "telemetry_ack", "seq": seq}


def _short_int(digits: str) -> int:
    """As `json` reads integers, but never with quadratic effort; a longer one is no seq anyway."""
    return int(digits) if len(digits) <= _SEQ_DIGITS_MAX else 0
