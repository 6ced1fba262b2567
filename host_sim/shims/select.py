"""`select` of MicroPython: polling sockets."""

from _board import call

POLLIN = 1
POLLOUT = 4
POLLERR = 8
POLLHUP = 16


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
        numbers = [obj._number for obj, _ in self._entries]
        masks = [mask for _, mask in self._entries]
        events = call("sockets.poll", numbers, masks, timeout)
        return [(self._entries[i][0], events[i]) for i in range(len(events)) if events[i]]

    ipoll = poll


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
