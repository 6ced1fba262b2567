"""Firmware in the real MicroPython: the WebAssembly build from npm, one Node process a boot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..board.board import Board
from ..node import find_node, npm_file
from .pipe import SHIMS, VM_SHIMS, PipeVm

_BUILD = "@micropython/micropython-webassembly-pyscript/micropython.mjs"


class MicroPythonVm(PipeVm):
    """The `micropython` VM: one boot of one board."""

    script = Path(__file__).with_suffix(".mjs")

    def _command(self, board: Board, request_end: int, answer_end: int) -> Sequence[object]:
        shims = sorted([*SHIMS.glob("*.py"), *VM_SHIMS.glob("*.py")])
        ends = (request_end, answer_end)
        return [find_node(), self.script, *ends, board.config.heap_bytes, npm_file(_BUILD), *shims]
