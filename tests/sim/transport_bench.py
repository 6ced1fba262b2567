"""A board's sockets and a far end, over this process's network or the machine's loopback."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from host_sim.board import net
from host_sim.dialers import RealDialer
from host_sim.kernel import Kernel
from host_sim.virtual_net import VirtualNet
from host_sim.wire import Wires

VIRTUAL_FAR = ("192.168.4.1", 80)
_PATIENCE_S = 5.0


class Far(asyncio.Protocol):
    """The server's end of one connection: what it got, and how it ended."""

    transport: asyncio.Transport

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.received = bytearray()
        self.arrivals: list[tuple[int, int]] = []  # true time, bytes so far
        self.at_us = -1
        self.eof = False
        self.lost: Exception | bool | None = False  # False: it has not ended
        self.paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.at_us = self._bench.kernel.now_us()
        self._bench.fars.append(self)

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.arrivals.append((self._bench.kernel.now_us(), len(self.received)))

    def eof_received(self) -> bool:
        self.eof = True
        return self._bench.far_stays

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = exc

    @property
    def ended(self) -> bool:
        return self.lost is not False

    @property
    def was_reset(self) -> bool:
        return isinstance(self.lost, ConnectionResetError)


class Near:
    """A `net.Events` that writes down what happens to it."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.events: list[tuple[int, str]] = []
        self.received_bytes = bytearray()
        self.arrivals: list[tuple[int, int]] = []
        self.errno = 0

    def _note(self, name: str) -> None:
        self.events.append((self._kernel.now_us(), name))

    def names(self) -> list[str]:
        return [name for _, name in self.events]

    def connected(self) -> None:
        self._note("connected")

    def received(self, data: bytes) -> None:
        self.received_bytes += data
        self.arrivals.append((self._kernel.now_us(), len(self.received_bytes)))

    def ended(self) -> None:
        self._note("ended")

    def lost(self, errno: int) -> None:
        self.errno = errno
        self._note("lost")

    def writable(self) -> None:
        """Of no interest."""


class Bench:
    """One kernel, one network, one board's `wires` and `stack`; `fars` are the connections that came."""

    def __init__(self, real: bool, seed: int = 1) -> None:
        self.real = real
        self.kernel = Kernel(not real)
        self.net: Any = RealDialer(self.kernel) if real else VirtualNet(self.kernel)
        self.wires = Wires(self.kernel, self.net, random.Random(seed))
        self.stack = net.NetStack(self.wires, lambda: True, lambda: None)
        self.fars: list[Far] = []
        self.far_stays = False
        self.address = VIRTUAL_FAR
        self.wrong: list[dict[str, Any]] = []

    def play(self, story: Callable[[Bench], Awaitable[Any]]) -> Any:
        """Run `story`, then see that nothing is left of it."""
        self.kernel.loop.set_exception_handler(lambda loop, context: self.wrong.append(context))
        try:
            return self.kernel.run(self._play(story))
        finally:
            self.kernel.loop.close()
            if self.real:
                gc.collect()  # what was not closed warns here
            assert not self.wrong

    async def _play(self, story: Callable[[Bench], Awaitable[Any]]) -> Any:
        server = await self._listen()
        try:
            return await story(self)
        finally:
            await self._end(server)

    async def _end(self, server: asyncio.Server | None) -> None:
        """The board and the servers let go; then there must be nothing left."""
        self.stack.power_off()
        self.wires.set_stalled(False)
        for far in self.fars:  # its patience ends
            far.transport.abort()
        await self.until(lambda: all(far.ended for far in self.fars))
        if server is not None:
            server.close()
        await self.until(lambda: not self.wires.open and not self.net.open)
        await self.until(lambda: asyncio.all_tasks() == {asyncio.current_task()})

    async def _listen(self) -> asyncio.Server | None:
        if not self.real:
            self.net.listen(*VIRTUAL_FAR, lambda: Far(self))
            return None
        server = await asyncio.get_running_loop().create_server(lambda: Far(self), "127.0.0.1", 0)
        # Small, so that a server that does not read is soon full.
        server.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        self.address = server.sockets[0].getsockname()
        return server

    async def until(self, condition: Callable[[], object]) -> None:
        end_us = self.kernel.now_us() + int(_PATIENCE_S * 1e6)
        while not condition():
            assert self.kernel.now_us() < end_us, "waited in vain"
            await asyncio.sleep(0.001)

    async def settle(self) -> None:
        """Long enough for whatever could still happen here."""
        await asyncio.sleep(0.02 if self.real else 1)

    def dial(self) -> net.Socket:
        """A socket that connects."""
        number = self.stack.open()
        self.stack.connect(number, *self.address)
        return self.stack.get(number)

    async def connected(self) -> tuple[net.Socket, Far]:
        """A socket, and the far end that it is connected with."""
        before = len(self.fars)
        near = self.dial()
        await self.until(lambda: near.is_connected() and len(self.fars) > before)
        return near, self.fars[-1]

    def close(self, near: net.Socket) -> None:
        [number] = [number for number, other in self.stack._sockets.items() if other is near]
        self.stack.close(number)

    async def read(self, near: net.Socket, size: int) -> bytes:
        """So many bytes, or what comes before the end or an error."""
        data = b""
        with contextlib.suppress(OSError):
            while len(data) < size:
                part = near.recv(size - len(data))
                if part == b"":
                    break
                if part is None:
                    await asyncio.sleep(0.001)
                data += part or b""
        return data

    async def error(self, near: net.Socket) -> int:
        """The error that the socket comes to have."""
        await self.until(lambda: near.poll() & net.POLLERR)
        return near._error
