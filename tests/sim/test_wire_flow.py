"""Flow control between a board's socket and a server, and what is left when either goes away."""

import asyncio
import random

import pytest

from host_sim.board import net
from host_sim.virtual_net import HIGH_WATER_BYTES
from tests.sim.transport_bench import Bench

pytestmark = [
    pytest.mark.filterwarnings("error::ResourceWarning"),
    pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(params=["virtual", "real"])
def bench(request):
    return Bench(request.param == "real")


# flow control


async def _write(far, data):
    """As a well-behaved server: no more while it is told to wait."""
    for at in range(0, len(data), 16_384):
        while far.paused:
            await asyncio.sleep(0.001)
        far.transport.write(data[at : at + 16_384])


@pytest.mark.parametrize("down_us", [0, 2_000])
def test_a_slow_board_bounds_what_is_in_memory(bench, down_us):
    data = random.Random(1).randbytes(1_000_000)

    async def story(bench):
        bench.wires.path.down_us = down_us
        socket, far = await bench.connected()
        [wire] = bench.wires.open
        writing = asyncio.ensure_future(_write(far, data))
        got, most, on_board = bytearray(), 0, 0
        while len(got) < len(data):
            await asyncio.sleep(0 if bench.real else 0.0005)
            unread = len(socket._received)
            most = max(most, unread + wire._lines[1].waiting + far.transport.get_write_buffer_size())
            on_board = max(on_board, unread)
            got += socket.recv(2000) or b""
        await writing
        assert bytes(got) == data
        # A window is unread and another on its way when the sender is stopped, and one more in its hands.
        assert on_board <= 3 * net.WINDOW_BYTES and most <= HIGH_WATER_BYTES + 16_384 + 3 * net.WINDOW_BYTES

    bench.play(story)


@pytest.mark.parametrize("up_us", [0, 1_000])
def test_a_server_that_does_not_read_stops_the_board_for_a_while(bench, up_us):
    async def story(bench):
        bench.wires.path.up_us = up_us
        socket, far = await bench.connected()
        far.transport.pause_reading()
        changes = []
        socket._changed = lambda: changes.append(socket.poll())
        sent, idle = 0, 0
        while idle < 20:  # loopback has buffers of its own to fill
            n = socket.send(b"m" * 4096)
            sent, idle = sent + n, 0 if n else idle + 1
            await asyncio.sleep(0.001 if not n else 0)
        assert not socket.poll() & net.POLLOUT and socket.send(b"m") == 0
        changes.clear()
        far.transport.resume_reading()
        await bench.until(lambda: any(events & net.POLLOUT for events in changes))  # it is told
        sent += socket.send(b"m" * 100)
        await bench.until(lambda: len(far.received) == sent)

    bench.play(story)


# every state frees everything


async def _never_connected(bench):
    return bench.stack.get(bench.stack.open())


async def _dialing(bench):
    return bench.dial()


async def _dialing_slowly(bench):
    bench.wires.path.up_us = 20_000
    return bench.dial()


async def _dialing_in_a_stall(bench):
    bench.wires.set_stalled(True)
    return bench.dial()


async def _dialing_in_a_black_hole(bench):
    bench.wires.set_swallow(True)
    return bench.dial()


async def _refused(bench):
    bench.wires.path.refuse = True
    socket = bench.dial()
    await bench.error(socket)
    return socket


async def _connected(bench):
    return (await bench.connected())[0]


async def _unread(bench):
    socket, far = await bench.connected()
    far.transport.write(b"x" * 100_000)
    await bench.until(lambda: len(socket._received) > net.WINDOW_BYTES)
    return socket


async def _unsent(bench):
    socket, far = await bench.connected()
    far.transport.pause_reading()
    bench.wires.path.up_us = 1_000
    socket.send(b"x" * 5000)
    return socket


async def _stalled(bench):
    socket, far = await bench.connected()
    bench.wires.set_stalled(True)
    socket.send(b"x")
    far.transport.write(b"y")
    return socket


async def _swallowed(bench):
    socket, _ = await bench.connected()
    bench.wires.set_swallow(True)
    socket.send(b"x")
    return socket


async def _far_closed(bench):
    socket, far = await bench.connected()
    far.transport.write(b"x" * 100_000)
    far.transport.close()
    await bench.settle()
    return socket


async def _far_gone(bench):
    socket, far = await bench.connected()
    far.transport.abort()
    await bench.until(lambda: socket.poll() & (net.POLLERR | net.POLLIN))
    return socket


async def _reset(bench):
    socket, _ = await bench.connected()
    bench.wires.reset_all()
    return socket


async def _half_closed(bench):
    socket, _ = await bench.connected()
    bench.wires.half_close()
    return socket


async def _lost_its_link(bench):
    socket, _ = await bench.connected()
    bench.stack.lose_all(net.ECONNABORTED)
    return socket


STATES = [
    _never_connected,
    _dialing,
    _dialing_slowly,
    _dialing_in_a_stall,
    _dialing_in_a_black_hole,
    _refused,
    _connected,
    _unread,
    _unsent,
    _stalled,
    _swallowed,
    _far_closed,
    _far_gone,
    _reset,
    _half_closed,
    _lost_its_link,
]


@pytest.mark.parametrize("stays", [False, True], ids=["far_leaves", "far_stays"])
@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__[1:])
def test_closing_in_every_state_frees_everything(bench, state, stays):
    """The bench sees that no wire, carrier, task or file is left."""

    async def story(bench):
        bench.far_stays = stays
        socket = await state(bench)
        bench.close(socket)
        assert bench.stack.open_sockets == 0
        bench.wires.set_stalled(False)
        await bench.until(lambda: not bench.wires.open)

    bench.play(story)


def test_a_delayed_stranger_of_a_cut_board_never_arrives():
    async def story(bench):
        bench.wires.path.up_us = 50_000
        bench.dial()
        bench.stack.power_off()
        await bench.settle()
        assert not bench.fars

    Bench(False).play(story)


def test_a_board_that_is_gone_says_nothing(bench):
    async def story(bench):
        _, far = await bench.connected()
        bench.stack.lose_all(net.ECONNABORTED)
        _, other = await bench.connected()
        bench.stack.power_off()
        far.transport.write(b"are you there?" * 1000)
        await bench.settle()
        assert not (far.ended or far.eof or other.ended or other.eof) and not bench.wires.open

    bench.play(story)
