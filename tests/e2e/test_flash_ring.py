"""Readings in flash: resets, power cuts and outages cost nothing, on both VMs."""

import asyncio
import random

import pytest

from host_sim.answers import frame_rule_for, rule_for
from host_sim.world import ROOT
from tests.e2e.simulation import FIRMWARE, counter, program, simulate

BOARD = ROOT / "boards" / "esp32_flash_ring.py"


def test_an_outage_with_power_cuts_costs_nothing(vm):
    async def disturb(world, placement):
        board = placement.board
        await asyncio.sleep(21)
        board.wifi.set_available(False)
        for _ in range(4):
            await asyncio.sleep(25.3)
            board.power_off()
            await asyncio.sleep(5)
            board.power_on()
        board.wifi.set_available(True)

    outcome = simulate(FIRMWARE, vm, 240, disturb, board_file=BOARD)
    verdict = outcome.verdict
    assert verdict.lost == verdict.duplicates == verdict.dropped == 0
    assert verdict.stored > 300 and outcome.console == ""


def test_power_cuts_at_any_flash_operation(tmp_path):
    """Every cut strikes in the midst of a program or erase, in any way of tearing."""

    async def disturb(world, placement):
        rng = random.Random(3)
        board, flash = placement.board, placement.board.flash

        def cut():
            world.kernel.call_at(world.kernel.now_us() + 2_000_000, board.power_on)
            board.power_off()

        flash.on_cut = cut
        for _ in range(40):
            tear = (rng.choice(("none", "prefix", "bits", "all")), rng.choice(("none", "mixture", "all")))
            flash.cut_at(flash.operations + rng.randrange(1, 12), *tear)
            await asyncio.sleep(20)

    outcome = simulate(counter(tmp_path), "cpython", 900, disturb, board_file=BOARD)
    verdict = outcome.verdict
    assert outcome.world.placements[0].board.boots > 30
    assert verdict.lost == verdict.duplicates == 0, (verdict.missing, verdict.spurious)
    assert verdict.stored > 600


def test_a_gateway_that_loses_its_answers_gets_the_same_bytes_after_a_reboot(vm, tmp_path):
    async def disturb(world, placement):
        await asyncio.sleep(10.4)
        world.answers.add(rule_for("lost", 0, 3, 0.0))
        world.answers.add(frame_rule_for("lost", 3, 0.0))
        await asyncio.sleep(2.2)
        placement.board.power_off()
        await asyncio.sleep(1)
        placement.board.power_on()

    outcome = simulate(counter(tmp_path), vm, 60, disturb, board_file=BOARD)
    verdict = outcome.verdict
    assert verdict.lost == verdict.duplicates == 0
    assert verdict.resent > 0, "nothing was sent twice: the test shows nothing"


def test_a_boot_that_never_met_the_gateway_is_placed_before_the_next_and_says_so(vm, tmp_path):
    async def disturb(world, placement):
        board = placement.board
        board.wifi.set_available(False)
        await asyncio.sleep(20)
        board.power_off()
        await asyncio.sleep(1)
        board.power_on()
        board.wifi.set_available(True)

    outcome = simulate(counter(tmp_path), vm, 60, disturb, board_file=BOARD)
    rows = sorted(outcome.rows(), key=lambda row: row.timestamp_ms)
    numbers = [row.value for row in rows]
    assert numbers == sorted(numbers) and numbers[:19] == list(range(1, 20))
    estimated = [row.value for row in rows if row.tags == {"clock": "estimated"}]
    assert estimated and estimated == numbers[: len(estimated)] and len(estimated) < len(numbers)


@pytest.mark.parametrize(
    ("setting", "word"),
    [('"vfs"', "holds files"), ('"nothing"', "no data partition is called 'nothing'")],
)
def test_a_partition_that_cannot_be_used_is_refused(vm, setting, word, tmp_path):
    source = f"from plexus_mp import Plexus\nPlexus(source_id='x', ring={setting})\n"
    outcome = simulate(program(tmp_path, source), vm, 2, board_file=BOARD)
    assert "ValueError: ring: " in outcome.console and word in outcome.console
