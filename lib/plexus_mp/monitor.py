"""What a client tells of itself: its state when that changes, and its figures. Loaded when somebody wants to know."""

from .link import AUTH_FAILED, OFFLINE, ONLINE, RATE_LIMITED
from .ports import load_more, ticks_diff, ticks_ms

_WORDS = {
    ONLINE: "connected", OFFLINE: "disconnected", AUTH_FAILED: "auth_failed", RATE_LIMITED: "rate_limited",
}  # fmt: skip
# Ticks turn after days (2^29 ms on CircuitPython): a longer period is cut to this.
_PERIOD_MAX_MS = 86_400_000


class Monitor:
    """Looks at `px` after each slice of work. `period_s` above 0: its figures are sent as metrics `plexus.*` so often.

    `faults` counts exceptions of callbacks, which are printed once and go no further.
    """

    def __init__(self, px):
        self._px = px
        self._callbacks = []
        self._told = px._link.status
        self._name = px.source_id
        self._rivals = 0
        self._period_ms = 0
        self._since = ticks_ms()
        self.faults = 0

    def add(self, callback):
        if not callable(callback):
            raise TypeError("on_status needs a function, not %s" % type(callback).__name__)
        if len(self._callbacks) >= 8:
            raise ValueError("on_status takes 8 functions")
        self._callbacks.append(callback)

    def send_every(self, seconds):
        self._period_ms = min(seconds * 1000, _PERIOD_MAX_MS)

    def look(self):
        """Tell what has changed. Callbacks run here, in whatever drives the link."""
        link = self._px._link
        if link.status != self._told:
            self._told = link.status
            self._tell(_WORDS[link.status])
        if link.rivals and not self._rivals:
            self._rivals = 1
            self._tell("name_taken")
        name = self._px.source_id
        if name != self._name:
            self._name = name
            self._tell("renamed")
        if self._period_ms and ticks_diff(ticks_ms(), self._since) >= self._period_ms:
            self._since = ticks_ms()
            self._send()

    def _tell(self, word):
        for callback in self._callbacks:
            try:
                callback(word)
            except Exception as e:  # whatever it is, the link goes on
                self.faults += 1
                if self.faults == 1:
                    print("plexus: on_status(%r) raised %s: %s" % (word, type(e).__name__, e))

    def _send(self):
        points = [("plexus." + name, value) for name, value in stats(self._px).items()]
        try:
            self._px.send_batch(points)
        except Exception as e:
            self.faults += 1
            if self.faults == 1:
                print("plexus: its figures could not be sent: %s" % e)


def stats(px):
    link, outbox, recorder = px._link, px._outbox, px._recorder
    return {
        "accepted": recorder.accepted + recorder.pending,
        "stored": outbox.delivered,
        "waiting": outbox.waiting,
        "dropped": recorder.ring.dropped,
        "rejected": outbox.rejected,
        "refused": recorder.refused,
        "duplicates_avoided": link.retries,
        "reconnects": link.reconnects,
        "resyncs": link.resyncs,
        "failures": link.failures,
        "frames": link.frames,
        "bytes": link.sent_bytes,
        "faults": recorder.faults + (px._monitor.faults if px._monitor else 0),
        "heap_free": load_more().free_bytes(),
    }
