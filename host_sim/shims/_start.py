"""A board's boot: `boot.py`, `main.py`, then what a REPL would do, wait while timers go on."""

import sys

from _board import call, on_timer
from _link import as_data

_REPORT = -1000  # the simulator's own timer
_clients = []


def _watch(cls, name):
    """Tell the host of every reading that is handed to the library, before and after."""
    original = getattr(cls, name)

    def watched(self, *arguments, **named):
        if name == "send_batch" and arguments:
            arguments = (list(arguments[0]),) + arguments[1:]
        call("host.begin", name, as_data((arguments, named)))
        accepted = False
        try:
            accepted = original(self, *arguments, **named)
            return accepted
        finally:
            call("host.end", bool(accepted))

    setattr(cls, name, watched)


def _remember(cls):
    original = cls.__init__

    def remembered(self, *arguments, **named):
        original(self, *arguments, **named)
        _clients.append(self)
        ring = self._recorder.ring
        partition = ring._dev.info()[4] if hasattr(ring._dev, "info") else ""
        call("host.client", self.source_id, partition, ring.boot, _uptime_ms(self))

    cls.__init__ = remembered


def _uptime_ms(client):
    import time

    clock = client._recorder.clock
    clock.at(time.ticks_ms())
    return clock.s * 1000 + clock.ms


def _report():
    """What the clients hold in RAM, for the host to read: it sees flash by itself."""
    for client in _clients:
        ring = client._recorder.ring
        counts = (client.dropped_points, client.rejected_points)
        call("host.ring", ring._size, getattr(ring._dev, "_mem", b""), *counts)
    call("host.reported")


def _watch_library():
    try:
        from plexus_mp import Plexus
    except Exception:
        return  # no library, or a broken one: main.py will say so
    _remember(Plexus)
    _watch(Plexus, "send")
    _watch(Plexus, "send_batch")


def run(run_file):
    """`run_file(name)` executes a file of the board, or returns when there is none."""
    _watch_library()
    on_timer(_REPORT, _report)
    for name in ("boot.py", "main.py"):
        try:
            run_file(name)
        except SystemExit:
            pass
        except Exception as e:
            sys.print_exception(e)
    while True:
        call("time.idle")
