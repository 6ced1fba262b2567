"""Points as compact records. `decoder.py` turns records into JSON, docs/flash-format.md specifies them.

A record is a time and the points taken at it. Most look like the one before: the same series in the same
order, a little later, with values a little different. Such a record is a byte for the time and a small
difference for each value. Every sixteenth, and the first of a boot or sector, is a keyframe that depends on none
before it.

A series is what points share (`series.py`). It is defined in a sector the first time a point there
needs it, and again in the next record, so that one flipped bit cannot cost its readings.
"""

import math
from struct import pack_into

from .errors import PlexusError
from .ports import const, ticks_add, ticks_diff
from .series import Known

METRIC = const(0)
EVENT = const(1)
CALL = const(2)  # no reading: a request of its own that waits its turn, see calls.py

# Kinds of a point, in the upper half of its first byte; the lower half is the series, 15: a byte of its own.
_INT = const(0x00)  # signed varint: difference to the series' last
_INT64 = const(0x10)
_FLOAT32 = const(0x20)
_DELTA = const(0x30)  # signed varint: difference of the float32's bits to the series' last
_FLOAT64 = const(0x40)
_FALSE = const(0x50)
_TRUE = const(0x60)
_TEXT = const(0x70)  # u16 length, JSON text
_NEXT = const(0xC0)  # another record follows
_SERIES = const(0xD0)  # u8 number, u8 class, u16 length of the metric's JSON, u16 of the tags', both
_SOURCE = const(0xD1)  # u16 length, JSON of the source_id whose readings follow
_LATER = const(0xE0)  # u16 ms that the next point lies after its record
_STAMP = const(0xF0)  # i64 Unix ms: the next point's own timestamp

# A record's first byte: in the upper 3 bits how many points, from the first, follow the record before (7: all, and
# nothing else); in the lower 5 how the time goes on.
_ALL = const(0xE0)
_STEP_FOLLOWS = const(30)
_KEYFRAME = const(31)

_SMALL = const(0x1FFFFFFF)  # differences of ints up to this stay small on a 32-bit board
_SHAPE_MAX = const(6)
_KEYFRAME_EVERY = const(16)
_RECORD_MAX = const(16)  # NEXT, first byte, boot, seconds, milliseconds
_POINT_MAX = const(2 + 8 + 9)  # head, value, timestamp
_POINT_JSON = const(104)  # what a point takes as JSON besides names and text


