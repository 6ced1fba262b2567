"""A record as JSON, written into a given buffer. What a record looks like: `points.py`."""

from struct import unpack_from

from .ports import const

_CLASS_JSON = (b'"metric"', b'"event"')

# As in points.py.
_FALSE = const(0x60)
_TRUE = const(0x70)
_TEXT = const(0x80)
_SERIES = const(0xD0)
_LATER = const(0xE0)
_STAMP = const(0xF0)

# Of the numeric kinds 0x00 to 0x50, and the sizes of all that have no length of their own.
_FORMATS = ("<b", "<h", "<i", "<q", "<f", "<d")
_SIZES = (1, 2, 4, 8, 4, 8, 0, 0)


def count_points(buf, at, n):
    """The number of points in the record `buf[at:at + n]`."""
    decoder = Decoder()
    decoder.load(buf, at, n)
    points = 0
    while decoder.more:
        decoder.skip()
        points += 1
    return points


class Decoder:
    """Turns the records of one sector, in their order, into JSON points in a frame.

    `load` a record, then `next_json` until it returns 0.
    """

    def __init__(self):
        self.zero_ms = 0  # Unix ms at the uptime 0 of the records
        self.estimated = False  # that is a guess, and each point says so
        self.reset()

    def reset(self):
        """The next record is the first of its sector."""
        self._series = {}
        self._s = 0
        self._ms = 0
        self._timed = False
        self.more = False

    def load(self, buf, at, n):
        """Take the record in `buf[at:at + n]`, which stays there until its last point was read."""
        self._buf = buf
        self._end = at + n
        self._at = at
        self._before = (self._s, self._ms, self._timed)
        self._read_time()
        self._skip_definitions()

    def rewind(self):
        """As before `load`: the same record will be loaded again."""
        self._s, self._ms, self._timed = self._before

    def _read_time(self):
        buf = self._buf
        at = self._at
        if buf[at] == 0:
            self._s, self._ms = unpack_from("<IH", buf, at + 1)
            self._timed = True
            self._at = at + 7
            return
        since = shift = 0
        while buf[at] & 128:
            since |= (buf[at] & 127) << shift
            shift += 7
            at += 1
        ms = self._ms + (since | buf[at] << shift) - 1
        self._s += ms // 1000
        self._ms = ms % 1000
        self._at = at + 1

    def _skip_definitions(self):
        """Stand on the next point; `more` tells whether there is one."""
        self._stamp = None
        self._later = 0
        while self._at < self._end:
            tag = self._buf[self._at]
            if tag == _SERIES | 15:
                self._read_series()
            elif tag == _LATER:
                self._later = unpack_from("<H", self._buf, self._at + 1)[0]
                self._at += 3
            elif tag == _STAMP:
                self._stamp = unpack_from("<q", self._buf, self._at + 1)[0]
                self._at += 9
            else:
                break
        self.more = self._at < self._end

    def _read_series(self):
        number, cls, names, tags = unpack_from("<BBHH", self._buf, self._at + 1)
        at = self._at + 7
        metric = bytes(self._buf[at : at + names])
        at += names
        head = b'{"class":' + _CLASS_JSON[cls] + b',"metric":' + metric + b',"value":'
        tail = b',"tags":' + bytes(self._buf[at : at + tags]) + b"}" if tags else b"}"
        self._series[number] = (head, tail)
        self._at = at + tags

    def lose_time(self):
        """A record before the next one could not be read: until one tells the time anew, none is sure."""
        self._timed = False

    @property
    def sure(self):
        """Whether series and time of the next point are known: both may have gone with a damaged commit."""
        if not self._timed and self._stamp is None:
            return False
        tag = self._buf[self._at]
        return (self._buf[self._at + 1] if tag & 15 == 15 else tag & 15) in self._series

    def next_json(self, out, at, end):
        """Write the next point into `out[at:end]` and return where it ends, or 0 when there is no room."""
        tag = self._buf[self._at]
        number = tag & 15
        value_at = self._at + 1
        if number == 15:
            number = self._buf[value_at]
            value_at += 1
        head, tail = self._series[number]
        if self.estimated and self._stamp is None:
            tail = b',"tags":{"clock":"estimated"' + (b"}}" if len(tail) == 1 else b"," + tail[9:])
        value = self._value(tag & 0xF0, value_at)
        stamp = (',"timestamp":%d' % self._unix_ms()).encode()
        if at + len(head) + len(value) + len(stamp) + len(tail) > end:
            return 0
        for part in (head, value, stamp, tail):
            out[at : at + len(part)] = part
            at += len(part)
        self._skip_value(tag & 0xF0, value_at)
        return at

    def skip(self):
        """Leave the next point out."""
        tag = self._buf[self._at]
        self._skip_value(tag & 0xF0, self._at + (2 if tag & 15 == 15 else 1))

    def _unix_ms(self):
        if self._stamp is not None:
            return self._stamp
        return self.zero_ms + self.uptime_ms + self._later

    @property
    def uptime_ms(self):
        """When the record was taken, on its boot's clock."""
        return self._s * 1000 + self._ms

    def _value(self, kind, at):
        if kind == _TEXT:
            size = unpack_from("<H", self._buf, at)[0]
            return self._buf[at + 2 : at + 2 + size]
        if kind == _TRUE or kind == _FALSE:
            return b"true" if kind == _TRUE else b"false"
        return repr(unpack_from(_FORMATS[kind >> 4], self._buf, at)[0]).encode()

    def _skip_value(self, kind, at):
        if kind == _TEXT:
            at += 2 + unpack_from("<H", self._buf, at)[0]
        else:
            at += _SIZES[kind >> 4]
        self._at = at
        self._skip_definitions()
