"""How the outbox reaches the gateway: one frame under way, backoff, and what each answer means.

A state machine: `step()` does a slice of work that never waits, except for a name resolution when a
connection is opened.
"""

import json

from .http import unix_seconds
from .ports import collect, const, has_network, random_bits, ticks_diff, ticks_ms

OFFLINE = "offline"
ONLINE = "online"
AUTH_FAILED = "auth failed"
RATE_LIMITED = "rate limited"

_BACKOFF_MS = const(1000)
_BACKOFF_MAX_MS = const(60_000)
# A refused key may be an authentication service that is down (both look the same): ask again, rarely.
_REFUSED_MS = const(60_000)
# An answer that took longer is a poor clock; after so many of them it is the best that is to be had.
_SLOW_SYNC_MS = const(1000)
_SLOW_SYNCS_MAX = const(4)
# A rate limit stored nothing: what was refused goes out again, slower.
_SLOW_MS = const(5_000)


class Link:
    """Delivers `outbox` over `http`; `recorder` learns the time from the answers.

    `status` is one of the constants above, `last_error` a line for a person. `retries` counts frames
    that were sent again, `failures` attempts that got no answer.
    """

    def __init__(self, outbox, http, recorder):
        self._outbox = outbox
        self._http = http
        self._recorder = recorder
        self._size = 0
        self._probing = False  # the frame under way is empty
        self._again = False  # the frame has been sent before
        self._stored = False  # the gateway has it, the ring does not know yet
        self._sent = 0
        self._slow_syncs = 0
        self._wait_ms = 0
        self._since = ticks_ms()
        self._tries = 0
        self.status = OFFLINE
        self.last_error = ""
        self.retries = 0
        self.failures = 0
        self.frames = 0

    @property
    def busy(self):
        """A request is under way."""
        return self._http.busy

    @property
    def waiting(self):
        """A pause after trouble is not over."""
        # Once it is over it stays so: after half a round of ticks a comparison would turn again.
        if self._wait_ms and ticks_diff(ticks_ms(), self._since) >= self._wait_ms:
            self._wait_ms = 0
        return self._wait_ms > 0

    def step(self):
        """One slice of work; True when something was done, so that calling again at once may help."""
        if self._stored:
            return self._release()
        if not (self._size or self._outbox.unsettled):
            return False
        try:
            if self._http.busy:
                return self._receive()
            if self.waiting:
                return False
            return self._send()
        except OSError as e:
            self._lost(e)
        except MemoryError:
            # A board's heap runs out when a connection needs it most: keep everything, try later.
            self._http.close()
            collect()
            self._lost("out of memory")
        return False

    def close(self):
        self._http.close()

    def retry_now(self):
        """End the pause: somebody waits for the outcome."""
        self._wait_ms = 0

    def _send(self):
        if not self._size:
            self._size = self._outbox.next_frame() if self._recorder.clock.synced else self._probe()
            self._again = False
        if not self._size or not (self._http.connected or has_network()):
            return False
        if self._again:
            self.retries += 1
        self._again = not self._probing
        self._sent = ticks_ms()
        self._http.post(self._outbox.view[: self._size])
        return True

    def _probe(self):
        """Before the time is known no reading can be dated: ask for it with a frame that stores nothing."""
        self._probing = True
        return self._outbox.empty_frame()

    def _receive(self):
        status = self._http.poll()
        if status:
            self._learn_time()
            self._answer(status, _parse(self._http.kept))
        return bool(status)

    def _learn_time(self):
        seconds = unix_seconds(self._http.date) if self._http.date else None
        if seconds is not None:
            now = ticks_ms()
            round_trip_ms = ticks_diff(now, self._sent)
            if round_trip_ms > _SLOW_SYNC_MS and self._slow_syncs < _SLOW_SYNCS_MAX:
                self._slow_syncs += 1  # half of it is how far off the time may be: ask again
                return
            # Date has whole seconds: on average it lies half a second back, and half the round trip more.
            self._recorder.sync(seconds * 1000 + 500 + round_trip_ms // 2, now)

    def _answer(self, status, body):
        """What an answer does to the readings. Only a gateway's own word counts: others have 200 and 400 too."""
        probing = self._probing
        self._probing = False
        if probing:
            self._size = 0
        if status == 200 and body.get("success"):
            self._accepted(probing, body.get("dropped"))
        elif status == 401 or status == 403:
            self._pause(AUTH_FAILED, _REFUSED_MS, "%d %s" % (status, body.get("error")))
        elif status == 429:
            self._pause(RATE_LIMITED, _SLOW_MS, "429 %s" % body.get("error"))
        elif (status == 400 or status == 413) and "error" in body and not probing:
            self._refused(status, body["error"])
        else:
            self._lost("HTTP status %d %s" % (status, body.get("error", "")))

    def _accepted(self, probing, dropped):
        if dropped:
            return self._pause(RATE_LIMITED, _SLOW_MS, "the gateway dropped %s points" % dropped)
        self._tries = 0
        self.status = ONLINE
        if probing and not self._recorder.clock.synced:
            self._pause(OFFLINE, _BACKOFF_MS, "no time from the gateway yet")
        elif not probing:
            self.frames += 1
            self._stored = True
            self._release()

    def _release(self):
        if self._outbox.release():
            self._stored = False
            self._size = 0
        return not self._stored

    def _refused(self, status, error):
        """The frame as it is will never be stored: find the point that is to blame."""
        self.last_error = "%d %s" % (status, error)
        index = _index(error) if status == 400 else None
        if index is not None and 0 <= index < self._outbox.points:
            self._outbox.quarantine(index)
        elif not self._outbox.split():
            self._outbox.quarantine(0)
        self._size = 0

    def _lost(self, why):
        """No answer, or none that says anything about the readings: the same frame again, later."""
        self.failures += 1
        self._tries = min(self._tries + 1, 16)
        if self._probing:
            self._probing = False
            self._size = 0
        self._pause(OFFLINE, min(_BACKOFF_MS << self._tries - 1, _BACKOFF_MAX_MS), str(why))

    def _pause(self, status, wait_ms, why):
        """Wait `wait_ms`, 25 % more or less, so that boards that fell together do not return together."""
        self.status = status
        self.last_error = why
        self._wait_ms = wait_ms * (192 + random_bits(7)) // 256
        self._since = ticks_ms()


def _parse(text):
    """The gateway's JSON object, or {} for whatever else sits at the other end."""
    try:
        body = json.loads(text)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _index(error):
    """3 out of `points[3].value cannot be null`, or None."""
    try:
        return int(error.split("points[", 1)[1].split("]", 1)[0])
    except (AttributeError, IndexError, ValueError):
        return None
