"""What delivery costs: draining a ring over a WebSocket, against a loop of `json.dumps` and `write`.

Run as `python tools/bench_drain.py`. Both run on the real MicroPython, in one run of one VM, over the same
stream, whose other end acknowledges at once. The ratio counts, the times are those of the machine: the best of ten
thousands of readings each.
"""

from __future__ import annotations

import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(_ROOT))

from host_sim.vms.bare import WITHOUT_SOCKETS, run_bare  # noqa: E402

READINGS = 10_000
FRAME_BYTES = 1100  # about 1 KB of JSON

_TREES = {"/lib": _ROOT / "lib", "/tests/device": _ROOT / "tests" / "device"}
_SETUP = """
import gc
import json
from time import ticks_us, ticks_diff
from device import fakes
from plexus_mp.http import Http
from plexus_mp.link import Link
from plexus_mp.session import Session

ACK = bytearray(b'\\x81\\x28{"type":"telemetry_ack","seq":1         }')
HELLO = b'{"type":"authenticated","server_time_ms":1800000000000,"acks":true}'


class Socket:
    # What a session knows of a `Ws`, over a stream that takes everything and acknowledges each frame.
    connected = ready = True
    close_code = 0

    def __init__(self, buf):
        self.buf = buf
        self.frames = self.bytes = 0
        self.told = 0

    def open(self):
        self.answer = None

    def send(self, op, view, at, n):
        if not self.frames:
            self.answer = memoryview(HELLO)
        from plexus_mp.ws import frame
        start = frame(op, view, at, n)
        self.write(view, at + n - start)
        return True

    def write(self, buf, n):
        self.frames += 1
        self.bytes += n

    def poll(self):
        if self.answer is not None:
            n = len(self.answer)
            self.buf[:n] = self.answer
            self.answer = None
            return memoryview(self.buf)[:n]
        if self.told + 1 < self.frames:  # the first was the authentication
            self.told += 1
            n = self.told
            size = 0
            while n:
                n //= 10
                size += 1
            n = self.told
            for i in range(32 + size - 1, 31, -1):
                ACK[i] = 48 + n % 10
                n //= 10
            for i in range(len(ACK) - 2):
                self.buf[i] = ACK[2 + i]
            return MESSAGE
        return None

    def close(self):
        pass


def no_stream(host, port):
    raise OSError(113)


VALUES = [22 + (i * 7 % 40) / 128 for i in range(64)]
ticks = fakes.Ticks()
ticks.__enter__()
device = fakes.Device(ticks, READINGS * 8 + 20000, 4096, 512, FRAME_BYTES, synced=False)
for i in range(READINGS // 4):
    ticks.advance(2000)
    device.batch([("temperature", VALUES[i & 63]), ("humidity", VALUES[i * 3 & 63]), ("pressure", VALUES[i * 5 & 63]),
                  ("battery", VALUES[i * 11 & 63])])
buf = bytearray(640)
MESSAGE = memoryview(buf)[: len(ACK) - 2]
socket = Socket(buf)
link = Link(device.outbox, Http(no_stream, "h", 1, "/", "k", "a", buf), device.recorder)
link.session = Session(socket, buf, device.outbox, link, b"{}", b"{}")
"""
_DRAIN = """
gc.collect()
before = gc.mem_alloc()
times = []
while device.outbox.unsettled > 999:
    left = device.outbox.unsettled
    start = ticks_us()
    while left - device.outbox.unsettled < 999:
        link.step()
    times.append(ticks_diff(ticks_us(), start) / (left - device.outbox.unsettled))
frames = socket.frames - 1
print("drain", min(times), socket.bytes / frames, (gc.mem_alloc() - before) / frames, frames)
"""
_LOOP = """
gc.collect()
before = gc.mem_alloc()
times = []
for _ in range(10):
    start = ticks_us()
    for i in range(1000):
        point = {"class": "metric", "metric": "temperature", "value": VALUES[i & 63], "timestamp": 1800000000000}
        text = json.dumps(point)
        socket.write(text.encode(), len(text))
    times.append(ticks_diff(ticks_us(), start) / 1000)
print("loop", min(times), len(text), (gc.mem_alloc() - before) / 10000 * 12)
"""


def measure() -> dict[str, list[float]]:
    """Rows of the snippets: microseconds a reading first."""
    setup = f"READINGS = {READINGS}\nFRAME_BYTES = {FRAME_BYTES}\n{_SETUP}"
    result = run_bare([WITHOUT_SOCKETS + setup, _DRAIN, _LOOP], _TREES, ("/lib", "/tests"))
    if not result.ok:
        raise RuntimeError(result.stdout)
    rows = [line.split() for line in result.stdout.splitlines() if line.startswith(("drain ", "loop "))]
    return {row[0]: [float(cell) for cell in row[1:]] for row in rows}


def main() -> None:
    found = measure()
    drain_us, frame_bytes, garbage, frames = found["drain"]
    loop_us, _, loop_garbage = found["loop"]
    print(
        f"{READINGS} readings out of the ring, {frames:.0f} frames of {frame_bytes:.0f} bytes, each acknowledged:"
    )
    print(
        f"  {drain_us:.1f} us a reading, {drain_us / loop_us:.2f} of json.dumps and write ({loop_us:.1f} us)"
    )
    print(
        f"  {garbage:.0f} bytes of heap a frame ({loop_garbage:.0f} by json.dumps for 12 readings, as it holds)"
    )


if __name__ == "__main__":
    main()
