"""A reader of the flash format, written from `docs/flash-format.md` alone: it shares no code with the library."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

HEADER_BYTES = 32
MARK_BYTES = 16
FIXED_BYTES = 64
SETTLED, DROPPED, BOOT, SYNC, CLOSED = 0xC0, 0xC1, 0xC2, 0xC3, 0xC4
NUMBERS = {0x00: "<b", 0x10: "<h", 0x20: "<i", 0x30: "<q", 0x40: "<f", 0x50: "<d"}


def crc16(start: int, data: bytes) -> int:
    """Bit by bit, as the polynomial is written."""
    crc = start & 0xFFFF
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = crc << 1 ^ (0x11021 if crc & 0x8000 else 0)
    return crc


@dataclass
class Point:
    """One reading; `uptime_ms` is when it was taken, `stamp_ms` the timestamp it was given, if any."""

    boot: int
    cls: str
    metric: str
    value: Any
    tags: dict[str, str]
    uptime_ms: int | None
    stamp_ms: int | None
    seq: int
    offset: int  # of its commit


@dataclass
class Image:
    """What an image says: all readable points oldest first, and where those begin that wait."""

    points: list[Point] = field(default_factory=list)
    syncs: dict[int, tuple[int, bool]] = field(default_factory=dict)  # Unix ms at uptime 0, an estimate?
    head: int = 0
    tail: int = 1
    settled: tuple[int, int] = (1, HEADER_BYTES)
    dropped: int = 0

    def waiting(self) -> list[Point]:
        return [p for p in self.points if p.seq >= self.tail and (p.seq, p.offset) >= self.settled]

    def timestamp(self, point: Point) -> int | None:
        if point.stamp_ms is not None:
            return point.stamp_ms
        if point.boot not in self.syncs or point.uptime_ms is None:
            return None
        return self.syncs[point.boot][0] + point.uptime_ms


class Reader:
    """Reads `data`, the bytes of a ring whose sectors have `sector_bytes`."""

    def __init__(self, data: bytes, sector_bytes: int) -> None:
        self._sectors = [data[at : at + sector_bytes] for at in range(0, len(data), sector_bytes)]
        self._end = sector_bytes - FIXED_BYTES
        self.image = Image()

    def read(self) -> Image:
        image = self.image
        headers = [h for block in range(len(self._sectors)) if (h := self._header(block))]
        if not headers:
            return image
        newest = max(headers, key=lambda h: h[2])
        image.head, image.settled = newest[2], (newest[4], newest[5])
        image.tail = max(1, image.head - newest[6], image.head - len(self._sectors) + 1)
        image.dropped = newest[7]
        self._take_dropped()
        for header in sorted(headers, key=lambda h: h[2]):
            if header[2] >= max(1, image.head - len(self._sectors) + 1):
                self._read_sector(header[2], header[3])
        return image

    def _header(self, block: int) -> tuple[Any, ...] | None:
        raw = self._sectors[block][:HEADER_BYTES]
        fields = struct.unpack("<2sHIIIHHI6sH", raw)
        if fields[0] != b"P1" or fields[9] != crc16(0, raw[:30]) or fields[2] % len(self._sectors) != block:
            return None
        self._sync(fields[3], int.from_bytes(fields[8], "little"), False)
        return fields if fields[2] else None

    def _sync(self, boot: int, unix_ms: int, estimated: bool) -> None:
        if unix_ms:
            self.image.syncs[boot] = unix_ms, estimated or self.image.syncs.get(boot, (0, False))[1]

    def _sector(self, seq: int) -> bytes:
        return self._sectors[seq % len(self._sectors)]

    def _mark(self, seq: int, at: int) -> tuple[int, int, int, int, int] | None:
        """Type, flag and three numbers of the mark at `at`."""
        raw = self._sector(seq)[at : at + MARK_BYTES]
        if len(raw) < MARK_BYTES or not 0xC0 <= raw[0] < 0xFF:
            return None
        if int.from_bytes(raw[14:], "big") != crc16(seq, raw[:14]):
            return None
        return struct.unpack("<BBIII", raw[:14])

    def _take_dropped(self) -> None:
        for place in range(3):
            mark = self._mark(self.image.head, self._end + place * MARK_BYTES)
            if mark and mark[0] == DROPPED and mark[2] > self.image.tail:
                self.image.tail, self.image.dropped = mark[2], mark[3]

    def _commit(self, seq: int, at: int, end: int) -> tuple[bytes, int] | None:
        """The payload at `at` and where it ends."""
        sector = self._sector(seq)[:end]
        if at + 3 > end or sector[at] >= 0xC0:
            return None
        begin = at + (1 if sector[at] < 0x80 else 2)
        n = sector[at] if sector[at] < 0x80 else (sector[at] & 0x3F) << 8 | sector[at + 1]
        crc_at = begin + n
        if not n or crc_at + 2 > end:
            return None
        if int.from_bytes(sector[crc_at : crc_at + 2], "big") != crc16(seq, sector[at:crc_at]):
            return None
        return sector[begin:crc_at], crc_at + 2

    def _end_of(self, seq: int) -> int:
        closed = self._mark(seq, self._end + 48)
        return closed[3] if seq != self.image.head and closed and closed[0] == CLOSED else self._end

    def _goes_on(self, seq: int, at: int, end: int) -> bool:
        """Whether what lies behind a commit that follows damage shows that it is one."""
        if at >= end or self._mark(seq, at) or self._commit(seq, at, end):
            return True
        return self._sector(seq)[at] == 0xFF and seq != self.image.head

    def _read_sector(self, seq: int, boot: int) -> None:
        records = Records(self.image, seq)
        at, end = HEADER_BYTES, self._end_of(seq)
        sound = True
        while at < end:
            commit = self._commit(seq, at, end)
            if self._sector(seq)[at] == 0xFF:
                at += 1
            elif commit and (sound or self._goes_on(seq, commit[1], end)):
                self.image.points += records.read(commit[0], boot, at)
                at, sound = commit[1], True
            elif at + MARK_BYTES <= end and (mark := self._mark(seq, at)):
                boot = self._take_mark(mark, boot, seq)
                at += MARK_BYTES
            else:
                records.timed = sound = False
                at += 1

    def _take_mark(self, mark: tuple[int, int, int, int, int], boot: int, seq: int) -> int:
        kind, flag, a, b, c = mark
        if kind == BOOT:
            return a
        if kind == SYNC:
            self._sync(a, c << 32 | b, bool(flag))
        elif kind == SETTLED and seq == self.image.head:
            self.image.settled = max(self.image.settled, (a, b))
        return boot


class Records:
    """The records of one sector, which depend on those before them there."""

    def __init__(self, image: Image, seq: int) -> None:
        self._image = image
        self._seq = seq
        self._series: dict[int, tuple[str, str, dict[str, str]]] = {}
        self._ms = 0
        self.timed = False

    def read(self, record: bytes, boot: int, offset: int) -> Iterator[Point]:
        at = self._time(record)
        later, stamp = 0, None
        while at < len(record):
            kind, number, at = record[at] & 0xF0, record[at] & 15, at + 1
            if kind == 0xE0:
                later, at = int.from_bytes(record[at : at + 2], "little"), at + 2
            elif kind == 0xF0:
                stamp, at = int.from_bytes(record[at : at + 8], "little", signed=True), at + 8
            elif kind == 0xD0:
                at = self._define(record, at)
            else:
                if number == 15:
                    number, at = record[at], at + 1
                value, at = self._value(record, kind, at)
                if number in self._series and (self.timed or stamp is not None):
                    when = self._ms + later if self.timed else None
                    yield Point(boot, *self._named(number, value), when, stamp, self._seq, offset)
                later, stamp = 0, None

    def _named(self, number: int, value: Any) -> tuple[str, str, Any, dict[str, str]]:
        cls, metric, tags = self._series[number]
        return cls, metric, value, tags

    def _time(self, record: bytes) -> int:
        if record[0] == 0:
            s, ms = struct.unpack_from("<IH", record, 1)
            self._ms, self.timed = 1000 * s + ms, True
            return 7
        since = shift = at = 0
        while record[at] & 0x80:
            since |= (record[at] & 0x7F) << shift
            shift, at = shift + 7, at + 1
        self._ms += (since | record[at] << shift) - 1
        return at + 1

    def _define(self, record: bytes, at: int) -> int:
        number, cls, names, tags = struct.unpack_from("<BBHH", record, at)
        at += 6
        metric = json.loads(record[at : at + names])
        at += names
        self._series[number] = (
            ("metric", "event")[cls],
            metric,
            json.loads(record[at : at + tags]) if tags else {},
        )
        return at + tags

    def _value(self, record: bytes, kind: int, at: int) -> tuple[Any, int]:
        if kind in NUMBERS:
            form = NUMBERS[kind]
            return struct.unpack_from(form, record, at)[0], at + struct.calcsize(form)
        if kind in (0x60, 0x70):
            return kind == 0x70, at
        n = int.from_bytes(record[at : at + 2], "little")
        return json.loads(record[at + 2 : at + 2 + n]), at + 2 + n
