"""The simulator's `asyncio`: locks, events, flags that timer callbacks set, and streams."""

from __future__ import annotations

import asyncio

import pytest

from host_sim.world import VIRTUAL_GATEWAY
from tests.sim.asyncio_bench import CONNECT, printer
from tests.sim.tls_bench import Bench


@pytest.fixture
def printed(tmp_path):
    return printer(tmp_path)


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
