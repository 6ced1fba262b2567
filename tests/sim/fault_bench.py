"""A board under a scenario, for a test."""

from __future__ import annotations

import asyncio

from host_sim.scenario import load_scenario
from host_sim.world import World
from tests.e2e.simulation import BOARD, FIRMWARE

IDLE = "import time\nwhile True: time.sleep(1)\n"


class Play:
    """A run of `source` (None: the firmware) under a scenario, in virtual time; `at` looks at it meanwhile."""

    def __init__(self, folder, toml, source=IDLE, seconds=20, at=None, before=None, seed=1):
        self.wrong = []
        self.console = ""
        self.looks = []
        self._at = at or {}
        self._before = before
        path = folder / "scenario.toml"
        path.write_text(toml)
        firmware = FIRMWARE
        if source is not None:
            firmware = folder / "main.py"
            firmware.write_text(source)
        self.world = World(seed, virtual=True)
        loop = self.world.kernel.loop
        loop.set_exception_handler(lambda loop, context: self.wrong.append(context))
        self.world.kernel.run(self._run(firmware, path, seconds))
        loop.close()
        assert not self.wrong and self.placement.board.error is None

    async def _run(self, firmware, path, seconds):
        world = self.world
        await world.start()
        self.placement = world.add_board(firmware, BOARD, "cpython", console=self._print)
        self.director = world.direct(self.placement, load_scenario(path), seconds)
        self.placement.board.power_on()
        if self._before:
            self._before(world, self.placement)
        for at_s, look in self._at.items():
            world.kernel.call_at(int(at_s * 1e6), lambda look=look: self._look(look))
        await asyncio.sleep(seconds)
        self.verdict = await world.finish()

    def _print(self, text):
        self.console += text

    def _look(self, look):
        self.looks.append(look(self.world, self.placement))


def event(when, fault, seconds=None):
    lines = ["[[event]]", when, fault] + ([f"for = {seconds}"] if seconds else [])
    return "\n".join(lines) + "\n"
