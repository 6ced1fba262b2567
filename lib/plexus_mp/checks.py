"""What the protocol can carry: timestamps, and values that are no numbers. Loaded with the first of them.

The limits are those of the Plexus gateway (validate.go): bytes, except depth.
"""

import math

from .errors import PlexusError
from .names import dumps, limited
from .ports import const

TEXT_MAX = const(256)
JSON_MAX = const(4096)
_DEPTH_MAX = const(16)
# A timestamp below this is in seconds (the gateway's own rule), else in milliseconds.
_SECONDS_BELOW = 1_000_000_000_000
_STAMP_MAX_MS = 253_402_300_800_000  # the year 10000


def check_json(value, depth):
    """JSON has no NaN, and what Python makes of other keys or types differs between ports: refuse them."""
    if isinstance(value, (dict, list, tuple)) and depth > _DEPTH_MAX:
        raise PlexusError("value is nested deeper than %d levels" % _DEPTH_MAX)
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise PlexusError("value has a key that is not a str: %r" % (key,))
            check_json(item, depth + 1)
    elif isinstance(value, (list, tuple)):
        for item in value:
            check_json(item, depth + 1)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise PlexusError("value must be finite, not %r" % value)
    elif value is not None and not isinstance(value, (str, int, bool)):
        raise TypeError("value holds a %s, which JSON cannot carry" % type(value).__name__)


def json_text(value):
    """The JSON of a text, list or dict as bytes, checked against the gateway's limits."""
    if isinstance(value, str):
        limited("value", value, TEXT_MAX)
        return dumps(value)
    if not isinstance(value, (dict, list, tuple)):
        raise TypeError("value must be a number, bool, str, list or dict, not %s" % type(value).__name__)
    check_json(value, 1)
    text = dumps(value)
    if len(text) > JSON_MAX:
        raise ValueError("value is %d bytes as JSON, the limit is %d" % (len(text), JSON_MAX))
    return text


def to_ms(timestamp):
    """A Unix timestamp in seconds or milliseconds as whole milliseconds; None stays None.

    Raises `TypeError` for what is no number, `ValueError` for what does not lie between September 2001 and the year
    9999: of earlier milliseconds gateways think that they are seconds, and `time.time()` of a board that counts from
    2000 looks like 1995.
    """
    if timestamp is None:
        return None
    if isinstance(timestamp, bool) or not isinstance(timestamp, (int, float)):
        raise TypeError("timestamp must be a number, not %s" % type(timestamp).__name__)
    if 0 < timestamp < _STAMP_MAX_MS:
        ms = int(round(timestamp * 1000)) if timestamp < _SECONDS_BELOW else int(timestamp)
        if ms >= _SECONDS_BELOW:
            return ms
    raise ValueError("timestamp must be seconds or milliseconds since 1970, after 2001, not %r" % timestamp)
