"""One seed, one history: ten minutes with every kind of fault replay to the byte."""

import asyncio

import pytest

from host_sim.scenario import load_scenario
from host_sim.world import ROOT, World
from tests.e2e.simulation import FIRMWARE, VMS

EVERYTHING = ROOT / "host_sim" / "scenarios" / "everything.toml"


def play(vm, seed):
    """The world after the scenario, its verdict, and how often each fault was injected."""
    world = World(seed, virtual=True)
    scenario = load_scenario(EVERYTHING)

    async def run():
        await world.start()
        placement = world.add_board(FIRMWARE, ROOT / "boards/esp32.py", vm, console=lambda text: None)
        director = world.direct(placement, scenario, scenario.seconds)
        placement.board.power_on()
        await asyncio.sleep(scenario.seconds)
        return await world.finish(), director.injected

    verdict, injected = world.kernel.run(run())
    assert world.placements[0].board.error is None
    return world, verdict, injected


@pytest.mark.parametrize("vm", VMS)
def test_the_same_seed_gives_the_same_bytes(vm):
    first, verdict, injected = play(vm, 7)
    second, _, _ = play(vm, 7)
    assert set(injected) == load_scenario(EVERYTHING).kinds(), "a fault was never injected"
    assert first.digests() == second.digests()
    assert verdict.duplicates == 0 and verdict.stored > 500 and verdict.resent > 0


def test_another_seed_gives_another_history():
    assert play("cpython", 7)[0].digests()["frames"] != play("cpython", 8)[0].digests()["frames"]


def test_both_vms_agree_on_the_stored_rows():
    rows = [[(r.metric, r.value, r.timestamp_ms) for r in play(vm, 7)[0].store.rows()] for vm in VMS]
    assert sorted(rows[0], key=str) == sorted(rows[1], key=str)
