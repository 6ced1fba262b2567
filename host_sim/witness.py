"""Hears what one board's firmware hands to the library, and at the end what its rings still hold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from plexus_mp.decoder import Decoder

from .board.board import Board
from .journal import Journal, Row
from .ring_image import held_rows, point_json, ring_of

FILES = "/plexus"  # where assemble.py has a ring in files
# FileBlocks takes sectors of any size, blocks in RAM only multiples of this: what a sector lacks reads as erased.
_SECTOR_UNIT = 64


class Witness:
    """A board's recorder: fills `journal`; `collect` then tells what is still on the board.

    `source_ids` are those the firmware's clients sent under. What a ring in flash or files holds and has dropped is
    read from there; of a ring in RAM, and of a page that is not committed, the firmware must tell, while it runs.
    """

    def __init__(self) -> None:
        self.journal = Journal()
        self.source_ids: set[str] = set()
        self.held: list[Row] = []
        self.dropped = 0
        self.rejected = 0
        self.undecided = 0
        self.overflowed = False  # a ring gave up its oldest sector
        self._places: set[str] = set()
        self._volatile = False  # the ring that is filled now, with all that was accepted since the boot
        self._zero_ms: dict[int, int] = {}  # Unix ms at uptime 0, by boot

    def begin(self, board: Board, method: str, arguments: Any, paged: bool) -> None:
        self.journal.begin(self._true_ms(board), method, arguments, paged or self._volatile)

    def end(self, board: Board, accepted: bool) -> None:
        self.journal.end(accepted, self._true_ms(board))

    def commit(self, board: Board, points: int) -> None:
        self.journal.commit(points)

    def cut(self, board: Board) -> None:
        self.journal.cut(self._true_ms(board))

    def client(self, board: Board, source_id: str, place: str, boot: int, uptime_ms: int) -> None:
        """`place` of the ring: "" in RAM, "files:SECTORS:BYTES", "rp2:START:BYTES" or a partition's label."""
        self.source_ids.add(source_id)
        self._zero_ms[boot] = self._true_ms(board) - uptime_ms
        self._volatile = not place
        if place:
            self._places.add(place)

    def ring(
        self,
        board: Board,
        sector_bytes: int,
        memory: bytes,
        page: bytes,
        dropped: int,
        rejected: int,
        undecided: int,
    ) -> None:
        """What a running client holds in RAM: its ring, if that is there, and the records of its page.

        `undecided` readings are in a frame under way and nowhere else: the answer decides whether they are dropped.
        """
        self.rejected += rejected
        self.undecided += undecided
        if memory:
            self.dropped += dropped
            self.overflowed |= ring_of(memory, sector_bytes, in_ram=True).tail_seq > 1
            self.journal.told()
            self.held += held_rows(memory, sector_bytes, self._zero_ms, in_ram=True)
        if page:
            self.held += _page_rows(page, self._zero_ms)

    def collect(self, board: Board) -> None:
        """Read the rings in flash and files, whether the board runs or not."""
        for place in sorted(self._places):
            image, sector_bytes = _image(board, place)
            ring = ring_of(image, sector_bytes)
            self.dropped += ring.dropped
            self.overflowed |= ring.tail_seq > 1
            self.held += held_rows(image, sector_bytes, self._zero_ms, in_ram=False)

    def ring_fill(self, board: Board) -> float | None:
        """How much of the fullest ring in flash or files holds what is not settled, 0 to 1; None without one."""
        fills = []
        for place in self._places:
            ring = ring_of(*_image(board, place))
            fills.append(max(0, ring.head_seq - ring.settled_seq) / ring.sectors)
        return max(fills, default=None)

    @staticmethod
    def _true_ms(board: Board) -> int:
        return board.kernel.epoch_ms + board.now_us() // 1000


def _image(board: Board, place: str) -> tuple[bytes, int]:
    """(what the ring's sectors hold, the size of one)."""
    kind, *numbers = place.split(":")
    if kind == "files":
        return files_image(board, *map(int, numbers))
    if kind == "rp2":
        start, size = map(int, numbers)
        start += board.config.flash_bytes - board.config.storage_bytes
    else:
        partition = next(p for p in board.config.partitions if p.label == place)
        start, size = partition.offset, partition.size
    return board.flash.peek(start, size), board.flash.sector_bytes


def files_image(board: Board, sectors: int, sector_bytes: int) -> tuple[bytes, int]:
    """The files of the ring, one after another, as sectors of flash would hold what is in them."""
    sector_bytes = -(-sector_bytes // _SECTOR_UNIT) * _SECTOR_UNIT
    image = b""
    for n in range(sectors):
        try:
            content = board.files.read(f"{FILES}/{n}")[:sector_bytes]
        except OSError:
            content = b""
        image += content.ljust(sector_bytes, b"\xff")
    return image, sector_bytes


def _page_rows(page: bytes, zero_ms: dict[int, int]) -> Iterator[Row]:
    decoder = Decoder()
    decoder.load(page, 0, len(page), False)
    while decoder.more:
        decoder.segments = [(0, zero_ms.get(decoder.boot, 0), 0, 0)]
        point = json.loads(point_json(decoder))
        yield Row(point["class"], point["metric"], point["value"], point.get("tags", {}), point["timestamp"])
        decoder.advance()
