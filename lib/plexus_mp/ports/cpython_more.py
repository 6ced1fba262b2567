"""Of CPython, what few programs need: sleep, and figures."""

import time


def free_bytes():
    return 0


def sleep_async(ms):
    import asyncio

    return asyncio.sleep(ms / 1000)


def rtc_ms():
    return time.time_ns() // 1_000_000


def deep_sleep(ms):
    raise OSError(95, "no deep sleep")
