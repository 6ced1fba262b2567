"""An exception, or a timer's `send()`, at every bytecode of the library: nothing accepted is lost, doubled or wrong.

Every operation is run again and again from the same state, struck at one bytecode later each time. The program
then goes on: sends, drains, and a reboot of what is in flash. `PLEXUS_STRIDE` strikes at each so manyth bytecode:
at some in `make test`, at each in `make soak`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from plexus_mp.client import Plexus
from plexus_mp.http import Http
from plexus_mp.link import Link

from tests.device import fakes
from tests.sim.interrupting import Strike, raising

_STRIDE = int(os.environ.get("PLEXUS_STRIDE", "61"))
_SECTOR = 512
_KINDS: dict[str, dict[str, Any]] = {
    "ram": {"flash": False},
    "flash": {"flash": True},
    "flash-16": {"flash": True, "align": 16},
    "pages": {"flash": True, "commit_ms": 10_000},
    "pages-ram": {"flash": False, "commit_ms": 10_000},
}


class History:
    """A device with a past, what it accepted, and what a call that was struck may have left."""

    def __init__(
        self, ticks: fakes.Ticks, flash: bool, align: int = 1, commit_ms: int = 0, sends: int = 23
    ) -> None:
        self.ticks = ticks
        self.settings = (ticks, 0, 0, 100, 600)
        self.blocks = (
            fakes.NorBlocks(12 * _SECTOR, _SECTOR) if flash else fakes.RamBlocks(12 * _SECTOR, _SECTOR)
        )
        self.flash = flash
        self.rest = (self.blocks, align, commit_ms)
        self.accepted: list[int] = []
        self.maybe: list[int] = []
        self.arrived: list[int] = []
        self.next = 100
        self.in_callback = False
        self.boot()
        for i in range(sends):
            ticks.advance(1700 + i * 40)
            self.send("a" if i % 2 else "b")
            if i == 9:
                self.device.recorder.upkeep(True)
                assert self.device.outbox.next_frame()
                self.take()

    def boot(self) -> None:
        self.device = fakes.Device(*self.settings, *self.rest)

    def number(self) -> int:
        self.next += 3
        return self.next

    def send(self, metric: str = "a") -> None:
        number = self.number()
        self.maybe.append(number)
        if self.device.send(metric, number):
            self.accepted.append(self.maybe.pop())

    def batch(self) -> None:
        numbers = [self.number() for _ in range(3)]
        self.maybe += numbers
        if self.device.batch([("abc"[i], n) for i, n in enumerate(numbers)]):
            del self.maybe[-3:]
            self.accepted += numbers

    def late(self) -> None:
        """What a timer's callback does: the program that it interrupts is in the midst of something."""
        if self.in_callback:  # a callback is not interrupted by another one
            return
        self.in_callback = True
        try:
            number = self.number()
            self.maybe.append(number)
            if self.device.send("late", number):
                self.accepted.append(number)
        finally:
            self.in_callback = False

    def take(self) -> None:
        """The gateway stores the frame, the device hears of it: again, when that is interrupted."""
        points = fakes.parse_frame(self.device.frame_bytes())
        self.arrived += [self._check(point) for point in points]
        try:
            assert self.device.outbox.release()
        except BaseException:
            assert self.device.outbox.release()
            raise

    def _check(self, point: dict[str, Any]) -> int:
        value = point["value"]
        assert type(value) is int and point["metric"] in ("a", "b", "c", "late")
        assert fakes.UNIX_MS <= point["timestamp"] <= self.device.unix_ms() + 1100
        return int(value)

    def drain(self) -> None:
        self.device.recorder.upkeep(True)
        while self.device.outbox.next_frame():
            self.take()

    def check_end(self) -> None:
        """Go on, then count."""
        self._go_on()
        device = self.device
        assert device.ring.left == device.outbox.unsettled == device.outbox.waiting == 0
        self._compare()
        if self.flash:
            self.boot()
            self._go_on()
            self._compare()
            assert not self.blocks.spoiled  # type: ignore[attr-defined]

    def _go_on(self) -> None:
        for metric in "abcab":
            self.ticks.advance(2000)
            self.send(metric)
        self.batch()
        self.ticks.advance(500)
        assert not self.device.recorder.guard._call, "the guard is held"
        self.drain()

    def _compare(self) -> None:
        assert not self.device.ring.dropped
        assert len(set(self.arrived)) == len(self.arrived), "doubled"
        missing = set(self.accepted) - set(self.arrived)
        assert not missing, sorted(missing)
        wrong = set(self.arrived) - set(self.accepted) - set(self.maybe)
        assert not wrong, sorted(wrong)


def _sends(history: History) -> None:
    history.send()


def _sends_across_sectors(history: History) -> None:
    for _ in range(4):
        history.ticks.advance(70_000)
        history.send("c")
        history.batch()


def _batches(history: History) -> None:
    history.batch()


def _defines(history: History) -> None:
    number = history.number()
    history.maybe.append(number)
    if history.device.send("c", number, {"k": "v"}):
        history.accepted.append(history.maybe.pop())


