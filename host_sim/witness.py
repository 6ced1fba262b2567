"""Hears what one board's firmware hands to the library, and at the end what its rings still hold."""

from __future__ import annotations

from typing import Any

from .board.board import Board
from .journal import Journal, Row
from .ring_image import flash_ring, held_rows


class Witness:
    """A board's recorder: fills `journal`; `collect` then tells what is still on the board.

    `source_ids` are those the firmware's clients sent under. What a ring in flash holds and has dropped is read
    from the flash; of a ring in RAM the firmware must tell, while it runs.
    """

    def __init__(self) -> None:
        self.journal = Journal()
        self.source_ids: set[str] = set()
        self.held: list[Row] = []
        self.dropped = 0
        self.rejected = 0
        self._partitions: set[str] = set()
        self._zero_ms: dict[int, int] = {}  # Unix ms at uptime 0, by boot

    def begin(self, board: Board, method: str, arguments: Any) -> None:
        self.journal.begin(self._true_ms(board), method, arguments)

    def end(self, board: Board, accepted: bool) -> None:
        self.journal.end(accepted)

    def cut(self, board: Board) -> None:
        self.journal.cut()

    def client(self, board: Board, source_id: str, partition: str, boot: int, uptime_ms: int) -> None:
        self.source_ids.add(source_id)
        self._zero_ms[boot] = self._true_ms(board) - uptime_ms
        if partition:
            self._partitions.add(partition)

    def ring(self, board: Board, sector_bytes: int, memory: bytes, dropped: int, rejected: int) -> None:
        self.rejected += rejected
        if memory:
            self.dropped += dropped
            self.held += held_rows(memory, sector_bytes, self._zero_ms, in_ram=True)

    def collect(self, board: Board) -> None:
        """Read the rings in flash, whether the board runs or not."""
        for label in sorted(self._partitions):
            partition = next(p for p in board.config.partitions if p.label == label)
            image = board.flash.peek(partition.offset, partition.size)
            ring = flash_ring(image, board.flash.sector_bytes)
            self.dropped += ring.dropped
            self.held += held_rows(image, board.flash.sector_bytes, self._zero_ms, in_ram=False)

    @staticmethod
    def _true_ms(board: Board) -> int:
        return board.kernel.epoch_ms + board.now_us() // 1000
