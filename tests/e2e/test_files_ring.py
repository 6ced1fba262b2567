"""Readings in files, on stock firmware: a power cut costs at most the page that the board file allows."""

import asyncio
import random

from host_sim.world import ROOT
from tests.e2e.simulation import COUNTER, FIRMWARE, counter, program, simulate

BOARD = ROOT / "boards" / "esp32.py"
COMMIT_MS = 300_000
# The page is looked at with each tick, and a tick may wait for a file to be written.
LATE_MS = 1_500


def check(verdict, cuts, commit_ms=COMMIT_MS):
    """Nothing lost but what was in the page at a cut, a page for each cut, nothing twice."""
    assert verdict.lost == verdict.duplicates == verdict.miscounted == 0, (verdict.missing, verdict.spurious)
    assert verdict.at_cut_ms <= commit_ms + LATE_MS
    assert verdict.at_cut <= cuts * (commit_ms // 1000 + 1) * 3
    assert verdict.accepted == verdict.stored + verdict.pending + verdict.dropped + verdict.at_cut


def test_readings_are_live_within_seconds(vm):
    async def look(world, placement):
        await asyncio.sleep(30)
        for _ in range(20):
            await asyncio.sleep(7.3)
            newest_ms = max(row.timestamp_ms for row in world.store.rows())
            assert world.kernel.unix_ms() - newest_ms < 9_000

    outcome = simulate(FIRMWARE, vm, 200, look, board_file=BOARD)
    assert outcome.verdict.clean and outcome.verdict.at_cut == outcome.verdict.dropped == 0
    assert outcome.verdict.stored > 280


def test_an_outage_is_survived_in_files(vm):
    """Longer than what RAM alone could hold; the latest readings are in the page."""

    async def outage(world, placement):
        await asyncio.sleep(21)
        placement.board.wifi.set_available(False)
        await asyncio.sleep(1200)
        assert len(placement.board.files.listdir("/plexus")) >= 4
        placement.board.wifi.set_available(True)

    outcome = simulate(FIRMWARE, vm, 1300, outage, board_file=BOARD)
    verdict = outcome.verdict
    assert verdict.clean and verdict.at_cut == verdict.dropped == 0
    assert verdict.stored > 1900 and verdict.pending < 20


def test_more_commits_than_files_fit_into_the_files(tmp_path):
    """90 minutes are 270 commits for 64 files: each takes some until it is full."""

    async def outage(world, placement):
        await asyncio.sleep(21)
        placement.board.wifi.set_available(False)
        await asyncio.sleep(5_400)
        placement.board.wifi.set_available(True)

    outcome = simulate(counter(tmp_path, ", commit_ms=20000"), "cpython", 5_700, outage, board_file=BOARD)
    assert outcome.verdict.clean and outcome.verdict.at_cut == outcome.verdict.dropped == 0
    assert outcome.verdict.stored > 5_500


def test_what_waits_in_files_and_page_is_pending(vm):
    async def outage(world, placement):
        await asyncio.sleep(21)
        placement.board.wifi.set_available(False)

    outcome = simulate(FIRMWARE, vm, 460, outage, board_file=BOARD)
    assert len(outcome.world.placements[0].board.files.listdir("/plexus")) >= 2
    verdict = outcome.verdict
    check(verdict, 0)
    assert verdict.pending > 600 and verdict.at_cut == 0


def test_what_waits_in_files_is_pending_on_a_board_without_power(vm):
    async def outage(world, placement):
        await asyncio.sleep(21)
        placement.board.wifi.set_available(False)
        await asyncio.sleep(490)
        placement.board.power_off()

    outcome = simulate(FIRMWARE, vm, 530, outage, board_file=BOARD)
    verdict = outcome.verdict
    check(verdict, 1)
    assert verdict.pending > 300 and verdict.at_cut > 0


def test_power_cuts_at_random_times_cost_a_page_at_most(vm, tmp_path):
    """With pages of a minute, so that there are whole ones in files at most cuts."""
    cuts = 25 if vm == "cpython" else 6

    async def disturb(world, placement):
        rng = random.Random(11)
        board = placement.board
        for number in range(cuts):
            board.wifi.set_available(number % 3 != 1)
            await asyncio.sleep(rng.uniform(5, 130))
            board.power_off()
            await asyncio.sleep(rng.uniform(1, 8))
            board.power_on()
        board.wifi.set_available(True)

    firmware = counter(tmp_path, ", commit_ms=60000")
    outcome = simulate(firmware, vm, cuts * 130, disturb, board_file=BOARD)
    verdict = outcome.verdict
    check(verdict, cuts, 60_000)
    assert verdict.stored > cuts * 40 and verdict.at_cut > 0


def test_cuts_during_any_change_of_the_filesystem(tmp_path):
    async def disturb(world, placement):
        rng = random.Random(5)
        board = placement.board
        down = board.power_off

        def cut():
            world.kernel.call_at(world.kernel.now_us() + 2_000_000, board.power_on)
            down()

        board.power_off = cut
        for _ in range(40):
            board.files.cut_at(board.files.operations + rng.randrange(1, 40), rng.random() < 0.5)
            await asyncio.sleep(25)
        board.power_off = down

    outcome = simulate(counter(tmp_path, ", commit_ms=3000"), "cpython", 1100, disturb, board_file=BOARD)
    assert outcome.world.placements[0].board.boots > 30
    check(outcome.verdict, 40, 3000)
    assert outcome.verdict.stored > 700


def test_reboots_by_the_firmware_cost_a_page_at_most(vm, tmp_path):
    reset = "    time.sleep(1)\n    if n % 40 == 0:\n        import machine\n        machine.reset()\n"
    source = COUNTER.replace("{arguments}", "").replace("    time.sleep(1)\n", reset)

    async def outage(world, placement):
        placement.board.wifi.set_available(False)
        await asyncio.sleep(200)
        placement.board.wifi.set_available(True)

    outcome = simulate(program(tmp_path, source), vm, 300, outage, board_file=BOARD)
    assert outcome.world.placements[0].board.boots >= 6
    check(outcome.verdict, outcome.world.placements[0].board.boots)


def test_the_loss_window_is_told_at_boot(vm, tmp_path):
    outcome = simulate(counter(tmp_path), vm, 5, board_file=BOARD)
    assert outcome.ring_lines == ["plexus: ring of 64 KB in files, a power cut costs at most 300 s\n"]
    assert outcome.console == ""
