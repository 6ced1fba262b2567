"""`select` of MicroPython: polling sockets, and objects that answer `ioctl` as streams do."""

from _board import call

POLLIN = 1
POLLOUT = 4
POLLERR = 8
POLLHUP = 16

_MP_STREAM_POLL = 3


class poll:
    def __init__(self):
        self._entries = []

    def register(self, obj, eventmask=POLLIN | POLLOUT):
        self.unregister(obj)
        self._entries.append((obj, eventmask))

    def unregister(self, obj):
        self._entries = [entry for entry in self._entries if entry[0] is not obj]

    def modify(self, obj, eventmask):
        self.register(obj, eventmask)

    def poll(self, timeout=-1):
        """Timer callbacks run meanwhile, and one that makes an entry ready ends the wait."""
        sockets = [entry for entry in self._entries if hasattr(entry[0], "_number")]
        numbers = [obj._number for obj, _ in sockets]
        masks = [mask for _, mask in sockets]
        end_us = None
        while True:
            if self._ready({}):
                timeout, end_us = 0, None  # the sockets are only looked at
            end_us, over, events = call("sockets.poll", numbers, masks, timeout, end_us)
            ready = self._ready(dict(zip(numbers, events)))
            if ready or over:
                return ready

    def _ready(self, events):
        """(object, events) of the entries that have some, `events` being those of the sockets."""
        found = [(obj, _events(obj, mask, events)) for obj, mask in self._entries]
        return [pair for pair in found if pair[1]]

    ipoll = poll


def _events(obj, mask, events):
    """Of the socket, and what the object itself knows, as every stream of MicroPython may."""
    own = obj.ioctl(_MP_STREAM_POLL, mask) if hasattr(obj, "ioctl") else 0
    return events.get(getattr(obj, "_number", None), 0) | own


def select(rlist, wlist, xlist, timeout=None):
    poller = poll()
    for obj in rlist:
        poller.register(obj, POLLIN)
    for obj in wlist:
        poller.register(obj, POLLOUT | (POLLIN if obj in rlist else 0))
    ready = poller.poll(-1 if timeout is None else int(timeout * 1000))
    readable = [obj for obj, event in ready if obj in rlist and event & ~POLLOUT]
    writable = [obj for obj, event in ready if obj in wlist and event & ~POLLIN]
    return (readable, writable, [])
