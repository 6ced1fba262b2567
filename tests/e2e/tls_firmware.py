"""Firmware that uses the library's TLS streams without its client, among servers of every kind."""

from __future__ import annotations

import asyncio

from tests.sim.tls_bench import HOST, NOW_S, Bench

NOW_MS = NOW_S * 1000

PRELUDE_STREAMS = f"""
import gc
from plexus_mp import build
from plexus_mp.tls import Connector

NOW_MS = {NOW_MS}
longest_ms = 0

def unsynced():
    return None

def synced():
    return NOW_MS + time.ticks_ms()

def slice_of(step, *arguments):
    global longest_ms
    start = time.ticks_ms()
    try:
        return step(*arguments)
    finally:
        longest_ms = max(longest_ms, time.ticks_diff(time.ticks_ms(), start))

def dial(connector, kind, give_up_ms=8000):
    start = time.ticks_ms()
    stream = connector({HOST!r}, PORTS[kind])
    while not slice_of(stream.connected):
        time.sleep_ms(20)
        if time.ticks_diff(time.ticks_ms(), start) > give_up_ms:
            stream.close()
            raise OSError(110, "stalled")
    return stream

def dial_until(connector, kind, slices):
    # Give up after so many slices, wherever that is.
    stream = connector(HOST, PORTS[kind])
    for _ in range(slices):
        stream.connected()
        time.sleep_ms(20)
    stream.close()

def converse(stream):
    left = REQUEST
    while left:
        n = slice_of(stream.write, left)
        left = left[n:]
        if not n:
            time.sleep_ms(20)
    answer, buf = b"", bytearray(64)
    while True:
        n = slice_of(stream.readinto, buf)
        if n == 0:
            return answer.split(b"\\r\\n")[0].decode()
        if n is None:
            time.sleep_ms(20)
        else:
            answer += bytes(buf[:n])

def attempt(connector, kind="good"):
    try:
        stream = dial(connector, kind)
        text = converse(stream)
        stream.close()
        return text
    except OSError as e:
        return "ENOMEM" if e.errno == 12 else str(e.args[-1])

def clock():
    return time.gmtime()[:3]
"""


def run(vm, folder, source, seconds=60.0, during=None, prepare=None):
    """The bench after a run, and what the firmware printed, line by line.

    `bench.left` are the sockets and TLS connections that were open a second before the end, when all is done.
    """
    bench = Bench(vm, folder)

    async def look(world, placement):
        if during is not None:
            await during(world, placement)
        await asyncio.sleep(seconds - 1 - world.kernel.now_us() / 1e6)
        bench.left = (placement.board.net.open_sockets, len(placement.board.net.layers))

    return bench, bench.run(PRELUDE_STREAMS + source, seconds, look, prepare)
