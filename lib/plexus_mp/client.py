"""`Plexus`: what a program sees, and the order of the steps behind it."""

from .errors import PlexusError
from .points import EVENT, METRIC
from .ports import (
    Guard,
    collect,
    const,
    forget,
    pace_ticker,
    sleep_ms,
    start_ticker,
    stop_ticker,
    ticks_diff,
    ticks_ms,
)

TYPE_CHECKING = const(0)  # an editor takes it for true, and mpy-cross leaves out what depends on it
if TYPE_CHECKING:
    from . import more

VERSION = "0.1.0"
_HASTY_MS = 10  # also the tick of ESP-IDF's scheduler
# How much rarer the timer comes while there is nothing to deliver and no answer to wait for.
_IDLE_TICKS = const(5)
_DOZE_MS = const(3000)  # a gateway's ping is answered within that


class Plexus:
    """Telemetry to a Plexus gateway.

    >>> px = Plexus(source_id="greenhouse-1")
    >>> px.send("temperature", 22.4)

    Settings not given as arguments come from the environment (`PLEXUS_API_KEY`, …), `/plexus.json` or
    `plexus_board.py`. `ring` tells where readings wait: "ram", "files", the name of a flash partition, or
    "rp2:START:LENGTH"; in all but the first they outlive a power cut. `commit_ms` 0: what `send()` recorded is
    durable when it returns; else a page is committed when it is full or so old, and a power cut costs at most that.
    `linger_ms`: a frame that may not be full goes no sooner than so long after the one before. That bounds what the
    gateway is sent and flash is told of it; 6,000 by default, 0 with a ring in RAM.
    Sizes are in bytes: `ring_bytes` for readings that wait, in sectors of `sector_bytes` (a partition has its own),
    `page_bytes` for the largest commit, `program_bytes` the flash's unit of programming,
    `frame_bytes` for the largest request body.
    `endpoint` is where runs and sessions are told, by default where the readings go. `session`, an object with
    `post` as `requests.Session` has it, carries everything instead of sockets, and blocks (requests_http.py).
    Arguments of plexus-python's that mean nothing here are taken (peer.py). `feed`, when it is set, is called by all
    that waits here (`sleep`, `serve`, `flush_buffer`, `close`, `suspend`): a watchdog's.
    A second client on one ring in flash or files closes the first. `stats_s` above 0 sends `stats` as metrics so often.
    A timer delivers every `tick_ms`, a fifth as often or less while nothing waits; with `tick_ms=0` the program calls
    `tick()`, `sleep()` or `flush_buffer()`.
    Raises `ValueError` naming the setting that is missing or does not fit. Never touches the network.
    """

    _owners = {}  # who has which ring
    if TYPE_CHECKING:  # what __getattr__ finds
        batch, run, session, start_run, end_run = (
            more.batch,
            more.run,
            more.session,
            more.start_run,
            more.end_run,
        )
        command, on_command, on_status, send_stats = (
            more.command,
            more.on_command,
            more.on_status,
            more.send_stats,
        )
        serve, sleep_ready, suspend, stats = more.serve, more.sleep_ready, more.suspend, property(more.stats)

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
        commit_ms=None,
        program_bytes=None,
        transport=None,
        ca_file=None,
        endpoint=None,
        session=None,
        stats_s=None,
        linger_ms=None,
        **peer,
    ):
        self._closed = True  # until all is there
        from .assemble import assemble

        given = {
            "api_key": api_key, "source_id": source_id, "gateway_url": gateway_url, "ring": ring,
            "ring_bytes": ring_bytes, "sector_bytes": sector_bytes, "page_bytes": page_bytes,
            "frame_bytes": frame_bytes, "commit_ms": commit_ms, "tick_ms": tick_ms,
            "program_bytes": program_bytes, "transport": transport, "ca_file": ca_file,
            "endpoint": endpoint, "session": session, "stats_s": stats_s, "linger_ms": linger_ms,
        }  # fmt: skip
        if peer:
            from .peer import translate

            translate(peer, given)
        parts = assemble(VERSION, given, self)
        self._recorder, self._outbox, self._link, self._wifi, tick_ms, timer_id, stats_s = parts
        self._tick_ms = self._period_ms = tick_ms
        self._turn = Guard()
        self.commands = self.video = None
        self._closed = False
        self.feed = None
        self._monitor = None
        self._tags = None  # of all readings: of the run they belong to
        self._ticker = start_ticker(self._on_timer, tick_ms, timer_id) if tick_ms else None
        if stats_s:
            self.send_stats(stats_s)
        for module in ("assemble", "settings", "mount", "state", "identity", "more"):  # needed once
            forget(module)
        collect()

    def __repr__(self):
        return "<Plexus %s: %s, %d waiting>" % (self.source_id, self._link.status, self.buffer_size())

    def send(self, metric, value, timestamp=None, tags=None, data_class=None):
        """Record a reading. True once it is in the ring, however the network is.

        `value`: number, or (as an event) bool, str up to 256 bytes, list or dict up to 4,096 bytes of JSON.
        `timestamp`: Unix seconds or milliseconds, default now. `tags`: up to 16, str to str.
        False only when a timer callback sends inside another send() for the ninth time.
        Raises `TypeError`, `ValueError` or `PlexusError`, naming field and limit, for what cannot be carried.
        Blocks for the commit into the ring, at the longest one sector erase, two where flash fails; allocates nothing
        for numbers without tags of a metric that was sent before.
        """
        if self._closed:
            raise PlexusError("closed")
        cls = None
        if data_class is not None:
            cls = EVENT if data_class == "event" else METRIC
            if cls == METRIC and data_class != "metric":
                raise ValueError("data_class must be 'metric' or 'event', not %r" % (data_class,))
        stamp_ms = None if timestamp is None else _to_ms(timestamp)
        if self._tags is not None:
            tags = self._with_tags(tags)
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
        if self._tags is not None:
            tags = self._with_tags(tags)
        recorded = self._recorder.send_batch(
            points, tags, None if timestamp is None else _to_ms(timestamp), _to_ms
        )
        if self._ticker is None:
            self.tick()
        return recorded

    def _with_tags(self, tags):
        if tags is None:
            return self._tags
        if not isinstance(tags, dict):
            return tags  # whoever looks at it next says what is wrong
        merged = self._tags.copy()
        merged.update(tags)
        return merged

    def __getattr__(self, name):
        """The calls that not every program makes are loaded with the first of them: more.py has them."""
        if name[0] == "_":
            raise AttributeError(name)
        from .more import find

        return find(self, name)

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

    @property
    def clock(self):
        """What is known of the time: `synced`, `source` ("ws" or "date"), `drift_ppb`, by which Unix time goes faster
        than the board's, `offset_ms` of Unix time from uptime, and `error_ms`, how far off that may be.

        The last two are None before the first sync.
        """
        return self._recorder.clock

    def now_ms(self):
        """Unix milliseconds, None before the first sync."""
        return self._recorder.now_ms()

    @property
    def source_id(self):
        """The name of this board: as given, or as a gateway has changed it."""
        return self._outbox.own_source[1:-1].decode()

    def tick(self):
        """A slice of network work, and the handler of a command if one waits; True when calling again at once may help.

        Waits for a name resolution and, with https, a key exchange when a connection is opened, for one sector erase
        (a ring in files: one file) between readings, and for that handler; for nothing else.
        """
        more = self._slice()
        if self.commands is not None:
            self.commands.run_due(False)
        if self._monitor is not None:
            self._monitor.look()
        return more

    def _slice(self):
        call = self._recorder.enter()
        try:
            try:
                if not self._turn.take(False, call):  # a timer callback in the midst of a tick
                    return False
                if self._wifi is not None and self._wifi.ticker is None:
                    self._wifi.step()
                recorder, link = self._recorder, self._link
                pending = recorder.pending
                recorder.upkeep(pending > 0 and link.hungry and not self._outbox.lingers(pending))
                return link.step()
            finally:
                self._turn.drop(call)
        finally:  # an interrupt may strike in the midst of the other one
            self._turn.drop(call)

    def _on_timer(self, _):
        # The slices that follow at once are cheap, and a backlog should not wait for the next tick.
        for _ in range(8):
            if not self._slice():
                break
        if self.commands is not None:
            self.commands.run_due(True)
        if self._monitor is not None:
            self._monitor.look()
        # While the answer that tells the time is awaited the timer is quicker: when it came is then known better.
        period_ms = self._tick_ms
        if self._link.idle:
            period_ms *= _IDLE_TICKS
            if self.commands is None and self.video is None and self._monitor is None:
                # Nobody waits for what may come, and what is sent now waits for company.
                period_ms = max(period_ms, min(self._outbox.linger_left_ms, _DOZE_MS))
        elif self._link.hasty:
            period_ms = min(_HASTY_MS, period_ms)
        if period_ms != self._period_ms and not self._closed:
            self._period_ms = period_ms
            pace_ticker(self._ticker, self._on_timer, period_ms)

    def send_video_frame(
        self, frame, camera_id="camera:0", quality=85, timestamp=None, width=None, height=None
    ):
        """Send `frame`, a JPEG in bytes or a buffer of at most 750,000 bytes, over the WebSocket; docs/video.md.

        True when it is on its way: while `px.video.busy` its bytes must stay as they are, because it is not copied.
        False, and counted in `px.video.dropped`, when the one before is still on its way, there is no connection, the
        time is not known, or it is too big. `width` and `height` in pixels are read from the JPEG when not given;
        `quality` is there for code of plexus-python. Raises `TypeError` or `ValueError` for no JPEG. Never waits.
        """
        if self.video is None:
            from .video import attach

            self.video = attach(self._link.session, self.source_id)
        unix_ms = self.now_ms() if timestamp is None else _to_ms(timestamp)
        return self.video.take(frame, camera_id, width, height, unix_ms)

    def sleep(self, seconds):
        """Sleep as `time.sleep` does, delivering meanwhile: for ports without timers."""
        start = ticks_ms()
        total_ms = int(seconds * 1000)
        while True:
            left_ms = total_ms - ticks_diff(ticks_ms(), start)
            if left_ms <= 0:
                return
            if self.feed is not None:
                self.feed()
            if not self.tick():
                pause_ms = 100 if self._link.idle else 20
                sleep_ms(min(left_ms, _HASTY_MS if self._link.hasty else pause_ms))

    def flush_buffer(self, timeout_s=30):
        """Deliver all that waits now. True when nothing is left.

        Blocks up to `timeout_s`. Raises `AuthenticationError` when the gateway refuses the key, `PlexusError`
        when it cannot be reached or the time is over; the readings are kept.
        """
        from .closing import flush

        return flush(self, timeout_s)

    def close(self, timeout_s=5):
        """Deliver what waits, for `timeout_s` at most, and let go of timer and connection."""
        if self._closed:
            return
        from .closing import close

        close(self, timeout_s)

    def halt(self):
        """Let go of timer and connection at once; what waits stays in the ring."""
        self._closed = True
        if self._ticker is not None:
            stop_ticker(self._ticker)
            self._ticker = None
        self._link.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


def _to_ms(timestamp):
    from .checks import to_ms

    return to_ms(timestamp)
