"""The view on a terminal: drawn a few times a second, keys without Enter, and the terminal as it was afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import termios
import tty
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live

from .render import Screen
from .snapshot import Watcher
from .switches import Switchboard

if TYPE_CHECKING:
    from ..world import Placement, World

REFRESH_S = 0.25


def check_terminal() -> None:
    """Raises `ValueError` where there is nothing to draw on or no keys to press."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ValueError("--view needs a terminal for its input and output")


@contextlib.contextmanager
def keys_at_once(fd: int) -> Iterator[None]:
    """Keys come one by one and are not echoed; Ctrl-C is Ctrl-C. The terminal is given back as it was."""
    before = termios.tcgetattr(fd)
    try:
        tty.setcbreak(fd)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


class View:
    """Draws one board until `q` sets `stopped`. `hear` is the board's console."""

    def __init__(self, world: World, placement: Placement, vm: str, stopped: asyncio.Event) -> None:
        self._loop = world.kernel.loop
        self._stopped = stopped
        self._failure: Exception | None = None
        self.watcher = Watcher(world, placement, vm)
        self.board = Switchboard(world, placement)

    async def show(self) -> None:
        """Until it is cancelled, or `q`."""
        fd = sys.stdin.fileno()
        with keys_at_once(fd), Live(console=Console(), screen=True, auto_refresh=False) as live:
            self._loop.add_reader(fd, self._key, fd)
            try:
                while not self._stopped.is_set():
                    self.watcher.ask()
                    live.update(Screen(self.watcher.look(), self.board), refresh=True)
                    await asyncio.sleep(REFRESH_S)
            finally:
                self._loop.remove_reader(fd)
        if self._failure is not None:
            raise self._failure

    def _key(self, fd: int) -> None:
        keys = os.read(fd, 64)
        if not keys or b"q" in keys:  # the terminal is gone, or should be
            self._stopped.set()
        try:
            for key in keys.decode(errors="replace"):
                self.board.press(key)
        except Exception as e:  # the loop would print it under the screen
            self._failure = e
            self._stopped.set()
