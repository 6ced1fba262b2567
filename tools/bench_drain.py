"""What delivery costs: draining a ring over a WebSocket, against a loop of `json.dumps` and `write`.

Run as `python tools/bench_drain.py`. Both run on the real MicroPython, in one run of one VM, over the same
stream, whose other end acknowledges at once. The ratio counts, the times are those of the machine: the best of ten
thousands of readings each.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(_ROOT))

from host_sim.vms.bare import WITHOUT_SOCKETS, run_bare  # noqa: E402

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
from plexus_mp.ws import Ws

ACK = bytearray(b'{"type":"telemetry_ack","seq":1         }')
HEAD = bytes((0x81, len(ACK)))
HELLO = b'{"type":"authenticated","server_time_ms":1800000000000,"acks":true}'


class Stream:
    # Takes everything; answers the handshake, then acknowledges each frame, without making objects.

    def __init__(self):
        self.frames = self.bytes = self.told = 0
        self.answers = []
        self.headed = False

    def connected(self):
        return True

    def write(self, buf):
        n = len(buf)
        if not self.frames:
            head = b"HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n"
            self.answers.append(head + b"Sec-WebSocket-Accept: any\\r\\n\\r\\n")  # a Python without SHA-1 checks none
        elif self.frames == 1:
            self.answers.append(bytes((0x81, len(HELLO))))
            self.answers.append(HELLO)
        self.frames += 1
        self.bytes += n
        return n

    def readinto(self, buf):
        if self.answers:
            answer = self.answers.pop(0)
            buf[: len(answer)] = answer
            return len(answer)
        if self.told + 2 == self.frames:
            return None
        if not self.headed:
            self.headed = True
            buf[:2] = HEAD
            return 2
        self.headed = False
        self.told = n = self.told + 1
        i = 30 + len(str(n)) if n in (1, 10, 100, 1000) else self.last
        self.last = i
        while n:
            i -= 1
            ACK[i] = 48 + n % 10
            n //= 10
        buf[: len(ACK)] = ACK
        return len(ACK)

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
stream = Stream()
link = Link(device.outbox, Http(no_stream, "h", 1, "/", "k", "a", buf), device.recorder)
ws = Ws(lambda host, port: stream, "h", 1, "/", "a", buf)
link.session = Session(ws, device.outbox, link, b"{}", b"{}")
"""
_DRAIN = """
while stream.told < 20:  # what is loaded with the first answers is not of each frame
    link.step()
gc.collect()
before = gc.mem_alloc()
first, first_bytes = stream.told, stream.bytes
times = []
while device.outbox.unsettled > 999:
    left = device.outbox.unsettled
    start = ticks_us()
    while left - device.outbox.unsettled < 999:
        link.step()
    times.append(ticks_diff(ticks_us(), start) / (left - device.outbox.unsettled))
frames = stream.told - first
print("drain", min(times), (stream.bytes - first_bytes) / frames, (gc.mem_alloc() - before) / frames, frames)
"""
_LOOP = """
gc.collect()
before = gc.mem_alloc()
times = []
for _ in range(5):
    start = ticks_us()
    for i in range(10000):
        point = {"class": "metric", "metric": "temperature", "value": VALUES[i & 63], "timestamp": 1800000000000}
        text = json.dumps(point)
        stream.write(text.encode())
    times.append(ticks_diff(ticks_us(), start) / 10000)
print("loop", min(times), len(text), (gc.mem_alloc() - before) / 50000 * 12)
"""


def measure(readings: int) -> dict[str, list[float]]:
    """Rows of the snippets: microseconds a reading first."""
    setup = f"READINGS = {readings}\nFRAME_BYTES = {FRAME_BYTES}\n{_SETUP}"
    result = run_bare([WITHOUT_SOCKETS + setup, _DRAIN, _LOOP], _TREES, ("/lib", "/tests"))
    if not result.ok:
        raise RuntimeError(result.stdout)
    rows = [line.split() for line in result.stdout.splitlines() if line.startswith(("drain ", "loop "))]
    return {row[0]: [float(cell) for cell in row[1:]] for row in rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--readings", type=int, default=10_000, help="2,000 at least")
    readings = parser.parse_args().readings
    found = measure(readings)
    drain_us, frame_bytes, garbage, frames = found["drain"]
    loop_us, _, loop_garbage = found["loop"]
    print(
        f"{readings} readings out of the ring, {frames:.0f} frames of {frame_bytes:.0f} bytes, each acknowledged:"
    )
    print(
        f"  {drain_us:.1f} us a reading, {drain_us / loop_us:.2f} of json.dumps and write ({loop_us:.1f} us)"
    )
    print(
        f"  {garbage:.0f} bytes of heap a frame ({loop_garbage:.0f} by json.dumps for 12 readings, as it holds)"
    )


if __name__ == "__main__":
    main()
