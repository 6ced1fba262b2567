"""`Plexus`: what a program sees, and the order of the steps behind it."""

import json

from .blocks import RamBlocks
from .errors import AuthenticationError, PlexusError
from .http import Http
from .link import AUTH_FAILED, Link
from .outbox import Outbox
from .points import EVENT, METRIC
from .ports import (
    NAME,
    collect,
    forget,
    open_flash,
    sleep_ms,
    start_ticker,
    stop_ticker,
    ticks_diff,
    ticks_ms,
)
from .recorder import Recorder
from .ring import Ring

VERSION = "0.1.0"
_CLASSES = {None: None, "metric": METRIC, "event": EVENT}
# A timestamp below this is in seconds (the gateway's own rule), else in milliseconds.
_SECONDS_BELOW = 1_000_000_000_000
_STAMP_MAX_MS = 253_402_300_800_000  # the year 10000


def to_ms(timestamp):
    """A Unix timestamp in seconds or milliseconds as whole milliseconds; None stays None.

    Raises `TypeError` for what is no number, `ValueError` for 0, negative, not finite or beyond the year 9999.
    """
    if timestamp is None:
        return None
    if isinstance(timestamp, bool) or not isinstance(timestamp, (int, float)):
        raise TypeError("timestamp must be a number, not %s" % type(timestamp).__name__)
    if not 0 < timestamp < _STAMP_MAX_MS:
        raise ValueError("timestamp must be Unix seconds or milliseconds above 0, not %r" % timestamp)
    return int(round(timestamp * 1000)) if timestamp < _SECONDS_BELOW else int(timestamp)


