"""What the firmware's modules can ask of the board, by name.

Arguments and results are None, bool, int, float, str, bytes and lists of them: they cross a pipe.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import net
from .board import RESET_DEEPSLEEP, RESET_SOFT, Board
from .file_operations import Files
from .flash_operations import Partitions, Rp2Flash
from .tls import Tls

RTC_MEMORY_MAX_BYTES = 2048  # MICROPY_HW_RTC_USER_MEM_MAX of MicroPython's ESP32 port


def table(board: Board) -> dict[str, Callable[..., Any]]:
    """The operations of `board`."""
    found: dict[str, Callable[..., Any]] = {}
    for group in (
        _Time(board),
        _Setup(board),
        _Machine(board),
        _Wifi(board),
        _Sockets(board),
        Tls(board),
        Files(board),
        Partitions(board),
        Rp2Flash(board),
        _Host(board),
    ):
        prefix = type(group).__name__.strip("_").lower()
        for name in dir(group):
            if not name.startswith("_"):
                found[f"{prefix}.{name}"] = getattr(group, name)
    return found


def clock_table(board: Board) -> dict[str, Callable[[int], int]]:
    """The operations that say what the time is: functions of true time. Firmware asks nothing else as often."""
    clocks = board.clocks
    return {"time.ticks_ms": clocks.ticks_ms, "time.ticks_us": clocks.ticks_us, "time.rtc_us": clocks.rtc_us}


class _Time:
    def __init__(self, board: Board) -> None:
        self._board = board
        self._clocks = board.clocks
        self._now_us = board.now_us

    def set_rtc_us(self, rtc_us: int) -> None:
        self._clocks.set_rtc_us(self._now_us(), rtc_us)

    def sleep(self, us: int, end_us: int | None) -> list[Any]:
        """Sleep `us`, or on until `end_us`: [end_us, whether it is over]. Timers end it early."""
        if end_us is None:
            end_us = self._now_us() + self._clocks.true_us(us)
        return [end_us, self._board.sleep_until(end_us)]

    def idle(self) -> None:
        """The program has ended: wait for a timer."""
        board = self._board
        while board.timers.next_us is None or board.timers.next_us > board.now_us():
            board.park(board.timers.next_us)


class _Setup:
    """What modules ask while they are imported."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def epoch_year(self) -> int:
        return self._board.config.epoch_year

    def ticks_period_ms(self) -> int:
        return self._board.config.ticks_period_ms

    def machine(self) -> str:
        """What `sys.implementation` calls the board; unlike `machine.name` it takes no time."""
        return self._board.config.machine

    def port(self) -> str:
        """What the module is called that only this kind of board has."""
        return self._board.config.port


class _Machine:
    def __init__(self, board: Board) -> None:
        self._board = board

    def unique_id(self) -> bytes:
        return self._board.config.unique_id

    def reset_cause(self) -> int:
        return self._board.reset_cause

    def reset(self) -> None:
        self._board.reset(RESET_SOFT)

    def deep_sleep(self, us: int | None) -> None:
        """Sleep for `us` of the board's own clock, or for ever; the boot after it says so."""
        board = self._board
        if us is None:
            board.power_off()
        else:
            board.reset(RESET_DEEPSLEEP, board.clocks.doze(board.now_us(), us))

    def watchdog(self, timeout_ms: int) -> None:
        self._board.feed(timeout_ms * 1000)

    def random_bits(self, n: int) -> int:
        return self._board.rng.getrandbits(n) if n else 0

    def random_bytes(self, n: int) -> bytes:
        return self._board.rng.randbytes(n)

    def name(self) -> str:
        return self._board.config.machine

    def heap_bytes(self) -> int:
        return self._board.config.heap_bytes

    def timer_start(self, timer_id: int, period_ms: int, periodic: bool) -> None:
        board = self._board
        if timer_id < 0 and not board.config.virtual_timers:
            raise ValueError("invalid Timer number")
        period_us = board.clocks.true_us(max(1, period_ms) * 1000)
        board.timers.start(timer_id, board.now_us(), period_us, periodic)

    def timer_stop(self, timer_id: int) -> None:
        self._board.timers.stop(timer_id)

    def rtc_memory(self, data: bytes | None) -> bytes | None:
        """Read it, or put `data` there."""
        if data is None:
            return self._board.rtc_memory
        if len(data) > RTC_MEMORY_MAX_BYTES:
            raise ValueError("buffer too long")
        self._board.rtc_memory = data
        return None

    def i2c_scan(self) -> list[int]:
        return self._board.i2c.scan()

    def i2c_write(self, address: int, data: bytes) -> None:
        self._board.i2c.writeto(address, data)

    def i2c_read(self, address: int, n: int) -> bytes:
        return self._board.i2c.readfrom(address, n)

    def i2c_read_mem(self, address: int, register: int, n: int) -> bytes:
        return self._board.i2c.readfrom_mem(address, register, n)

    def i2c_write_mem(self, address: int, register: int, data: bytes) -> None:
        self._board.i2c.writeto_mem(address, register, data)


