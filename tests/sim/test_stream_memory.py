"""What connections cost the heap, on the real MicroPython and on CPython: failures nothing that stays, frames little.

Garbage is collected between snippets only, so what stays is read in a snippet of its own.
"""

from __future__ import annotations

import gc
import sys
import tracemalloc
from pathlib import Path

from host_sim.vms.bare import WITHOUT_SOCKETS, run_bare

_ROOT = Path(__file__).resolve().parents[2]
_TREES = {"/lib": _ROOT / "lib", "/tests/device": _ROOT / "tests" / "device"}
_COUNT = 20  # failures of each of 13 kinds for either client, at a time
_ROUNDS = 4
_RUNS = 5

_FAIL = f"with fakes.Ticks() as ticks:\n    failing.run({_COUNT}, ticks)"
_START = WITHOUT_SOCKETS + "import gc\nfrom device import fakes, fuzz\nfailing = fuzz.Failing()\n" + _FAIL
_READ = "print('live', gc.mem_alloc(), failing.open, failing.failures)"

_GARBAGE = (
    WITHOUT_SOCKETS
    + """
import gc
from device import fakes, wires
from plexus_mp.http import Http
from plexus_mp.ws import Ws

class Steady:
    # A stream that costs nothing itself: the same answer again and again, in one piece each.
    def __init__(self, answer):
        self.answer = answer
        self.left = 0
    def connected(self):
        return True
    def write(self, data):
        return len(data)
    def readinto(self, buf):
        at = len(self.answer) - self.left
        if not self.left:
            return None
        n = min(len(buf), self.left)
        for i in range(n):
            buf[i] = self.answer[at + i]
        self.left -= n
        return n
    def close(self):
        pass

answer = (
    b"HTTP/1.1 200 OK\\r\\nDate: Thu, 05 Mar 2026 12:00:00 GMT\\r\\nContent-Type: application/json\\r\\n"
    b"Server: gateway\\r\\nVary: Origin\\r\\nContent-Length: 26\\r\\n\\r\\n" + b'{"success":true,"count":3}'
)
stream = Steady(answer)
http = Http(lambda host, port: stream, "h", 1, "/", "k", "a")
body = memoryview(bytearray(500))

def posts(count):
    for _ in range(count):
        http.post(body)
        stream.left = len(answer)
        while not http.poll():
            pass
        assert http.find(b'{"success":true,') == 0 and http.find(b'"dropped"') < 0

posts(2)
before = gc.mem_alloc()
posts(100)
print("garbage post", (gc.mem_alloc() - before) // 100)

ack = wires.frame(0x81, b'{"type":"telemetry_ack","seq":17}')
agreed = b"HTTP/1.1 101 S\\r\\nUpgrade: websocket\\r\\nSec-WebSocket-Accept: x\\r\\n\\r\\n"
stream = Steady(agreed)
ws = Ws(lambda host, port: stream, "h", 1, "/", "a")
with wires.hashlib_with(None):
    ws.open()
stream.left = len(agreed)
while not ws.ready:
    ws.poll()
stream.answer = ack
out = memoryview(bytearray(508))

def sends(count):
    for _ in range(count):
        assert ws.send(0x81, out, 8, 500)
        while not ws.ready:
            ws.poll()

def receives(count):
    for _ in range(count):
        stream.left = len(ack)
        while ws.poll() is None:
            pass

for name, function in (("frame", sends), ("message", receives)):
    function(2)
    before = gc.mem_alloc()
    function(100)
    print("garbage", name, (gc.mem_alloc() - before) // 100)
"""
)


def _bare(snippets: list[str]) -> list[list[str]]:
    result = run_bare(snippets, _TREES, ("/lib", "/tests"))
    assert result.ok, result.stdout
    return [line.split() for line in result.stdout.splitlines()]


def test_failed_connections_leave_nothing() -> None:
    """More than two thousand failures: no stream is open, and the live heap is what it was.

    The collector takes numbers for pointers, now and then into a module that was loaded meanwhile and given back: that
    differs from run to run, and a leak does not. A failure that left one object would leave 33 KB, each time.
    """
    for _ in range(_RUNS):
        lines = _bare([_START, _FAIL, _READ, *[_FAIL] * _ROUNDS, _READ])
        (_, before, _, _), (_, after, still_open, failures) = lines
        assert still_open == "0" and int(failures) == (_ROUNDS + 2) * _COUNT * 26
        if int(after) - int(before) <= 128:
            return
    raise AssertionError(f"each of {_RUNS} runs left more: {lines}")


def test_failed_connections_leave_nothing_on_cpython() -> None:
    if str(_ROOT / "tests") not in sys.path:
        sys.path.insert(0, str(_ROOT / "tests"))
    from device import fakes, fuzz

    failing = fuzz.Failing()
    with fakes.Ticks() as ticks:
        failing.run(_COUNT, ticks)
        tracemalloc.start()
        try:
            failing.run(_COUNT, ticks)
            gc.collect()
            before = tracemalloc.get_traced_memory()[0]
            failing.run(_COUNT * _ROUNDS, ticks)
            gc.collect()
            after = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
    # Less than one byte for each failure.
    assert after - before < _COUNT * _ROUNDS * 26 and not failing.open


def test_garbage_of_posts_frames_and_messages() -> None:
    """Bytes of heap: a POST of a prepared body with its answer, a frame sent, a small message received."""
    garbage = {words[1]: int(words[2]) for words in _bare([_GARBAGE]) if words[0] == "garbage"}
    print(garbage)
    assert garbage["post"] <= 128 and garbage["frame"] <= 64 and garbage["message"] <= 64, garbage
