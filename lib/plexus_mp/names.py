"""What the protocol can carry: names and tags. Loaded with the first reading of a series, and given back.

The limits are those of the Plexus gateway (validate.go): bytes, except tags.
"""

import json

from .ports import const

NAME_MAX = const(256)
TAGS_MAX = const(16)
TAG_MAX = const(256)


def dumps(value):
    return json.dumps(value, separators=(",", ":")).encode()


def limited(field, text, limit):
    size = len(text.encode())
    if size > limit:
        raise ValueError("%s is %d bytes, the limit is %d" % (field, size, limit))
    return size


def series_json(metric, tags):
    """The JSON of a metric's name and of its tags; b"" without tags."""
    if not isinstance(metric, str):
        raise TypeError("metric must be a str, not %s" % type(metric).__name__)
    if not limited("metric", metric, NAME_MAX):
        raise ValueError("metric is empty")
    if tags is None:
        return dumps(metric), b""
    if not isinstance(tags, dict):
        raise TypeError("tags must be a dict, not %s" % type(tags).__name__)
    if len(tags) > TAGS_MAX:
        raise ValueError("tags has %d entries, the limit is %d" % (len(tags), TAGS_MAX))
    for key, value in tags.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError("tags must map str to str, not %r to %r" % (key, value))
        limited("a key of tags", key, TAG_MAX)
        limited("tags[%r]" % key, value, TAG_MAX)
    return dumps(metric), dumps(tags)