def _commits(history: History) -> None:
    history.device.recorder.upkeep(True)


def _builds(history: History) -> None:
    history.device.recorder.upkeep(True)
    history.device.outbox.next_frame()


def _delivers(history: History) -> None:
    if history.device.outbox.next_frame():
        history.take()


def _drains(history: History) -> None:
    history.drain()


def _sends_late(history: History) -> None:
    """A timer sends twice in the midst of a send(): both are recorded as that one leaves."""
    append = history.device.ring.append
    encoder = history.device.recorder._encoder
    put = encoder.put

    def interrupted(*arguments: Any) -> Any:
        encoder.put = put
        history.late()
        history.late()
        return put(*arguments)

    encoder.put = interrupted
    try:
        history.send()
    finally:
        encoder.put = put
        history.device.ring.append = append


_OPERATIONS: tuple[Callable[[History], None], ...] = (
    _sends, _batches, _defines, _commits, _builds, _delivers, _sends_late, _sends_across_sectors, _drains
)  # fmt: skip
_LONG = (_sends_across_sectors, _drains)


def _strikes(
    kind: str, operation: Callable[[History], None], make: Callable[[History], Callable[[], Any]]
) -> int:
    """Run `operation` struck at one bytecode after the other; how many there were."""
    stride = _STRIDE * (8 if operation in _LONG else 1)
    at = 0
    while True:
        with fakes.Ticks() as ticks:
            history = History(ticks, **_KINDS[kind])
            try:
                with Strike(at, make(history)) as strike:
                    operation(history)
            except (KeyboardInterrupt, MemoryError):
                pass
            try:
                history.check_end()
            except BaseException:
                print("struck at bytecode", at)
                raise
        if not strike.struck:
            return at
        at += stride


@pytest.mark.parametrize("operation", _OPERATIONS, ids=lambda operation: operation.__name__[1:])
@pytest.mark.parametrize("kind", _KINDS)
def test_an_exception_anywhere(kind: str, operation: Callable[[History], None]) -> None:
    """KeyboardInterrupt and MemoryError leave what was accepted as it is."""
    assert _strikes(kind, operation, lambda history: raising(KeyboardInterrupt)) > 50


@pytest.mark.parametrize("operation", _OPERATIONS, ids=lambda operation: operation.__name__[1:])
@pytest.mark.parametrize("kind", _KINDS)
def test_a_send_anywhere(kind: str, operation: Callable[[History], None]) -> None:
    """A timer's send() is accepted wherever it comes, and arrives."""
    assert _strikes(kind, operation, lambda history: history.late) > 50


class Client:
    """A client over a link over the HTTP of the library, to a gateway that stores everything."""

    def __init__(self, history: History, network: fakes.Network) -> None:
        self.history = history
        network.serve = self._serve
        device = history.device
        self.px = Plexus("key", "test-1", "http://gateway", 4096, 1024, 256, 1024, 0, "ram")
        http = Http(fakes.dial, "gateway", 80, "/ingest", "plx_secret", "agent/1")
        self.px._recorder = device.recorder
        self.px._outbox = device.outbox
        self.px._link = Link(device.outbox, http, device.recorder)
        self.frames: set[bytes] = set()

    def _serve(self, wire: fakes.Wire, body: bytes) -> None:
        if body not in self.frames:  # the same bytes are the same readings
            self.frames.add(body)
            self.history.arrived += [self.history._check(point) for point in fakes.parse_frame(body)]
        answer = b'{"success":true}'
        date = b"Date: Thu, 05 Mar 2026 12:00:00 GMT\r\n"
        wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n%s" % (len(answer), date, answer))

    def run(self, slices: int) -> None:
        for _ in range(slices):
            self.px.tick()
            self.history.ticks.advance(100)

    def check_end(self) -> None:
        history = self.history
        assert not self.px._turn._call, "the client's guard is held"
        for _ in range(40):
            self.run(50)
            history.ticks.advance(70_000)
            if not history.device.outbox.waiting:
                break
        history.arrived.sort()
        history.check_end()


@pytest.mark.parametrize("strike", ("exception", "send"))
@pytest.mark.parametrize("kind", ("ram", "flash", "pages"))
def test_a_tick_struck_anywhere(kind: str, strike: str) -> None:
    """The whole way of a frame, slice by slice: built, sent, answered, released."""
    at = 0
    struck = True
    while struck:
        with fakes.Ticks() as ticks, fakes.Network() as network:
            history = History(ticks, **_KINDS[kind])
            client = Client(history, network)
            action = raising(KeyboardInterrupt) if strike == "exception" else history.late
            try:
                with Strike(at, action, within=("client.py",)) as blow:
                    client.run(12)
            except KeyboardInterrupt:
                pass
            try:
                client.check_end()
            except BaseException:
                print("struck at bytecode", at)
                raise
        struck = blow.struck
        at += _STRIDE * 11
    assert at > 1000
