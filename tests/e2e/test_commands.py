"""Commands on a simulated board, from the gateway to a handler and back, on both VMs."""

import asyncio
import sys

import pytest

from host_sim.gateway import Grant
from host_sim.world import ROOT
from tests.e2e.simulation import program, simulate

FLASH_RING = ROOT / "boards" / "esp32_flash_ring.py"

DEVICE = """
import time
from plexus_mp import Plexus
px = Plexus(source_id="rig-01")

@px.command("valve", params={"percent": {"type": "integer", "maximum": 100}}, idempotent=True)
def valve(run, percent):
    px.send("valve", percent)
    return {"percent": percent}

@px.command("once")
def once(run):
    px.send("once", run.attempt)
    time.sleep(6)
    return {"done": True}

@px.command("slow", idempotent=True)
def slow(run):
    for percent in range(0, 101, 10):
        run.progress(percent)
        time.sleep(0.5)

@px.command("broken", idempotent=True)
def broken(run):
    return 1 / 0

px.on_command("set_rate", lambda name, params: {"hz": params["hz"]})
n = 0
while True:
    px.send("n", n)
    n += 1
    %s
"""
SLEEPS = ("time.sleep(1)", "px.sleep(1)")


async def started(world, command="valve", **params):
    """Ask for a run, once the board has declared its commands."""
    for _ in range(600):
        if world.gateway.runs.manifest("rig-01"):
            break
        await asyncio.sleep(0.1)
    return world.gateway.runs.start("rig-01", command, params, None)


async def reaches(run, *states):
    for _ in range(600):
        if run.state in states:
            return run
        await asyncio.sleep(0.1)
    raise AssertionError(f"still {run.state}")


async def begun(world, command):
    """Ask for a run; it, when its handler is at work."""
    return await reaches(await started(world, command), "running")


def over(run):
    return reaches(run, "succeeded", "failed", "expired")


@pytest.mark.parametrize("sleep", SLEEPS)
def test_runs_of_every_kind(vm, tmp_path, sleep):
    """Whether the program or the timer drives; and every reading is stored once."""
    runs = []

    async def ask(world, placement):
        for command, params in (
            ("valve", {"percent": "30"}),
            ("valve", {"percent": 101}),
            ("slow", {}),
            ("broken", {}),
        ):
            run = await over(await started(world, command, **params))
            runs.append((run.state, run.reported, run.progress, run.attempt))

    outcome = simulate(program(tmp_path, DEVICE % sleep), vm, 40, ask, board_file=FLASH_RING)
    assert runs[0] == ("succeeded", {"result": {"percent": 30}}, None, 1)
    assert runs[1][0] == "failed" and runs[1][1]["error_code"] == "bad_params"
    assert runs[2][0] == "succeeded" and runs[2][2] == 100
    assert runs[3][0] == "failed" and runs[3][1]["error_message"].startswith("ZeroDivisionError")
    assert outcome.values("valve") == [30]
    assert outcome.verdict.clean and outcome.verdict.pending <= 3
    assert outcome.console.startswith("plexus: command broken: ZeroDivisionError")


def test_progress_is_seen_while_the_handler_is_at_work(vm, tmp_path):
    seen = []

    async def ask(world, placement):
        run = await started(world, "slow")
        while run.state not in ("succeeded", "failed"):
            await asyncio.sleep(0.25)
            seen.append(run.progress)

    simulate(program(tmp_path, DEVICE % SLEEPS[1]), vm, 30, ask)
    assert len({percent for percent in seen if percent is not None and 0 < percent < 100}) >= 2


@pytest.mark.parametrize("again", [True, False])
def test_a_run_that_a_power_cut_struck_does_not_run_twice(vm, tmp_path, again):
    """Redelivered after the reboot, whether the gateway knows that it began or not."""
    runs = []

    async def cut(world, placement):
        run = await begun(world, "once")
        await asyncio.sleep(2)
        placement.board.power_off()
        if again:  # as if nothing of it had arrived
            run.state, run.seq = "delivered", 0
            world.gateway.runs._look_later(run)
        await asyncio.sleep(2)
        placement.board.power_on()
        runs.append(await over(run))

    outcome = simulate(program(tmp_path, DEVICE % SLEEPS[0]), vm, 60, cut, board_file=FLASH_RING)
    [run] = runs
    assert run.attempt > 1, "it was not delivered again: the test shows nothing"
    assert (run.state, run.reported["error_code"]) == ("failed", "duplicate")
    assert outcome.values("once") == [1]
    assert outcome.verdict.lost == outcome.verdict.duplicates == 0


