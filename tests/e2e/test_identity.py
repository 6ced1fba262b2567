"""Who a board is: two of them with one name, names that a gateway gives, names of earlier boots."""

import asyncio

from host_sim.journal import Verdict
from host_sim.world import ROOT, World
from tests.e2e.simulation import program, simulate

FLASH = ROOT / "boards" / "esp32_flash_ring.py"

TWIN = """
import time
from plexus_mp import Plexus
px = Plexus(source_id="twin")
px.on_status(lambda word: word in ("renamed", "name_taken") and print(word))
for n in range(200):
    px.send("n", n)
    time.sleep(1)
"""


def twins(folder, vm, seconds, suffixed, reboot_s=None):
    """Two boards with one name: (the world, what each printed)."""
    world = World(1, virtual=True)
    consoles = ([], [])

    async def run() -> Verdict:
        await world.start()
        world.gateway.conditions.names_suffixed = suffixed
        for console in consoles:
            world.add_board(program(folder, TWIN), FLASH, vm, console=console.append).board.power_on()
            await asyncio.sleep(5)
        if reboot_s:
            await asyncio.sleep(reboot_s)
            board = world.placements[1].board
            board.power_off()
            board.power_on()
        await asyncio.sleep(seconds)
        return await world.finish()

    world.kernel.run(run())
    world.kernel.close()
    return world, ["".join(console) for console in consoles]


def test_the_name_that_a_gateway_gives_is_taken_and_kept(vm, tmp_path):
    world, (first, second) = twins(tmp_path, vm, 100, True, reboot_s=50)
    assert first == "" and second == "plexus: the gateway calls this board twin_2\nrenamed\n"
    values = {source.source_id: [] for source in world.store.sources()}
    assert sorted(values) == ["twin", "twin_2"]
    for row in world.store.rows():
        values[row.source_id].append(row.value)
    own, renamed = values["twin"], values["twin_2"]
    # What the second one recorded before it met the gateway keeps the name that it had.
    before = renamed[0]
    assert sorted(own) == sorted([*range(len(own) - before), *range(before)]) and 0 < before < 8
    again = renamed.index(0)  # after its reboot, under the new name from the start
    assert renamed[:again] == list(range(before, before + again)) and again > 40
    assert renamed[again : again + 80] == list(range(80))
    assert b'"name": "twin_2"' in world.placements[1].board.files.read("/plexus_state.json")


def test_two_boards_with_one_name_are_told_and_lose_nothing(vm, tmp_path):
    world, printed = twins(tmp_path, vm, 300, False)
    warning = 'plexus: connections end at once: does another board send as "twin"?\n'
    assert [text.startswith(warning + "name_taken\n") for text in printed].count(True) >= 1, printed
    for text in printed:
        assert text.count("plexus:") <= 1
    values = [row.value for row in world.store.rows("twin")]
    assert sorted(values) == sorted(list(range(200)) * 2)
    assert world.gateway.counters.snapshot()["devices_evicted"] < 40, "they go on to evict each other"


OTHER = """
import machine
from plexus_mp import Plexus
first = machine.reset_cause() == machine.PWRON_RESET
px = Plexus(source_id="one" if first else "two", tick_ms=0)
px.send("first" if first else "second", 1)
if first:
    machine.reset()
px.flush_buffer()
"""


def test_a_new_name_does_not_relabel_old_readings(vm, tmp_path):
    outcome = simulate(program(tmp_path, OTHER), vm, 60, board_file=FLASH)
    assert outcome.console == "" and outcome.verdict.clean
    assert {row.metric: row.source_id for row in outcome.rows()} == {"first": "one", "second": "two"}
