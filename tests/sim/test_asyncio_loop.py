"""The simulator's `asyncio`: its loop, its errors, and the board around it."""

from __future__ import annotations

import asyncio
import gc

import pytest

from host_sim.world import World
from tests.e2e.simulation import BOARD, program, simulate
from tests.sim.asyncio_bench import HEAD, printer


@pytest.fixture
def printed(tmp_path):
    return printer(tmp_path)


# the loop


def test_a_second_run_goes_on_with_the_tasks_that_were_left(printed):
    source = """
async def main(ms):
    await asyncio.sleep_ms(ms)

task = asyncio.get_event_loop().create_task(worker("left", 30, 3))
asyncio.run(main(50))
print("between")
asyncio.get_event_loop().run_until_complete(task)
asyncio.get_event_loop().create_task(worker("forgotten", 10))
asyncio.new_event_loop()
asyncio.run(main(50))
asyncio.get_event_loop().close()
"""
    assert printed(source) == ["30 left 0", "between", "60 left 1", "90 left 2"]


def test_run_forever_until_stop(printed):
    source = """
loop = asyncio.get_event_loop()

async def stopper():
    await asyncio.sleep_ms(100)
    loop.stop()
    loop.stop()
    say("stopping")
    await asyncio.sleep_ms(100)
    say("not yet")

loop.create_task(stopper())
loop.run_forever()
say("stopped")
loop.create_task(worker("again", 200))
later(50, loop.stop)
loop.run_forever()
say("stopped again")
"""
    # A callback's stop is seen when the wait is over; it was due before the task that ended it.
    assert printed(source) == ["100 stopping", "100 stopped", "200 stopped again"]


def test_exceptions_of_tasks_that_nobody_awaits_are_printed(printed):
    source = """
async def fails(error):
    raise error

async def main():
    lost = asyncio.create_task(fails(ValueError("lost")))
    found = asyncio.create_task(fails(ValueError("found")))
    gone = asyncio.create_task(fails(asyncio.CancelledError()))
    await asyncio.sleep(0)
    try:
        await found
    except ValueError as e:
        print(e)
    await asyncio.sleep(0)
    print("handled")
    loop = asyncio.get_event_loop()

    def handler(its_loop, context):
        print(its_loop is loop, context["message"], repr(context["exception"]), context["future"] is lost)
        loop.set_exception_handler(None)

    loop.set_exception_handler(handler)
    print(loop.get_exception_handler() is handler)
    lost = asyncio.create_task(fails(OSError(5)))
    await asyncio.sleep_ms(10)
    asyncio.create_task(fails(OSError(7)))
    await asyncio.sleep_ms(10)

asyncio.run(main())
"""
    message = "Task exception wasn't retrieved"
    future = "future: <Task> coro= <generator object 'fails'>"
    traceback = "Traceback (most recent call last):"
    assert [line for line in printed(source) if not line.startswith("OSError: ")] == [
        *("found", message, future, traceback, "ValueError: lost", "handled"),
        *("True", f"True {message} OSError(5) True", message, future, traceback),
    ]


@pytest.mark.parametrize("error", ["ValueError('main')", "SystemExit(3)", "KeyboardInterrupt()"])
def test_what_ends_the_program_comes_out_of_run(printed, error):
    source = f"""
async def main():
    await asyncio.wait_for(worker("last", 10, 1, {error}), 1)

try:
    asyncio.run(main())
except BaseException as e:
    print(repr(e))
"""
    assert printed(source) == ["10 last 0", error]


def test_an_exit_in_any_task_ends_the_run(printed):
    source = """
async def main():
    start("exits", 10, 1, SystemExit())
    await asyncio.sleep(1)
    print("never")

try:
    asyncio.run(main())
except SystemExit:
    say("out")
"""
    assert printed(source) == ["10 exits 0", "10 out"]


# the board


def test_tasks_that_nobody_knows_any_more_run_no_clean_up(printed):
    source = """
import gc

async def waits(event):
    try:
        await event.wait()
    finally:
        print("clean-up")

async def main():
    for i in range(100):
        asyncio.create_task(waits(asyncio.Event()))
    await asyncio.sleep(1)

asyncio.run(main())
gc.collect()
later(1000, lambda: say("on"))
"""

    async def collect(world, placement):
        await asyncio.sleep(1.5)
        gc.collect()

    assert printed(source, 3, during=collect) == ["2000 on"]


CLEANS_UP = """
async def waits(name, awaitable):
    try:
        await awaitable
    except BaseException:
        print(name, "caught")
    finally:
        print(name, "clean-up")

async def main():
    lock, flag = asyncio.Lock(), asyncio.ThreadSafeFlag()
    asyncio.create_task(waits("flag", flag.wait()))
    asyncio.create_task(waits("sleep", asyncio.sleep(10)))
    async with lock:
        asyncio.create_task(waits("lock", lock.acquire()))
        asyncio.create_task(waits("limited", asyncio.wait_for(waits("inner", asyncio.sleep(20)), 10)))
        await waits("main", asyncio.gather(waits("part", asyncio.sleep(30)), worker("w", 40)))

print("boot", machine.reset_cause())
asyncio.run(main())
"""


def test_after_a_power_cut_nothing_of_the_tasks_runs(printed):
    async def cut(world, placement):
        await asyncio.sleep(5)
        placement.board.power_off()
        gc.collect()
        await asyncio.sleep(1)
        placement.board.power_on()
        await asyncio.sleep(1)
        placement.board.power_off()
        gc.collect()

    assert printed(CLEANS_UP, 20, during=cut) == ["boot 1", "40 w 0", "boot 1", "40 w 0"]


SENDS = """
from plexus_mp import Plexus

px = Plexus(source_id="tasks")

async def sends(metric, ms, n):
    for i in range(n):
        px.send(metric, i)
        await asyncio.sleep_ms(ms)

async def main():
    await asyncio.gather(sends("fast", 700, 60), sends("slow", 5000, 9))
    await asyncio.sleep(30)

asyncio.run(main())
"""


def test_the_library_delivers_from_its_timer_while_tasks_sleep(vm, tmp_path):
    outcome = simulate(program(tmp_path, HEAD + SENDS), vm, 80)
    assert outcome.console == ""
    assert outcome.verdict.clean and outcome.verdict.pending == 0
    assert outcome.values("fast") == list(range(60)) and outcome.values("slow") == list(range(9))


TWO_BOARDS = """
async def main():
    start("first", 30 if machine.unique_id()[-1] == 1 else 50, 4)
    await asyncio.sleep_ms(170)
    print(asyncio.get_event_loop().get_exception_handler())
    asyncio.get_event_loop().set_exception_handler(print)

asyncio.run(main())
"""


def test_two_boards_in_one_world_share_nothing(vm, tmp_path):
    world = World(1, virtual=True)
    consoles = [[], []]
    firmware = program(tmp_path, HEAD + TWO_BOARDS)

    async def run():
        await world.start()
        for console in consoles:
            placement = world.add_board(firmware, BOARD, vm, console=console.append)
            placement.board.power_on()
            await asyncio.sleep(0.1)
        await asyncio.sleep(1)
        return await world.finish()

    world.kernel.run(run())
    periods = (30, 50)
    for console, period_ms in zip(consoles, periods, strict=True):
        turns = [f"{period_ms * (i + 1)} first {i}" for i in range(4) if period_ms * (i + 1) < 170]
        assert "".join(console).splitlines() == [*turns, "None"]
