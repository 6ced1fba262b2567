"""Waiting for what is left to be delivered. Loaded with the first call that does; `px` is the client."""

from .errors import AuthenticationError, PlexusError
from .link import AUTH_FAILED
from .ports import sleep_ms, ticks_diff, ticks_ms


def flush(px, timeout_s):
    """Deliver all that waits, as `Plexus.flush_buffer` promises."""
    link = px._link
    start = ticks_ms()
    px._recorder.upkeep(True)
    failures = link.failures
    link.retry_now()
    while px.buffer_size():
        px._outbox.lingering = False
        if px.feed is not None:
            px.feed()
        if not px.tick():
            sleep_ms(1 if link.busy else 10)
        if link.status == AUTH_FAILED and link.waiting:
            raise AuthenticationError(link.last_error)
        if link.failures - failures >= 3:
            raise PlexusError("%d readings wait: %s" % (px.buffer_size(), link.last_error))
        if ticks_diff(ticks_ms(), start) > timeout_s * 1000:
            told = (px.buffer_size(), timeout_s, link.last_error)
            raise PlexusError("%d readings wait after %d s: %s" % told)
    return True


def close(px, timeout_s):
    """Deliver what waits, for `timeout_s` at most, and let go of timer and connection."""
    try:
        px._recorder.upkeep(True)
        if px.buffer_size():
            flush(px, timeout_s)
    except PlexusError as e:
        print("plexus: closed with", e)
    finally:
        px.halt()
