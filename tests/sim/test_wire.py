"""Delays, faults and flow control between a board's socket and a server, over both kinds of carrier."""

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host_sim.board import net
from host_sim.wire import Path
from tests.sim.transport_bench import Bench, Near

pytestmark = [
    pytest.mark.filterwarnings("error::ResourceWarning"),
    pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(params=["virtual", "real"])
def bench(request):
    return Bench(request.param == "real")


# delay

_TIMES = st.integers(0, 200_000)
_CHUNKS = st.lists(
    st.tuples(st.integers(0, 150_000), st.sampled_from(["up", "down"]), st.integers(1, 200)), max_size=25
)


def _tell_story(path, chunks):
    """Send `chunks` (pause, direction, size); what was sent when, and both ends' notes."""

    async def story(bench):
        bench.wires.path = path
        near = Near(bench.kernel)
        begun_us = bench.kernel.now_us()
        carrier = bench.wires.dial(*bench.address, near)
        await bench.until(lambda: near.events and bench.fars)
        [far] = bench.fars
        rng = random.Random(0)
        sent = {"up": [], "down": []}
        for pause_us, direction, size in chunks:
            await asyncio.sleep(pause_us / 1e6)
            data = rng.randbytes(size)
            sent[direction].append((bench.kernel.now_us(), data))
            (carrier.send if direction == "up" else far.transport.write)(data)
        await asyncio.sleep((path.up_us + path.down_us + path.jitter_us) / 1e6)
        carrier.close()
        return begun_us, near, far, sent

    return story


def _check_direction(sent, received, arrivals, delay_us, jitter_us):
    assert bytes(received) == b"".join(data for _, data in sent)
    end = 0
    for at_us, data in sent:
        first_us = next(us for us, total in arrivals if total > end)
        end += len(data)
        last_us = next(us for us, total in arrivals if total >= end)
        assert at_us + delay_us <= first_us <= last_us <= at_us + delay_us + jitter_us


@settings(max_examples=60)
@given(_TIMES, _TIMES, st.integers(0, 50_000), _CHUNKS, st.integers(0, 9))
def test_bytes_arrive_once_in_order_and_in_time(up_us, down_us, jitter_us, chunks, seed):
    path = Path(up_us, down_us, jitter_us)
    begun_us, near, far, sent = Bench(False, seed).play(_tell_story(path, chunks))
    _check_direction(sent["up"], far.received, far.arrivals, up_us, jitter_us)
    _check_direction(sent["down"], near.received_bytes, near.arrivals, down_us, jitter_us)
    assert begun_us + up_us <= far.at_us <= begun_us + up_us + jitter_us
    connected_us, name = near.events[0]
    assert name == "connected"
    assert begun_us + up_us + down_us <= connected_us <= begun_us + up_us + down_us + 2 * jitter_us


def test_the_same_seed_gives_the_same_times():
    chunks = [(7_000, "up", 10), (3_000, "down", 20)] * 20

    def times(seed):
        _, near, far, _ = Bench(False, seed).play(_tell_story(Path(30_000, 50_000, 20_000), chunks))
        return far.arrivals, near.arrivals

    assert times(3) == times(3) != times(4)


def test_a_real_connection_is_delayed_too():
    chunks = [(0, "up", 100), (5_000, "down", 100)] * 3
    begun_us, near, far, sent = Bench(True).play(_tell_story(Path(40_000, 20_000, 10_000), chunks))
    slow_us = 2_000_000  # what a busy machine may add
    _check_direction(sent["up"], far.received, far.arrivals, 40_000, slow_us)
    _check_direction(sent["down"], near.received_bytes, near.arrivals, 20_000, slow_us)
    assert near.events[0][0] - begun_us >= 60_000


def test_a_server_that_speaks_first_is_not_heard_before_the_connection(bench):
    async def story(bench):
        bench.wires.path = Path(30_000, 10_000)
        near = Near(bench.kernel)
        carrier = bench.wires.dial(*bench.address, near)
        await bench.until(lambda: bench.fars)
        bench.fars[0].transport.write(b"220 ready")
        assert not near.events
        await bench.until(lambda: near.received_bytes)
        assert near.names() == ["connected"] and near.events[0][0] <= near.arrivals[0][0]
        carrier.close()

    bench.play(story)


_ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("up"), st.integers(1, 400)),
        st.tuples(st.just("down"), st.integers(1, 4000)),
        st.tuples(st.just("wait"), st.integers(1, 100_000)),
        st.tuples(st.just("delay"), st.integers(0, 100_000)),
        st.tuples(st.just("stall"), st.booleans()),
    ),
    max_size=40,
)