class Plexus:
    """Telemetry to a Plexus gateway.

    >>> px = Plexus(source_id="greenhouse-1")
    >>> px.send("temperature", 22.4)

    Settings not given as arguments come from the environment (`PLEXUS_API_KEY`, …), `/plexus.json` or
    `plexus_board.py`. `ring` is "ram" or the name of a flash partition, where readings outlive a power cut.
    Sizes are in bytes: `ring_bytes` of RAM for readings that wait, in sectors of `sector_bytes`;
    `page_bytes` for the largest commit, `frame_bytes` for the largest request body.
    A timer delivers every `tick_ms`; with `tick_ms=0` the program calls `tick()`, `sleep()` or `flush_buffer()`.
    Raises `ValueError` naming the setting that is missing or does not fit. Never touches the network.
    """

    def __init__(
        self,
        api_key=None,
        source_id=None,
        gateway_url=None,
        ring_bytes=None,
        sector_bytes=None,
        page_bytes=None,
        frame_bytes=None,
        tick_ms=None,
        ring=None,
    ):
        from .settings import Settings  # needed once: its memory is given back below

        settings = Settings()
        key = settings.api_key(api_key)
        self.source_id = settings.source_id(source_id)
        host, port, path = settings.gateway(gateway_url)
        page = settings.integer("page_bytes", page_bytes)
        frame = settings.integer("frame_bytes", frame_bytes)
        source = json.dumps(self.source_id).encode()
        json_max = Outbox.json_max(source, frame)
        if json_max < 256:
            raise ValueError("frame_bytes must be at least %d" % (256 + frame - json_max))
        sector = settings.integer("sector_bytes", sector_bytes)
        flash = settings.get("ring", ring)
        if flash and flash != "ram":
            self._recorder = Recorder(_flash_ring(flash, page), page, json_max)
        else:
            blocks = RamBlocks(settings.integer("ring_bytes", ring_bytes), sector)
            self._recorder = Recorder(Ring(blocks, page), page, json_max)
        self._outbox = Outbox(self._recorder, source, page, frame)
        http = Http(host, port, path, key, "plexus-mp/%s (%s)" % (VERSION, NAME))
        self._link = Link(self._outbox, http, self._recorder)
        self._ticking = False
        self._ticks = 0
        self._closed = False
        self._ticker = None
        self._timer_id = settings.integer("timer_id")
        self._tick_ms = settings.integer("tick_ms", tick_ms)
        if self._tick_ms:
            self._ticker = start_ticker(self._on_timer, self._tick_ms, self._timer_id)
        del settings
        forget("settings")
        collect()

    def __repr__(self):
        return "<Plexus %s: %s, %d waiting>" % (self.source_id, self._link.status, self.buffer_size())

    def send(self, metric, value, timestamp=None, tags=None, data_class=None):
        """Record a reading. True once it is in the ring, however the network is.

        `value`: number, or (as an event) bool, str up to 256 bytes, list or dict up to 4,096 bytes of JSON.
        `timestamp`: Unix seconds or milliseconds, default now. `tags`: up to 16, str to str.
        False only when a timer callback sends inside another send() for the ninth time.
        Raises `TypeError`, `ValueError` or `PlexusError`, naming field and limit, for what cannot be carried.
        Blocks for the commit into the ring, at the longest one sector erase; allocates nothing for numbers
        without tags of a metric that was sent before.
        """
        if self._closed:
            raise PlexusError("closed")
        cls = None if data_class is None else _class(data_class)
        stamp_ms = None if timestamp is None else to_ms(timestamp)
        recorded = self._recorder.send(cls, metric, value, tags, stamp_ms)
        if self._ticker is None:
            self.tick()
        return recorded

    def event(self, name, data, timestamp=None, tags=None):
        """Record a named event: as `send` with `data_class="event"`."""
        return self.send(name, data, timestamp, tags, "event")

    def send_batch(self, points, timestamp=None, tags=None):
        """Record several readings of one moment: `(metric, value)` or `(metric, value, timestamp)` each.

        As `send`; one commit when they fit into `page_bytes`. When one of them raises, those of its commit
        are not recorded.
        """
        if self._closed:
            raise PlexusError("closed")
        recorded = self._recorder.send_batch(points, tags, to_ms(timestamp), to_ms)
        if self._ticker is None:
            self.tick()
        return recorded

    def buffer_size(self):
        """Readings that wait for delivery."""
        return self._outbox.waiting

    @property
    def dropped_points(self):
        """Readings lost because the ring was full: the oldest go first."""
        return self._recorder.ring.dropped

    @property
    def rejected_points(self):
        """Readings that the gateway refused for good."""
        return self._outbox.rejected

    def tick(self):
        """A slice of network work; True when calling again at once may help.

        Never waits, except for a name resolution when a connection is opened.
        """
        if self._ticking:  # a timer callback in the midst of a tick
            return False
        self._ticking = True
        try:
            self._ticks = self._ticks + 1 & 0x3FF
            if not self._ticks:
                self._recorder.keep_time()
            return self._link.step()
        finally:
            self._ticking = False

    def _on_timer(self, _):
        # The slices that follow at once are cheap, and a backlog should not wait for the next tick.
        for _ in range(8):
            if not self.tick():
                return

    def sleep(self, seconds):
        """Sleep as `time.sleep` does, delivering meanwhile: for ports without timers."""
        start = ticks_ms()
        total_ms = int(seconds * 1000)
        while True:
            left_ms = total_ms - ticks_diff(ticks_ms(), start)
            if left_ms <= 0:
                return
            if not self.tick():
                sleep_ms(min(left_ms, 20))

    def flush_buffer(self, timeout_s=30):
        """Deliver all that waits now. True when nothing is left.

        Blocks up to `timeout_s`. Raises `AuthenticationError` when the gateway refuses the key, `PlexusError`
        when it cannot be reached or the time is over; the readings are kept.
        """
        start = ticks_ms()
        failures = self._link.failures
        self._link.retry_now()
        while self.buffer_size():
            if not self.tick():
                sleep_ms(1 if self._link.busy else 10)
            if self._link.status == AUTH_FAILED and self._link.waiting:
                raise AuthenticationError(self._link.last_error)
            if self._link.failures - failures >= 3:
                raise PlexusError("%d readings wait: %s" % (self.buffer_size(), self._link.last_error))
            if ticks_diff(ticks_ms(), start) > timeout_s * 1000:
                raise PlexusError(
                    "%d readings wait after %d s: %s" % (self.buffer_size(), timeout_s, self._link.last_error)
                )
        return True

    def close(self, timeout_s=5):
        """Deliver what waits, for `timeout_s` at most, and let go of timer and connection."""
        if self._closed:
            return
        try:
            if self.buffer_size():
                self.flush_buffer(timeout_s)
        except PlexusError as e:
            print("plexus: closed with", e)
        finally:
            self._closed = True
            if self._ticker is not None:
                stop_ticker(self._ticker)
                self._ticker = None
            self._link.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


def _flash_ring(label, page_bytes):
    """The ring on the flash partition `label`. Loaded only when used."""
    from .decoder import count_points
    from .flashring import FlashRing

    return FlashRing(open_flash(label), page_bytes, count_points)


def _class(data_class):
    if data_class not in _CLASSES:
        raise ValueError("data_class must be 'metric' or 'event', not %r" % (data_class,))
    return _CLASSES[data_class]
