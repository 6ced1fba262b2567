"""The simulator's `asyncio`: order, time and tasks, the same on CPython and on the real MicroPython."""

from __future__ import annotations

import ast

import pytest

from tests.e2e.simulation import program, simulate
from tests.sim.asyncio_bench import printer


@pytest.fixture
def printed(tmp_path):
    return printer(tmp_path)


# order and time


def test_tasks_start_in_the_order_of_their_creation_and_take_turns(printed):
    source = """
async def turns(name):
    for i in range(3):
        print(name, i)
        await asyncio.sleep(0)

async def main():
    tasks = [asyncio.create_task(turns(name)) for name in "abc"]
    print("created")
    for task in tasks:
        await task

asyncio.run(main())
"""
    assert printed(source) == ["created", *(f"{name} {i}" for i in range(3) for name in "abc")]


def test_sleepers_wake_when_they_are_due_and_equals_in_their_order(printed):
    source = """
async def main():
    await asyncio.gather(start("a", 30), start("b", 10), start("c", 20), start("d", 10), start("e", -5))

asyncio.run(main())
"""
    assert printed(source) == ["0 e 0", "10 b 0", "10 d 0", "20 c 0", "30 a 0"]


def test_sleep_takes_seconds_and_counts_from_its_call(printed):
    source = """
async def main():
    await asyncio.sleep(0.25)
    say("slept")
    pause = asyncio.sleep_ms(100)
    time.sleep_ms(60)
    await pause
    say("paused")

asyncio.run(main())
"""
    assert printed(source) == ["250 slept", "350 paused"]


THREE_TASKS = """
import asyncio

counts = {}

async def tick(period_s):
    while True:
        await asyncio.sleep(period_s)
        counts[period_s] = counts.get(period_s, 0) + 1

async def main():
    for period_s in (1, 2.5, 10):
        asyncio.create_task(tick(period_s))
    await asyncio.sleep(3600.5)
    print(sorted(counts.items()))

asyncio.run(main())
"""


def test_an_hour_of_three_tasks_is_a_few_calls_for_each_turn(vm, tmp_path):
    outcome = simulate(program(tmp_path, THREE_TASKS), vm, 3601)
    (line,) = outcome.console.splitlines()
    counts = dict(ast.literal_eval(line))
    for period_s, n in counts.items():  # each turn begins a little late, so a few are missing at the end
        assert 3600 / period_s * 0.999 <= n <= 3600 / period_s
    looks = 2 * 3600  # of boot.py at the Wi-Fi, two a second
    assert outcome.world.kernel.calls <= 5 * sum(counts.values()) + 2 * looks + 200


def test_order_and_sleep_survive_the_wrap_of_the_ticks(printed):
    source = """
async def main():
    before = time.ticks_ms()
    await asyncio.gather(start("late", 100), start("early", 20), start("middle", 60))
    print(before > time.ticks_ms(), time.ticks_diff(time.ticks_ms(), before))
    try:
        await asyncio.wait_for(worker("slow", 1000), 0.5)
    except asyncio.TimeoutError:
        print(time.ticks_diff(time.ticks_ms(), before))

asyncio.run(main())
"""
    lines = printed(source, ticks_start_ms=(1 << 30) - 50)
    assert [line.split()[1] for line in lines[:3]] == ["early", "middle", "late"]
    assert lines[3:] == ["True 100", f"{600 - 50} slow cancelled", "600"]


def test_ticks_of_a_fast_crystal_are_the_loop_s_time(printed):
    source = """
async def main():
    await asyncio.sleep(10)
    say("slept")

asyncio.run(main())
"""
    assert printed(source, drift_ppm=50_000) == ["10000 slept"]


# tasks


def test_awaiting_a_task_gives_its_result_or_its_exception_each_time(printed):
    source = """
async def wait(task):
    try:
        print("got", await task, task.done())
    except ValueError as e:
        print("raised", e)

async def main():
    for error in (None, ValueError("broken")):
        task = start("t", 10, 1, error)
        print(task.done())
        await asyncio.gather(wait(task), wait(task))
        await wait(task)

asyncio.run(main())
"""
    assert printed(source) == [
        *("False", "10 t 0", "got t True", "got t True", "got t True"),
        *("False", "20 t 0", "raised broken", "raised broken", "raised broken"),
    ]


def test_current_task_is_the_one_that_runs(printed):
    source = """
async def main():
    async def same(box):
        print(asyncio.current_task() is box[0])
    box = []
    box.append(asyncio.create_task(same(box)))
    await box[0]
    print(asyncio.current_task() is box[0])

try:
    asyncio.current_task()
except RuntimeError as e:
    print(e)
asyncio.run(main())
"""
    assert printed(source) == ["no running event loop", "True", "False"]


def test_what_is_not_a_coroutine_cannot_be_a_task(printed):
    source = """
async def main():
    for awaitable in (asyncio.sleep(1), 5, worker):
        try:
            asyncio.create_task(awaitable)
        except TypeError as e:
            print(e)

asyncio.run(main())
"""
    assert printed(source) == ["coroutine expected"] * 3


