"""Of CPython, what few programs need: sleep, and figures."""


def free_bytes():
    return 0


def sleep_async(ms):
    import asyncio

    return asyncio.sleep(ms / 1000)


def deep_sleep(ms):
    raise OSError(95, "no deep sleep")
