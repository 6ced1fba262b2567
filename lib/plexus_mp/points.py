"""A point as a compact record. `decoder.py` turns records into JSON.

A record is a time and the points taken at it:

    time   0 + u32 seconds + u16 ms of uptime, or a varint: 1 + milliseconds since the sector's last record
    entry  kind << 4 | series (15: the series number follows in a byte), then the value

A series is what points share (class, metric, tags). It is defined in a sector the first time a point there
needs it, so a sector can be read without any other. Integers are little endian.
"""

import json
import math
from array import array
from struct import pack_into

from .errors import PlexusError
from .ports import const, ticks_add, ticks_diff

METRIC = const(0)
EVENT = const(1)

# Limits of the Plexus gateway (validate.go): bytes, except tags and depth.
NAME_MAX = const(256)
TAGS_MAX = const(16)
TAG_MAX = const(256)
TEXT_MAX = const(256)
JSON_MAX = const(4096)
_DEPTH_MAX = const(16)

_INT8 = const(0x00)
_INT16 = const(0x10)
_INT32 = const(0x20)
_INT64 = const(0x30)
_FLOAT32 = const(0x40)
_FLOAT64 = const(0x50)
_FALSE = const(0x60)
_TRUE = const(0x70)
_TEXT = const(0x80)  # u16 length, JSON text
_SERIES = const(0xD0)  # u8 class, u16 length of the metric's JSON, u16 length of the tags', both
_LATER = const(0xE0)  # u16 ms that the next point lies after its record
_STAMP = const(0xF0)  # i64 Unix ms: the next point's own timestamp

_SMALL = const(0x3FFFFFFF)  # an int beyond this is an object on a 32-bit board
_SERIES_MAX = const(64)
# Records in a row whose time depends on the one before: a damaged one takes the rest of them along.
_RELATIVE_MAX = const(15)
# Bytes that a point needs at most besides its series and its text: in a record, and as JSON.
_TIME_MAX = const(7)
_ENTRY_MAX = const(2 + 8 + 4 + 10)
_POINT_JSON = const(104)


def _dumps(value):
    return json.dumps(value, separators=(",", ":"))


def _text_bytes(field, text, limit):
    size = len(text.encode())
    if size > limit:
        raise ValueError("%s is %d bytes, the limit is %d" % (field, size, limit))
    return size


def check_metric(metric):
    if not isinstance(metric, str):
        raise TypeError("metric must be a str, not %s" % type(metric).__name__)
    if not _text_bytes("metric", metric, NAME_MAX):
        raise ValueError("metric is empty")


def check_tags(tags):
    if not isinstance(tags, dict):
        raise TypeError("tags must be a dict, not %s" % type(tags).__name__)
    if len(tags) > TAGS_MAX:
        raise ValueError("tags has %d entries, the limit is %d" % (len(tags), TAGS_MAX))
    for key, value in tags.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError("tags must map str to str, not %r to %r" % (key, value))
        _text_bytes("a key of tags", key, TAG_MAX)
        _text_bytes("tags[%r]" % key, value, TAG_MAX)


def _check_json(value, depth):
    """JSON has no NaN, and what Python makes of other keys or types differs between ports: refuse them."""
    if isinstance(value, (dict, list, tuple)) and depth > _DEPTH_MAX:
        raise PlexusError("value is nested deeper than %d levels" % _DEPTH_MAX)
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise PlexusError("value has a key that is not a str: %r" % (key,))
            _check_json(item, depth + 1)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check_json(item, depth + 1)
    elif isinstance(value, float):
        _check_finite(value)
    elif value is not None and not isinstance(value, (str, int, bool)):
        raise TypeError("value holds a %s, which JSON cannot carry" % type(value).__name__)


def _check_finite(value):
    if not math.isfinite(value):
        raise PlexusError("value must be finite, not %r" % value)


def _check_int(value):
    # `pack_into` of a port may wrap what is too big instead of refusing it.
    if not -_SMALL <= value <= _SMALL and not -(1 << 63) <= value < 1 << 63:
        raise PlexusError("value must fit into 64 bits, not %d" % value)


def _json_text(value):
    """The JSON of a text, list or dict as bytes, checked against the gateway's limits."""
    if isinstance(value, str):
        _text_bytes("value", value, TEXT_MAX)
        return _dumps(value).encode()
    if not isinstance(value, (dict, list, tuple)):
        raise TypeError("value must be a number, bool, str, list or dict, not %s" % type(value).__name__)
    _check_json(value, 1)
    text = _dumps(value).encode()
    if len(text) > JSON_MAX:
        raise ValueError("value is %d bytes as JSON, the limit is %d" % (len(text), JSON_MAX))
    return text


