"""The board's serial line: a pseudo-terminal whose other end is opened by mpremote, or any terminal program."""

from __future__ import annotations

import asyncio
import contextlib
import os
import termios
import tty
from collections.abc import Callable
from pathlib import Path

KEYS_MAX = 1 << 16  # typed and not yet read; what comes beyond is lost, as in a UART's buffer
OUTPUT_MAX = 1 << 16  # printed and not yet read: then a program that prints waits
# Nobody has read for so long: nobody listens, and what is printed is lost, as on a UART.
DEAF_S = 1.0


class PtyLine:
    """The pseudo-terminal. `path` is what to connect to: `link`, where one is given, else the terminal's own.

    Raises `ValueError` for a `link` that is there already and no symbolic link.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, link: Path | None = None) -> None:
        self._loop = loop
        self._link = link
        self.keys = bytearray()
        self.raw = False
        self._on_keys: Callable[[], None] = lambda: None
        self._on_room: Callable[[], None] = lambda: None
        self._output = bytearray()
        self._deaf: asyncio.TimerHandle | None = None
        # This side keeps both ends open, so that the line stays raw, and there, when a program leaves.
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.device = os.ttyname(self._slave)
        if link is not None:
            self._make_link(link)
        self.path = self.device if link is None else str(link)
        loop.add_reader(self._master, self._read)

    def _make_link(self, link: Path) -> None:
        if link.is_symlink():  # of a run that was killed
            link.unlink()
        elif link.exists():
            raise ValueError(f"--link {link}: is there already, and no symbolic link")
        link.symlink_to(self.device)

    def attach(self, on_keys: Callable[[], None], on_room: Callable[[], None]) -> None:
        """A boot begins: whom to call when keys have come, and when there is room for output again."""
        self._on_keys, self._on_room = on_keys, on_room

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            data = os.read(self._master, 4096)
            self.keys += data[: KEYS_MAX - len(self.keys)]
            self._on_keys()

    @property
    def full(self) -> bool:
        return len(self._output) >= OUTPUT_MAX

    def write(self, data: bytes) -> None:
        self._output += data
        self._send()

    def _send(self) -> None:
        was_full = self.full
        try:
            while self._output:
                del self._output[: os.write(self._master, self._output)]
                self._heard()
        except BlockingIOError:
            self._loop.add_writer(self._master, self._send)
            if self._deaf is None:
                self._deaf = self._loop.call_later(DEAF_S, self._forget)
        else:
            self._loop.remove_writer(self._master)
        if was_full and not self.full:
            self._on_room()

    def _heard(self) -> None:
        if self._deaf is not None:
            self._deaf.cancel()
            self._deaf = None

    def _forget(self) -> None:
        """Nobody reads: what waits in the terminal would be old when somebody comes."""
        self._deaf = None
        self._output.clear()
        termios.tcflush(self._slave, termios.TCIFLUSH)
        self._loop.remove_writer(self._master)
        self._on_room()

    def close(self) -> None:
        self._heard()
        self._loop.remove_reader(self._master)
        self._loop.remove_writer(self._master)
        os.close(self._master)
        os.close(self._slave)
        if self._link is not None and self._link.is_symlink():
            self._link.unlink()
