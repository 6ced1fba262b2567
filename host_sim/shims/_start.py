"""A board's boot: `boot.py`, `main.py`, then what a REPL would do, wait while timers go on."""

import sys

from _board import call, on_timer, operation
from _link import as_data

_REPORT = -1000  # the simulator's own timers
_VIEW = -1001
_clients = []
_begin = operation("host.begin")
_end = operation("host.end")


def _watch(cls, name):
    """Tell the host of every reading that is handed to the library, before and after."""
    original = getattr(cls, name)

    def watched(self, *arguments, **named):
        if name == "send_batch" and arguments:
            arguments = (list(arguments[0]),) + arguments[1:]
        _begin(name, as_data((arguments, named, self._tags or {})), self._recorder._commit_ms > 0)
        accepted = False
        try:
            accepted = original(self, *arguments, **named)
            return accepted
        finally:
            _end(bool(accepted))

    setattr(cls, name, watched)


def _watch_commits(ring):
    """Tell the host how many points have come from the page to where a power cut leaves them."""
    original = ring.append

    def watched(n, points):
        original(n, points)
        call("host.commit", points)

    ring.append = watched


def _remember(cls):
    original = cls.__init__

    def remembered(self, *arguments, **named):
        original(self, *arguments, **named)
        _clients.append(self)
        ring = self._recorder.ring
        if self._recorder._commit_ms:
            _watch_commits(ring)
        call("host.client", self.source_id, _place(ring), ring.boot, _uptime_ms(self))

    cls.__init__ = remembered


def _place(ring):
    """Where the host finds what `ring` holds; "" in RAM."""
    if ring.volatile:
        return ""
    dev = ring._dev
    if ring.write_once:
        return "files:%d:%d" % (dev.ioctl(4, 0), dev.ioctl(5, 0))
    if hasattr(dev, "info"):
        return dev.info()[4]
    return "rp2:%d:%d" % (dev._start, dev.ioctl(4, 0) * dev.ioctl(5, 0))


def _uptime_ms(client):
    import time

    clock = client._recorder.clock
    clock.at(time.ticks_ms())
    return clock.s * 1000 + clock.ms


def _report():
    """What the clients hold in RAM, for the host to read: it sees flash and files by itself."""
    for client in _clients:
        ring = client._recorder.ring
        counts = (client.dropped_points, client.rejected_points)
        memory = ring._dev._mem if ring.volatile else b""
        # Readings of a frame under way whose sector is gone; in flash a header counts them.
        undecided = ring.orphaned if ring.volatile else 0
        call("host.ring", ring.sector_bytes, memory, _page(client._recorder), *counts, undecided)
    call("host.reported")


def _view():
    """How the newest client stands, for who looks on."""
    import gc

    for client in _clients[-1:]:
        counts = (client.dropped_points, client.rejected_points)
        call("host.view", repr(client), client.now_ms(), gc.mem_alloc(), gc.mem_free(), *counts)


def _page(recorder):
    """The records that wait for their commit; none in the midst of a change: then a cut may take them or not."""
    from plexus_mp.log import PAYLOAD_AT

    number = recorder.enter()
    try:
        if not recorder.guard.take(False, number):
            return b""
        return bytes(recorder.ring.page[PAYLOAD_AT : PAYLOAD_AT + recorder._encoder.size])
    finally:
        recorder.leave(number)


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
    on_timer(_VIEW, _view)
    for name in ("boot.py", "main.py"):
        try:
            run_file(name)
        except SystemExit:
            pass
        except KeyboardInterrupt:
            raise  # from who runs the simulation
        except BaseException as e:
            sys.print_exception(e)
            call("host.raised")
    while True:
        call("time.idle")
