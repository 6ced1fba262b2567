"""What the link does when a connection breaks, or a gateway does not simply take a frame.

Loaded with the first such event, and given back once the gateway answers as it should. `link` is the `Link`.
"""

import json

from .link import AUTH_FAILED, RATE_LIMITED
from .ports import const, ticks_diff, ticks_ms

# A refused key may be an authentication service that is down (both look the same): ask again, rarely.
_REFUSED_MS = const(60_000)
_SLOW_MAX_MS = const(60_000)
# A gateway that says goodbye is back soon (its own clients come after 0.1 to 0.5 s).
_GOODBYE_MS = const(400)
_GOODBYE = const(1001)
# How long HTTP serves before a WebSocket is tried again: doubled each time, up to an hour.
_SOCKET_MS = const(60_000)
_SOCKET_MAX_MS = const(3_600_000)
# The same for a board that waits for commands, which do not come by HTTP.
_LISTENING_MS = const(1_000)
_LISTENING_MAX_MS = const(60_000)
# So many conversations in a row that ended within a minute: another board may have the name.
_RIVAL_AFTER = const(5)


def parse(text):
    """The gateway's JSON object, or {} for whatever else sits at the other end."""
    try:
        body = json.loads(text)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def index_of(error):
    """3 out of `points[3].value cannot be null`, or None."""
    try:
        return int(error.split("points[", 1)[1].split("]", 1)[0])
    except (AttributeError, IndexError, ValueError):
        return None


def broken(link, error):
    """A connection failed, or ended: the other way next, or the same one after a pause."""
    session = link.session
    if session is None or not session.open:
        link._http.close()
        return link.lost(error)
    was_up = session.up
    code = error.args[0] if error.args else 0
    session.close()
    why = error.args[-1] if error.args else error
    if session.barred:
        return link._pause(AUTH_FAILED, _REFUSED_MS, why)
    if was_up and not session.refused:
        link.reconnects += 1
        if code == _GOODBYE:
            return link._pause(link.status, _GOODBYE_MS, why)
        _suspect(link)
        return link.lost(why)
    link.last_error = str(why)
    _leave_socket(link)


def _leave_socket(link):
    """HTTP serves for a while."""
    link._socket_tries = tries = min(link._socket_tries + 1, 8)
    if link.session.listening:  # nobody reaches the board by HTTP
        link._socket_wait_ms = min(_LISTENING_MS << tries, _LISTENING_MAX_MS)
    else:
        link._socket_wait_ms = min(_SOCKET_MS << tries - 1, _SOCKET_MAX_MS)
    link._socket_since = ticks_ms()


def _suspect(link):
    """A gateway ends the older of two conversations under one name: those boards would take turns for ever."""
    short = ticks_diff(ticks_ms(), link._met) < _SOCKET_MS
    link._short = link._short + 1 if short else 0
    if link._short >= _RIVAL_AFTER:
        if not link.rivals:
            from .identity import warn

            warn(link, link._outbox.own_source)
        link.rivals += 1
        link._short = 0
        _leave_socket(link)


def answered(link, status, probing):
    """An HTTP answer that is no plain success. Only a gateway's own word counts: others have 200 and 400 too."""
    body = parse(link._http.kept)
    error = body.get("error")
    if status == 200 and body.get("success"):
        if body.get("dropped"):
            _slow_down(link, "the gateway dropped %s points" % body["dropped"])
        else:
            link._accepted(probing)
    elif status == 401 or status == 403:
        link._pause(AUTH_FAILED, _REFUSED_MS, "%d %s" % (status, error))
    elif status == 429:
        _slow_down(link, "429 %s" % error)
    elif (status == 400 or status == 413) and "error" in body and not probing:
        _refused(link, index_of(error) if status == 400 else None, "%d %s" % (status, error))
    else:
        link.lost("HTTP status %d %s" % (status, error or ""))


def rejected(link, code, why):
    """The oldest frame of a conversation was not stored."""
    if code == "INVALID_MESSAGE":
        _refused(link, index_of(why), why)
    else:
        _slow_down(link, why)


def _refused(link, index, why):
    """The frame as it is will never be stored: find the point that is to blame."""
    link.last_error = why
    outbox = link._outbox
    if index is None or not 0 <= index < outbox.points:
        if outbox.split():
            index = None
        else:
            index = 0
    if index is not None:
        outbox.quarantine(index)
    link._size = 0


def _slow_down(link, why):
    link._pause(RATE_LIMITED, link._slow_ms, why)
    link._slow_ms = min(link._slow_ms * 2, _SLOW_MAX_MS)


def misheard(session, message):
    """An error message of the gateway's."""
    link, outbox = session._link, session._outbox
    code = message.get("code")
    why = "%s %s" % (message.get("code", ""), message.get("detail") or message.get("message", ""))
    if session.commands is not None and session.commands.refuse(code, why):
        link.last_error = why
        return
    if session.hasty:
        session._refuse(why, "requires_plan" not in why)
    seq = message.get("seq")
    if type(seq) is not int or not session._stored < seq <= session._seq:
        link.last_error = why
        return
    # All before it is stored; it and what follows goes out again, numbered anew.
    session._acked = max(session._acked, seq - 1)
    while session._stored < session._acked:
        if not outbox.release():
            raise OSError(11, why)  # EAGAIN: in the midst of a send(); what is not released is sent again
        link.delivered()
    link.retries += outbox.handed
    outbox.take_back()
    session._acked = session._seq
    rejected(link, code, why)
