"""Readings of all shapes, each with a value of its own, and now and then how wrong the clock may be."""

import random
import time

import plexus_board
from plexus_mp import Plexus

PERIOD_MS = getattr(plexus_board, "CHAOS_PERIOD_MS", 2000)
# Of two boots the values do not meet: 43 bits are exact in a double, and further apart than a boot has samples.
BASE = random.getrandbits(30) << 13

px = Plexus(source_id="chaos")


def sample(n):
    px.send_batch([("count", BASE + n), ("half", BASE + n + 0.5)])
    if n % 8 == 1:
        px.send("probe", BASE + n, tags={"probe": "outside"})
    if n % 16 == 2:
        px.event("state", {"n": BASE + n, "word": "running"})
    if n % 16 == 3:
        now_ms = px.now_ms()
        if now_ms is not None:
            px.send("given", BASE + n, timestamp=now_ms)
    if n % 16 == 4:
        error_ms = px.clock.error_ms
        if error_ms is not None:
            px.event("clock_error", {"n": BASE + n, "ms": error_ms})


n = 0
next_ms = time.ticks_ms()
while True:
    try:
        sample(n)
    except (MemoryError, OSError):
        pass  # not accepted, so nobody's promise
    n += 1
    next_ms = time.ticks_add(next_ms, PERIOD_MS)
    left_ms = time.ticks_diff(next_ms, time.ticks_ms())
    if left_ms > 0:
        time.sleep_ms(left_ms)
    else:
        next_ms = time.ticks_ms()
