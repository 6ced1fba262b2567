"""Runs and sessions of firmware on a simulated board: whatever happens in between, the gateway has them once."""

import asyncio
import random
import sys

import pytest

from host_sim.gateway.timespan import iso_text
from host_sim.world import ROOT, VIRTUAL_EPOCH_MS
from tests.e2e.simulation import outage, program, simulate

FLASH = ROOT / "boards" / "esp32_flash_ring.py"
BOARDS = {"files": ROOT / "boards" / "esp32.py", "flash": FLASH, "ram": ROOT / "boards" / "esp32_ram_ring.py"}

BENCH = """
import time
from plexus_mp import Plexus
px = Plexus(source_id="bench"ARGUMENTS)
px.send("before", 1)
criteria = [{"metric": "within", "operator": "<", "value": 3, "label": "low"}]
with px.run("hotfire-03", tags={"build": "a41f"}, metadata={"operator": "kt"}, pass_criteria=criteria) as run:
    assert run["name"] == "hotfire-03"
    for n in range(3):
        px.send("within", n)
        px.send("own", n, tags={"side": "left"})
        time.sleep(2)
px.send("between", 1)
try:
    with px.session("morning", "Morning shift"):
        px.send("tagged", 1)
        with px.run("broken"):
            px.send_batch([("both", 1), ("both", 2, 1_800_000_000)])
            time.sleep(1)
            raise ValueError("the bench is on fire")
except ValueError:
    pass
px.send("after", 1)
"""
TAGS = {
    "before": {}, "within": {"run_id": "hotfire-03"}, "own": {"run_id": "hotfire-03", "side": "left"}, "between": {},
    "tagged": {"session_id": "morning"}, "both": {"session_id": "morning", "run_id": "broken"}, "after": {},
}  # fmt: skip


def windows(outcome, kind):
    return sorted(outcome.world.store.windows.list_newest(kind), key=lambda window: window.started_ms)


def check_bench(outcome, delay_ms):
    """What BENCH says is what the gateway has, dated as it happened."""
    assert outcome.console == ""
    assert outcome.verdict.clean and outcome.verdict.pending == 0 and outcome.verdict.accepted == 12
    assert {row.metric: row.tags for row in outcome.rows()} == TAGS
    hotfire, broken = windows(outcome, "run")
    assert (hotfire.name, hotfire.status, hotfire.source_id) == ("hotfire-03", "completed", "bench")
    assert hotfire.tags == {"build": "a41f"} and hotfire.metadata["operator"] == "kt"
    assert hotfire.test_result["passed"] and hotfire.test_result["criteria_results"][0]["samples"] == 3
    assert (broken.name, broken.status) == ("broken", "aborted")
    [session] = windows(outcome, "session")
    assert (session.id, session.name, session.status) == ("morning", "Morning shift", "aborted")
    assert (
        6000 <= hotfire.ended_ms - hotfire.started_ms < 7500
        and hotfire.started_ms - VIRTUAL_EPOCH_MS < delay_ms
    )
    assert session.started_ms <= broken.started_ms < broken.ended_ms <= session.ended_ms
    within = [row.timestamp_ms for row in outcome.rows() if row.metric == "within"]
    assert hotfire.started_ms <= min(within) and max(within) <= hotfire.ended_ms


@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("arguments", ["", ', transport="http"'], ids=["socket", "http"])
def test_runs_and_sessions_reach_the_gateway(vm, tmp_path, board, arguments):
    outcome = simulate(
        program(tmp_path, BENCH.replace("ARGUMENTS", arguments)), vm, 60, board_file=BOARDS[board]
    )
    check_bench(outcome, 4000)


def test_all_of_it_during_an_outage(vm, tmp_path):
    outcome = simulate(program(tmp_path, BENCH.replace("ARGUMENTS", "")), vm, 140, outage(0, 40), FLASH)
    check_bench(outcome, 4000)


ONCE = """
import machine
from plexus_mp import Plexus
px = Plexus(source_id="bench")
if machine.reset_cause() == machine.PWRON_RESET and px._recorder.ring.boot == 1:
    px.send("before", 1)
    with px.run("cut"):
        px.send("within", 1)
        px.sleep(3)
    px.send("after", 1)
"""


@pytest.mark.parametrize("gone_s", [(0, 20), (2, 20)], ids=["before", "between"])
def test_calls_outlive_a_power_cut(vm, tmp_path, gone_s):
    """The gateway goes before the run begins, or after it has heard of its beginning, and the power follows."""

    async def cut(world, placement):
        await asyncio.sleep(gone_s[0])
        world.stop_gateway()
        await asyncio.sleep(10)
        placement.board.power_off()
        await asyncio.sleep(gone_s[1])
        world.restart_gateway()
        placement.board.power_on()

    outcome = simulate(program(tmp_path, ONCE), vm, 130, cut, FLASH)
    assert outcome.console == "" and outcome.verdict.clean and outcome.verdict.pending == 0
    [run] = windows(outcome, "run")
    assert (run.name, run.status) == ("cut", "completed")
    assert 3000 <= run.ended_ms - run.started_ms < 4500
    assert outcome.values("within") == [1]