class Encoder:
    """Writes records into `buf[at:]`, `capacity` bytes at most; a point's JSON stays within `json_max` bytes.

    `open` a page, then for each record `begin`, `put` for each point, `finish`, or `cancel` when something went
    wrong. `size` and `points` tell what the page holds. `forget` when it is in doubt whether it was stored.
    `paged`: a page stands for itself, else each refers to those before.
    Numbers allocate nothing once their series is known.
    """

    def __init__(self, buf, at, capacity, json_max, source_json, paged):
        self._buf = buf
        self._start = at
        self._full = at + capacity
        beside = _RECORD_MAX + _POINT_MAX + len(source_json) + 3
        self._text_max = min(capacity - beside, json_max - _POINT_JSON)
        self._source_json = source_json
        self._paged = paged
        self._num = bytearray(8)
        self._known = Known()
        self._shape = bytearray(2 * _SHAPE_MAX)  # (series, kind) of the last record's points
        self._shape_n = 0
        self.tag = 0  # below 16384: which record it is, for the caller
        self._key = 1
        self._told = 0
        self._s = self._ms = self._step = 0
        self.boot = 0
        self.forget()
        self.open(0)

    def forget(self):
        """The next record depends on none: it is a keyframe, and all its series are defined anew."""
        self._age = _KEYFRAME_EVERY
        self._again = False
        self._sourced = -2 if self._source_json else 0
        for series in self._known.series:
            series.defined = 0

    def open(self, room):
        """Begin a page of at most `room` bytes."""
        self._record = self._start << 1 | 1
        self._end = min(self._full, self._start + room)
        self.points = self._count = self._n = self._next_at = self._next_count = 0
        if self._paged:
            self.forget()

    @property
    def size(self):
        """Bytes of the finished records."""
        return (self._record >> 1 & 0x7FFF) - self._start

    @property
    def stored_tag(self):
        """`tag` when the last record of the page was finished, 0 without one."""
        return self._record >> 16

    @property
    def started(self):
        """Whether the record under way has points."""
        return self._n > 0

    def begin(self, s, ms, ticks):
        """A record taken at an uptime of `s` and `ms`, which was at `ticks`. False: the page has no room."""
        record = self._record
        at = record >> 1 & 0x7FFF
        if at + _RECORD_MAX + (3 + len(self._source_json) if self._sourced else 0) > self._end:
            return False
        buf = self._buf
        if not record & 1:
            buf[at] = _NEXT
            at += 1
        self._head = at
        self._ticks = ticks
        self._n = self._alike = 0
        self._follows = True
        since_s = s - self._s
        step = since_s * 1000 + ms - self._ms if since_s < 100_000 else -1
        self._s = s
        self._ms = ms
        self._told = self._told + 1 & 0xFFFF or 1
        self._age += 1
        if self._age > _KEYFRAME_EVERY or not 0 <= step < _SMALL or self._again:
            at = self._put_keyframe(at)
        else:
            more = step - self._step
            if -16 < more < 15:
                buf[at] = more << 1 if more >= 0 else -more * 2 - 1
                at += 1
            else:
                buf[at] = _STEP_FOLLOWS
                at = self._put_varint(at + 1, step)
            self._step = step
        self._at = at
        return True

    def _put_keyframe(self, at):
        """Boot and time, and whose the readings are, which two of them tell in a sector."""
        buf = self._buf
        buf[at] = _KEYFRAME
        at = self._put_varint(at + 1, self.boot)
        pack_into("<IH", buf, at, self._s, self._ms)
        at += 6
        self._age = 1
        self._step = self._shape_n = 0
        self._key = self._key + 1 & 0xFFFFFF
        self._again = False
        if self._sourced:
            n = len(self._source_json)
            pack_into("<BH", buf, at, _SOURCE, n)
            at += 3
            buf[at : at + n] = self._source_json
            at += n
            self._sourced = 0 if self._paged else self._sourced + 1
            self._again = self._sourced != 0
        return at

    def finish(self):
        """The record is complete."""
        n = self._n
        alike = self._alike
        whole = n == alike == self._shape_n
        self._buf[self._head] |= _ALL if whole else alike << 5
        self._shape_n = n if n < _SHAPE_MAX else _SHAPE_MAX
        # An exception may strike anywhere: one assignment adds the record, and whether another can follow unannounced.
        # What it makes the count is known by where it ends.
        self._next_at = self._at
        self._next_count = self.points
        self._record = self.tag << 16 | self._at << 1 | whole
        self._count = self.points
        self._n = 0

    def cancel(self):
        """The record does not count: what it changed is in doubt."""
        if self._record >> 1 & 0x7FFF == self._next_at:
            self._count = self._next_count
        self.points = self._count
        self._n = 0
        self.forget()

    def put(self, cls, metric, value, tags, stamp_ms):
        """Add a point; False when there is no room: store the page first, or take a new sector if it is empty.

        `cls` is METRIC, EVENT or None (numbers are metrics, all else events); `stamp_ms` is its own
        timestamp in Unix milliseconds or None.
        Raises `TypeError`, `ValueError` or `PlexusError` for what the protocol cannot carry: nothing is added then.
        """
        kind = type(value)
        if kind is not float and kind is not int and kind is not bool and isinstance(value, (int, float)):
            value = float(value) if isinstance(value, float) else int(value)  # a subclass, as numpy's float64
            kind = type(value)
        text = self._text(kind, value)
        cls = self._class(cls, kind)
        known = self._known
        series = known.find(cls, metric, tags) or known.make(cls, metric, tags, self.points > 0)
        if series is None:
            return False
        size = series.size
        if text is not None:
            size += len(text)
        if size > self._text_max:
            raise PlexusError(
                "metric, tags and value need %d bytes, page_bytes and frame_bytes leave %d"
                % (size, self._text_max)
            )
        if self._at + _POINT_MAX + size > self._end:
            return False
        self._add(series, kind, value, text, stamp_ms)
        self.points += 1
        return True

    def check(self, cls, metric, value, tags):
        """Raise what `put` would raise for a value or name that the protocol cannot carry."""
        kind = type(value)
        if kind is not float and kind is not int and kind is not bool and isinstance(value, (int, float)):
            kind = float
        else:
            self._text(kind, value)
        if self._known.find(self._class(cls, kind), metric, tags) is None:
            try:
                from .names import series_json
            except ImportError:  # what this interrupts is loading it: looked at when it is recorded
                return
            series_json(metric, tags)

    def _text(self, kind, value):
        """The JSON of what is no number; None for numbers, which are checked too."""
        if kind is float:
            if not math.isfinite(value):
                raise PlexusError("value must be finite, not %r" % value)
        elif kind is int:
            # `pack_into` of a port may wrap what is too big instead of refusing it.
            if not -_SMALL <= value <= _SMALL and not -(1 << 63) <= value < 1 << 63:
                raise PlexusError("value must fit into 64 bits, not %d" % value)
        elif kind is not bool:
            from .checks import json_text

            return json_text(value)
        return None

    def _class(self, cls, kind):
        number = kind is float or kind is int
        if cls is None:
            return METRIC if number else EVENT
        if cls == METRIC and not number:
            raise PlexusError("value of a metric must be a number, not %s" % kind.__name__)
        return cls

    def _add(self, series, kind, value, text, stamp_ms):
        at = self._at
        if not series.defined or 0 < series.defined != self._told:
            at = self._define(at, series)
            self._follows = False
        if stamp_ms is None:
            # No two points of a series at one millisecond: a gateway that refuses repeats would keep one only.
            later = ticks_diff(series.last, self._ticks) + 1 if series.last >= 0 else 0
            if 0 < later < 1000:
                pack_into("<BH", self._buf, at, _LATER, later)
                at += 3
                series.last = ticks_add(series.last, 1)
                self._follows = False
            else:
                series.last = self._ticks
        else:
            pack_into("<Bq", self._buf, at, _STAMP, stamp_ms)
            at += 9
            self._follows = False
        if kind is float:
            self._at = self._put_float(at, series, value)
        elif kind is int:
            self._at = self._put_int(at, series, value)
        elif kind is bool:
            self._at = self._put_head(at, series, _TRUE if value else _FALSE, True)
        else:
            at = self._put_head(at, series, _TEXT, True)
            pack_into("<H", self._buf, at, len(text))
            at += 2
            self._buf[at : at + len(text)] = text
            self._at = at + len(text)

    def _define(self, at, series):
        buf = self._buf
        names = len(series.metric_json)
        tags = len(series.tags_json)
        pack_into("<BBBHH", buf, at, _SERIES, series.number, series.cls, names, tags)
        at += 7
        buf[at : at + names] = series.metric_json
        at += names
        buf[at : at + tags] = series.tags_json
        if series.defined or self._paged:
            series.defined = -1
        else:  # the next record must be understood without this one: it is a keyframe
            series.defined = self._told
            self._again = True
        return at + tags

    def _put_head(self, at, series, kind, fits):
        """Kind and series; nothing when the point follows the last record's and `fits` the short form."""
        n = self._n
        number = series.number
        shape = self._shape
        same = kind if kind != _FLOAT32 else _DELTA
        follows = self._follows and fits and n < self._shape_n
        follows = follows and shape[2 * n] == number and shape[2 * n + 1] == same
        if n < _SHAPE_MAX:
            shape[2 * n] = number
            shape[2 * n + 1] = same
        self._n = n + 1
        if follows:
            self._alike = n + 1
            return at
        self._follows = False
        if number < 15:
            self._buf[at] = kind | number
            return at + 1
        self._buf[at] = kind | 15
        self._buf[at + 1] = number
        return at + 2

    def _put_float(self, at, series, value):
        """As float32 when that is exact. Unpacking to compare would allocate: look at the float64's bytes."""
        num = self._num
        pack_into("<d", num, 0, value)
        exponent = (num[7] & 0x7F) << 4 | num[6] >> 4
        # IEEE 754: float32 has 23 bits of mantissa and exponents -126 to 127 (biased by 1023: 897 to 1150).
        if num[0] or num[1] or num[2] or num[3] & 0x1F or not (897 <= exponent <= 1150 or value == 0):
            at = self._put_head(at, series, _FLOAT64, True)
            pack_into("<d", self._buf, at, value)
            return at + 8
        pack_into("<f", num, 0, value)
        lo = num[0] | num[1] << 8
        hi = num[2] | num[3] << 8
        step = hi - series.hi if series.key == self._key else 9999
        more = (step << 16) + lo - series.lo if -4096 < step < 4096 else _SMALL
        series.key = self._key
        series.lo = lo
        series.hi = hi
        if more != _SMALL:
            at = self._put_head(at, series, _DELTA, True)
            return self._put_signed(at, more)
        at = self._put_head(at, series, _FLOAT32, False)
        pack_into("<f", self._buf, at, value)
        return at + 4

    def _put_int(self, at, series, value):
        if -_SMALL <= value <= _SMALL:
            at = self._put_head(at, series, _INT, True)
            more = value - series.int if series.int_key == self._key else value
            series.int_key = self._key
            series.int = value
            return self._put_signed(at, more)
        at = self._put_head(at, series, _INT64, True)
        pack_into("<q", self._buf, at, value)
        return at + 8

    def _put_signed(self, at, n):
        """Six bits and the sign, then seven bits a byte."""
        sign = 0
        if n < 0:
            n = -n
            sign = 64
        if n < 64:
            self._buf[at] = sign | n
            return at + 1
        self._buf[at] = 128 | sign | n & 63
        return self._put_varint(at + 1, n >> 6)

    def _put_varint(self, at, n):
        buf = self._buf
        while n > 127:
            buf[at] = n & 127 | 128
            at += 1
            n >>= 7
        buf[at] = n
        return at + 1
