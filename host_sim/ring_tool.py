"""What the flash of a dead board still holds: find the ring in its image, list it, deliver what waits."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from plexus_mp.decoder import Decoder
from plexus_mp.ring import HEADER_BYTES, MAGIC, crc16

from .ring_image import flash_ring

_POINT_MAX_BYTES = 1 << 17
# Well below what a gateway takes: 10,000 points, 5 MiB.
_BATCH_POINTS = 500
_BATCH_BYTES = 512 * 1024
_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Held:
    """A point on the board: its JSON as the device would send it, or without a timestamp when that is unknown."""

    text: str
    boot: int
    uptime_ms: int
    waits: bool
    dated: bool

    def line(self) -> str:
        if self.dated:
            return self.text
        point = json.loads(self.text)
        point["timestamp"] = None
        return json.dumps({**point, "boot": self.boot, "uptime_ms": self.uptime_ms}, ensure_ascii=False)


@dataclass
class Delivery:
    """What became of the points that waited: `confirmed` by the gateway, new to it or not."""

    confirmed: int = 0
    refused: int = 0
    undated: int = 0


def _sequence(header: bytes) -> int:
    """The sequence number in the header of a sector, 0 when it is none."""
    good = header[:2] == MAGIC and int.from_bytes(header[30:32], "little") == crc16(0, header, 0, 30)
    return int.from_bytes(header[4:8], "little") if good else 0


def find_ring(image: bytes, sector_bytes: int) -> bytes:
    """The part of `image` that is a ring; ValueError when none is in it.

    Of a ring that was never full the sectors that were never written may be missing.
    """
    total = len(image) // sector_bytes
    if sector_bytes < 256 or sector_bytes % 64 or total * sector_bytes != len(image) or total < 2:
        raise ValueError(f"the image has {len(image)} bytes: not two or more sectors of {sector_bytes}")
    headers = {}
    for sector in range(total):
        at = sector * sector_bytes
        if seq := _sequence(image[at : at + HEADER_BYTES]):
            headers[sector] = seq
    if not headers:
        raise ValueError("no ring: no sector begins with a header of one")
    if all(seq % total == sector for sector, seq in headers.items()):
        return image
    base, count = _best_place(headers, total)
    return image[base * sector_bytes : (base + count) * sector_bytes]


def _best_place(headers: dict[int, int], total: int) -> tuple[int, int]:
    """First sector and number of sectors of the ring that explains most of the headers found."""
    shifts = [shift for shift, _ in Counter(seq - sector for sector, seq in headers.items()).most_common(8)]
    counts = {abs(a - b) for a in shifts for b in shifts} | {len(headers), len(headers) + 1}
    places = []
    for count in sorted(counts - {0, 1}):
        for sector, seq in headers.items():
            base = sector - seq % count
            if 0 <= base <= total - count:
                fits = sum(
                    0 <= other - base < count and number % count == other - base
                    for other, number in headers.items()
                )
                places.append((fits, -count, base))
    if not places:
        raise ValueError("no ring: its sectors do not fit together; give --offset and --size")
    _, count, base = max(places)
    return base, -count


class RingImage:
    """The ring in `data`: counts, boots and points."""

    def __init__(self, data: bytes, sector_bytes: int) -> None:
        self._sector_bytes = sector_bytes
        self.ring = flash_ring(data, sector_bytes)
        if not self.ring.head_seq:
            raise ValueError("no ring: no sector begins with a header of one")
        self.settled = self.ring.settled
        self.unreadable = 0
        self._last_ms: dict[int, int] = {}  # of each boot, the uptime of its last record
        self.sectors = sum(1 for _ in self._walk())
        self.zero_ms, self.estimated = self._date()
        self.points = self._points()

    @property
    def waiting(self) -> list[Held]:
        return [point for point in self.points if point.waits]

    def _walk(self) -> Iterator[int]:
        """Every sector that is not given up; on the way the ring hears of syncs and boots."""
        for seq in range(self.ring.tail_seq, self.ring.head_seq + 1):
            self._read(seq, self._note)
            yield seq

    def _note(self, decoder: Decoder, offset: int) -> None:
        self._last_ms[self.ring.read_boot] = decoder.uptime_ms

    def _read(self, seq: int, visit: Callable[[Decoder, int], None]) -> None:
        ring, decoder, offset = self.ring, Decoder(), HEADER_BYTES
        buf = memoryview(bytearray(self._sector_bytes))
        while n := ring.read(seq, offset, buf):
            if ring.damaged:
                ring.damaged = False
                decoder.lose_time()
            decoder.load(buf, ring.payload_at, n)
            visit(decoder, offset)
            offset = ring.next_off

    def _date(self) -> tuple[dict[int, int], set[int]]:
        """Unix ms at uptime 0 by boot; one that met no gateway ended, as the device has it, where the next began."""
        zero_ms, estimated = dict(self.ring.syncs), set(self.ring.estimated)
        after = max(zero_ms, default=0)
        for boot in sorted(self._last_ms, reverse=True):
            if boot not in zero_ms and after > boot:
                zero_ms[boot] = zero_ms[after] - self._last_ms[boot] - 1
                estimated.add(boot)
            if boot in zero_ms:
                after = boot
        return zero_ms, estimated

    def _points(self) -> list[Held]:
        found: list[Held] = []
        for seq in range(self.ring.tail_seq, self.ring.head_seq + 1):
            self._read(seq, partial(self._take, found, seq))
        return found

    def _take(self, found: list[Held], seq: int, decoder: Decoder, offset: int) -> None:
        boot, waits = self.ring.read_boot, (seq, offset) >= self.settled
        decoder.zero_ms = self.zero_ms.get(boot, 0)
        decoder.estimated = boot in self.estimated
        out = bytearray(_POINT_MAX_BYTES)
        while decoder.more:
            if not decoder.sure:
                self.unreadable += waits
                decoder.skip()
                continue
            dated = boot in self.zero_ms or decoder._stamp is not None
            end = decoder.next_json(out, 0, len(out))
            found.append(Held(out[:end].decode(), boot, decoder.uptime_ms, waits, dated))

    def summary(self) -> dict[str, Any]:
        stamps = [json.loads(point.text)["timestamp"] for point in self.waiting if point.dated]
        return {
            "sectors": self.sectors,
            "boots": sorted(self._last_ms),
            "boots_without_time": sorted(boot for boot in self._last_ms if boot not in self.zero_ms),
            "waiting": len(self.waiting),
            "unreadable": self.unreadable,
            "dropped": self.ring.dropped,
            "oldest": min(stamps, default=None),
            "newest": max(stamps, default=None),
        }

    def deliver(self, url: str, source_id: str, api_key: str) -> Delivery:
        """POST what waits, in batches. OSError when the gateway cannot be reached or does not take them now."""
        sendable = [point.text for point in self.waiting if point.dated]
        delivery = Delivery(undated=len(self.waiting) - len(sendable))
        post = _Poster(url, source_id, api_key)
        for batch in _batches(sendable):
            delivery.confirmed += post(batch)
        delivery.refused = len(sendable) - delivery.confirmed
        return delivery


def _batches(texts: list[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for text in texts:
        if batch and (len(batch) == _BATCH_POINTS or size + len(text) > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(text)
        size += len(text)
    if batch:
        yield batch


class _Poster:
    """Calling it with points sends them: how many the gateway confirms. What it refuses for good is narrowed down."""

    def __init__(self, url: str, source_id: str, api_key: str) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"--send takes the URL of a gateway, not {url!r}")
        self._url = url.rstrip("/") + "/ingest"
        self._head = '{"source_id":' + json.dumps(source_id) + ',"points":['
        self._headers = {"Content-Type": "application/json", "x-api-key": api_key}

    def __call__(self, texts: list[str]) -> int:
        status, answer = self._post((self._head + ",".join(texts) + "]}").encode())
        if status == 200 and answer.get("success") and not answer.get("dropped"):
            return len(texts)
        if status not in (400, 413):
            why = answer.get("error") or f"it dropped {answer.get('dropped', 'everything')}"
            raise OSError(f"{self._url}: HTTP status {status}: {why}")
        if len(texts) == 1:
            return 0
        half = len(texts) // 2
        return self(texts[:half]) + self(texts[half:])

    def _post(self, body: bytes) -> tuple[int, dict[str, Any]]:
        request = urllib.request.Request(self._url, body, self._headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
                return answer.status, _parsed(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _parsed(error.read())
        except urllib.error.URLError as error:
            raise OSError(f"{self._url}: {error.reason}") from None


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def cut_out(image: bytes, sector_bytes: int, offset: int | None, size: int | None) -> bytes:
    """The ring in an image: where it was said to lie, or where it is found."""
    if offset is None and size is None:
        return find_ring(image, sector_bytes)
    start = offset or 0
    data = image[start:] if size is None else image[start : start + size]
    wanted = len(image) - start if size is None else size
    if len(data) != wanted or not data or len(data) % sector_bytes or start % sector_bytes:
        raise ValueError(
            f"--offset {start} --size {wanted} are not whole sectors of {sector_bytes} in {len(image)} bytes"
        )
    return data
