"""Hears what one board's firmware hands to the library, and at the end what its clients still hold."""

from __future__ import annotations

from typing import Any

from .board.board import Board
from .journal import Journal, Row
from .ring_image import held_rows


class Witness:
    """A board's recorder: fills `journal`, and `held`, `dropped`, `rejected` when the board reports.

    `source_ids` are those the firmware's clients sent under.
    """

    def __init__(self) -> None:
        self.journal = Journal()
        self.source_ids: set[str] = set()
        self.held: list[Row] = []
        self.dropped = 0
        self.rejected = 0

    def begin(self, board: Board, method: str, arguments: Any) -> None:
        self.journal.begin(self._true_ms(board), method, arguments)

    def end(self, board: Board, accepted: bool) -> None:
        self.journal.end(accepted)

    def cut(self, board: Board) -> None:
        self.journal.cut()

    def client(self, board: Board, source_id: str) -> None:
        self.source_ids.add(source_id)

    def ring(
        self,
        board: Board,
        uptime_ms: int,
        sector_bytes: int,
        memory: bytes,
        dropped: int,
        rejected: int,
    ) -> None:
        self.dropped += dropped
        self.rejected += rejected
        self.held += held_rows(memory, sector_bytes, self._true_ms(board) - uptime_ms)

    @staticmethod
    def _true_ms(board: Board) -> int:
        return board.kernel.epoch_ms + board.now_us() // 1000