def _class_of(cls, kind):
    if cls is None:
        return METRIC if kind is float or kind is int else EVENT
    if cls == METRIC and kind is not float and kind is not int:
        raise PlexusError("value of a metric must be a number, not %s" % kind.__name__)
    return cls


class _Series:
    """Class, metric and tags with their JSON ready, so that defining them again allocates nothing."""

    def __init__(self, number, cls, metric, tags):
        self.number = number
        self.cls = cls
        self.metric_json = _dumps(metric).encode()
        self.tags = None
        self.tags_json = b""
        if tags is not None:
            self.tags = dict(tags)
            self.tags_json = _dumps(tags).encode()
        self.size = 7 + len(self.metric_json) + len(self.tags_json)
        self.next = None  # the same metric under other tags


class Encoder:
    """Writes records into `buf[at:]`; a record's JSON stays within `json_max` bytes.

    `begin`, `put` for each point, then read `size`; `done` when it is stored, `forget` when that is in doubt.
    Numbers allocate nothing once their series is known.
    """

    def __init__(self, buf, at, capacity, json_max):
        self._buf = buf
        self._start = at
        self._full = self._end = at + capacity
        self._json_max = json_max
        self._size_max = min(capacity - _TIME_MAX - _ENTRY_MAX, json_max - _POINT_JSON)
        self._known = ({}, {})
        self._series = []
        self._defined = bytearray(_SERIES_MAX)
        self._last = array("l", [-1] * _SERIES_MAX)  # ticks of each series' latest point
        self._evicted = -1  # the latest of those no longer remembered
        self._s = -1
        self._ms = 0
        self._relative = 0
        self.points = 0
        self.json_bytes = 0
        self._at = at

    def forget(self):
        """The next record starts a sector: its time is absolute and no series is defined."""
        self._s = -1
        for i in range(_SERIES_MAX):
            self._defined[i] = 0

    @property
    def size(self):
        return self._at - self._start

    def begin(self, s, ms, ticks, room):
        """A record of at most `room` bytes, taken at an uptime of `s` and `ms`, which was at `ticks`."""
        self._at = self._start
        self._end = min(self._full, self._start + room)
        self.points = 0
        self.json_bytes = 0
        self._ticks = ticks
        self._new_s = s
        self._new_ms = ms
        since_s = s - self._s
        self._relative += 1
        if self._s < 0 or self._relative > _RELATIVE_MAX or not 0 <= since_s < 100_000:
            self._relative = 0
            pack_into("<BIH", self._buf, self._at, 0, s, ms)
            self._at += 7
        else:
            self._put_varint(1 + since_s * 1000 + ms - self._ms)

    def done(self):
        """The record is stored: the next one counts from it."""
        self._s = self._new_s
        self._ms = self._new_ms

    def _put_varint(self, n):
        if n < 1:  # a clock that went back within the second
            pack_into("<BIH", self._buf, self._at, 0, self._new_s, self._new_ms)
            self._at += 7
            return
        while n > 127:
            self._buf[self._at] = n & 127 | 128
            self._at += 1
            n >>= 7
        self._buf[self._at] = n
        self._at += 1

    def put(self, cls, metric, value, tags, stamp_ms):
        """Add a point; False when there is no room: store the record first, or take a new sector if it is empty.

        `cls` is METRIC, EVENT or None (numbers are metrics, all else events); `stamp_ms` is its own
        timestamp in Unix milliseconds or None.
        Raises `TypeError`, `ValueError` or `PlexusError` for what the protocol cannot carry: nothing is added then.
        """
        kind = type(value)
        text = None
        if kind is float:
            _check_finite(value)
        elif kind is int:
            _check_int(value)
        elif kind is not bool:
            if isinstance(value, (int, float)):  # a subclass, as numpy's float64
                plain = float(value) if isinstance(value, float) else int(value)
                return self.put(cls, metric, plain, tags, stamp_ms)
            text = _json_text(value)
        series = self._find(_class_of(cls, kind), metric, tags)
        if series is None or not self._reserve(series, 0 if text is None else len(text)):
            return False
        if not self._defined[series.number]:
            self._define(series)
        if stamp_ms is None:
            self._keep_apart(series.number)
        else:
            pack_into("<Bq", self._buf, self._at, _STAMP, stamp_ms)
            self._at += 9
        self._put_value(series.number, kind, value, text)
        self.points += 1
        return True

    def check(self, cls, metric, value, tags):
        """Raise what `put` would raise for a value or name that the protocol cannot carry."""
        kind = type(value)
        if kind is float:
            _check_finite(value)
        elif kind is int:
            _check_int(value)
        elif not isinstance(value, (int, float)):
            _json_text(value)
        if self._look_up(_class_of(cls, kind), metric, tags) is None:
            check_metric(metric)
            if tags is not None:
                check_tags(tags)

    def _reserve(self, series, text_bytes):
        """Whether the point fits into what is left of the page and the frame."""
        size = series.size + text_bytes
        if size > self._size_max:
            raise PlexusError(
                "metric, tags and value need %d bytes, page_bytes and frame_bytes leave %d"
                % (size, self._size_max)
            )
        need = _ENTRY_MAX + (text_bytes if self._defined[series.number] else size)
        as_json = _POINT_JSON + size
        if self._at + need > self._end or self.json_bytes + as_json > self._json_max:
            return False
        self.json_bytes += as_json
        return True

    def _find(self, cls, metric, tags):
        """The point's series; None when a new one has to wait for the next record."""
        return self._look_up(cls, metric, tags) or self._add(cls, metric, tags)

    def _look_up(self, cls, metric, tags):
        series = self._known[cls].get(metric) if isinstance(metric, str) else None
        while series is not None and series.tags != tags:
            series = series.next
        return series

    def _add(self, cls, metric, tags):
        check_metric(metric)
        if tags is not None:
            check_tags(tags)
            if not tags:
                return self._find(cls, metric, None)
        if len(self._series) == _SERIES_MAX and not self._evict():
            return None
        series = _Series(len(self._series), cls, metric, tags)
        known = self._known[cls]
        series.next = known.get(metric)
        self._series.append(series)
        self._last[series.number] = self._evicted
        known[metric] = series
        return series

    def _evict(self):
        """Forget all series: if there are more than can be remembered, they are told anew each time round.

        Not within a record: a frame may end inside it, and who reads it again from its beginning must not know
        the numbers' later meaning. False then.
        """
        if self.points:
            return False
        for last in self._last:
            if last >= 0 and (self._evicted < 0 or ticks_diff(last, self._evicted) > 0):
                self._evicted = last
        self._series.clear()
        self._known[0].clear()
        self._known[1].clear()
        for i in range(_SERIES_MAX):
            self._defined[i] = 0
        return True

    def _define(self, series):
        buf = self._buf
        at = self._at
        names = len(series.metric_json)
        tags = len(series.tags_json)
        pack_into("<BBBHH", buf, at, _SERIES | 15, series.number, series.cls, names, tags)
        at += 7
        buf[at : at + names] = series.metric_json
        at += names
        buf[at : at + tags] = series.tags_json
        self._at = at + tags
        self._defined[series.number] = 1

    def _keep_apart(self, number):
        """No two points of a series at one millisecond: a gateway that refuses repeats would keep one only."""
        last = self._last[number]
        later = ticks_diff(last, self._ticks) + 1 if last >= 0 else 0
        if 0 < later < 1000:
            pack_into("<BH", self._buf, self._at, _LATER, later)
            self._at += 3
            self._last[number] = ticks_add(last, 1)
        else:
            self._last[number] = self._ticks

    def _put_value(self, number, kind, value, text):
        buf = self._buf
        at = self._at
        head = at
        if number < 15:
            at += 1
        else:
            buf[at + 1] = number
            at += 2
        if text is not None:
            tag = _TEXT
            pack_into("<H", buf, at, len(text))
            buf[at + 2 : at + 2 + len(text)] = text
            at += 2 + len(text)
        elif kind is bool:
            tag = _TRUE if value else _FALSE
        elif kind is float:
            tag = self._put_float(at, value)
            at += 4 if tag == _FLOAT32 else 8
        else:
            tag = self._put_int(at, value)
            at += 1 << (tag >> 4)
        buf[head] = tag | (number if number < 15 else 15)
        self._at = at

    def _put_float(self, at, value):
        """As float32 when that is exact. Unpacking to compare would allocate: look at the float64's bytes."""
        buf = self._buf
        pack_into("<d", buf, at, value)
        if not (buf[at] or buf[at + 1] or buf[at + 2] or buf[at + 3] & 0x1F):
            exponent = (buf[at + 7] & 0x7F) << 4 | buf[at + 6] >> 4
            # IEEE 754: float32 has 23 bits of mantissa and exponents -126 to 127 (biased by 1023: 897 to 1150).
            if 897 <= exponent <= 1150 or value == 0:
                pack_into("<f", buf, at, value)
                return _FLOAT32
        return _FLOAT64

    def _put_int(self, at, value):
        if -_SMALL <= value <= _SMALL:
            if -128 <= value <= 127:
                pack_into("<b", self._buf, at, value)
                return _INT8
            if -32768 <= value <= 32767:
                pack_into("<h", self._buf, at, value)
                return _INT16
            pack_into("<i", self._buf, at, value)
            return _INT32
        pack_into("<q", self._buf, at, value)
        return _INT64
