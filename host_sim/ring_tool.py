"""What the flash of a dead board still holds: find the ring in its image, list it, deliver what waits."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from plexus_mp.decoder import Decoder
from plexus_mp.log import HEADER_BYTES
from plexus_mp.survey import place
from plexus_mp.survey import ran_on as ran_on_between

from .ring_image import SingleDecoder, is_single, point_json, ring_of, sequence, walk

# Well below what a gateway takes: 10,000 points, 5 MiB.
_BATCH_POINTS = 500
_BATCH_BYTES = 512 * 1024
_TIMEOUT_S = 30.0
_SECTORS_MIN = 4  # of a ring on flash

# What the board wanted to say of a run: it is no reading, and nobody but the board knows which run that is.
_CALL = '{"class":"call"'


@dataclass(frozen=True)
class Held:
    """A point on the board: its JSON as the device would send it, or without a timestamp when that is unknown."""

    text: str
    source_id: str | None
    boot: int
    uptime_ms: int
    waits: bool
    dated: bool

    def line(self) -> str:
        point = json.loads(self.text)
        if not self.dated:
            point |= {"timestamp": None, "boot": self.boot, "uptime_ms": self.uptime_ms}
        if self.source_id is not None:
            point["source_id"] = self.source_id
        return json.dumps(point, ensure_ascii=False)


@dataclass
class Delivery:
    """What became of the points that waited: `confirmed` by the gateway, new to it or not."""

    confirmed: int = 0
    refused: int = 0
    undated: int = 0


def find_ring(image: bytes, sector_bytes: int) -> bytes:
    """The part of `image` that is a ring; ValueError when none is in it.

    Of a ring that was never full the sectors that were never written may be missing.
    """
    total = len(image) // sector_bytes
    if sector_bytes < 256 or sector_bytes % 64 or total * sector_bytes != len(image) or total < 2:
        raise ValueError(f"the image has {len(image)} bytes: not two or more sectors of {sector_bytes}")
    headers = {}
    counts = set()
    for sector in range(total):
        at = sector * sector_bytes
        for header in (image[at + n : at + n + HEADER_BYTES] for n in (0, HEADER_BYTES)):
            if seq := sequence(header):
                headers[sector] = seq
                back = int.from_bytes(header[17:19], "little")
                if back + 1 < seq:  # something was given up: all but two sectors are in use
                    counts.add(back + 2)
                break
    if not headers:
        raise ValueError("no ring: no sector begins with a header of one")
    if total >= _SECTORS_MIN and all(seq % total == sector for sector, seq in headers.items()):
        return image
    total += _SECTORS_MIN  # it may be cut off behind what was written
    base, count = _best_place(headers, total, counts)
    found = image[base * sector_bytes : (base + count) * sector_bytes]
    return found + b"\xff" * (count * sector_bytes - len(found))


def _best_place(headers: dict[int, int], total: int, counts: set[int]) -> tuple[int, int]:
    """First sector and number of sectors of the ring that explains most of the headers found."""
    shifts = [shift for shift, _ in Counter(seq - sector for sector, seq in headers.items()).most_common(8)]
    counts |= {abs(a - b) for a in shifts for b in shifts} | {len(headers), len(headers) + 1, _SECTORS_MIN}
    places = []
    for count in sorted(count for count in counts if count >= _SECTORS_MIN):
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
    """The ring in `data`: counts, boots and points.

    `precision` is that of the board's floats, "single" or "double"; None: double if anything in the ring shows it.
    """

    def __init__(self, data: bytes, sector_bytes: int, precision: str | None = None) -> None:
        self.ring = ring_of(data, sector_bytes, _in_ram(data, sector_bytes))
        if not self.ring.head_seq:
            raise ValueError("no ring: no sector begins with a header of one")
        self.settled = (self.ring.settled_seq, self.ring.settled_off)
        self._counted = self.ring.left
        self._last_ms: dict[int, int] = {}  # of each boot, the uptime of its last record
        self._knots: dict[int, Any] = {}  # what was known of RTC and Unix time before each boot
        singles = True
        for seq in self._sectors():
            for _, decoder in walk(self.ring, seq, Decoder()):
                self._last_ms[decoder.boot] = decoder.uptime_ms
                self._knots.setdefault(decoder.boot, self.ring.passed)
                singles = singles and is_single(decoder)
        self.precision = precision or ("single" if singles else "double")
        self.times = self._date()
        self.points = [point for seq in self._sectors() for point in self._points(seq)]

    @property
    def waiting(self) -> list[Held]:
        return [point for point in self.points if point.waits]

    @property
    def unreadable(self) -> int:
        """Points that were counted when they were written, and cannot be read."""
        return max(0, int(self._counted) - len(self.waiting))

    def _sectors(self) -> range:
        """Every sector that is not given up."""
        return range(self.ring.tail_seq, self.ring.head_seq + 1)

    def _date(self) -> dict[int, list[tuple[int, int, int, int]]]:
        """The times of each boot; one that met no gateway is placed as the device would."""
        ring = self.ring
        run: list[list[Any]] = []
        for boot in sorted(self._last_ms.keys() | ring.times.keys()):
            ran_on = bool(run) and ran_on_between(ring, run[-1], boot)
            run.append([boot, self._last_ms.get(boot, 0), ran_on])
            if boot in ring.times:
                knot = self._knots.get(run[0][0])
                place(ring, run, 0, knot)
                run = []
        return dict(ring.times)

    def _points(self, seq: int) -> Iterator[Held]:
        make: Any = SingleDecoder if self.precision == "single" else Decoder
        for off, decoder in walk(self.ring, seq, make()):
            boot = decoder.boot
            decoder.segments = self.times.get(boot, [(0, 0, 0, 0)])
            dated = boot in self.times or decoder._stamp is not None
            waits = (seq, off) >= self.settled
            source = json.loads(decoder.source) if decoder.source else None
            yield Held(point_json(decoder).decode(), source, boot, decoder.uptime_ms, waits, dated)

    def summary(self) -> dict[str, Any]:
        stamps = [json.loads(point.text)["timestamp"] for point in self.waiting if point.dated]
        return {
            "sectors": len(self._sectors()),
            "precision": self.precision,
            "source_ids": sorted({point.source_id for point in self.waiting if point.source_id is not None}),
            "boots": sorted(self._last_ms),
            "boots_without_time": sorted(boot for boot in self._last_ms if boot not in self.times),
            "waiting": len(self.waiting),
            "unreadable": self.unreadable,
            "dropped": self.ring.dropped,
            "oldest": min(stamps, default=None),
            "newest": max(stamps, default=None),
        }

    def deliver(self, url: str, source_id: str | None, api_key: str) -> Delivery:
        """POST the readings that wait, in batches, each under its own source_id, or `source_id` where none is stored.

        OSError when the gateway cannot be reached or does not take them now; ValueError when there is a reading
        without any source_id.
        """
        sendable: dict[str, list[str]] = {}
        waiting = [point for point in self.waiting if not point.text.startswith(_CALL)]
        for point in waiting:
            source = point.source_id or source_id
            if source is None:
                raise ValueError(
                    "--send needs --source-id: there are readings that do not tell whose they are"
                )
            if point.dated:
                sendable.setdefault(source, []).append(point.text)
        total = sum(map(len, sendable.values()))
        delivery = Delivery(undated=len(waiting) - total)
        for source, texts in sendable.items():
            post = _Poster(url, source, api_key)
            for batch in _batches(texts):
                delivery.confirmed += post(batch)
        delivery.refused = total - delivery.confirmed
        return delivery


def _in_ram(data: bytes, sector_bytes: int) -> bool:
    """Whether no sector has its header a second time."""
    return not any(
        sequence(data[at + HEADER_BYTES : at + 2 * HEADER_BYTES]) for at in range(0, len(data), sector_bytes)
    )


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
