"""`host_sim board` in a process of its own, and the real mpremote that talks to it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import serial

from host_sim.world import ROOT

API_KEY = "plx_of_the_test"
LIMIT_S = 60


@dataclass
class RunningBoard:
    """A board that runs; `link` is its serial line."""

    process: subprocess.Popen[str]
    link: Path

    def mpremote(self, *arguments: object, ok: bool = True) -> str:
        """What mpremote prints; it has to succeed, or to fail when not `ok`."""
        # By the link it works as well, and polls every 10 ms.
        command = [sys.executable, "-m", "mpremote", "connect", self.link.resolve(), *arguments]
        done = subprocess.run(
            [str(part) for part in command], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S
        )
        assert (done.returncode == 0) is ok, done.stdout + done.stderr
        return (done.stdout if ok else done.stdout + done.stderr).replace("\r\n", "\n")

    def terminal(self) -> Terminal:
        return Terminal(serial.Serial(str(self.link), 115200, timeout=0.1))


@dataclass
class Terminal:
    """What a person types and sees, as in `mpremote repl`."""

    port: serial.Serial
    seen: str = ""

    def type(self, keys: str) -> None:
        self.port.write(keys.encode())

    def until(self, text: str) -> str:
        """What comes, up to `text`."""
        end = time.monotonic() + LIMIT_S
        while text not in self.seen:
            assert time.monotonic() < end, f"{text!r} does not come after {self.seen!r}"
            self.seen += self.port.read(self.port.in_waiting or 1).decode(errors="replace")
        found, _, self.seen = self.seen.partition(text)
        return found + text


@contextlib.contextmanager
def _started(*arguments: object, last: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """A command of host_sim; what it has printed when a line begins with `last`. It must end well, at Ctrl-C."""
    environment = {**os.environ, "PLEXUS_API_KEY": API_KEY, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "host_sim", *map(str, arguments)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        lines: list[str] = []
        while not lines or not lines[-1].startswith(last):
            line = process.stdout.readline()
            assert line, f"{command} ended after {lines}"
            lines.append(line)
        yield process, lines
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT_S) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@contextlib.contextmanager
def running_board(folder: Path, *arguments: object) -> Iterator[RunningBoard]:
    link = folder / "tty"
    with _started("board", "--link", link, "--port", 0, *arguments, last="connect") as (process, lines):
        assert lines[-1].split()[-1] == str(link)
        yield RunningBoard(process, link)
    assert not link.is_symlink()


@contextlib.contextmanager
def running_gateway() -> Iterator[str]:
    """Its URL; its key is `API_KEY`."""
    with _started("gateway", "--port", 0, "--store", "sqlite://", last="gateway") as (_, lines):
        yield lines[-1].split()[1].split("/#")[0]
