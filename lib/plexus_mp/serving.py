"""`await px.serve()`: the link driven by asyncio. Loaded when it is called."""

from .ports import load_more

_BUSY_MS = 20
_IDLE_MS = 100


async def serve(px):
    """Until `px` is closed, or the task is cancelled; other tasks run between slices."""
    while not px._closed:
        for _ in range(8):  # a backlog goes out faster than one slice a turn
            if not px.tick():
                break
        if px.feed is not None:
            px.feed()
        await load_more().sleep_async(_IDLE_MS if px._link.idle else _BUSY_MS)