@settings(max_examples=80)
@given(_ACTIONS, st.integers(0, 9))
def test_whatever_the_path_does_nothing_is_lost_doubled_or_out_of_order(actions, seed):
    async def story(bench):
        socket, far = await bench.connected()
        rng, up, down, read = random.Random(0), b"", b"", b""
        for what, value in actions:
            data = rng.randbytes(value) if what in ("up", "down") else b""
            if what == "up":
                up += data[: socket.send(data)]
            elif what == "down":
                down += data
                far.transport.write(data)
            elif what == "wait":
                await asyncio.sleep(value / 1e6)
                read += socket.recv(700) or b""
            elif what == "delay":
                bench.wires.path.up_us, bench.wires.path.down_us = value, 100_000 - value
            else:
                bench.wires.set_stalled(value)
        bench.wires.set_stalled(False)
        read += await bench.read(socket, len(down) - len(read))
        await bench.until(lambda: len(far.received) == len(up))
        assert bytes(far.received) == up and read == down and socket.recv(1) is None

    Bench(False, seed).play(story)


# what goes wrong, over both kinds of carrier


def test_a_stall_holds_everything_and_gives_it_in_order(bench):
    async def story(bench):
        socket, far = await bench.connected()
        bench.wires.set_stalled(True)
        for i in range(5):
            assert socket.send(b"%d" % i) == 1
            far.transport.write(b"abcde"[i : i + 1])
        late = bench.dial()
        await bench.settle()
        assert not far.received and socket.recv(9) is None and len(bench.fars) == 1
        bench.wires.set_stalled(False)
        assert await bench.read(socket, 5) == b"abcde"
        await bench.until(lambda: far.received == b"01234" and late.is_connected())

    bench.play(story)


def test_a_goodbye_that_is_held_comes_when_the_stall_ends(bench):
    async def story(bench):
        socket, far = await bench.connected()
        bench.wires.set_stalled(True)
        socket.send(b"last words")
        bench.close(socket)
        await bench.settle()
        assert not far.ended and len(bench.wires.open) == 1
        bench.wires.set_stalled(False)
        await bench.until(lambda: far.ended)
        assert far.received == b"last words" and far.eof

    bench.play(story)


def test_a_black_hole_swallows_and_tells_nobody(bench):
    async def story(bench):
        socket, far = await bench.connected()
        bench.wires.set_swallow(True)
        taken = 0
        while n := socket.send(b"x" * 1000):
            taken += n
        assert taken == net.WINDOW_BYTES  # never acknowledged, it fills the board's send buffer
        far.transport.write(b"unheard")
        hanging = bench.dial()
        await bench.settle()
        bench.wires.set_swallow(False)
        far.transport.close()
        await bench.settle()
        assert not far.received and socket.recv(9) is None and socket.poll() == 0
        assert not hanging.is_connected() and len(bench.fars) == 1
        fresh, other = await bench.connected()
        fresh.send(b"hello")
        await bench.until(lambda: other.received == b"hello")

    bench.play(story)


def test_what_a_board_says_after_a_black_hole_is_not_heard_either(bench):
    async def story(bench):
        socket, far = await bench.connected()
        leaving, left = await bench.connected()
        bench.wires.set_stalled(True)
        bench.close(leaving)  # its goodbye is on the way
        bench.wires.set_swallow(True)
        bench.wires.set_stalled(False)
        bench.wires.set_swallow(False)
        bench.close(socket)
        assert not bench.wires.open
        await bench.settle()
        assert not far.ended and not far.eof and not left.ended

    bench.play(story)


def test_refused(bench):
    async def story(bench):
        bench.wires.path = Path(5_000, 5_000, refuse=True)
        begun_us = bench.kernel.now_us()
        socket = bench.dial()
        assert await bench.error(socket) == net.ECONNREFUSED
        assert bench.kernel.now_us() - begun_us >= 10_000 and not bench.fars
        bench.wires.path.refuse = False
        await bench.connected()

    bench.play(story)


def test_nobody_listens(bench):
    async def story(bench):
        bench.address = (bench.address[0], 1)
        assert await bench.error(bench.dial()) == net.ECONNREFUSED

    bench.play(story)


@pytest.mark.parametrize("size", [1, 99, 100, 101, 250, 300])
def test_reset_at_a_byte(bench, size):
    """Up and down take turns, 100 bytes each."""

    async def story(bench):
        bench.wires.reset_after(size)
        socket, far = await bench.connected()
        up, down = bytes(range(100)), bytes(range(100, 200))
        data = b""
        for total in (100, 200):
            if not socket.poll() & net.POLLERR:
                socket.send(up)
            await bench.until(lambda total=total: far.ended or len(far.received) == total)
            far.transport.write(down)
            data += await bench.read(socket, 100)
        assert await bench.error(socket) == net.ECONNRESET
        await bench.until(lambda: far.ended)
        assert far.was_reset and len(data) + len(far.received) == size
        assert far.received == (up * 2)[: len(far.received)] and data == (down * 2)[: len(data)]
        await bench.connected()  # only one was meant

    bench.play(story)


