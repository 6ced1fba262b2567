"""Commands: what others may ask of the board, over the WebSocket. Loaded when the first one is declared.

Frames arrive and leave in `tick()`; handlers run outside of it (runs.py).
"""

import json

from .ports import const, forget
from .runbook import Runbook, key_of
from .runner import CODES, Run, Runner, dumps
from .session import TEXT

# Runs that wait or are at work, statuses that wait for an acknowledgement, and their bytes.
_LIVE_MAX = const(8)
_HELD_MAX = const(256)
_HELD_BYTES = const(8192)
_FRAME_MAX = const(65536)
_TTL_MAX_MS = const(3_600_000)
# Bytes of a status, its run id, result and texts apart.
_STATUS_MAX = const(160)
# As in runs.py; a name that begins with an underscore takes no memory.
_TEXT_MAX = const(256)
_ACKNOWLEDGED = const(1)
_RUNNING = const(2)
_FAILED = const(4)
_UNKNOWN_COMMAND = const(0)
_BAD_PARAMS = const(1)
_EXPIRED = const(2)
_BUSY = const(3)
_DUPLICATE = const(4)
_SYNC = b'{"type":"command_sync","runs":['
_STATES = ("", "acknowledged", "running", "succeeded")


class Commands(Runner):
    """What `px.command` and `px.on_command` declared, and the runs of it.

    `permitted` is False once the gateway said that this key may not receive commands; `ignored` counts frames that
    were none, `repeated` runs that came again and were not run again, `dropped` statuses that nobody acknowledged.
    `path` is that of the file in which runs are remembered over a reboot, "" for none.
    """

    def __init__(self, session, recorder, tick, path):
        super().__init__(session, recorder, tick, Runbook(path))
        self._hello = session.hello[:-1] + (b',"remembers_runs":true' if path else b"")
        self._declared = {}  # name: (manifest, handler, parameters)
        self._legacy = {}  # name: (manifest, handler, None)
        self._out = []  # [run id or None, number, state, what must be sent, what may], in order
        self._sent = 0  # of them are sent in this conversation, and wait for an acknowledgement
        self._sync = []  # texts to be sent first
        self.permitted = True
        self.ignored = self.repeated = self.dropped = 0
        # A run takes as much to receive as a frame to send.
        session.ws.room = min(session.room, _FRAME_MAX)
        session.commands = self

    def rename(self, old, new):
        """As of the session: what is declared later is told under the new name too."""
        self._hello = self._hello.replace(old, new)

    # declarations

    def decorator(self, name, declaration):
        def declare(handler):
            self.declare(name, handler, **declaration)
            return handler

        return declare

    def declare(
        self, name, handler, title=None, description=None, params=None, danger="normal", idempotent=False,
        expires_in=30, concurrency="accept",
    ):  # fmt: skip
        """As `px.command` of the client. Raises `ValueError` naming field and limit."""
        from .declare import declaration

        found = declaration(name, title, description, params, danger, idempotent, expires_in, concurrency)
        forget("declare")
        _check_handler(name, handler)
        manifest = [entry[0] for key, entry in self._declared.items() if key != name] + [found]
        hello = self._hello + b',"commands":' + dumps(manifest) + b"}"
        if len(hello) > self._session.room:
            told = (name, len(hello), self._session.room)
            raise ValueError("command %s: device_auth is %d bytes with it, frame_bytes leave %d" % told)
        self._declared[name] = found, handler, found["params"]
        self._session.hello = hello
        self._session.listening = True

    def declare_legacy(self, name, handler, concurrency):
        _check_handler(name, handler)
        if concurrency not in ("accept", "reject"):
            raise ValueError("command %s: concurrency must be accept or reject, not %r" % (name, concurrency))
        self._legacy[name] = {"concurrency": concurrency}, handler, None
        self._session.listening = True

    # what the session tells

    def welcome(self, message):
        """A conversation began: say which runs are known, then again what nobody acknowledged."""
        self._settle_news()
        self._out = [entry for entry in self._out if entry[2]]
        self._sent = 0
        self._sync = []
        if self._declared and message.get("protocol"):
            self._list_runs()

    def _list_runs(self):
        """What is known of runs that are not over, or not acknowledged, in as many frames as it takes."""
        seen = []
        found = b""
        for run_id in [run.id for run in self._live if run.attempt] + [entry[0] for entry in self._out]:
            at = self._book.find(key_of(run_id))
            state, seq = self._book.get(at) if at >= 0 else (0, 0)
            if not state or run_id in seen:
                continue
            seen.append(run_id)
            told = dumps({"run_id": run_id, "state": _state(state), "seq": seq})
            if found and len(found) + len(told) + len(_SYNC) + 3 > self._session.room:
                self._sync.append(_SYNC + found + b"]}")
                found = b""
            found += (b"," if found else b"") + told
        self._sync.append(_SYNC + found + b"]}")

    def refuse(self, code, why):
        """Whether the gateway's error is about the commands; the conversation goes on without them."""
        if code not in ("commands_not_permitted", "invalid_command"):
            return False
        if self.permitted:
            self.permitted = False
            print("plexus:", why)
        return True

    def hear(self, message):
        kind = message["type"]
        try:
            if kind == "command_run":
                return self._take_run(message)
            if kind == "command_status_ack":
                return self._take_ack(message.get("run_id"), message.get("seq"))
            if kind == "typed_command":
                return self._take_legacy(message)
        except UnicodeError:  # half of a surrogate pair, which JSON can say
            pass
        self.ignored += 1

    def hear_too_much(self, ws):
        """A message was longer than there is room for. The beginning of a run tells whose it is."""
        head = ws.kept[: len(ws.kept) >> 2]
        parts = head.split(b'"run_id":"', 1)
        if len(parts) < 2 or head.find(b'"command_run"') < 0 or parts[1].find(b'"') < 0:
            self.ignored += 1
            return
        try:
            run_id = parts[1].split(b'"', 1)[0].decode()
        except ValueError:
            self.ignored += 1
            return
        if self._is_new(run_id):
            self._fail(run_id, _BAD_PARAMS, "a run of more than %d bytes" % len(ws.kept))

    def _take_run(self, message):
        run_id = message.get("run_id")
        if not self._is_new(run_id):
            return
        name = message.get("command")
        declared = self._declared.get(name) if isinstance(name, str) else None
        if declared is None:
            return self._fail(run_id, _UNKNOWN_COMMAND, "unknown command: %s" % name)
        from .params import coerce

        try:
            params = coerce(declared[2], message.get("params"))
        except ValueError as e:
            return self._fail(run_id, _BAD_PARAMS, str(e))
        ttl_ms = message.get("ttl_ms")
        if isinstance(ttl_ms, bool) or not isinstance(ttl_ms, (int, float)):
            ttl_ms = None
        elif ttl_ms <= 0:
            return self._fail(run_id, _EXPIRED, "expired before it arrived")
        else:
            ttl_ms = int(min(_TTL_MAX_MS, ttl_ms))
        why = self._why_busy(name, declared)
        if why:
            return self._fail(run_id, _BUSY, why)
        attempt = message.get("attempt")
        attempt = attempt if type(attempt) is int and attempt > 0 else 1
        run = Run(self, run_id, name, params, attempt, ttl_ms, declared)
        self._due.append(run)
        self._live.append(run)
        self._news.append((run_id, _ACKNOWLEDGED, b"", b""))

    def _is_new(self, run_id):
        """Whether the run has to be looked at: one that was seen before is reported again."""
        good = isinstance(run_id, str) and 0 < len(run_id) <= _TEXT_MAX
        if not good or len(dumps(run_id)) > self._session.room - _STATUS_MAX:
            self.ignored += 1
            return False
        key = key_of(run_id)
        at = self._book.find(key)
        if at < 0:
            self._book.add(key)
            return True
        self.repeated += 1
        self._settle_news()
        state = self._book.get(at)[0]
        for i, entry in enumerate(self._out):
            if entry[0] == run_id and entry[2] == state:
                self._sent = min(self._sent, i)
                return False
        if state == _RUNNING and not [run for run in self._live if run.id == run_id]:
            self._fail(run_id, _DUPLICATE, "it began before a reboot, and how it ended is not known")
        elif state:
            code = ',"error_code":"%s"' % CODES[state - _FAILED] if state >= _FAILED else ""
            self._news.append((run_id, state, code.encode(), b""))
        return False

    def _why_busy(self, name, declared):
        if declared[0]["concurrency"] == "reject" and [run for run in self._live if run.command == name]:
            return "command already running: %s" % name
        return "%d runs wait" % _LIVE_MAX if len(self._live) >= _LIVE_MAX else None

    def _take_legacy(self, message):
        run_id, name, params = message.get("id"), message.get("command"), message.get("params")
        if not isinstance(name, str) or not isinstance(run_id, str) or len(run_id) > _TEXT_MAX:
            self.ignored += 1
            return
        self._tell_legacy(run_id, name, "ack", b"")
        declared = self._legacy.get(name)
        why = self._why_busy(name, declared) if declared else "unknown command: %s" % name
        if why:
            return self._tell_legacy(run_id, name, "error", b',"error":' + dumps(why))
        run = Run(self, run_id, name, params if isinstance(params, dict) else {}, 0, None, declared)
        self._due.append(run)
        self._live.append(run)

    def _take_ack(self, run_id, seq):
        if type(seq) is not int:
            self.ignored += 1
            return
        for i in range(self._sent - 1, -1, -1):
            if self._out[i][0] == run_id and self._out[i][1] <= seq:
                del self._out[i]
                self._sent -= 1

    # statuses

    def _settle_news(self):
        while self._news:
            self._settle(*self._news[0])
            del self._news[0]

    def _settle(self, run_id, state, must, may):
        """Number a status and put it where it waits to be sent."""
        seq = 0
        if run_id is not None:
            key = key_of(run_id)
            at = self._book.find(key)
            if at < 0:  # 256 others came meanwhile
                at = self._book.add(key)
            before, seq = self._book.get(at)
            seq += 1
            self._book.set(at, state or before, seq)
            head = '{"type":"command_status","run_id":%s,"seq":%d,"state":"%s"'
            head %= json.dumps(run_id), seq, _state(state) if state else "progress"
            must = head.encode() + must
        if len(must) >= self._session.room:  # of the older protocol, with an id nearly as long as a frame
            self.dropped += 1
            return
        if len(must) + len(may) >= min(self._session.room, _FRAME_MAX):
            told = ',"message":"%d bytes left out: frame_bytes"' % len(may)
            may = told.encode() if run_id is not None else b""
        self._out.append([run_id, seq, state, must, may])
        self._bound()

    def _bound(self):
        """Forget the oldest results first, then the oldest statuses."""
        out = self._out
        size = sum([len(entry[3]) + len(entry[4]) for entry in out])
        spare = max(_HELD_BYTES, self._session.room) - size
        for i in range(len(out) - 1):
            if spare >= 0:
                break
            spare += len(out[i][4])
            out[i][4] = b""
        while len(out) > _HELD_MAX or (spare < 0 and len(out) > 1):
            spare += len(out[0][3]) + len(out[0][4])
            del out[0]
            self._sent = max(self._sent - 1, 0)
            self.dropped += 1

    def step(self):
        """Say the next thing, if the socket is free; True when something was said."""
        self._settle_news()
        if self._sent == len(self._out) and not self._sync or not self._session.free:
            return False
        if self._sync:
            self._session.put(TEXT, self._sync[0])
            del self._sync[0]
            return True
        entry = self._out[self._sent]
        self._session.put(TEXT, entry[3] + entry[4] + b"}")
        if entry[2]:
            self._sent += 1
        else:
            del self._out[self._sent]
        return True


def _state(state):
    return "failed" if state >= _FAILED else _STATES[state]


def _check_handler(name, handler):
    if not callable(handler):
        raise ValueError("command %s: the handler must be callable" % name)


def attach(link, recorder, tick):
    """The commands of a client. Raises `ValueError` when it speaks HTTP only."""
    if link.session is None:
        raise ValueError("commands need the WebSocket: transport must not be 'http'")
    from .settings import Settings

    path = Settings().get("runs_file")
    forget("settings")
    return Commands(link.session, recorder, tick, path)
