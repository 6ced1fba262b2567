"""The simulator's `asyncio`: what a program prints on CPython and on the real MicroPython, which is the same."""

from __future__ import annotations

import ast
import asyncio
import gc

import pytest

from host_sim.world import VIRTUAL_GATEWAY, World
from tests.e2e.simulation import BOARD, VMS, program, simulate
from tests.sim.tls_bench import Bench

HEAD = """
import asyncio
import time

import machine
from machine import Timer


def say(*values):
    print(time.ticks_ms(), *values)


async def worker(name, ms, n=1, error=None):
    try:
        for i in range(n):
            await asyncio.sleep_ms(ms)
            say(name, i)
        if error:
            raise error
        return name
    except asyncio.CancelledError:
        say(name, "cancelled")
        raise


def start(name, ms, n=1, error=None):
    return asyncio.create_task(worker(name, ms, n, error))


def later(ms, function):
    Timer(-1, mode=Timer.ONE_SHOT, period=ms, callback=lambda timer: function())

"""

CONNECT = f"""
import network

async def connected():
    while not network.WLAN(network.STA_IF).isconnected():
        await asyncio.sleep_ms(100)

async def dial(port={VIRTUAL_GATEWAY[1]}):
    await connected()
    return await asyncio.open_connection("{VIRTUAL_GATEWAY[0]}", port)
"""


@pytest.fixture(params=VMS)
def vm(request):
    return request.param


@pytest.fixture
def printed(tmp_path):
    """`printed(source)` runs it on both VMs, has them agree, and gives what they printed, line by line.

    Calls into the board cost no time, so what a program prints of the time is exact.
    """

    def run(source, seconds=30, during=None, **config):
        def prepare(placement):
            for name, value in {"call_us": 0, **config}.items():
                setattr(placement.board.config, name, value)

        firmware = program(tmp_path, HEAD + source)
        consoles = [_lines(simulate(firmware, vm, seconds, during, prepare=prepare)) for vm in VMS]
        assert consoles[0] == consoles[1]
        return consoles[0]

    return run


def _lines(outcome):
    """Without the lines of tracebacks, which name files, and with exceptions as CPython shows them."""
    lines = [line.replace(",)", ")") for line in outcome.console.splitlines()]
    return [line for line in lines if not line.startswith("  ")]


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
    assert outcome.world.kernel.calls <= 5 * sum(counts.values()) + 200


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


# between tasks


def test_a_lock_goes_round_in_order_and_past_who_gave_up(printed):
    source = """
async def use(lock, name):
    async with lock:
        print(name, lock.locked())
        await asyncio.sleep_ms(10)

async def main():
    lock = asyncio.Lock()
    tasks = [asyncio.create_task(use(lock, name)) for name in "abcd"]
    await asyncio.sleep_ms(5)
    tasks[1].cancel()
    await asyncio.sleep_ms(5)
    tasks[2].cancel()
    await tasks[3]
    print(lock.locked())
    try:
        lock.release()
    except RuntimeError as e:
        print(e)

asyncio.run(main())
"""
    assert printed(source) == ["a True", "d True", "False", "Lock not acquired"]


def test_an_event_wakes_all_until_it_is_cleared(printed):
    source = """
async def wait(event, name):
    print(name, await event.wait())

async def main():
    event = asyncio.Event()
    tasks = [asyncio.create_task(wait(event, name)) for name in "ab"]
    await asyncio.sleep(0)
    print(event.is_set())
    event.set()
    await wait(event, "set")
    await asyncio.sleep(0)
    event.clear()
    print(event.is_set())
    try:
        await asyncio.wait_for(event.wait(), 1)
    except asyncio.TimeoutError:
        say("cleared")

asyncio.run(main())
"""
    assert printed(source) == ["False", "set True", "a True", "b True", "False", "1000 cleared"]


def test_a_timer_callback_wakes_the_loop_through_a_flag(printed):
    source = """
async def main():
    flag = asyncio.ThreadSafeFlag()
    other = start("other", 3000)
    later(1500, flag.set)
    await flag.wait()
    say("flag")
    flag.set()
    await flag.wait()
    try:
        await asyncio.wait_for(flag.wait(), 0.5)
    except asyncio.TimeoutError:
        say("it had cleared itself")
    flag.set()
    flag.clear()
    later(100, flag.set)
    await flag.wait()
    say("flag")
    await other

asyncio.run(main())
"""
    assert printed(source) == ["1500 flag", "2000 it had cleared itself", "2100 flag", "3000 other 0"]


def test_timer_callbacks_run_on_time_while_the_loop_waits(printed):
    source = """
async def main():
    timer = Timer(-1, mode=Timer.PERIODIC, period=400, callback=lambda timer: say("tick"))
    await asyncio.sleep(1)
    timer.deinit()
    say("awake")

asyncio.run(main())
"""
    assert printed(source) == ["400 tick", "800 tick", "1000 awake"]


def test_a_loop_without_anything_to_do_waits_for_a_callback(printed):
    source = """
async def main():
    event = asyncio.Event()
    later(700, event.set)
    await event.wait()
    say("set")

asyncio.run(main())
"""
    assert printed(source) == ["700 set"]


def test_select_lets_callbacks_run_and_looks_at_other_streams(printed):
    source = """
import select

class Stream:
    ready = False

    def ioctl(self, request, mask):
        return mask if self.ready else 0

stream = Stream()
poller = select.poll()
print(poller.poll(300))
poller.register(stream, select.POLLIN)
later(200, lambda: say("tick"))
print(poller.poll(300))
say("over")

def ready():
    stream.ready = True

later(200, ready)
print(poller.poll(60000) == [(stream, select.POLLIN)])
say("ready")
"""
    assert printed(source) == ["[]", "500 tick", "[]", "600 over", "True", "800 ready"]


