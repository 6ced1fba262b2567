"""A gateway in a conversation with the library: it is let in, and says and hears what a test wants."""

import json
import os

from plexus_mp import runner, session
from plexus_mp.commands import Commands
from plexus_mp.link import Link
from plexus_mp.session import Session

from . import fakes, wires

_FILE = "plexus-test.runs"
_HELLO = b'{"type":"device_auth","api_key":"plx_x","source_id":"test-1"}'


class Ticks(fakes.Ticks):
    """Also those of the conversation."""

    def __init__(self, now=1000, period=1 << 30):
        super().__init__(now, period)
        for module in (runner, session):
            for name, value in (("ticks_ms", self.ms), ("ticks_diff", self.diff)):
                self._patches.append(fakes.Patch(module, name, value))


class _NoHttp:
    """No way but the WebSocket."""

    busy = connected = False

    def close(self):
        pass


class Talk:
    """A board of which `talk.commands` are the commands, and its gateway; to be used in a `with` block."""

    def __init__(self, ticks=None, frame=1024, path="", welcome=None):
        self.ticks = ticks or Ticks()
        self.ticks.__enter__()
        self._sha1 = wires.hashlib_with(wires.Sha1)
        self._sha1.__enter__()
        self.device = fakes.Device(self.ticks, frame=frame)
        self.peer = wires.Peer()
        self.link = Link(self.device.outbox, _NoHttp(), self.device.recorder)
        self.ws = wires.client(self.peer)
        self.session = Session(self.ws, self.device.outbox, self.link, _HELLO, b'{"type":"heartbeat"}')
        self.link.session = self.session
        self.hello = None  # what it said last to be let in
        self.heard = []  # what it said since, each a dict
        self.welcome = {"protocol": 1, "acks": True} if welcome is None else welcome
        self.commands = Commands(self.session, self.device.recorder, self.step, path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._sha1.__exit__()
        self.ticks.__exit__()

    def step(self):
        """A slice of the board's network work."""
        return self.link.step()

    def run(self, steps=40):
        """Slices and handlers until nothing happens, and what was said."""
        for _ in range(steps):
            self.step()
            self.commands.run_due(False)
        self._listen()
        found, self.heard = self.heard, []
        return found

    def _listen(self):
        if self.peer.stream is None or self.peer.stream.request is None:
            return
        for first, payload in self.peer.frames():
            if first != 0x81:
                self.heard.append((first, payload))
                continue
            message = json.loads(payload)
            if message["type"] == "device_auth":
                self.hello = message
            else:
                self.heard.append(message)

    def connect(self):
        """Be let in; what is said then."""
        self.run(12)
        assert self.hello is not None, "it never came"
        self.say(dict(self.welcome, type="authenticated", server_time_ms=self.device.unix_ms()))
        return self.run()

    def say(self, message, answers=False):
        text = message if isinstance(message, bytes) else json.dumps(message).encode()
        self.peer.say(wires.frame(0x81, text))
        return self.run() if answers else None

    def ask(self, **message):
        """Say it; what the board says then."""
        return self.say(message, True)

    def order(self, run_id, command, params=None, ttl_ms=5000, **more):
        """Deliver a run; what the board says then."""
        found = dict(type="command_run", run_id=run_id, command=command, params=params or {}, ttl_ms=ttl_ms)
        found.update(more)
        return self.say(found, True)

    def lose(self):
        """The connection breaks, and the pause after that begins."""
        self.peer.stream.ended = True
        for _ in range(3):
            self.step()
        assert not self.session.open
        self.hello = None

    def drop(self):
        """The connection breaks, and the pause after that is over."""
        self.lose()
        self.link.retry_now()


class Clean:
    """In a `with` block there is no file, and none after it."""

    def __enter__(self):
        self.__exit__()
        return _FILE

    def __exit__(self, *_):
        for path in (_FILE, _FILE + ".new"):
            try:
                os.remove(path)
            except OSError:
                continue


class Valve:
    """Handlers, and what they were called with."""

    def __init__(self, commands):
        self.calls = []
        self.commands = commands
        declare = commands.declare
        declare(
            "valve",
            self.valve,
            params={"percent": {"type": "integer", "minimum": 1, "maximum": 8}},
            idempotent=True,
        )
        declare("alone", self.alone, concurrency="reject", idempotent=True)
        declare("broken", self.broken, idempotent=True)
        declare("stopped", self.stopped, idempotent=True)
        declare("once", self.once)

    def valve(self, run, percent):
        self.calls.append(("valve", percent))
        return {"percent": percent}

    def alone(self, run):
        self.calls.append(("alone", run.id))

    def broken(self, run):
        raise OSError(5, "no pump")

    def stopped(self, run):
        raise run.Cancelled("by hand")

    def once(self, run):
        self.calls.append(("once", run.id))
        return {"n": len(self.calls)}


def short(statuses):
    """(state, error_code) of each status, in order."""
    return [(each["state"], each.get("error_code")) for each in statuses]