LONG = """
import time
from plexus_mp import Plexus
px = Plexus(source_id="bench", endpoint="http://192.168.4.1:9", tick_ms=100)
with px.run("nobody hears of it"):
    for n in range(600):
        px.send("n", n)
        time.sleep(1)
"""


def test_runs_that_nobody_takes_do_not_hold_the_readings_up(vm, tmp_path):
    """The runs' own address is dead: readings arrive all the same, and the calls wait."""
    # Longer than the first two waits, of one minute and of two; on the slower VM than the first.
    seconds = 500 if vm == "cpython" else 100
    outcome = simulate(program(tmp_path, LONG), vm, seconds, board_file=FLASH)
    assert outcome.console == "" and outcome.verdict.clean
    assert outcome.verdict.stored > seconds - 20 and outcome.verdict.pending < 20
    assert windows(outcome, "run") == []


def test_a_gateway_without_sessions_refuses_them_once(vm, tmp_path):
    async def august(world, placement):
        world.gateway.conditions.generation = "aug"

    outcome = simulate(program(tmp_path, BENCH.replace("ARGUMENTS", "")), vm, 60, august, FLASH)
    assert outcome.verdict.lost == outcome.verdict.duplicates == 0
    assert {row.metric: row.tags for row in outcome.rows()} == TAGS
    assert [run.status for run in windows(outcome, "run")] == ["completed", "aborted"]
    assert windows(outcome, "session") == [] and outcome.verdict.rejected == 2


ALL_CALLS = """
print(sorted(px.stats)[:2], px.sleep_ready() in (True, False))
px.on_status(print)
px.send_stats(0)
with px.batch() as b:
    b.send("batched", 1)
px.end_run(px.start_run("halves"))
px.serve().close()
try:
    px.nothing
except AttributeError as e:
    print(e)
"""


def test_calls_found_by_name_are_there_in_the_files_that_a_user_copies(tmp_path):
    """Those have other names for what only the library uses."""
    sys.path.insert(0, str(ROOT / "tools"))
    import build_mpy

    (tmp_path / "firmware").mkdir()
    folder = program(tmp_path / "firmware", BENCH.replace("ARGUMENTS", "") + ALL_CALLS)
    build_mpy.build(folder / "lib" / "plexus_mp")
    outcome = simulate(folder, "micropython", 60, board_file=FLASH)
    assert outcome.console == "['accepted', 'bytes'] True\nPlexus has no nothing\n"
    assert [run.status for run in windows(outcome, "run")] == ["completed", "aborted", "completed"]
    assert outcome.verdict.lost == outcome.verdict.duplicates == 0


def test_times_of_runs_are_iso():
    from plexus_mp.calls import iso

    for ms in (0, 951_782_400_000, 1_709_164_799_999, 1_800_000_000_123, 4_102_444_800_000):
        assert iso(ms) == iso_text(ms)


ENDLESS = """
import time
from plexus_mp import Plexus
px = Plexus(source_id="bench")
try:
    n = int(open("/n").read())
except (OSError, ValueError):
    n = 0
while n < 30:
    n += 1
    with open("/n", "w") as f:
        f.write(str(n))
    with px.run("run-%d" % n):
        print("begun", n)
        px.send("n", n)
        time.sleep(2)
        px.send("n", n + 0.5)
    print("ended", n)
    time.sleep(3)
while True:
    px.sleep(10)
"""


@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_each_run_is_there_once(tmp_path, seed):
    """Outages, lost answers and power cuts at random; a run that the power cut off stays open, or begins nowhere."""
    rng = random.Random(seed)

    async def trouble(world, placement):
        for _ in range(9):
            await asyncio.sleep(rng.uniform(3, 25))
            kind = rng.choice(["gateway", "power", "connections", "wifi"])
            if kind == "gateway":
                world.stop_gateway()
                await asyncio.sleep(rng.uniform(1, 20))
                world.restart_gateway()
            elif kind == "power":
                placement.board.power_off()
                await asyncio.sleep(rng.uniform(0, 3))
                placement.board.power_on()
            elif kind == "wifi":
                placement.board.wifi.set_available(False)
                await asyncio.sleep(rng.uniform(1, 20))
                placement.board.wifi.set_available(True)
            else:
                world.abort_connections()

    outcome = simulate(program(tmp_path, ENDLESS), "cpython", 900, trouble, FLASH, seed)
    assert outcome.verdict.clean and outcome.verdict.pending == 0
    runs = {run.name: run for run in windows(outcome, "run")}
    assert len(runs) == len(windows(outcome, "run")), "one run is there twice"
    said = [line.split() for line in outcome.console.splitlines()]
    begun = {f"run-{n}" for word, n in said if word == "begun"}
    ended = {f"run-{n}" for word, n in said if word == "ended"}
    assert begun <= set(runs) and len(begun) >= 28 and len(ended) >= 20
    for name, run in runs.items():
        assert run.status == "completed" or name not in ended, name
        if name in ended:
            assert 1900 < run.ended_ms - run.started_ms < 3500, name
