"""asyncio, watchdogs, states and figures: what firmware on a simulated board sees of them."""

import asyncio
import json

import pytest

from host_sim.world import ROOT
from tests.e2e.simulation import outage, program, simulate

FLASH = ROOT / "boards" / "esp32_flash_ring.py"

TASKS = """
import asyncio
from plexus_mp import Plexus

px = Plexus(source_id="tasks", tick_ms=0)
beats = []

async def sample():
    for n in range(20):
        px.send("n", n)
        await asyncio.sleep(1)

async def beat():
    while True:
        beats.append(1)
        await asyncio.sleep_ms(50)

async def main():
    server = asyncio.create_task(px.serve())
    other = asyncio.create_task(beat())
    await sample()
    await asyncio.sleep(10)
    print("waiting", px.buffer_size(), "beats", len(beats) > 500)
    server.cancel()
    other.cancel()
    again = asyncio.create_task(px.serve())
    await asyncio.sleep(1)
    px.halt()
    await again
    print("over")

asyncio.run(main())
"""


@pytest.mark.parametrize("gone_s", [0, 8])
def test_serve_beside_other_tasks(vm, tmp_path, gone_s):
    outcome = simulate(program(tmp_path, TASKS), vm, 45, outage(0, gone_s) if gone_s else None, FLASH)
    assert outcome.console == "waiting 0 beats True\nover\n"
    assert outcome.verdict.clean and outcome.values("n") == list(range(20))


DOG = """
import machine
from plexus_mp import Plexus
px = Plexus(source_id="dog", tick_ms=0)
dog = machine.WDT(timeout=2000)
FEED
px.send("cause", machine.reset_cause())
WAIT
"""
WAITS = {
    "sleep": "px.sleep(20)",
    "serve": "import asyncio; asyncio.run(px.serve())",
    "flush": "px.sleep(3)\nfor n in range(3):\n    px.send('n', n)\n    px.flush_buffer()\npx.sleep(20)",
    "flush, nobody there": "try:\n    px.flush_buffer(20)\nexcept Exception as e:\n    px.sleep(20)",
}


@pytest.mark.parametrize("how", WAITS)
@pytest.mark.parametrize("fed", [True, False], ids=["fed", "hungry"])
def test_a_watchdog_is_fed_by_all_that_waits(vm, tmp_path, how, fed):
    async def away(world, placement):
        if "nobody" in how:
            world.stop_gateway()

    source = DOG.replace("FEED", "px.feed = dog.feed" if fed else "").replace("WAIT", WAITS[how])
    outcome = simulate(program(tmp_path, source), vm, 20 if fed else 8, away, FLASH)
    assert (outcome.world.placements[0].board.boots == 1) is fed
    assert outcome.verdict.clean


STATES = """
import time
from plexus_mp import Plexus
px = Plexus(source_id="states")
seen = []

@px.on_status
def seen_by(word):
    seen.append(word)

def broken(word):
    raise RuntimeError("no " + word)
px.on_status(broken)
for n in range(40):
    px.send("n", n)
    time.sleep(1)
time.sleep(8)
print(seen, px.stats["faults"])
print(px.stats["accepted"], px.stats["stored"], px.stats["waiting"])
"""


def test_on_status_tells_each_change_and_survives_what_it_raises(vm, tmp_path):
    outcome = simulate(program(tmp_path, STATES), vm, 60, outage(10, 10), FLASH)
    told, states, counts = outcome.console.splitlines()
    assert told == "plexus: on_status('connected') raised RuntimeError: no connected"
    assert states == "['connected', 'disconnected', 'connected'] 3"
    assert counts == "40 40 0"
    assert outcome.verdict.clean and outcome.verdict.stored == 40


KEY = """
import time
from plexus_mp import Plexus
px = Plexus(api_key="plx_wrong", source_id="states")
px.on_status(print)
px.send("n", 1)
time.sleep(5)
"""


def test_on_status_tells_of_a_refused_key(vm, tmp_path):
    outcome = simulate(program(tmp_path, KEY), vm, 10, board_file=FLASH)
    assert outcome.console == "auth_failed\n"


STATS = """
import time
from plexus_mp import Plexus
px = Plexus(source_id="figures"MORE)
for n in range(30):
    px.send("n", n)
    time.sleep(1)
print(px.stats)
"""


def test_stats_agree_with_what_happened(vm, tmp_path):
    async def cut_off(world, placement):
        await asyncio.sleep(10)
        world.abort_connections()

    outcome = simulate(program(tmp_path, STATS.replace("MORE", "")), vm, 40, cut_off, FLASH)
    stats = json.loads(outcome.console.replace("'", '"'))
    assert stats["accepted"] == 30 and stats["stored"] + stats["waiting"] == 30
    assert stats["reconnects"] == 1 and stats["dropped"] == stats["rejected"] == stats["refused"] == 0
    assert stats["duplicates_avoided"] <= 4 and 1500 < stats["bytes"] < 20_000 and stats["heap_free"] > 0


def test_stats_as_metrics(vm, tmp_path):
    outcome = simulate(program(tmp_path, STATS.replace("MORE", ", stats_s=10")), vm, 40, board_file=FLASH)
    assert outcome.verdict.clean
    assert len(outcome.values("plexus.accepted")) >= 2 and outcome.values("plexus.dropped")[0] == 0
