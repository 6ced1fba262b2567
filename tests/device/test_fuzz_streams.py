"""Streams of no sense and connections that fail: a slice of what `make soak` does."""

import sys

from . import fakes, fuzz

_COUNT = 200 if sys.implementation.name != "cpython" else 3000


def test_http_streams():
    fuzz.http_streams(1, _COUNT)


def test_ws_streams():
    fuzz.ws_streams(1, _COUNT)


def test_failed_connections():
    """All of them fail, and none is left open."""
    failing = fuzz.Failing()
    with fakes.Ticks() as ticks:
        failing.run(40, ticks)
    assert failing.failures == 40 * 2 * len(fuzz.KINDS) and not failing.open
