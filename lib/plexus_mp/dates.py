"""The time out of HTTP's `Date`: whole seconds, and so questions at the moment when one should end.

Loaded with the first answer that has one, and given back when a WebSocket tells the time; `link` is the `Link`.
"""

from .ports import const, ticks_diff, ticks_ms

# Questions for the time before the first reading goes out by HTTP: an error of 500 ms becomes 16, or the round trip.
_EDGES_MAX = const(5)


def hear(link, heard):
    """Learn the time from the answer that `link` has, which was there at the ticks `heard`."""
    seconds = unix_seconds(link._http.date)
    if seconds is not None:
        earliest_ms = seconds * 1000
        link.hear_time(earliest_ms, earliest_ms + 1000, link._http.asked, heard, "date")


def watch_for_edge(link):
    """Asking when the next second begins, if the guess is right, halves what is unknown."""
    now = ticks_ms()
    clock = link._recorder.clock
    wait_ms = _edge_ms(clock) - ticks_diff(now, link._http.asked) // 2
    if link._edges == _EDGES_MAX or wait_ms < 0:
        link._edges = 0
        link._width_ms = clock.width_ms
    else:
        link._edges += 1
        link._wait_ms = wait_ms or 1
        link._since = now


def _edge_ms(clock):
    """How long until a second begins, by the best guess; -1 when knowing it would not help."""
    if clock.source != "date" or clock._hi - clock._lo < 60:
        return -1
    return 1000 - (clock.uptime_ms(ticks_ms()) + (clock._lo + clock._hi) // 2) % 1000


def unix_seconds(date):
    """Seconds since 1970 of an IMF-fixdate, `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 §5.6.7), else None."""
    try:
        day, year = int(date[5:7]), int(date[12:16])
        hour, minute, second = int(date[17:19]), int(date[20:22]), int(date[23:25])
    except ValueError:
        return None
    month = b"JanFebMarAprMayJunJulAugSepOctNovDec".find(bytes(date[8:11]))
    if month % 3 or date[25:] != b" GMT" or not (0 < day < 32 and year > 1969):
        return None
    if not (0 <= min(hour, minute, second) and hour < 24 and minute < 60 and second < 61):
        return None
    # Days of the civil calendar, with years that begin in March so that leap days come last.
    month = (month // 3 + 10) % 12
    year -= month > 9
    days = year * 365 + year // 4 - year // 100 + year // 400 + (month * 306 + 5) // 10 + day - 719469
    return days * 86400 + hour * 3600 + minute * 60 + second
