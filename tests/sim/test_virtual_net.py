"""The network inside this process, where it has to behave as asyncio's transports and TCP do."""

import asyncio

import pytest

from host_sim.board import net
from host_sim.virtual_net import HIGH_WATER_BYTES
from tests.sim.transport_bench import VIRTUAL_FAR, Bench, Far, Near


def play(story):
    return Bench(False).play(story)


def test_the_end_comes_behind_what_the_board_has_not_read():
    async def story(bench):
        bench.wires.path.down_us = 10_000
        socket, far = await bench.connected()
        far.transport.write(b"x" * 50_000)
        far.transport.close()
        await bench.settle()
        assert not far.ended and far.transport.is_closing()  # it waits for its buffer, as asyncio's do
        data = b""
        while part := socket.recv(1000) if socket._received or socket._ended else b"?":
            data += part if part != b"?" else b""
            await asyncio.sleep(0.001)
        assert data == b"x" * 50_000 and far.lost is None

    play(story)


def test_closing_can_still_become_aborting():
    async def story(bench):
        socket, far = await bench.connected()
        far.transport.write(b"x" * 50_000)
        far.transport.close()
        far.transport.abort()
        assert await bench.error(socket) == net.ECONNRESET
        await bench.until(lambda: far.ended)
        far.transport.abort()
        far.transport.close()
        far.transport.write(b"nobody")
        await bench.settle()
        assert far.transport.get_write_buffer_size() == 0

    play(story)


def test_a_server_that_is_busy_gets_the_rest_and_then_the_goodbye():
    async def story(bench):
        socket, far = await bench.connected()
        far.transport.pause_reading()
        socket.send(b"the rest")
        bench.close(socket)
        await bench.settle()
        assert not far.received and not far.eof and not far.ended
        far.transport.resume_reading()
        await bench.until(lambda: far.ended)
        assert far.received == b"the rest" and far.eof and far.lost is None

    play(story)


def test_a_server_may_keep_its_side_after_the_goodbye():
    async def story(bench):
        bench.far_stays = True
        socket, far = await bench.connected()
        bench.close(socket)
        await bench.settle()
        assert far.eof and not far.ended
        far.transport.write(b"too late" * 20_000)
        assert not far.paused  # nobody holds it up
        far.transport.close()
        await bench.until(lambda: far.ended)

    play(story)


def test_what_is_sent_to_a_server_that_hung_up_is_answered_with_a_reset():
    async def story(bench):
        socket, far = await bench.connected()
        far.transport.close()
        await bench.settle()
        assert socket.recv(1) == b"" and socket.send(b"hello?") == 6
        assert await bench.error(socket) == net.ECONNRESET and not far.received

    play(story)


def test_a_server_that_dies_takes_its_connections_along():
    async def story(bench):
        near = Near(bench.kernel)
        bench.net.listen("192.168.4.1", 81, lambda: Far(bench))
        carrier = bench.wires.dial("192.168.4.1", 81, near)
        socket, far = await bench.connected()
        bench.net.stop(*VIRTUAL_FAR)
        assert await bench.error(socket) == net.ECONNRESET
        await bench.until(lambda: far.ended)
        assert near.names() == ["connected"] and len(bench.net.open) == 1
        assert await bench.error(bench.dial()) == net.ECONNREFUSED
        carrier.close()

    play(story)


def test_a_server_that_dies_while_it_is_called_does_not_answer():
    async def story(bench):
        socket = bench.dial()
        bench.net.stop(*VIRTUAL_FAR)
        assert await bench.error(socket) == net.ECONNREFUSED and not bench.fars

    play(story)


def test_a_window_is_taken_in_segments_and_the_server_is_told_when_to_wait():
    async def story(bench):
        socket, far = await bench.connected()
        far.transport.write(b"x" * HIGH_WATER_BYTES)
        assert len(socket._received) <= net.WINDOW_BYTES * 5 // 4 and not far.paused
        far.transport.write(b"x" * (net.WINDOW_BYTES * 2))
        assert far.paused and far.transport.get_write_buffer_size() > HIGH_WATER_BYTES
        size = HIGH_WATER_BYTES + net.WINDOW_BYTES * 2
        while far.paused:
            size -= len(socket.recv(1000))
        assert far.transport.get_write_buffer_size() <= HIGH_WATER_BYTES // 4
        assert len(await bench.read(socket, size)) == size

    play(story)


def test_a_board_that_leaves_does_not_hold_its_server_up():
    async def story(bench):
        socket, far = await bench.connected()
        far.transport.write(b"x" * HIGH_WATER_BYTES * 2)
        assert far.paused
        socket.abort()
        assert not far.paused and far.transport.get_write_buffer_size() == 0 and not far.ended

    play(story)


@pytest.mark.parametrize(
    ("host", "address"), [("10.0.0.1", "10.0.0.1"), ("known", "1.2.3.4"), ("other", None)]
)
def test_names(host, address):
    async def story(bench):
        bench.net.names["known"] = "1.2.3.4"
        answers = []
        bench.net.resolve(host, answers.append)
        assert answers == [address]

    play(story)