class _Wifi:
    def __init__(self, board: Board) -> None:
        self._wifi = board.wifi
        self.isconnected = board.wifi.is_connected

    def active(self, on: bool | None) -> bool:
        return self._wifi.active(on)

    def connect(self, ssid: str | None, key: str | None) -> None:
        self._wifi.connect(ssid, key)

    def disconnect(self) -> None:
        self._wifi.disconnect()

    def status(self) -> int:
        return self._wifi.status()

    def address(self) -> str:
        return self._wifi.address()


class _Sockets:
    def __init__(self, board: Board) -> None:
        self._board = board
        self._net = board.net

    def open(self) -> int:
        return self._net.open()

    def set_timeout(self, number: int, timeout_ms: int | None) -> None:
        self._net.get(number).timeout_us = None if timeout_ms is None else timeout_ms * 1000

    def resolve(self, host: str) -> str:
        """Blocks as `getaddrinfo` does."""
        answers: list[str | None] = []

        def done(address: str | None) -> None:
            answers.append(address)
            self._board.wake()

        self._net.resolve(host, done)
        self._board.wait(lambda: bool(answers), None)
        if answers[0] is None:
            raise OSError(net.DNS_FAILED)
        return answers[0]

    def connect(self, number: int, host: str, port: int) -> None:
        self._net.connect(number, host, port)
        socket = self._net.get(number)
        if socket.timeout_us == 0:
            raise OSError(net.EINPROGRESS)
        if not self._board.wait(socket.is_connected, socket.timeout_us):
            raise OSError(net.ETIMEDOUT)

    def send(self, number: int, data: bytes) -> int:
        socket = self._net.stream(number)
        sent = [socket.send(data)]

        def some() -> bool:
            sent[0] = sent[0] or socket.send(data)
            return sent[0] > 0

        self._wait(socket, some)
        self._net.note(b">", data[: sent[0]])
        return sent[0]

    def recv(self, number: int, n: int) -> bytes | None:
        """b'' at the end; None when there is nothing yet and the socket does not block."""
        socket = self._net.stream(number)
        data = socket.recv(n)
        if data is None:
            if socket.timeout_us == 0:
                return None
            data = self._awaited(socket, n)
        self._net.note(b"<", data)
        return data

    def _awaited(self, socket: net.Stream, n: int) -> bytes:
        found: list[bytes | None] = [None]

        def some() -> bool:
            found[0] = socket.recv(n)
            return found[0] is not None

        self._wait(socket, some)
        return found[0] or b""

    def _wait(self, socket: net.Stream, done: Callable[[], bool]) -> None:
        if done():
            return
        if socket.timeout_us == 0:
            raise OSError(net.EAGAIN)
        if not self._board.wait(done, socket.timeout_us):
            raise OSError(net.ETIMEDOUT)

    def poll(self, numbers: list[int], masks: list[int], timeout_ms: int, end_us: int | None) -> list[Any]:
        """Wait `timeout_ms` (-1: for ever), or on until `end_us`, for an event of a socket.

        [end_us, whether it is over, the events of each]. Timers end it early.
        """
        board = self._board
        if end_us is None and timeout_ms >= 0:
            end_us = board.now_us() + board.clocks.true_us(timeout_ms * 1000)
        while True:
            events = self._events(numbers, masks)
            now_us = board.now_us()
            if any(events) or (end_us is not None and now_us >= end_us):
                return [end_us, True, events]
            timer_us = board.timers.next_us
            if timer_us is not None and timer_us <= now_us:
                return [end_us, False, events]
            board.park(min((at_us for at_us in (end_us, timer_us) if at_us is not None), default=None))

    def _events(self, numbers: list[int], masks: list[int]) -> list[int]:
        always = net.POLLERR | net.POLLHUP | net.POLLNVAL
        pairs = zip(numbers, masks, strict=True)
        return [self._net.stream(number).poll() & (mask | always) for number, mask in pairs]

    def close(self, number: int) -> None:
        self._net.close(number)


class _Host:
    """What no board has: the simulator's own questions."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def begin(self, method: str, arguments: Any, paged: bool) -> None:
        if self._board.recorder:
            self._board.recorder.begin(self._board, method, arguments, paged)

    def end(self, accepted: bool) -> None:
        if self._board.recorder:
            self._board.recorder.end(self._board, accepted)

    def commit(self, points: int) -> None:
        if self._board.recorder:
            self._board.recorder.commit(self._board, points)

    def client(self, source_id: str, place: str, boot: int, uptime_ms: int) -> None:
        if self._board.recorder:
            self._board.recorder.client(self._board, source_id, place, boot, uptime_ms)

    def ring(
        self, sector_bytes: int, memory: bytes, page: bytes, dropped: int, rejected: int, undecided: int
    ) -> None:
        if self._board.recorder:
            self._board.recorder.ring(
                self._board, sector_bytes, bytes(memory), bytes(page), dropped, rejected, undecided
            )

    def raised(self) -> None:
        """boot.py or main.py has ended with an exception."""
        self._board.raised += 1

    def reported(self) -> None:
        self._board.reported()

    def view(self, told: str, now_ms: int | None, used: int, free: int, dropped: int, rejected: int) -> None:
        """How a client stands, and the heap: in words of its own, Unix ms, bytes and readings."""
        self._board.viewed(told, now_ms, used, free, dropped, rejected)
