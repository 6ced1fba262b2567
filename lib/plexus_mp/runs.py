"""Runs and sessions: named windows on this source. Loaded when the first of them begins.

Beginning and end are recorded as calls in the ring, each durable when it returns, and made when a connection is free
(calls.py). Readings sent within carry a tag too, `run_id` or `session_id`, which is all that a gateway without these
calls has.
"""

from .errors import PlexusError
from .points import CALL
from .ports import random_bits, ticks_ms

NAME_MAX = 200  # characters; the gateway's own rule for runs
_CRITERIA_MAX = 32
_OPERATORS = (">", ">=", "<", "<=", "=", "!=")
_STATUSES = ("completed", "aborted")

_open = {}  # what start_run() began, by key


class Window:
    """`with` it: the run or session begins, and ends, aborted if an exception leaves it."""

    def __init__(self, px, kind, said):
        self._px = px
        self._kind = kind
        self._said = said
        self._tags = None
        self._began_ms = 0

    def __enter__(self):
        px = self._px
        self._tags = px._tags
        name = self._said["name"] if self._kind == "run" else self._said["key"]
        tags = dict(px._tags or ())
        tags[self._kind + "_id"] = name
        self._began_ms = _record(px, self._kind, self._said)
        px._tags = tags
        return _described(px, self._said)

    def __exit__(self, kind, error, trace):
        px = self._px
        px._tags = self._tags
        try:
            _end(px, self._kind, self._said, self._began_ms, "completed" if kind is None else "aborted", None)
        except (OSError, PlexusError):
            if kind is None:
                raise
            px._recorder.faults += 1  # what left the block matters more


def _described(px, said):
    return {"id": said["key"], "name": said["name"], "source_id": px.source_id, "status": "active"}


def _uptime_ms(px):
    return px._recorder.clock.uptime_ms(ticks_ms())


def _record(px, kind, said):
    """The uptime at which it was recorded."""
    if px._closed:
        raise PlexusError("closed")
    if not px._recorder.send(CALL, kind, said, None, None):
        raise PlexusError("a %s cannot begin or end inside another send()" % kind)
    px._recorder.upkeep(True)
    return _uptime_ms(px)


def _end(px, kind, said, began_ms, status, at):
    """`ago`: should the gateway hear of the end first, it hears of the beginning with it."""
    ended = {"key": said["key"], "name": said["name"], "status": status, "ago": _uptime_ms(px) - began_ms}
    if "source" in said:
        ended["source"] = said["source"]
    if at:
        ended["at"] = at
    _record(px, kind, ended)


def _name(field, name):
    if not isinstance(name, str):
        raise TypeError("%s must be a str, not %s" % (field, type(name).__name__))
    if not 0 < len(name) <= NAME_MAX or len(name.encode()) > 256:
        raise ValueError("%s must have 1 to %d characters, 256 bytes at most" % (field, NAME_MAX))
    return name


def _criteria(criteria):
    if not isinstance(criteria, (list, tuple)) or len(criteria) > _CRITERIA_MAX:
        raise ValueError("pass_criteria must be a list of at most %d" % _CRITERIA_MAX)
    for one in criteria:
        if one.get("operator") not in _OPERATORS or not isinstance(one.get("metric"), str):
            raise ValueError("pass_criteria need metric, operator (%s) and value" % " ".join(_OPERATORS))
    return criteria


def _said(px, name, settings):
    said = {"key": "%08x%08x" % (random_bits(30), random_bits(30)), "name": _name("name", name)}
    for field in ("tags", "metadata"):
        if settings.get(field):
            if not isinstance(settings[field], dict):
                raise TypeError(field + " must be a dict, not " + type(settings[field]).__name__)
            said[field] = settings[field]
    if settings.get("pass_criteria"):
        said["pass_criteria"] = _criteria(settings["pass_criteria"])
    if settings.get("started_at"):
        said["at"] = settings["started_at"]
    if "source_id" in settings and settings["source_id"] != px.source_id:
        said["source"] = settings["source_id"]
    for field in settings:
        if field not in ("tags", "metadata", "pass_criteria", "started_at", "source_id", "store_frames"):
            raise TypeError("run() knows no " + field)
    return said


def run(px, name, settings):
    return Window(px, "run", _said(px, name, settings))


def session(px, session_id, name):
    said = {
        "key": _name("session_id", session_id),
        "name": _name("name", session_id if name is None else name),
    }
    return Window(px, "session", said)


def start_run(px, name, settings):
    said = _said(px, name, settings)
    _open[said["key"]] = (said, _record(px, "run", said))
    return _described(px, said)


def end_run(px, run, status, ended_at):
    key = run if isinstance(run, str) else run.get("id")
    if status not in _STATUSES:
        raise ValueError("status must be one of %s, not %r" % (" and ".join(_STATUSES), status))
    if key not in _open:
        raise PlexusError("no run %r was begun by start_run() in this program" % (key,))
    said, began_ms = _open[key]
    _end(px, "run", said, began_ms, status, ended_at)
    _open.pop(key)
    return dict(_described(px, said), status=status)
