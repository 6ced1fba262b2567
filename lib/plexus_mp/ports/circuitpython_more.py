"""Of CircuitPython, what few programs need: sleep, and figures."""

import gc
import time


def free_bytes():
    """What is left of the heap."""
    return gc.mem_free()


def sleep_async(ms):
    """For `await`."""
    import asyncio

    return asyncio.sleep(ms / 1000)


def deep_sleep(ms):
    """Does not return. Raises `OSError` where there is no deep sleep."""
    try:
        import alarm
    except ImportError:
        raise OSError(95, "no deep sleep")  # EOPNOTSUPP
    alarm.exit_and_deep_sleep_until_alarms(alarm.time.TimeAlarm(monotonic_time=time.monotonic() + ms / 1000))
