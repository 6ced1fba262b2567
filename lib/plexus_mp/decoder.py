"""Records as JSON, written into a given buffer. What a record looks like: docs/flash-format.md.

A number of most series makes no other garbage than itself: it is printed where it belongs, and the digits of a time
are changed in place.
"""

from array import array
from io import IOBase
from struct import pack_into, unpack_from

from .ports import const

# As in points.py.
_INT = const(0x00)
_INT64 = const(0x10)
_FLOAT32 = const(0x20)
_DELTA = const(0x30)
_FLOAT64 = const(0x40)
_FALSE = const(0x50)
_TRUE = const(0x60)
_TEXT = const(0x70)
_NEXT = const(0xC0)
_SERIES = const(0xD0)
_SOURCE = const(0xD1)
_LATER = const(0xE0)
_SHAPE_MAX = const(6)

_CLASSES = (b'{"class":"metric","metric":', b'{"class":"event","metric":', b'{"class":"call","metric":')
_STAMP_AT = const(13)  # digits behind `,"timestamp":`
_MILLION = const(1_000_000)
_BILLION = const(1_000_000_000)


class _Series:
    def __init__(self, cls, told, names):
        self.cls = cls
        self.told = told  # metric and tags as the ring has them
        self.head = _CLASSES[cls] + told[:names] + b',"value":'
        self.size = "%ds" % len(self.head)
        self.tail = b',"tags":' + told[names:] + b"}" if names < len(told) else b""
        self.sector = self.int_key = -1
        self.int = 0
        self.lo = self.hi = 0  # halves of the last float32


class _Digits(IOBase):
    """A stream that lets `print` write into `out` at `at`: no number becomes a string first."""

    out: bytearray
    at: int

    def write(self, text):
        if isinstance(text, str):  # CPython's print knows no bytes
            text = text.encode()
        pack_into("24s", self.out, self.at, text)  # the longest number, -2.2250738585072014e-308
        self.at += len(text)
        return len(text)