CANCEL = """
async def ends(name, awaitable):
    try:
        await awaitable
        print(name, "ended")
    except asyncio.CancelledError as e:
        print(name, "cancelled", e.args)
        raise

async def cancel(name, awaitable, ms=5):
    task = asyncio.create_task(ends(name, awaitable))
    await asyncio.sleep_ms(ms)
    print(task.cancel(), task.done())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    print(task.done(), task.cancel())

async def main():
    event, flag, lock = asyncio.Event(), asyncio.ThreadSafeFlag(), asyncio.Lock()
    await lock.acquire()
    await cancel("sleep", asyncio.sleep(1))
    await cancel("event", event.wait())
    await cancel("flag", flag.wait())
    await cancel("lock", lock.acquire())
    await cancel("task", start("inner", 100))
    await cancel("gather", asyncio.gather(start("one", 100), start("two", 100)))
    await cancel("wait_for", asyncio.wait_for(worker("limited", 1000), 5))
    event.set()
    flag.set()
    lock.release()
    await asyncio.wait_for(event.wait(), 1)
    await asyncio.wait_for(flag.wait(), 1)
    await asyncio.wait_for(lock.acquire(), 1)

asyncio.run(main())
"""


def test_a_waiting_task_is_cancelled_whatever_it_waits_for(printed):
    lines = [line for line in printed(CANCEL) if not line[0].isdigit()]
    names = ("sleep", "event", "flag", "lock", "task", "gather", "wait_for")
    expected = []
    for name in names:
        expected += ["True False", f"{name} cancelled ()", "True False"]
    assert lines == expected


def test_cancelling_what_has_not_begun_what_has_ended_and_oneself(printed):
    source = """
async def main():
    fresh = start("fresh", 10)
    print(fresh.cancel())
    try:
        await fresh
    except asyncio.CancelledError:
        print("never began", fresh.done(), fresh.cancel())
    ended = start("ended", 10)
    await ended
    print(ended.cancel())
    try:
        asyncio.current_task().cancel()
    except RuntimeError as e:
        print(e)

asyncio.run(main())
"""
    lines = printed(source)
    assert lines == ["True", "never began True False", "10 ended 0", "False", "can't cancel self"]


def test_a_task_may_ignore_being_cancelled_and_clean_up_with_awaits(printed):
    source = """
async def stubborn():
    for i in range(3):
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            say("no", i)
            await asyncio.sleep_ms(20)
    return "done"

async def main():
    task = asyncio.create_task(stubborn())
    for i in range(3):
        await asyncio.sleep_ms(50)
        task.cancel()
        task.cancel()
    print(await task)

asyncio.run(main())
"""
    assert printed(source) == ["50 no 0", "100 no 1", "150 no 2", "done"]


def test_a_task_that_is_ready_already_can_still_be_cancelled(printed):
    source = """
async def wait(event):
    try:
        await event.wait()
        print("ended")
    except asyncio.CancelledError:
        print("cancelled")

async def main():
    event = asyncio.Event()
    task = asyncio.create_task(wait(event))
    await asyncio.sleep(0)
    event.set()
    task.cancel()
    await task

asyncio.run(main())
"""
    assert printed(source) == ["cancelled"]


# wait_for and gather


def test_wait_for_gives_the_result_the_exception_or_the_timeout(printed):
    source = """
async def limited(ms, error=None, timeout=0.05):
    try:
        print(await asyncio.wait_for(worker("w", ms, 1, error), timeout))
    except (asyncio.TimeoutError, ValueError) as e:
        say(type(e).__name__)

async def main():
    await limited(10)
    await limited(10, ValueError())
    await limited(100)
    await limited(100, None, None)
    try:
        await asyncio.wait_for_ms(start("ms", 100), 30)
    except asyncio.TimeoutError:
        say("ms timeout")

asyncio.run(main())
"""
    assert printed(source) == [
        *("10 w 0", "w", "20 w 0", "20 ValueError", "70 w cancelled", "70 TimeoutError"),
        *("170 w 0", "w", "200 ms cancelled", "200 ms timeout"),
    ]


def test_wait_for_waits_for_the_clean_up_of_what_it_cancels(printed):
    source = """
async def slow_to_end():
    try:
        await asyncio.sleep(1)
    finally:
        await asyncio.sleep_ms(30)
        say("cleaned")

async def main():
    try:
        await asyncio.wait_for(slow_to_end(), 0.01)
    except asyncio.TimeoutError:
        say("timeout")

asyncio.run(main())
"""
    assert printed(source) == ["40 cleaned", "40 timeout"]


def test_gather_keeps_the_order_and_raises_the_first_exception(printed):
    source = """
async def main():
    print(await asyncio.gather())
    print(await asyncio.gather(worker("a", 30), start("b", 10)))
    parts = [start("c", 30), start("d", 10, 1, ValueError("bad")), start("e", 20, 1, OSError(5))]
    print(await asyncio.gather(*parts, return_exceptions=True))
    print(await asyncio.gather(*parts, return_exceptions=True))
    parts = [start("f", 30), start("g", 10, 1, ValueError("first"))]
    try:
        await asyncio.gather(*parts)
    except ValueError as e:
        say(e, [part.done() for part in parts])
    print(await parts[0])

asyncio.run(main())
"""
    results = "['c', ValueError('bad'), OSError(5)]"
    expected = ["[]", "10 b 0", "30 a 0", "['a', 'b']", "40 d 0", "50 e 0", "60 c 0", results, results]
    expected += ["70 g 0", "70 first [False, True]", "90 f 0", "f"]
    assert printed(source) == expected


def test_gather_refuses_a_task_that_another_waits_for(printed):
    source = """
async def wait(task):
    try:
        await task
    except RuntimeError as e:
        print(e)

async def main():
    task = start("t", 10)
    asyncio.create_task(wait(task))
    await asyncio.sleep(0)
    try:
        await asyncio.gather(task)
    except RuntimeError as e:
        print(e)
    gathered = start("g", 50)
    group = asyncio.create_task(asyncio.gather(gathered))
    await asyncio.sleep(0)
    await wait(gathered)
    print(await group)

asyncio.run(main())
"""
    assert printed(source) == ["can't gather", "can't wait", "10 t 0", "50 g 0", "['g']"]
