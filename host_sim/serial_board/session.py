"""What `host_sim board` does: a board on a pseudo-terminal until Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from pathlib import Path

from ..board.board import Board
from ..board.config import load_board
from ..board.files import BLOCK_BYTES, BLOCKS
from ..session import ctrl_c
from ..vms.repl import ReplVm
from ..world import Target, World
from .kept import StateFolder
from .line import PtyLine

# A run that is killed outright forgets what its partitions were told in so long; files are kept at once.
_SAVE_S = 2.0


@dataclass(frozen=True)
class BoardOptions:
    """What `board` was asked for. `state` is a folder, or None for a board that forgets."""

    board_file: Path
    state: Path | None
    link: Path | None
    target: Target | None
    seed: int
    trace: str
    port: int
    seconds: float | None = None


def run_board(options: BoardOptions) -> int:
    """Serve the board until Ctrl-C, or until `seconds` are over. Raises `ValueError` for what does not fit."""
    world = World(options.seed, target=options.target, port=options.port)
    with contextlib.ExitStack() as ends:
        line = PtyLine(world.kernel.loop, options.link)
        ends.callback(line.close)
        state = None if options.state is None else StateFolder(options.state)
        if state is not None:
            ends.callback(state.close)
        return world.kernel.run(_serve(world, options, line, state))


async def _serve(world: World, options: BoardOptions, line: PtyLine, state: StateFolder | None) -> int:
    target = await world.start()
    config, _ = load_board(options.board_file)
    files = None if state is None else state.files(config.files_bytes // BLOCK_BYTES or BLOCKS)
    board = world.place(config, lambda: ReplVm(line), options.trace, lambda text: None, files).board
    board.recorder = None  # a journal of a board that runs for ever has no end
    if state is not None:
        state.load_flash(board.flash)
    world.set_up(board)
    _say_hello(world, options, target, line)
    board.power_on()
    with ctrl_c(world.kernel) as stopped, contextlib.suppress(asyncio.TimeoutError):
        saving = asyncio.ensure_future(_keep_saving(board, state, stopped))
        await asyncio.wait_for(stopped.wait(), options.seconds)
    saving.cancel()
    board.power_off()
    if state is not None:
        state.save_flash(board.flash)
    await world.close()
    return 0 if board.error is None else 1


async def _keep_saving(board: Board, state: StateFolder | None, stopped: asyncio.Event) -> None:
    """Until the simulator itself fails, which ends the run: nobody would answer on the line any more."""
    while board.error is None:
        await asyncio.sleep(_SAVE_S)
        if state is not None:
            state.save_flash(board.flash)
    stopped.set()


def _say_hello(world: World, options: BoardOptions, target: Target, line: PtyLine) -> None:
    if world.server is not None and world.server.moved_from:
        print(f"port {world.server.moved_from} is busy, using {world.server.port}")
    print(f"gateway  {world.server.page_url if world.server is not None else target.url}")
    kept = "nothing is kept" if options.state is None else f"kept in {options.state}"
    print(f"board    {options.board_file.stem}, seed {options.seed}, {kept}")
    print(f"connect  mpremote connect {line.path}", flush=True)
