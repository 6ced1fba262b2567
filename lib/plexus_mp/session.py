"""A conversation with the gateway over a WebSocket: authentication, frames and their acknowledgements.

Loaded only when WebSockets are used. It raises `OSError` when the conversation is over; what comes then is the
link's business.
"""

import json

from .outbox import HEADROOM
from .ports import const, ticks_diff, ticks_ms

TEXT = const(0x81)
_AUTH_MS = const(10_000)
_ACK_MS = const(30_000)
_HEARTBEAT_MS = const(30_000)
# Frames on their way. The protocol allows 32; each waits here with four numbers, and four fill any path.
_WINDOW = const(4)
# Server time comes with authentication only. Whether it is wanted again is looked at once in so many frames.
_ASK_EVERY = const(32)
_ACK = b'{"type":"telemetry_ack"'
_SEQ = b'"seq":'

_CLOSED = const(0)
_OPENING = const(1)
_AUTHENTICATING = const(2)
_UP = const(3)


class Session:
    """Delivers `outbox` over `ws`.

    `hello` is the JSON of `device_auth`, and when it changes the conversation begins anew; `beat` that of a heartbeat.
    `link` is told what concerns it. `refused`: the gateway does not take this conversation; `barred`: nor any other
    way. `listening`: a conversation is wanted although there is nothing to send. `trusting`: also one in which nothing
    is acknowledged, where what was handed to the socket counts as stored. `commands` and `video`, None until they are
    used, have a say when the socket is free; while `held`, in the midst of a picture, nobody else has.
    """

    def __init__(self, ws, outbox, link, hello, beat):
        self.ws = ws
        self._outbox = outbox
        self._link = link
        self.hello = self._told = hello  # what is to be said, and what the gateway was told
        self._beat = beat
        self._state = _CLOSED
        self._tail = bytearray(b'"type":"telemetry","seq":          ')
        self._seq = self._acked = self.asked = 0
        self.refused = self.barred = self.listening = self.held = self.trusting = False
        self.commands = self.video = None

    @property
    def open(self):
        return self._state != _CLOSED

    @property
    def up(self):
        return self._state == _UP

    @property
    def hasty(self):
        """The answer that tells the time is awaited."""
        return self._state == _AUTHENTICATING

    @property
    def _stored(self):
        """Frames of this conversation that are released."""
        return self._seq - self._outbox.handed

    def rename(self, old, new):
        """The gateway gave another name: what is said from now on has it, and the conversation goes on as it would."""
        told_all = self._told is self.hello
        self.hello = self.hello.replace(old, new)
        self._beat = self._beat.replace(old, new)
        if told_all:
            self._told = self.hello
        if self.commands is not None:
            self.commands.rename(old, new)

    def start(self):
        """Connect. Blocks for the name resolution only."""
        self._seq = self._acked = self._unasked = 0
        self.refused = self.barred = self.held = False
        self._state = _OPENING
        self._oversize = self.ws.oversize
        self.ws.open()

    def close(self):
        self._state = _CLOSED
        self.held = False
        if self.video is not None:
            self.video.lose()
        self.ws.close()
        self._link.retries += self._outbox.handed
        self._outbox.take_back()

    def step(self):
        """One slice; True when calling again at once may help. Raises `OSError` when the conversation is over."""
        ws = self.ws
        message = ws.poll()
        if not ws.connected:
            raise OSError(ws.close_code, "closed by the gateway")
        if message is not None:
            self._hear(message)
            if self._state != _UP or self.held:
                return True
            # The answers to other frames may be there as well; when none is due, nothing is.
            return self._converse() or self._outbox.handed > 0
        if self._state == _OPENING:
            if ws.ready:
                self._told = self.hello
                self.asked = self._since = ticks_ms()  # before: the answer is made later than that
                self.put(TEXT, self.hello)
                self._state = _AUTHENTICATING
                return True
        elif self._state == _AUTHENTICATING:
            if ticks_diff(ticks_ms(), self.asked) > _AUTH_MS:
                raise OSError(110, "no answer to device_auth")
        elif self.held:
            return self.video.step()
        else:
            return self._converse()
        return False

    def _converse(self):
        if self._outbox.handed:
            self._release()
        if self.commands is not None:
            if self._oversize != self.ws.oversize:
                self._oversize = self.ws.oversize
                self.commands.hear_too_much(self.ws)
            if self.commands.step():
                return True
        return self._deliver() or (self.video is not None and self.video.step())

    def _refuse(self, why, barred=False):
        self.refused = True
        self.barred = barred
        raise OSError(13, why)  # EACCES

    @property
    def room(self):
        """Bytes that a text, or a piece of a picture, may have."""
        return len(self._outbox.frame) - HEADROOM

    @property
    def free(self):
        """A message can be sent now."""
        return self._state == _UP and self.ws.ready and not self.held

    def put(self, op, data):
        """Send `data`, of `room` bytes at most, as a frame of kind `op` (ws.py); the socket must be ready."""
        # The frame's buffer is free when the socket is.
        frame = self._outbox.frame
        frame[HEADROOM : HEADROOM + len(data)] = data
        self.ws.send(op, self._outbox.view, HEADROOM, len(data))
        self._said = ticks_ms()

    def _deliver(self):
        outbox = self._outbox
        handed = outbox.handed
        now = ticks_ms()
        if handed and ticks_diff(now, self._since) > _ACK_MS:
            raise OSError(110, "no telemetry_ack")
        if not self.ws.ready:
            return False
        if self._told is not self.hello:
            return not handed and self._restart()
        ready = handed < _WINDOW and outbox.ready and not self._link.waiting
        if ready and not self._link.synced:
            self._refuse("no time from the gateway")
        ready = ready and outbox.next_frame()
        if ready and outbox.call:
            if self._link.call():
                return True
            ready = 0
        if ready:
            if outbox.source != outbox.own_source:
                self._refuse("readings of another source go by HTTP")
            if not handed:
                self._since = ticks_ms()
            self._seq += 1
            n = self._seq
            for i in range(len(self._tail) - 1, len(self._tail) - 11, -1):
                self._tail[i] = 48 + n % 10 if n else 32
                n //= 10
            end = outbox.close(self._tail)
            self._link.sent_bytes += end - HEADROOM
            outbox.hand_over()  # before: a part of it may arrive although the connection fails
            self.ws.send(TEXT, outbox.view, HEADROOM, end - HEADROOM)
            if self._blind:
                self._acked = self._seq
            self._said = ticks_ms()
            return outbox.handed < _WINDOW and outbox.ready
        beat = ticks_diff(now, self._said) > _HEARTBEAT_MS
        if (beat or self._unasked >= _ASK_EVERY) and not handed:
            self._unasked = 0
            if self._link.stale:
                self._link.resyncs += 1
                return self._restart()
        if beat:
            self.put(TEXT, self._beat)
        return False

    def _restart(self):
        self.close()
        self.start()
        return True

    def _release(self):
        """Let go of what was acknowledged, as far as no `send()` is under way."""
        while self._stored < self._acked and self._outbox.release():
            self._since = ticks_ms()
            self._unasked += 1
            self._link.delivered()

    def _hear(self, text):
        ws = self.ws
        if ws.find(_ACK) == 0:
            at = ws.find(_SEQ) + len(_SEQ)
            n = len(text)
            seq = 0
            while at < n and 48 <= text[at] < 58 and seq < 100_000_000:
                seq = seq * 10 + text[at] - 48
                at += 1
            return self._take_ack(seq)
        try:
            message = json.loads(ws.kept)
            kind = message["type"]
        except (ValueError, KeyError, TypeError, RuntimeError):  # the last: nested too deep
            raise OSError(71, "not the JSON of a gateway")  # EPROTO
        if kind == "telemetry_ack":
            self._take_ack(message.get("seq"))
        elif kind == "authenticated" and self._state == _AUTHENTICATING:
            self._welcome(message)
        elif kind == "error":
            from .trouble import misheard

            misheard(self, message)
        elif self.commands is not None:
            self.commands.hear(message)

    def _take_ack(self, seq):
        if type(seq) is not int or not 0 < seq <= self._seq:
            raise OSError(71, "telemetry_ack for nothing")
        if seq > self._acked:
            self._acked = seq

    def _welcome(self, message):
        time_ms = message.get("server_time_ms")
        if time_ms is not None:
            if type(time_ms) is not int:
                time_ms = 0  # no time, as one that cannot be right
            self._link.hear_time(time_ms, time_ms + 1, self.asked, ticks_ms(), "ws")
        self._blind = message.get("acks") is not True
        if self._blind and not self.trusting:
            self._refuse("the gateway acknowledges nothing over WebSocket")
        self._state = _UP
        self._link.welcomed(message)
        if self.commands is not None:
            self.commands.welcome(message)