class Decoder:
    """Reads the commits of one sector in their order, and turns their points into JSON.

    `load` a commit; while `more`, stand on a point: `write` it or not, then `advance`. `boot` and `uptime_ms`
    tell when it was taken, `source` whose it is, as JSON, or None.
    """

    def __init__(self):
        self.segments = [(0, 0, 0, 0)]  # how uptime maps to Unix time, see clock.py
        self._numbers = bytearray(_SHAPE_MAX)  # series and kinds of the last record's points
        self._kinds = bytearray(_SHAPE_MAX)
        self._single = array("f", (0,))
        self._series = {}  # also those of other sectors, which may be told again
        self._sector = 0
        self._digits = _Digits()
        self._time = bytearray(b',"timestamp":' + bytes(13 + 24))
        self.reset()

    def reset(self):
        """The next commit is the first of its sector."""
        self._sector += 1
        self._n = 0  # points of the record so far
        self._key = 0
        self._sure = False  # a keyframe was seen, and nothing was damaged since
        self._step = 0
        self.s = self.ms = 0
        self._newest = None  # the last segment when a record was dated
        self._dated_s = self._dated_ms = self._until_s = self._rate = self._part = self._hi = self._lo = 0
        self._shown = -1
        self.boot = 0
        self.source = None
        self.more = False

    @property
    def uptime_ms(self):
        return self.s * 1000 + self.ms

    def load(self, buf, at, n, damaged):
        """Stand on the first point of the commit in `buf[at:at + n]`, which stays there until `more` is False.

        `damaged`: one before it could not be read. Points that depend on what was lost are passed over.
        """
        if damaged:
            self._sure = False
        self._at = at
        self._start = at
        self._end = at + n
        self._buf = buf
        self._left = -1
        self.advance()

    @property
    def call(self):
        """Whether this is no reading, but a request of its own (calls.py)."""
        return self._now.head[10] == 99  # the c of its class

    def moved(self, buf, at):
        """The commit lies at `buf[at:]` now."""
        self._buf = buf
        at -= self._start
        self._start += at
        self._at += at
        self._value_at += at
        self._end += at

    def _varint(self):
        buf = self._buf
        at = self._at
        n = shift = 0
        while buf[at] & 128:
            n |= (buf[at] & 127) << shift
            shift += 7
            at += 1
        self._at = at + 1
        return n | buf[at] << shift

    def _signed(self):
        first = self._buf[self._at]
        self._at += 1
        n = first & 63
        if first & 128:
            n |= self._varint() << 6
        return -n if first & 64 else n

    def _record(self):
        """Read the beginning of a record. False when it cannot be understood."""
        first = self._buf[self._at]
        self._at += 1
        alike = first >> 5
        step = first & 31
        if step == 31:
            self._sure = True
            boot = self._varint()
            if boot != self.boot:  # it tells its source and series itself
                self.boot = boot
                self.source = None
                self._sector += 1
            self.s, self.ms = unpack_from("<IH", self._buf, self._at)
            self._at += 6
            self._step = 0
            self._key += 1
            self._n = 0
        elif self._sure:
            if step == 30:
                self._step = self._varint()
            else:
                self._step += ~(step >> 1) if step & 1 else step >> 1
            ms = self.ms + self._step
            if ms > 999:
                self.s += ms // 1000
                ms %= 1000
            self.ms = ms
        self._told = False
        self._ends = alike == 7
        self._left = self._n if alike == 7 else alike
        self._n = 0
        return self._sure

    def advance(self):
        """Go to the next point that can be understood; `more` tells whether there is one."""
        self._stamp = None
        self._later = 0
        while self._at < self._end:
            if self._left < 0 and not self._record():
                break
            n = self._n
            if self._left:
                number = self._numbers[n]
                kind = self._kinds[n]
                self._left -= 1
            else:
                if self._ends:
                    self._left = -1
                    continue
                first = self._buf[self._at]
                if first >= _NEXT:
                    self._control(first)
                    continue
                self._at += 1
                kind = first & 0xF0
                number = first & 15
                if number == 15:
                    number = self._buf[self._at]
                    self._at += 1
                if n < _SHAPE_MAX:
                    self._numbers[n] = number
                    self._kinds[n] = kind if kind != _FLOAT32 else _DELTA
            if n < _SHAPE_MAX:
                self._n = n + 1
            now = self._series.get(number)
            if now is None:
                now = _Series(0, b"", 0)
            self._now = now
            self._kind = kind
            self._take_value(now, kind)
            if self._ends and not self._left:
                self._left = -1
            if now.sector == self._sector:  # else its definition was lost, twice
                self.more = True
                return
        self.more = False

    def _control(self, first):
        at = self._at + 1
        if first == _NEXT:
            self._left = -1
        elif first == _SERIES:
            number, cls, names, tags = unpack_from("<BBHH", self._buf, at)
            at += 6
            n = names + tags
            known = self._series.get(number)
            same = known is not None and known.cls == cls and len(known.told) == n
            if not same or self._buf.find(known.told, at, at + n) < 0:
                known = self._series[number] = _Series(cls, bytes(self._buf[at : at + n]), names)
            at += n
            if known.sector != self._sector:
                known.sector = self._sector
                known.int_key = -1
        elif first == _SOURCE:
            n = unpack_from("<H", self._buf, at)[0]
            at += 2 + n
            self.source = bytes(self._buf[at - n : at])
        elif first == _LATER:
            self._later = unpack_from("<H", self._buf, at)[0]
            at += 2
        else:
            self._stamp = unpack_from("<q", self._buf, at)[0]
            at += 8
        self._at = at

    def _take_value(self, series, kind):
        """Note where the value is, and what follows from it for the next of its series."""
        self._value_at = self._at
        if kind == _INT:
            more = self._signed()
            series.int = series.int + more if series.int_key == self._key else more
            series.int_key = self._key
        elif kind == _DELTA:
            more = self._signed() + series.lo
            series.lo = more & 0xFFFF
            series.hi = series.hi + (more >> 16) & 0xFFFF
        elif kind == _FLOAT32:
            series.lo, series.hi = unpack_from("<HH", self._buf, self._at)
            self._at += 4
        elif kind == _TEXT:
            self._at += 2 + unpack_from("<H", self._buf, self._at)[0]
        elif kind < _FALSE:
            self._at += 8

    def _number(self):
        kind = self._kind
        if kind == _INT:
            return self._now.int
        if kind == _INT64 or kind == _FLOAT64:
            return unpack_from("<q" if kind == _INT64 else "<d", self._buf, self._value_at)[0]
        pack_into("<HH", self._single, 0, self._now.lo, self._now.hi)
        return self._single[0]

    def write(self, out, at, end):
        """Write the point into `out[at:end]` and return where it ends, or 0 when there is no room.

        What lies behind the point is written over, up to 48 bytes behind `end`.
        """
        series, kind = self._now, self._kind
        n = len(series.head)
        if at + n > end:
            return 0
        pack_into(series.size, out, at, series.head)
        at += n
        if kind < _FALSE:
            at = self._print(self._number(), out, at)
        else:
            text = b"false" if kind == _FALSE else b"true"
            if kind == _TEXT:
                start = self._value_at + 2
                text = self._buf[start : start + unpack_from("<H", self._buf, start - 2)[0]]
            n = len(text)
            if at + n > end:
                return 0
            out[at : at + n] = text
            at += n
        if self._stamp is not None or self._later or not self._told:
            self._tell()
        tail = series.tail
        if self.segments[0][3] and self._stamp is None:  # a guess, and each point says so
            tail = b',"tags":{"clock":"estimated"' + (b"," + tail[9:] if tail else b"}}")
        n = self._time_n
        if at + n + (len(tail) or 1) > end:
            return 0
        pack_into("32s", out, at, self._time)
        at += n
        if not tail:
            out[at] = 125  # '}'
            return at + 1
        out[at : at + len(tail)] = tail
        return at + len(tail)

    def _print(self, number, out, at):
        """Where the number ends."""
        digits = self._digits
        digits.out = out
        digits.at = at
        print(number, file=digits, end="")
        return digits.at

    def _tell(self):
        """Have the point's time in `_time`, up to `_time_n`: like the record's before but for the last digits."""
        self._date()
        hi, lo = self._hi, self._lo
        own_ms = self._stamp
        if own_ms is None and (self._later or not _MILLION <= hi < 10 * _MILLION):
            own_ms = hi * _MILLION + lo + self._later
        self._told = own_ms is None
        if own_ms is not None:
            self._time_n = self._print(own_ms, self._time, _STAMP_AT)
            self._shown = -1
            return
        if hi != self._shown:
            self._print(hi, self._time, _STAMP_AT)
            self._shown = hi
        last = self._time[_STAMP_AT + 6]
        self._time_n = self._print(_MILLION + lo, self._time, _STAMP_AT + 6)
        self._time[_STAMP_AT + 6] = last

    def _date(self):
        """The record's Unix time, as `clock.unix_ms` has it: millions of milliseconds, the rest, and billionths.

        It goes on from the record that was dated before, in small integers, as long as that has the same segment.
        """
        segments = self.segments
        since = (self.s - self._dated_s) * 1000 + self.ms - self._dated_ms
        if segments[-1] is not self._newest or not 0 <= since < _MILLION or self.s >= self._until_s:
            uptime_ms = self.uptime_ms
            start, unix, self._rate, _ = segments[0]
            self._until_s = 0x3FFFFFFF
            for segment in segments:
                if segment[0] > uptime_ms:
                    self._until_s = segment[0] // 1000
                    break
                start, unix, self._rate, _ = segment
            since = uptime_ms - start
            self._hi = unix // _MILLION
            self._lo = unix % _MILLION
            self._part = 0
            self._newest = segments[-1]
        part = self._part + since * self._rate
        lo = self._lo + since + part // _BILLION
        self._part = part % _BILLION
        self._hi += lo // _MILLION
        self._lo = lo % _MILLION
        self._dated_s = self.s
        self._dated_ms = self.ms
