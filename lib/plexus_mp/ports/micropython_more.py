"""Of MicroPython's ports, what few programs need: sleep, and figures."""

import gc

try:
    import machine
except ImportError:  # the unix and WebAssembly ports have no such module
    machine = None


def free_bytes():
    """What is left of the heap."""
    return gc.mem_free()


def sleep_async(ms):
    """For `await`."""
    import asyncio

    return asyncio.sleep_ms(ms)


def deep_sleep(ms):
    """Does not return. Raises `OSError` where there is no deep sleep."""
    if not hasattr(machine, "deepsleep"):
        raise OSError(95, "no deep sleep")  # EOPNOTSUPP
    machine.deepsleep(ms)