def test_a_run_that_ended_while_the_network_was_away(vm, tmp_path):
    """Its statuses are said when the connection is back, and it does not run again."""
    runs = []

    async def outage(world, placement):
        run = await begun(world, "once")
        world.abort_connections()
        placement.board.wifi.set_available(False)
        await asyncio.sleep(12)
        placement.board.wifi.set_available(True)
        runs.append(await over(run))

    outcome = simulate(program(tmp_path, DEVICE % SLEEPS[1]), vm, 90, outage)
    assert (runs[0].state, runs[0].reported) == ("succeeded", {"result": {"done": True}})
    assert outcome.values("once") == [1] and outcome.verdict.clean


def test_a_device_that_only_listens(vm, tmp_path):
    """It connects although it has nothing to send, and again after the gateway restarted."""
    source = DEVICE.replace('px.send("n", n)', "pass") % SLEEPS[1]
    runs = []

    async def ask(world, placement):
        runs.append(await over(await started(world, percent=1)))
        world.stop_gateway()
        await asyncio.sleep(3)
        world.restart_gateway()
        runs.append(await over(await started(world, percent=2)))

    outcome = simulate(program(tmp_path, source), vm, 60, ask)
    assert [run.state for run in runs] == ["succeeded"] * 2
    assert sorted(outcome.values("valve")) == [1, 2] and outcome.verdict.clean


def test_typed_commands(vm, tmp_path):
    heard = []

    async def ask(world, placement):
        await started(world, percent=1)
        world.gateway.live.relay = lambda text: heard.append(text)
        for command in ("set_rate", "unheard_of"):
            assert world.gateway.devices.send_typed_command("rig-01", command, {"hz": 2})
            await asyncio.sleep(3)

    simulate(program(tmp_path, DEVICE % SLEEPS[0]), vm, 30, ask)
    results = [text for text in heard if "command_result" in text]
    assert len(results) == 4 and '"result":{"hz":2}' in results[1]
    assert '"error":"unknown command: unheard_of"' in results[3]


@pytest.mark.parametrize("transport", ["auto", "ws"])
def test_typed_commands_of_a_gateway_that_acknowledges_nothing(vm, tmp_path, transport):
    """Readings are stored either way; only a board that was told to stays where commands reach it."""
    heard, reached = [], []

    async def ask(world, placement):
        world.gateway.conditions.generation = "aug"
        await asyncio.sleep(20)
        world.gateway.live.relay = lambda text: heard.append(text)
        reached.append(world.gateway.devices.send_typed_command("rig-01", "set_rate", {"hz": 2}))
        await asyncio.sleep(3)

    source = (DEVICE % SLEEPS[0]).replace("Plexus(", f"Plexus(transport={transport!r}, ")
    outcome = simulate(program(tmp_path, source), vm, 40, ask)
    assert outcome.verdict.clean and outcome.verdict.stored > 30
    assert (reached[0] is not None) == (transport == "ws")
    assert [text for text in heard if '"result":{"hz":2}' in text] == heard[1:] and len(heard) == 2 * bool(
        reached[0]
    )


def test_a_key_that_may_not_receive_commands_costs_no_reading(vm, tmp_path):
    def prepare(placement):
        settings = placement_world[0].gateway.settings
        settings.keys.update({key: Grant(frozenset({"read", "write"})) for key in settings.keys})

    placement_world = []

    async def look(world, placement):
        placement_world.append(world)
        prepare(placement)

    outcome = simulate(program(tmp_path, DEVICE % SLEEPS[0]), vm, 30, look)
    counters = outcome.world.gateway.counters
    assert counters["device_commands_not_permitted"] == 1 and outcome.verdict.clean
    assert outcome.verdict.stored > 20
    assert outcome.console.count("commands_not_permitted") == 1