@settings(max_examples=60)
@given(st.integers(1, 3000), _CHUNKS, st.integers(0, 50_000))
def test_exactly_so_many_bytes_pass_before_a_reset(size, chunks, delay_us):
    async def story(bench):
        bench.wires.path = Path(delay_us, delay_us // 2)
        near = Near(bench.kernel)
        bench.wires.reset_after(size)
        carrier = bench.wires.dial(*bench.address, near)
        await bench.until(lambda: near.events)
        [far] = bench.fars
        for pause_us, direction, n in chunks:
            await asyncio.sleep(pause_us / 1e6)
            (carrier.send if direction == "up" else far.transport.write)(bytes(n))
        await bench.settle()
        total = sum(n for _, _, n in chunks)
        assert len(near.received_bytes) + len(far.received) == min(size, total)
        assert far.was_reset == (near.errno == net.ECONNRESET) == (size <= total)
        carrier.close()

    Bench(False).play(story)


def test_reset_after_counts_from_now_on_the_newest_connection(bench):
    async def story(bench):
        first, far = await bench.connected()
        second, other = await bench.connected()
        second.send(b"before")
        await bench.until(lambda: other.received)
        bench.wires.reset_after(3)
        first.send(b"unharmed")
        second.send(b"after")
        await bench.until(lambda: other.ended and far.received)
        assert other.received == b"beforeaft" and other.was_reset and not far.ended

    bench.play(story)


def test_reset_now_is_seen_by_both(bench):
    async def story(bench):
        socket, far = await bench.connected()
        bench.wires.reset_all()
        assert await bench.error(socket) == net.ECONNRESET
        await bench.until(lambda: far.was_reset)

    bench.play(story)


def test_half_closed_by_the_far_end(bench):
    async def story(bench):
        socket, far = await bench.connected()
        far.transport.write(b"bye")
        await bench.until(lambda: socket.poll() & net.POLLIN)
        waiting = bench.dial()  # in the middle of connecting: nothing to close yet
        bench.wires.half_close()
        far.transport.write(b"too late")
        await bench.settle()
        assert await bench.read(socket, 9) == b"bye" and socket.recv(9) == b""
        assert socket.send(b"still here") == 10
        await bench.until(lambda: far.received == b"still here" and waiting.is_connected())
        assert socket.recv(9) == b"" and not far.ended and waiting.recv(1) is None

    bench.play(story)


def test_the_server_hangs_up_behind_what_it_said(bench):
    async def story(bench):
        socket, far = await bench.connected()
        far.transport.write(b"z" * 20_000)
        far.transport.close()
        await bench.settle()
        assert await bench.read(socket, 30_000) == b"z" * 20_000 and socket.recv(1) == b""
        await bench.until(lambda: far.ended)
        with pytest.raises(OSError, match=str(net.ECONNRESET)):
            while True:
                socket.send(b"anybody?")
                await bench.settle()

    bench.play(story)


def test_evicted_without_a_word(bench):
    """A server that drops its connections: this process's network resets them, loopback may just end."""

    async def story(bench):
        socket, far = await bench.connected()
        far.transport.abort()
        await bench.until(lambda: socket.poll() & (net.POLLERR | net.POLLIN))
        await bench.until(lambda: far.ended)
        await bench.connected()

    bench.play(story)


def test_names(bench):
    async def story(bench):
        answers = []
        name = "localhost"
        if not bench.real:
            bench.net.names[name] = "127.0.0.1"
        bench.wires.set_dns("fail")
        bench.wires.resolve(name, answers.append)
        assert answers == [None]
        bench.wires.set_dns("hang")
        bench.wires.resolve(name, answers.append)
        await bench.settle()
        assert answers == [None]
        bench.wires.set_stalled(True)
        bench.wires.set_dns("ok")
        bench.wires.resolve("10.1.2.3", answers.append)  # no question
        await bench.settle()
        assert answers == [None, "10.1.2.3"]
        bench.wires.set_stalled(False)
        await bench.until(lambda: answers == [None, "10.1.2.3", "127.0.0.1"])
        bench.wires.resolve("nowhere.invalid", answers.append)
        await bench.until(lambda: len(answers) == 4)
        assert answers[3] is None

    bench.play(story)
