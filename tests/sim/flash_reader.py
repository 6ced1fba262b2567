"""A reader of the flash format, written from `docs/flash-format.md` alone: it shares no code with the library."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

HEADER = struct.Struct("<2sBHIIIHHHHHH")
HEADER_BYTES = HEADER.size + 3
MARKS = {0xC0: struct.Struct("<BHHH"), 0xC2: struct.Struct("<BIIH")}
TIMES = 0xC1
BEGUN = 0xC2
KNOT = struct.Struct("<IHIH")
SEGMENT = struct.Struct("<BIIHIHi")
UNKNOWN = 0xFFFF


def crc24(start: int, data: bytes) -> int:
    """Bit by bit, as the polynomial is written."""
    crc = start & 0xFFFFFF
    for byte in data:
        crc ^= byte << 16
        for _ in range(8):
            crc = crc << 1 ^ (0x1864CFB if crc & 0x800000 else 0)
    return crc


@dataclass
class Point:
    """One reading, of `uptime_ms`, dated `later_ms` after that; `stamp_ms` is the timestamp it was given, if any."""

    boot: int
    source: str | None
    cls: str
    metric: str
    value: Any
    tags: dict[str, str]
    uptime_ms: int
    later_ms: int
    stamp_ms: int | None
    seq: int
    offset: int  # of its commit


class Segment(NamedTuple):
    """From `uptime_ms` on it was `unix_ms` and more."""

    uptime_ms: int
    unix_ms: int
    ppb: int
    estimated: bool


@dataclass
class Image:
    """What an image says: all readable points oldest first, and where those begin that wait."""

    points: list[Point] = field(default_factory=list)
    times: dict[int, list[Segment]] = field(default_factory=dict)  # of each boot
    rtc: dict[int, int] = field(default_factory=dict)  # at uptime 0 of each boot
    knot: tuple[int, int] | None = None  # RTC and Unix time of one moment, the last that was told
    head: int = 0
    tail: int = 1
    settled: tuple[int, int] = (1, 0)
    dropped: int = 0

    def waiting(self) -> list[Point]:
        return [p for p in self.points if (p.seq, p.offset) >= self.settled]

    def timestamp(self, point: Point) -> int | None:
        if point.stamp_ms is not None:
            return point.stamp_ms
        if point.boot not in self.times:
            return None
        segments = self.times[point.boot]
        at = max(
            [segments[0], *(s for s in segments if s.uptime_ms <= point.uptime_ms)], key=lambda s: s.uptime_ms
        )
        since = point.uptime_ms - at.uptime_ms
        return at.unix_ms + since + since * at.ppb // 10**9 + point.later_ms


class Header(NamedTuple):
    magic: bytes
    align_log2: int
    longest: int
    seq: int
    boot: int
    dropped: int
    tail_back: int
    settled_back: int
    settled_offset: int
    settled_points: int
    points_before: int
    end_before: int


class Reader:
    """Reads `data`, the bytes of a ring whose sectors have `sector_bytes`; `encrypted`: nothing reads as erased."""

    def __init__(self, data: bytes, sector_bytes: int, encrypted: bool = False) -> None:
        self._sectors = [data[at : at + sector_bytes] for at in range(0, len(data), sector_bytes)]
        self._encrypted = encrypted
        self.image = Image()

    def read(self) -> Image:
        image = self.image
        found = [h for block in range(len(self._sectors)) if (h := self._header(block))]
        if not found:
            return image
        newest = max(found, key=lambda h: h.seq)
        image.head, image.dropped = newest.seq, newest.dropped
        image.tail = max(1, image.head - newest.tail_back)
        image.settled = image.head - newest.settled_back, newest.settled_offset
        self._align = 1 << newest.align_log2
        self._longest = max(h.longest for h in found)
        headers = {h.seq: h for h in found}
        for seq in range(image.tail, image.head + 1):
            if seq in headers:
                after = headers.get(seq + 1)
                self._read_sector(seq, after.end_before if after else UNKNOWN)
        return image

    def _header(self, block: int) -> Header | None:
        for at in (0, HEADER_BYTES):
            raw = self._sectors[block][at : at + HEADER_BYTES]
            header = Header(*HEADER.unpack_from(raw))
            sealed = int.from_bytes(raw[HEADER.size :], "big") == crc24(0, raw[: HEADER.size])
            if header.magic == b"P\x02" and sealed and header.seq % len(self._sectors) == block:
                return header
        return None

    def _up(self, n: int) -> int:
        return -(-n // self._align) * self._align

    def _thing(self, seq: int, at: int, end: int) -> tuple[int, bytes, int] | None:
        """Mark type or 0, payload, and where the next begins."""
        sector = self._sectors[seq % len(self._sectors)][:end]
        if at + 4 > end:
            return None
        first, begin = sector[at], at + 1
        if first in MARKS:
            n = MARKS[first].size - 1
        elif first == TIMES:
            count = sector[at + 1]
            n = 1 + (count & 0x7F) * SEGMENT.size + (count >> 7) * KNOT.size
        elif first < 0x80:
            n = first
        else:
            n, begin = (first & 0x3F) << 8 | sector[at + 1], at + 2
        crc_at = begin + n
        if not n or first > BEGUN or crc_at + 3 > end or crc_at + 3 - at > self._longest:
            return None
        if int.from_bytes(sector[crc_at : crc_at + 3], "big") != crc24(seq, sector[at:crc_at]):
            return None
        return (first if first >= 0xC0 else 0), sector[begin:crc_at], at + self._up(crc_at + 3 - at)

    def _counts_behind_damage(self, seq: int, at: int, end: int) -> bool:
        if self._encrypted or at >= end or self._thing(seq, at, end):
            return True
        return self._sectors[seq % len(self._sectors)][at] == 0xFF

    def _read_sector(self, seq: int, end: int) -> None:
        records = Records(seq)
        end = min(end, len(self._sectors[0]))
        at = sound = self._up(2 * HEADER_BYTES)
        while at < end and at - sound <= self._up(self._longest):
            thing = self._thing(seq, at, end)
            if thing is None or (at > sound and not self._counts_behind_damage(seq, thing[2], end)):
                records.sure = False
                at += self._align
                continue
            if thing[0]:
                self._take_mark(seq, thing[0], thing[1])
            else:
                self.image.points += records.read(thing[1], at)
            at = sound = thing[2]

    def _take_mark(self, seq: int, kind: int, data: bytes) -> None:
        if kind == TIMES:
            news: dict[int, list[Segment]] = {}
            for flag, boot, low, high, unix, unix_high, ppb in SEGMENT.iter_unpack(
                data[1 : 1 + (data[0] & 0x7F) * SEGMENT.size]
            ):
                segment = Segment(high << 32 | low, unix_high << 32 | unix, ppb, bool(flag))
                news.setdefault(boot, []).append(segment)
            self.image.times.update(news)
            if data[0] & 0x80:
                low, high, unix, unix_high = KNOT.unpack(data[-KNOT.size :])
                self.image.knot = (high << 32 | low, unix_high << 32 | unix)
        elif kind == BEGUN:
            boot, low, high = MARKS[kind].unpack(bytes([kind]) + data)[1:]
            self.image.rtc[boot] = high << 32 | low
        elif seq == self.image.head:
            back, offset, _ = MARKS[kind].unpack(bytes([kind]) + data)[1:]
            self.image.settled = max(self.image.settled, (seq - back, offset))


class Records:
    """The records of one sector, which depend on those before them there."""

    def __init__(self, seq: int) -> None:
        self._seq = seq
        self._series: dict[int, tuple[str, str, dict[str, str]]] = {}
        self._integers: dict[int, int] = {}  # by series, since the keyframe
        self._floats: dict[int, int] = {}  # bits of the last float32
        self._shape: list[tuple[int, int]] = []
        self._boot = self._ms = self._step = 0
        self._source: str | None = None
        self.sure = False

    def read(self, payload: bytes, offset: int) -> Iterator[Point]:
        self._data, self._at, self._offset = payload, 0, offset
        while self._at < len(payload):
            alike = self._time()
            if not self.sure:
                return
            yield from self._points(alike)

    def _take(self, form: str) -> Any:
        value = struct.unpack_from("<" + form, self._data, self._at)
        self._at += struct.calcsize("<" + form)
        return value[0] if len(value) == 1 else value

    def _bytes(self, n: int) -> bytes:
        self._at += n
        return self._data[self._at - n : self._at]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._take("B")
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return int(value)

    def _signed(self) -> int:
        first = self._take("B")
        magnitude = first & 0x3F
        if first & 0x80:
            magnitude |= self._varint() << 6
        return -magnitude if first & 0x40 else magnitude

    def _time(self) -> int:
        """Read a record's beginning: how many points are like those of the record before."""
        first = self._take("B")
        change = first & 31
        if change == 31:
            self._boot = self._varint()
            s, ms = self._take("IH")
            self._ms, self._step, self._shape, self.sure = 1000 * s + ms, 0, [], True
            self._integers.clear()
        elif self.sure:
            if change == 30:
                self._step = self._varint()
            else:
                self._step += -(change + 1) // 2 if change & 1 else change // 2
            self._ms += self._step
        return int(first >> 5)

    def _points(self, alike: int) -> Iterator[Point]:
        before, self._shape = self._shape, []
        for number, kind in before if alike == 7 else before[:alike]:
            yield from self._point(kind, number, 0, None)
        later, stamp = 0, None
        while alike != 7 and self._at < len(self._data):
            first = self._take("B")
            if first == 0xC0:
                return
            if first == 0xD0:
                self._define()
            elif first == 0xD1:
                self._source = json.loads(self._bytes(self._take("H")))
            elif first == 0xE0:
                later = self._take("H")
            elif first == 0xF0:
                stamp = self._take("q")
            else:
                number = first & 15 if first & 15 != 15 else self._take("B")
                yield from self._point(first & 0xF0, number, later, stamp)
                later, stamp = 0, None

    def _point(self, kind: int, number: int, later: int, stamp: int | None) -> Iterator[Point]:
        value = self._value(kind, number)
        if len(self._shape) < 6:
            self._shape.append((number, 0x30 if kind == 0x20 else kind))
        if number in self._series:
            cls, metric, tags = self._series[number]
            yield Point(
                self._boot,
                self._source,
                cls,
                metric,
                value,
                tags,
                self._ms,
                later,
                stamp,
                self._seq,
                self._offset,
            )

    def _define(self) -> None:
        number, cls, names, tags = self._take("BBHH")
        metric = json.loads(self._bytes(names))
        told = json.loads(self._bytes(tags)) if tags else {}
        self._series[number] = ("metric", "event", "call")[cls], metric, told

    def _value(self, kind: int, number: int) -> Any:
        if kind == 0x00:
            self._integers[number] = self._signed() + self._integers.get(number, 0)
            return self._integers[number]
        if kind in (0x20, 0x30):
            bits = self._take("I") if kind == 0x20 else self._signed() + self._floats.get(number, 0)
            self._floats[number] = bits & 0xFFFFFFFF
            return struct.unpack("<f", struct.pack("<I", bits & 0xFFFFFFFF))[0]
        if kind in (0x10, 0x40):
            return self._take("q" if kind == 0x10 else "d")
        if kind in (0x50, 0x60):
            return kind == 0x60
        return json.loads(self._bytes(self._take("H")))
