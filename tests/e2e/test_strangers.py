"""Firmware as others write it, unchanged, in virtual time; and several boards in one process."""

import asyncio

import pytest

from host_sim.world import ROOT, World
from tests.e2e.simulation import apart, program, simulate

BUSY_WAIT = """
import network, time
wlan = network.WLAN(network.STA_IF)
wlan.active(True)
wlan.disconnect()
wlan.connect("simulated", "simulated")
while not wlan.isconnected():
    pass
from plexus_mp import Plexus
px = Plexus(source_id="busy")
for n in range(30):
    px.send("n", n)
    start = time.ticks_ms()
    while time.ticks_diff(time.ticks_ms(), start) < 100:
        pass
px.flush_buffer()
print("done")
"""

FLAG = """
import machine
from plexus_mp import Plexus
px = Plexus(source_id="flag")
due = False
def on_timer(timer):
    global due
    due = True
machine.Timer(1).init(period=1000, mode=machine.Timer.PERIODIC, callback=on_timer)
n = 0
while n < 30:
    while not due:
        machine.idle()
    due = False
    px.send("n", n)
    n += 1
px.flush_buffer()
print("done")
"""

SEND_IN_CALLBACK = """
import machine, time
from plexus_mp import Plexus
px = Plexus(source_id="callback")
n = 0
def on_timer(timer):
    global n
    if n < 30:
        px.send("n", n)
        n += 1
machine.Timer(2).init(period=1000, callback=on_timer)
while n < 30:
    time.sleep(10)
px.flush_buffer()
print("done")
"""

ASYNCIO = """
import asyncio
from plexus_mp import Plexus
px = Plexus(source_id="tasks")

async def sender(start, period_ms):
    for n in range(start, start + 10):
        px.send("n", n)
        await asyncio.sleep_ms(period_ms)

async def main():
    await asyncio.gather(sender(0, 300), sender(10, 700), sender(20, 1000))

asyncio.run(main())
px.flush_buffer()
print("done")
"""


@pytest.mark.parametrize("source", [BUSY_WAIT, FLAG, SEND_IN_CALLBACK, ASYNCIO])
def test_runs_unchanged(vm, source, tmp_path):
    outcome = simulate(program(tmp_path, source), vm, 60)
    assert outcome.console == "done\n"
    assert outcome.verdict.clean and outcome.verdict.pending == 0
    assert sorted(outcome.values("n")) == list(range(30))


BLOCKING = """
import time
from plexus_mp import Plexus
px = Plexus(source_id="blocking")
n = 0
while True:
    px.send("n", n)
    n += 1
    time.sleep(1)
"""


def test_a_blocking_loop_delivers_by_itself(vm, tmp_path):
    outcome = simulate(program(tmp_path, BLOCKING), vm, 120)
    values = outcome.values("n")
    assert outcome.console == "" and outcome.verdict.clean
    assert values == list(range(len(values))) and len(values) > 100


DEEP_SLEEP = """
import machine
from plexus_mp import Plexus
import time
px = Plexus(source_id="sleeper", tick_ms=0)
px.send("boot", time.time())
while True:
    try:
        px.flush_buffer()
        break
    except Exception:
        px.sleep(0.5)
machine.deepsleep(30000)
"""


def test_a_deep_sleep_loop(vm, tmp_path):
    outcome = simulate(program(tmp_path, DEEP_SLEEP), vm, 300)
    assert outcome.console == ""
    assert outcome.verdict.lost == 0 and outcome.verdict.duplicates == 0
    assert 8 <= len(outcome.values("boot")) <= 10


OWN_STATE = """
import sys, time
import shared
shared.names.append("%s")
from plexus_mp import Plexus
import plexus_mp.points
px = Plexus(source_id="%s")
plexus_mp.points.marker = "%s"
for n in range(10):
    px.send("n", n)
    time.sleep(1)
assert shared.names == ["%s"] and plexus_mp.points.marker == "%s"
assert "shared" in sys.modules
print("%s")
"""


def test_boards_do_not_touch_each_others_modules(vm, tmp_path):
    world = World(1, virtual=True)
    console = []

    async def run():
        await world.start()
        for name in ("a", "b", "c"):
            folder = tmp_path / name
            folder.mkdir()
            program(folder, OWN_STATE % ((name,) * 6))
            (folder / "shared.py").write_text("names = []\n")
            placement = world.add_board(folder, ROOT / "boards/esp32.py", vm, console=console.append)
            placement.board.power_on()
        await asyncio.sleep(20)
        return await world.finish()

    verdict = world.kernel.run(run())
    assert sorted(apart("".join(console))[1].split()) == ["a", "b", "c"]
    assert verdict.clean and verdict.stored == verdict.accepted == 30
    assert {row.source_id for row in world.store.rows()} == {"a", "b", "c"}


EPOCHS = """
import time
print(time.gmtime(0)[0], time.time() < 10, time.gmtime()[:3])
print(time.mktime((2026, 3, 1, 12, 0, 0, 0, 0)) - time.mktime((2026, 2, 28, 12, 0, 0, 0, 0)))
"""


@pytest.mark.parametrize("year", [2000, 1970])
def test_both_epochs(vm, year, tmp_path):
    def prepare(placement):
        placement.board.config.epoch_year = year

    outcome = simulate(program(tmp_path, EPOCHS), vm, 2, prepare=prepare)
    assert outcome.console.splitlines() == [f"{year} True ({year}, 1, 1)", "86400"]


WRAP = """
import time
from plexus_mp import Plexus
px = Plexus(source_id="wrap")
for n in range(30):
    px.send("n", n)
    time.sleep(1)
print(time.ticks_ms() < 60000)
"""


def test_ticks_that_wrap_in_the_midst(vm, tmp_path):
    def prepare(placement):
        placement.board.config.ticks_start_ms = (1 << 30) - 10_000

    outcome = simulate(program(tmp_path, WRAP), vm, 40, prepare=prepare)
    assert outcome.console == "True\n" and outcome.verdict.clean and outcome.verdict.pending == 0
    assert outcome.verdict.time_error_ms < 700
