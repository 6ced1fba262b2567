"""SIGKILL from outside, at any moment of real time: what send() had accepted reaches the gateway, once.

The board's process is the real MicroPython. A timer of the host kills it without looking what it does: in the
midst of a boot, a send(), a frame, an answer. Then the board boots again on the same flash.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from host_sim.board.board import Board
from host_sim.journal import Verdict
from host_sim.vms.micropython import MicroPythonVm
from host_sim.world import ROOT, World
from tests.e2e.simulation import program

BOARD = ROOT / "boards" / "esp32_flash_ring.py"
# Seconds of real time: from the start of the process, which spends them on loading MicroPython, and mounting; or
# from its first reading.
BOOTING_S = (0.05, 0.5)
RECORDING_S = (0.0, 0.4)
DOWN_US = 700_000

FIRMWARE = """
import time
from plexus_mp import Plexus

boot = 1
try:
    boot += int(open("/boots").read())
except (OSError, ValueError):
    pass
with open("/boots", "w") as f:
    f.write(str(boot))
px = Plexus(source_id="victim", linger_ms=0)
n = boot * 1000000
while True:
    n += 1
    px.send("n", n)
    if n % 7 == 0:
        px.send_batch([("a", n), ("b", n / 3), ("c", n * 1000)])
    if n % 50 == 0:
        px.event("note", {"n": n, "text": "x" * (n % 90)})
    time.sleep_ms(200)
"""


class Victim(MicroPythonVm):
    """One boot, killed `after_s` of real time after its start, or after its first reading; None: never."""

    def __init__(self, after_s: float | None, booting: bool, killed: Callable[[], None]) -> None:
        super().__init__()
        self._after_s = after_s
        self._booting = booting
        self._killed = killed
        self._timer: threading.Timer | None = None

    def _start(self) -> None:
        super()._start()
        if self._booting:
            self._light_the_fuse()

    def _answer(self, text: bytes) -> None:
        if self._timer is None and b"host.begin" in text:
            self._light_the_fuse()
        super()._answer(text)

    def _light_the_fuse(self) -> None:
        assert self._process is not None
        if self._after_s is not None:
            self._timer = threading.Timer(self._after_s, os.kill, (self._process.pid, signal.SIGKILL))
            self._timer.start()

    def run(self, board: Board) -> None:
        try:
            super().run(board)
        except (RuntimeError, BrokenPipeError):  # both pipes have lost their other end
            assert self._process is not None
            if self._process.wait(10) != -signal.SIGKILL:
                raise
            self._killed()
            board.kernel.call_at(board.now_us() + DOWN_US, board.power_on)
            board.power_off()

    def kill(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()  # it must not meet a process that has taken the number over
        super().kill()


@dataclass
class Outcome:
    seed: int
    verdict: Verdict
    kills: int
    boots: int
    in_send: int  # readings that were being sent when it struck
    console: str


def play(folder: Path, kills: int, seed: int) -> Outcome:
    """Kill the board that often, now and then without a network; then let it deliver what waits."""
    rng = random.Random(seed)
    world = World(seed, virtual=True)
    console: list[str] = []
    struck = [0]

    def killed() -> None:
        struck[0] += 1
        board.wifi.set_available(rng.random() < 0.7 or struck[0] >= kills)

    def make_vm() -> Victim:
        booting = rng.random() < 0.3
        after_s = rng.uniform(*(BOOTING_S if booting else RECORDING_S)) if struck[0] < kills else None
        return Victim(after_s, booting, killed)

    async def run() -> Verdict:
        while struck[0] < kills and board.error is None:
            await asyncio.sleep(1)
        await asyncio.sleep(150)  # a backoff of a minute, and the backlog
        board.power_off()  # nothing new comes, and what waits shows
        return await world.finish()

    async def start() -> Board:
        await world.start()
        return world.add_board(program(folder, FIRMWARE), BOARD, "micropython", console=console.append).board

    board = world.kernel.run(start())
    board._make_vm = make_vm
    board.power_on()
    verdict = world.kernel.run(run())
    world.kernel.close()
    assert board.error is None, board.error
    in_send = len(world.placements[0].witness.journal.maybe)
    return Outcome(seed, verdict, struck[0], board.boots, in_send, "".join(console))


def complaint(outcome: Outcome) -> str | None:
    """What is wrong with it, None when nothing is."""
    verdict = outcome.verdict
    which = f"seed {outcome.seed}, {outcome.kills} kills: "
    if verdict.lost or verdict.duplicates or verdict.miscounted or verdict.dropped or verdict.at_cut:
        return which + f"{verdict.counts()}, missing {verdict.missing[:3]}, spurious {verdict.spurious[:3]}"
    if verdict.pending > 9:  # of the last second
        return which + f"{verdict.pending} readings never arrived"
    if "Traceback" in outcome.console:
        return which + outcome.console
    return None


def test_what_was_accepted_arrives_once_whenever_the_process_is_killed(tmp_path):
    outcome = play(tmp_path, 15, random.randrange(1 << 30))
    assert complaint(outcome) is None
    assert outcome.kills == 15 and outcome.boots == 16
    assert outcome.verdict.stored > 500
