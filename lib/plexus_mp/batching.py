"""`px.batch()`, for code that was written for plexus-python. Loaded when it is called."""


class Batch:
    """Hands readings on to `px` at once: the ring holds them, and the link sends them many at a time.

    `pending` and `dropped` are always 0 for that reason.
    """

    pending = 0
    dropped = 0

    def __init__(self, px, interval_ms, max_points):
        if interval_ms < 2:
            raise ValueError("interval_ms must be 2 or more, not %r" % interval_ms)
        if max_points < 1:
            raise ValueError("max_points must be 1 or more, not %r" % max_points)
        self._px = px
        self.send = px.send
        self.send_batch = px.send_batch

    def flush(self):
        """Nothing is held back."""

    close = flush

    def start(self):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
