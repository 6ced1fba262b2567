"""Everything that can go wrong, on the ring in flash, from a seed: what must hold after it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from host_sim.journal import Verdict
from host_sim.scenario import Scenario, load_scenario
from host_sim.world import ROOT, World

BOARD = ROOT / "boards" / "esp32_flash_ring.py"


def scenario() -> Scenario:
    """Every fault but bit rot, which may cost what it hits."""
    everything = load_scenario(ROOT / "host_sim" / "scenarios" / "everything.toml")
    kept = [e for e in everything.events if e.fault != "flash" or e.settings["action"] != "rot"]
    return replace(everything, events=kept)


@dataclass
class Outcome:
    seed: int
    verdict: Verdict
    console: str
    faults: int
    error: BaseException | None

    def complaint(self) -> str | None:
        """What is wrong with it, None when all promises held."""
        if self.error is not None:
            return f"seed {self.seed}: {self.error!r}"
        if "Traceback" in self.console:
            return f"seed {self.seed}: {self.console}"
        verdict = self.verdict
        if not verdict.clean or verdict.pending > 9 or verdict.stored < 800:
            return f"seed {self.seed}: {verdict.counts()}"
        return None


def play(seed: int, vm: str = "cpython") -> Outcome:
    """Ten minutes of the demo firmware with every fault, the random ones drawn from `seed`."""
    world = World(seed, virtual=True)
    story = scenario()
    console: list[str] = []

    async def run() -> tuple[Verdict, int]:
        await world.start()
        placement = world.add_board(ROOT / "firmware", BOARD, vm, console=console.append)
        assert story.seconds is not None
        director = world.direct(placement, story, story.seconds)
        placement.board.power_on()
        await asyncio.sleep(story.seconds)
        return await world.finish(), sum(director.injected.values())

    verdict, faults = world.kernel.run(run())
    world.kernel.close()
    return Outcome(seed, verdict, "".join(console), faults, world.placements[0].board.error)