ASYNC = """
import asyncio
import sys
from plexus_mp import Plexus
px = Plexus(source_id="rig-01")
order = []

@px.command("valve", idempotent=True)
async def valve(run, percent=0):
    px.send("begins", 1)
    await asyncio.sleep(2)
    px.send("ends", 1)
    return {"slept": True}

async def main():
    for n in range(20):
        px.send("n", n)
        px.tick()
        await asyncio.sleep(0.5)

%s
"""
LOOPS = {"loop": "asyncio.run(main())", "none": "while True:\n    px.sleep(1)"}


@pytest.mark.parametrize("loop", LOOPS)
def test_async_handlers(vm, tmp_path, loop):
    """In a loop of the program's they go on beside it; without one they run to their end."""
    runs = []

    async def ask(world, placement):
        runs.append(await over(await started(world)))

    outcome = simulate(program(tmp_path, ASYNC % LOOPS[loop]), vm, 30, ask)
    assert (runs[0].state, runs[0].reported) == ("succeeded", {"result": {"slept": True}})
    assert outcome.values("begins") == outcome.values("ends") == [1] and outcome.verdict.clean
    if loop == "loop":
        rows = sorted((row.timestamp_ms, row.metric) for row in outcome.rows())
        names = [name for _, name in rows]
        assert "n" in names[names.index("begins") : names.index("ends")]


BLOCKING = """
import machine, time
from plexus_mp import Plexus
px = Plexus(source_id="rig-01")
n = 0

def on_timer(timer):
    global n
    px.send("n", n)
    n += 1

@px.command("slow", idempotent=True)
def slow(run):
    time.sleep(15)

machine.Timer(2).init(period=500, mode=machine.Timer.PERIODIC, callback=on_timer)
while True:
    px.sleep(1)
"""


def test_a_handler_that_blocks_holds_up_no_reading(vm, tmp_path):
    """Those of a timer are taken, and arrive, while it is at work."""
    stored = []

    async def ask(world, placement):
        run = await begun(world, "slow")
        for _ in range(2):
            await asyncio.sleep(7)  # longer than readings wait for company
            stored.append(len(list(world.store.rows())))
        assert run.state == "running"

    outcome = simulate(program(tmp_path, BLOCKING), vm, 40, ask)
    assert stored[1] - stored[0] >= 10
    assert outcome.verdict.clean and outcome.values("n")[:40] == list(range(40))


def test_with_the_short_names_of_a_board(tmp_path):
    """What a user's handler and program name is not shortened."""
    sys.path.insert(0, str(ROOT / "tools"))
    import build_mpy

    runs = []
    source = (DEVICE % SLEEPS[1]).replace('return {"percent": percent}', USES)
    firmware = program(tmp_path, source)
    build_mpy.build(firmware / "lib" / "plexus_mp")

    async def ask(world, placement):
        for command, params in (("valve", {"percent": 3}), ("slow", {}), ("broken", {})):
            runs.append(await over(await started(world, command, **params)))

    outcome = simulate(firmware, "micropython", 40, ask)
    assert runs[0].state == "succeeded", runs[0].reported
    assert runs[0].reported["result"]["names"] == [
        runs[0].run_id,
        "valve",
        {"percent": 3},
        1,
        True,
        False,
        True,
        0,
    ]
    assert [run.state for run in runs] == ["succeeded", "succeeded", "failed"] and outcome.verdict.clean


USES = """
    commands = px.commands
    names = [run.id, run.command, run.params, run.attempt, run.time_remaining > 1, run.cancel_requested]
    names += [commands.permitted, commands.dropped + commands.repeated + commands.ignored]
    run.progress(100, message="done")
    px.send_video_frame(b"\\xff\\xd8\\xff\\xd9", "front", width=1, height=1)
    video = px.video.busy, px.video.sent, px.video.dropped
    return {"names": names, "video": video, "cancelled": repr(run.Cancelled)}
"""
