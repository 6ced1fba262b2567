"""What a gateway says when it does not simply take a frame. Loaded with the first such answer."""

import json


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