# streams


def test_a_stream_speaks_with_the_gateway(printed):
    source = """
async def main():
    reader, writer = await dial()
    writer.write(b"GET /health HTTP/1.1\\r\\nHost: gateway\\r\\n")
    writer.write(b"Connection: close\\r\\n\\r\\n")
    await writer.drain()
    print(await reader.readline())
    length = 0
    while True:
        line = await reader.readline()
        if line == b"\\r\\n":
            break
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    body = await reader.readexactly(length - 5)
    rest = bytearray(3)
    print(body[:12], await reader.readinto(rest), len(await reader.read(10)), await reader.read())
    print(await reader.readline(), await reader.read(5))
    try:
        await reader.readexactly(1)
    except EOFError:
        print("EOF")
    writer.close()
    await writer.wait_closed()

asyncio.run(main())
"""
    assert printed(CONNECT + source) == [
        "b'HTTP/1.1 200 OK\\r\\n'",
        "b'{\"status\":\"o' 3 2 b''",
        "b'' b''",
        "EOF",
    ]


class _SlowServer(asyncio.Protocol):
    """Takes what comes, pauses 50 ms after each piece, and answers 20000 bytes with their sum."""

    def connection_made(self, transport):
        self._transport = transport
        self._received = bytearray()

    def data_received(self, data):
        self._received += data
        if len(self._received) == 20000:
            self._transport.write(b"%d\n" % sum(self._received))
            self._transport.close()
        else:
            self._transport.pause_reading()
            asyncio.get_running_loop().call_later(0.05, self._transport.resume_reading)


def test_more_than_fits_into_the_socket_is_drained_while_others_run(printed):
    source = """
turns = 0

async def ticks():
    global turns
    while True:
        await asyncio.sleep_ms(10)
        turns += 1

async def main():
    global turns
    reader, writer = await dial(9)
    asyncio.create_task(ticks())
    writer.write(b"ab" * 5000)
    writer.write(bytes(10000))
    turns = 0
    await writer.drain()
    print(await reader.read(), turns > 5)

asyncio.run(main())
"""

    async def listen(world, placement):
        world._net.listen(VIRTUAL_GATEWAY[0], 9, _SlowServer)

    assert printed(CONNECT + source, during=listen) == [f"b'{sum(b'ab') * 5000}\\n' True"]


def test_a_connection_that_cannot_be_made_leaks_no_socket(printed):
    source = """
async def attempts():
    seen = set()
    for i in range(20):
        seen.add(await attempt())
    print(seen)

async def attempt():
    try:
        reader, writer = await asyncio.wait_for(asyncio.open_connection("192.168.4.1", 1), 1)
    except OSError as e:
        return e.errno
    except asyncio.TimeoutError:
        return "timeout"
    try:
        await reader.read(1)
    except OSError as e:
        await writer.wait_closed()
        return e.errno

async def main():
    network.WLAN(network.STA_IF).disconnect()
    await attempts()
    network.WLAN(network.STA_IF).connect("simulated", "simulated")
    await connected()
    await attempts()
    while time.ticks_ms() < 10000:
        await asyncio.sleep_ms(100)
    await attempts()
    try:
        await asyncio.start_server(None, "0.0.0.0", 80)
    except OSError as e:
        print("no server", e.errno)

asyncio.run(main())
"""

    async def stall(world, placement):
        await asyncio.sleep(9)
        placement.wires.set_stalled(True)
        await asyncio.sleep(30)
        assert placement.board.net.open_sockets == 0

    lines = printed(CONNECT + source, 50, stall)
    assert lines == ["{-2}", "{111}", "{'timeout'}", "no server 95"]


def test_a_reader_that_gives_up_leaves_the_stream_to_the_next(printed):
    source = """
async def main():
    reader, writer = await dial()
    for i in range(3):
        try:
            await asyncio.wait_for(reader.read(1), 0.1)
        except asyncio.TimeoutError:
            print("nothing yet")
    writer.write(b"GET /health HTTP/1.0\\r\\n\\r\\n")
    await writer.drain()
    print((await reader.read())[:12])

asyncio.run(main())
"""
    assert printed(CONNECT + source) == ["nothing yet"] * 3 + ["b'HTTP/1.1 200'"]


TLS = """
import asyncio

async def ticks():
    while True:
        await asyncio.sleep_ms(10)

async def main():
    asyncio.create_task(ticks())
    for kind, name in (("good", HOST), ("good", None), ("expired", HOST)):
        try:
            place = (HOST, PORTS[kind]) if name is None else (ADDRESS, PORTS[kind])
            reader, writer = await asyncio.open_connection(*place, ssl=context(), server_hostname=name)
            writer.write(REQUEST)
            await writer.drain()
            print(await reader.readline(), len(await reader.read()) > 100)
        except (OSError, ValueError) as e:
            print(said(e))
        await writer.wait_closed()

set_clock()
asyncio.run(main())
""".replace("ADDRESS", repr(VIRTUAL_GATEWAY[0]))


def test_a_stream_inside_tls(vm, tmp_path):
    refused = r"ValueError ('\nThe certificate validity has expired\n',)"
    lines = Bench(vm, tmp_path).run(TLS)
    assert lines == ["b'HTTP/1.1 200 OK\\r\\n' True"] * 2 + [refused]


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
