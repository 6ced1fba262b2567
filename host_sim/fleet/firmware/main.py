"""Three readings every two seconds, under the chip's own name; then nothing more, so that all can be delivered."""

import time

import plexus_board
from plexus_mp import Plexus

PERIOD_MS = getattr(plexus_board, "FLEET_PERIOD_MS", 2000)
SAMPLES = getattr(plexus_board, "FLEET_SAMPLES", 0)  # 0: for ever

px = Plexus()
n = 0
next_ms = time.ticks_ms()
while n < SAMPLES or not SAMPLES:
    px.send_batch([("temperature", 20.0 + n % 50 / 10), ("humidity", 40.0 + n % 300 / 10), ("sample", n)])
    n += 1
    next_ms = time.ticks_add(next_ms, PERIOD_MS)
    time.sleep_ms(max(0, time.ticks_diff(next_ms, time.ticks_ms())))
