"""How the outbox reaches the gateway: by WebSocket or HTTP, with pauses, and what each answer does to the readings.

A state machine: `step()` does a slice of work that never waits, except for a name resolution when a
connection is opened. There is one connection at a time.
"""

import json

from .outbox import HEADROOM
from .ports import collect, const, forget, has_network, random_bits, ticks_diff, ticks_ms

OFFLINE = "offline"
ONLINE = "online"
AUTH_FAILED = "auth failed"
RATE_LIMITED = "rate limited"

_BACKOFF_MS = const(1000)
_BACKOFF_MAX_MS = const(60_000)
# A rate limit stored nothing: what was refused goes out again, slower and slower.
_SLOW_MS = const(5_000)
# When so much more has become open, the time is asked for anew (dates.py).
_WIDER_MS = const(100)
# For so long an answer is looked for often: one that takes longer tells the time badly anyway.
_HASTE_MS = const(3_000)
_SUCCESS = b'"success":true'
_DROPPED = b'"dropped"'


class Link:
    """Delivers `outbox` over `http`, and `session`'s WebSocket if that is set; `recorder` learns the time.

    `status` is one of the constants above, `last_error` a line for a person. `retries` counts frames
    that were sent again, `failures` attempts that got no answer, `frames` those that were stored, `reconnects` lost
    conversations, `resyncs` those begun anew to hear the time.
    """

    def __init__(self, outbox, http, recorder):
        self._outbox = outbox
        self._http = http
        self._recorder = recorder
        self.session = None
        self.endpoint = None  # where they go that are no readings, if elsewhere
        self.calls = None  # requests of their own, once there are any
        self._size = 0  # of the HTTP request under way
        self._probing = False  # it is an empty one
        self._edges = 0  # such questions so far, for a better time
        self._width_ms = 0  # what they left open
        self._again = False  # it was sent before
        self._stored = False  # the gateway has it, the ring does not know yet
        self._wait_ms = 0
        self._since = ticks_ms()
        self._tries = 0
        self._slow_ms = _SLOW_MS
        self._socket_wait_ms = 0  # HTTP serves until this has passed
        self._socket_since = 0
        self._socket_tries = 0
        self.status = OFFLINE
        self.last_error = ""
        self.retries = self.failures = self.frames = self.reconnects = self.resyncs = self.sent_bytes = 0
        self.rivals = 0
        self._short = 0  # conversations in a row that ended soon, without a word
        self._met = 0  # when the last one began

    @property
    def busy(self):
        """An answer is awaited."""
        if self.calls is not None and self.calls.busy:
            return True
        return self._http.busy or (self.session is not None and self.session.open)

    @property
    def hasty(self):
        """An answer that tells the time is awaited, and not for long yet: looking often tells when it came."""
        asked = self._http
        if self._edges:
            return True
        if not asked.busy:
            asked = self.session
            if asked is None or not asked.hasty:
                return False
        return ticks_diff(ticks_ms(), asked.asked) < _HASTE_MS

    @property
    def waiting(self):
        """A pause after trouble is not over."""
        # Once it is over it stays so: after half a round of ticks a comparison would turn again.
        if self._wait_ms and ticks_diff(ticks_ms(), self._since) >= self._wait_ms:
            self._wait_ms = 0
        return self._wait_ms > 0

    @property
    def idle(self):
        """Nothing is under way: a look once in a while is enough."""
        session, outbox = self.session, self._outbox
        at_work = session is not None and session.open and (session.held or not session.up)
        return not (at_work or self._http.busy or self._edges or outbox.handed or outbox.ready)

    @property
    def synced(self):
        """Whether readings can be dated."""
        return self._recorder.clock.synced

    @property
    def hungry(self):
        """The gateway answers, and has had all that is committed."""
        return self.status == ONLINE and not self._size and not self._outbox.unsettled

    def step(self):
        """One slice of work; True when calling again at once may help."""
        session = self.session
        try:
            try:
                if self._stored:
                    return self._release()
                if self.calls is not None and self.calls.busy:
                    return self.calls.step()
                if self._http.busy:
                    return self._receive()
                if session is not None and session.open:
                    return session.step()
                if self.waiting:
                    return False
                wanted = self._wanted()
                if not wanted and (session is None or not session.listening or not has_network()):
                    return False
                if session is not None and self._socket_turn():
                    self._http.close()
                    session.start()
                    return True
                return wanted and self._send()
            except OSError as e:
                from .trouble import broken

                broken(self, e)
        except MemoryError:
            # A board's heap runs out when a connection needs it most: keep everything, try later.
            self.drop_connections()
            collect()
            self.lost("out of memory")
        return False

    def _wanted(self):
        """Whether there is something to say, and a network to say it on."""
        # What only RAM holds is committed once the gateway answers.
        pending = self._recorder.pending and self.status != ONLINE
        if not (self._size or self._edges or self._outbox.ready or pending):
            return False
        return self._http.connected or has_network()

    def _socket_turn(self):
        """Whether the WebSocket is to be tried: not in the midst of a request that HTTP repeats."""
        if self._socket_wait_ms and ticks_diff(ticks_ms(), self._socket_since) < self._socket_wait_ms:
            return False
        self._socket_wait_ms = 0
        self.retries += self._again and self._size > 0
        self._size = self._edges = 0
        self._probing = False
        return True

    def close(self):
        self.drop_connections()

    def drop_connections(self):
        if self.calls is not None:
            self.calls.close()
        self._http.close()
        if self.session is not None and self.session.open:
            self.session.close()

    def retry_now(self):
        """End the pause: somebody waits for the outcome."""
        self._wait_ms = 0

    # what the session tells

    def welcomed(self, message):
        """The gateway knows us; `message` is its `authenticated`."""
        self._socket_tries = 0
        self._met = ticks_ms()
        self.status = ONLINE
        for module in ("trouble", "dates", "sync"):  # until they are needed again
            forget(module)
        name = message.get("source_id")
        if name is not None and json.dumps(name).encode() != self._outbox.own_source:
            from .identity import adopt

            adopt(self, self._outbox, self._recorder, self.session, name)

    def hear_time(self, earliest_ms, latest_ms, asked, heard, source):
        self._recorder.hear_time(earliest_ms, latest_ms, asked, heard, self._outbox.sent_ms, source)

    @property
    def stale(self):
        """Whether the time is worth asking for again."""
        return self._recorder.clock.stale

    def delivered(self):
        self.frames += 1
        self._tries = 0
        self._slow_ms = _SLOW_MS
        self.status = ONLINE

    # HTTP

    def _send(self):
        if not self._size:
            self._again = False
            if not self.synced or self._edges or not self._outbox.unsettled:
                # Before the time is known no reading can be dated: ask for it with a frame that stores nothing.
                self._probing = True
                self._outbox.empty_frame()
            elif not self._outbox.next_frame():
                return False
            elif self._outbox.call:
                return self.call()
            self._size = self._outbox.close(b'"source_id":' + self._outbox.source)
        if self._again:
            self.retries += 1
        self._again = not self._probing
        self.sent_bytes += self._size - HEADROOM
        self._http.post(self._outbox.view[HEADROOM : self._size])
        return True

    def _receive(self):
        status = self._http.poll()
        if status:
            http = self._http
            if http.date:
                heard = ticks_ms()  # loading takes its time
                from .dates import hear

                hear(self, heard)
            probing = self._probing
            self._probing = False
            if probing:
                self._size = 0
            if status == 200 and http.find(_SUCCESS) >= 0 and http.find(_DROPPED) < 0:
                self._accepted(probing)
            else:
                from .trouble import answered

                answered(self, status, probing)
        return bool(status)

    def _accepted(self, probing):
        self._tries = 0
        if self.status != ONLINE:
            forget("trouble")
        self.status = ONLINE
        edge = probing
        if not probing:
            self.stored()
            clock = self._recorder.clock
            edge = clock.source == "date" and clock.width_ms > self._width_ms + _WIDER_MS
        elif not self.synced:
            return self._pause(OFFLINE, _BACKOFF_MS, "no time from the gateway yet")
        if edge:
            from .dates import watch_for_edge

            watch_for_edge(self)

    def stored(self):
        """The gateway has what the oldest frame holds."""
        self._stored = True
        self._release()

    def call(self):
        """The next frame is a request of its own: see to it; True when something was done."""
        if self.calls is None:
            from .calls import Calls

            self.calls = Calls(self, self._http, self._outbox, self._recorder)
        return self.calls.turn()

    def _release(self):
        if self._outbox.release():
            self._stored = False
            self._size = 0
            self.delivered()
        return not self._stored

    def lost(self, why):
        """No answer, or none that says anything about the readings: the same frame again, later."""
        self.failures += 1
        self._tries = min(self._tries + 1, 16)
        self._edges = 0
        if self._probing:
            self._probing = False
            self._size = 0
        self._pause(OFFLINE, min(_BACKOFF_MS << self._tries - 1, _BACKOFF_MAX_MS), why)

    def _pause(self, status, wait_ms, why):
        """Wait `wait_ms`, 25 % more or less, so that boards that fell together do not return together."""
        self.status = status
        self.last_error = str(why)
        self._wait_ms = wait_ms * (192 + random_bits(7)) // 256
        self._since = ticks_ms()
