"""The calls of `Plexus` that not every program makes, each loading what it needs; `px` is the client.

They are found by name, so that a client that never makes them does not carry them.
"""


def find(px, name):
    """What `px.name` is. Raises `AttributeError` for what is none of these."""
    if name == "stats":
        return stats(px)
    call = _CALLS.get(name)
    if call is None:
        raise AttributeError("Plexus has no " + name)
    return lambda *arguments, **named: call(px, *arguments, **named)


def batch(px, interval_ms=100, max_points=5000):
    """As plexus-python's: an object with `send`, `send_batch` and `flush`, to be used with `with`.

    Nothing has to be held back here: each reading goes to the ring at once, and the link makes frames of them.
    """
    from .batching import Batch

    return Batch(px, interval_ms, max_points)


def run(px, name, **settings):
    """A context manager: a run named `name` (up to 200 characters) from its beginning to its end.

    `tags`, `metadata` (dicts), `pass_criteria` (a list of `{"metric", "operator", "value", "label"}`),
    `started_at` (ISO 8601), `source_id` (None: no source's). Readings sent within get the tag `run_id`. An
    exception that leaves the block ends the run as aborted. What the gateway is to be told waits in the ring as
    readings do. Raises `TypeError`, `ValueError` or `PlexusError` as `send`. Blocks for one commit each.
    """
    from . import runs

    return runs.run(px, name, settings)


def session(px, session_id, name=None):
    """As `run`, a session: readings sent within get the tag `session_id`."""
    from . import runs

    return runs.session(px, session_id, name)


def start_run(px, name, **settings):
    """Begin a run without tagging readings; what it returns is for `end_run`. Arguments as of `run`."""
    from . import runs

    return runs.start_run(px, name, settings)


def end_run(px, run, status="completed", ended_at=None):
    """End a run that `start_run` of this boot began, as "completed" or "aborted"; its verdict is the gateway's."""
    from . import runs

    return runs.end_run(px, run, status, ended_at)


def stats(px):
    """`px.stats`, without brackets: counts since the boot, a dict.

    Readings `accepted`, `stored`, `waiting`, `dropped` by a full ring, `rejected` by the gateway, `refused` inside
    another send(); `frames` stored, `bytes` sent, `duplicates_avoided`: frames sent again with the same bytes, so that
    a gateway can refuse the repeat; `reconnects`, `resyncs`, `failures` of connections, `faults` of flash and
    callbacks; `heap_free` in bytes.
    """
    from . import monitor

    return monitor.stats(px)


def on_status(px, callback):
    """Have `callback(word)` called when the state changes: "connected", "disconnected", "auth_failed",
    "rate_limited", "renamed" (the gateway gave another `source_id`), "name_taken" (another board may have it).

    Called by what drives the link, a timer perhaps: keep it short. What it raises is counted in `stats`.
    Returns `callback`: it can be used as a decorator.
    """
    _watch(px).add(callback)
    return callback


def send_stats(px, every_s):
    """Send `stats` as metrics `plexus.*` every so many seconds, 0: not any more."""
    _watch(px).send_every(every_s)


def _watch(px):
    if px._monitor is None:
        from .monitor import Monitor

        px._monitor = Monitor(px)
    return px._monitor


def command(px, name, **declaration):
    """A decorator that declares a command: `title`, `description`, `params`, `danger`, `idempotent`,
    `expires_in` seconds and `concurrency` as for plexus-python; docs/commands.md.

    The function is called as `handler(run, **params)`, and may be `async`. Raises `ValueError` naming field and
    limit. What is declared while there is a connection makes a new one, to tell the gateway.
    """
    return _commanded(px).decorator(name, declaration)


def on_command(px, name, handler, description=None, params=None, concurrency="accept"):
    """Answer commands of the older protocol: `handler(name, params)` returns a dict, or raises."""
    _commanded(px).declare_legacy(name, handler, concurrency)


def _commanded(px):
    if px.commands is None:
        from .commands import attach

        px.commands = attach(px._link, px._recorder, px._slice)
    return px.commands


def serve(px):
    """A coroutine that delivers until the client is closed: `await px.serve()`, or a task of its own."""
    from . import serving

    return serving.serve(px)


def sleep_ready(px):
    """Whether staying awake would not help: nothing waits, or what waits cannot be delivered now."""
    from .sleep import ready

    return ready(px)


def suspend(px, ms, deliver_s=10):
    """Deep sleep for `ms`, after delivering for `deliver_s` at most; what waits is kept. Does not return.

    Kept in flash or files as configured; a page that is not committed, and what is in a ring in RAM, in the RTC
    memory of an ESP32. `PlexusError` where there is none and readings wait in RAM; `OSError` without deep sleep.
    """
    from . import sleep

    sleep.suspend(px, ms, deliver_s)


_CALLS: dict = {
    "batch": batch, "run": run, "session": session, "start_run": start_run, "end_run": end_run,
    "on_status": on_status, "send_stats": send_stats, "serve": serve, "sleep_ready": sleep_ready, "suspend": suspend,
    "command": command, "on_command": on_command,
}  # fmt: skip
