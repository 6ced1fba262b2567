"""Records as JSON, written into a given buffer. What a record looks like: docs/flash-format.md."""

from struct import pack_into, unpack_from

from .clock import unix_ms
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


class _Series:
    def __init__(self, head, tail):
        self.head = head
        self.tail = tail
        self.key = self.int_key = -1
        self.int = 0
        self.bits = bytearray(4)  # of the last float32


class Decoder:
    """Reads the commits of one sector in their order, and turns their points into JSON.

    `load` a commit; while `more`, stand on a point: `write` it or not, then `advance`. `boot` and `uptime_ms`
    tell when it was taken, `source` whose it is, as JSON, or None.
    """

    def __init__(self):
        self.segments = [(0, 0, 0, 0)]  # how uptime maps to Unix time, see clock.py
        self.reset()

    def reset(self):
        """The next commit is the first of its sector."""
        self._series = {}
        self._shape = []
        self._key = 0
        self._sure = False  # a keyframe was seen, and nothing was damaged since
        self._step = 0
        self.uptime_ms = 0
        self.boot = 0
        self.source = None
        self.more = False

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
                self._series = {}
            s, ms = unpack_from("<IH", self._buf, self._at)
            self._at += 6
            self.uptime_ms = s * 1000 + ms
            self._step = 0
            self._key += 1
            self._shape = []
        elif self._sure:
            self._step = (
                self._varint() if step == 30 else self._step + (step >> 1 if not step & 1 else ~(step >> 1))
            )
            self.uptime_ms += self._step
        self._ends = alike == 7
        self._left = len(self._shape) if alike == 7 else alike
        self._like = self._shape
        self._shape = []
        return self._sure

    def advance(self):
        """Go to the next point that can be understood; `more` tells whether there is one."""
        self._stamp = None
        self._later = 0
        while self._at < self._end:
            if self._left < 0 and not self._record():
                break
            if self._left:
                number, kind = self._like[len(self._shape)]
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
            if len(self._shape) < _SHAPE_MAX:
                self._shape.append((number, _DELTA if kind == _FLOAT32 else kind))
            self._now = self._series.get(number)
            if self._now is None:  # its definition was lost, twice
                self._now = self._series[number] = _Series(None, None)
            self._kind = kind
            self._take_value(self._now, kind)
            if self._ends and not self._left:
                self._left = -1
            if self._now.head is not None:
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
            head = _CLASSES[cls] + bytes(self._buf[at : at + names]) + b',"value":'
            at += names
            tail = b',"tags":' + bytes(self._buf[at : at + tags]) + b"}" if tags else b"}"
            at += tags
            known = self._series.get(number)
            if known is None or known.head != head or known.tail != tail:
                self._series[number] = _Series(head, tail)
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
            bits = series.bits
            more = self._signed() + (bits[0] | bits[1] << 8)
            pack_into("<HH", bits, 0, more & 0xFFFF, (bits[2] | bits[3] << 8) + (more >> 16) & 0xFFFF)
        elif kind == _FLOAT32:
            for i in range(4):
                series.bits[i] = self._buf[self._at + i]
            self._at += 4
        elif kind == _TEXT:
            self._at += 2 + unpack_from("<H", self._buf, self._at)[0]
        elif kind < _FALSE:
            self._at += 8

    def _value(self):
        kind = self._kind
        at = self._value_at
        if kind == _TEXT:
            return self._buf[at + 2 : at + 2 + unpack_from("<H", self._buf, at)[0]]
        if kind == _FALSE or kind == _TRUE:
            return b"true" if kind == _TRUE else b"false"
        if kind == _INT:
            value = self._now.int
        elif kind == _INT64 or kind == _FLOAT64:
            value = unpack_from("<q" if kind == _INT64 else "<d", self._buf, at)[0]
        else:
            value = unpack_from("<f", self._now.bits, 0)[0]
        return repr(value).encode()

    def write(self, out, at, end):
        """Write the point into `out[at:end]` and return where it ends, or 0 when there is no room."""
        head, tail = self._now.head, self._now.tail
        if self._stamp is not None:
            when_ms = self._stamp
        else:
            when_ms = unix_ms(self.segments, self.uptime_ms) + self._later
            if self.segments[0][3]:  # a guess, and each point says so
                tail = b',"tags":{"clock":"estimated"' + (b"}}" if len(tail) == 1 else b"," + tail[9:])
        value = self._value()
        stamp = (',"timestamp":%d' % when_ms).encode()
        if at + len(head) + len(value) + len(stamp) + len(tail) > end:
            return 0
        for part in (head, value, stamp, tail):
            out[at : at + len(part)] = part
            at += len(part)
        return at
