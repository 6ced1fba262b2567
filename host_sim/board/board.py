"""One virtual board: its parts, its power, and the calls that the firmware's modules make into it."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable
from typing import Any, Protocol

from ..guard import FirmwareHangs
from ..kernel import Fibre, Kernel
from . import net
from .clocks import Clocks, Timers
from .config import BoardConfig
from .files import BLOCK_BYTES, BLOCKS, BoardFiles
from .flash import Flash
from .i2c import I2CBus
from .net import Dialer, NetStack
from .wifi import Wifi

# In real time the loop gets a turn at least this often, in virtual time the clock is brought up to date.
_TURN_US = 1000
_ESP_IDF = 0x101  # the first of its error numbers (esp_err.h)

# What makes Python objects large enough to fail: closing and asking for the time must always work.
_ALLOCATING = ("sockets.open", "sockets.connect", "sockets.recv", "machine.i2c_read", "machine.i2c_read_mem")

# These cost no time: VMs import modules differently, and a board has no host to talk to.
_FREE = ("files.", "host.", "setup.")

# The simulator's own timer: its callback makes the clients tell what they hold.
_REPORT_TIMER = -1000
VIEW_TIMER = -1001  # another: its callback tells what a view shows

RESET_POWER_ON = 1  # reset causes of MicroPython's ESP32 port
RESET_WDT = 3  # the watchdog, and the brown-out detector
RESET_DEEPSLEEP = 4
RESET_SOFT = 5  # machine.reset(): the IDF's software reset


class Interrupted(Exception):
    """Ctrl-C on the board's console, while its firmware waits."""


class Recorder(Protocol):
    """Hears of every reading that the firmware hands to the library."""

    def begin(self, board: Board, method: str, arguments: Any, paged: bool) -> None: ...
    def end(self, board: Board, accepted: bool) -> None: ...
    def commit(self, board: Board, points: int) -> None: ...
    def cut(self, board: Board) -> None: ...
    def client(self, board: Board, source_id: str, place: str, boot: int, uptime_ms: int) -> None: ...
    def ring(
        self,
        board: Board,
        sector_bytes: int,
        memory: bytes,
        page: bytes,
        dropped: int,
        rejected: int,
        undecided: int,
    ) -> None: ...


class Vm(Protocol):
    """What runs the firmware."""

    def run(self, board: Board) -> None:
        """Boot and run until the board loses power; called in the board's fibre."""

    def kill(self) -> None:
        """Stop it where it is; nothing of the firmware runs any more."""


class Board:
    """A board on `kernel`: `power_on` boots the firmware in `vm`, `power_off` ends it where it stands.

    The firmware reaches the hardware through what `bind` gives for an operation.
    """

    def __init__(
        self,
        kernel: Kernel,
        config: BoardConfig,
        dialer: Dialer,
        make_vm: Callable[[], Vm],
        rng: random.Random,
        console: Callable[[str], None],
        recorder: Recorder | None = None,
        files: BoardFiles | None = None,
    ) -> None:
        self.kernel = kernel
        self._clock = kernel.clock
        self.config = config
        self.rng = rng
        self.console = console
        self.files = files or BoardFiles(config.files_bytes // BLOCK_BYTES or BLOCKS)
        self.flash = self._make_flash()
        self.i2c = I2CBus()
        self.clocks = Clocks(config)
        self.timers = Timers()
        self.wifi = Wifi(config.wifi_connect_ms * 1000, self.now_us)
        self.wifi.on_lost = lambda: self.net.lose_all(net.ECONNABORTED)
        self.net = NetStack(dialer, self.wifi.is_connected, self.wake)
        self.recorder = recorder
        self.reset_cause = RESET_POWER_ON
        self.boots = 0
        self.raised = 0  # how often boot.py or main.py ended with an exception
        self.error: BaseException | None = None
        self.reported: Callable[[], None] = lambda: None
        self.viewed: Callable[..., None] = lambda *_: None
        self._make_vm = make_vm
        self.powered = False
        self.rtc_memory = b""
        self.exhausted: str | None = None  # "network" or "python"
        self._watched: dict[str, list[list[Any]]] = {}
        self._waking: asyncio.TimerHandle | None = None
        self._watchdog: asyncio.TimerHandle | None = None
        self._vm: Vm | None = None
        self._fibre: Fibre | None = None
        self._lag_us = 0  # virtual time that calls have cost and the kernel does not know of yet
        self._turn_us = 0
        self._interrupted = False
        self._operations, self._clock_operations = operations(self)

    def _make_flash(self) -> Flash:
        rng = random.Random(self.rng.getrandbits(64))
        flash = Flash(self.config.flash_bytes, granularity=self.config.page_bytes, rng=rng)
        for partition in self.config.partitions:
            if partition.encrypted:
                flash.encrypt(partition.offset, partition.size)
        flash.on_busy = self.spend
        flash.on_cut = self.power_off
        return flash

    # power

    def power_on(self) -> None:
        """Boot from nothing; without effect on a board that has power."""
        if self.powered:
            return
        self.powered = True
        self.clocks.power_on(self.kernel.now_us())
        self.i2c.power_cycle()
        self.rtc_memory = b""
        self._boot(RESET_POWER_ON)

    def power_off(self) -> None:
        """Cut the power: nothing of the firmware runs after this. From inside it does not return."""
        self.powered = False
        self.flash.lose_power()
        if self._waking is not None:
            self._waking.cancel()
            self._waking = None
        self._stop()

    def reset(self, cause: int, after_us: int = 0) -> None:
        """Stop, and boot again after `after_us`; the RTC and its memory live on. From inside: no return."""
        at_us = self.now_us() + after_us
        if self._waking is not None:
            self._waking.cancel()
        self._waking = self.kernel.call_at(at_us, lambda: self._reboot(cause))
        self.flash.sync()  # its supply stays: what it was told, it does
        self._stop()

    def brown_out(self, down_us: int) -> None:
        """The supply sags and comes back: an ESP32's brown-out detector holds it in reset meanwhile."""
        if self.powered:
            self.flash.lose_power()
            self.reset(RESET_WDT, down_us)

    def watch_call(self, operation: str, nth: int, callback: Callable[[], None]) -> None:
        """Call `callback` in the firmware's fibre when `operation` is called the `nth` time from now.

        Raises `ValueError` for an operation that no board has.
        """
        self.check_call(operation)
        self._watched.setdefault(operation, []).append([nth, callback])

    def check_call(self, operation: str) -> None:
        """Raises `ValueError` for an operation that no board has."""
        known = {*self._operations, *self._clock_operations}
        if operation not in known:
            raise ValueError(f"call {operation!r} is none of {', '.join(sorted(known))}")

    def feed(self, timeout_us: int | None) -> None:
        """Start or feed the watchdog; None stops it, which only a reset can do."""
        if self._watchdog is not None:
            self._watchdog.cancel()
            self._watchdog = None
        if timeout_us is not None:
            self._watchdog = self.kernel.call_at(self.now_us() + timeout_us, lambda: self.reset(RESET_WDT))

    def _stop(self) -> None:
        fibre, vm = self._fibre, self._vm
        self._fibre = self._vm = None
        self.feed(None)
        self.timers.clear()
        self.net.power_off()
        self.wifi.reset()
        if self.recorder is not None:
            self.recorder.cut(self)
        if vm is not None:
            vm.kill()
        if fibre is not None:
            fibre.abandon()

    def _reboot(self, cause: int) -> None:
        self._waking = None
        self.clocks.reset(self.kernel.now_us())
        self._boot(cause)

    def _boot(self, cause: int) -> None:
        self.reset_cause = cause
        self.boots += 1
        self._lag_us = 0
        self._turn_us = self.kernel.now_us()
        self._vm = self._make_vm()
        self._fibre = Fibre(self.kernel, self._run, self._hangs)
        self._fibre.start()

    def _run(self) -> None:
        assert self._vm is not None
        try:
            self._vm.run(self)
        except Exception as e:  # the simulator's own fault: the run must not look like a quiet board
            self._fail(e)

    def _fail(self, error: Exception) -> None:
        self.error = error
        print(f"{self.config.name}: {type(error).__name__}: {error}", file=sys.stderr)

    def _hangs(self) -> None:
        """Called in the firmware's fibre by the guard; does not return."""
        self._fail(FirmwareHangs())
        self._stop()

    async def report(self) -> bool:
        """Have the firmware's clients tell `recorder` what they hold; False when it is off or silent for 5 s."""
        if self._vm is None:
            return False
        reported = self.kernel.loop.create_future()

        def done() -> None:
            if not reported.done():
                reported.set_result(None)

        self.reported = done
        self.timers.start(_REPORT_TIMER, self.kernel.now_us(), 1, False)
        self.wake()
        try:
            await asyncio.wait_for(reported, 5)
        except asyncio.TimeoutError:
            return False
        return True

    # turns

    def now_us(self) -> int:
        """True time, with what the calls since the last turn have cost."""
        return self._clock.now_us + self._lag_us

    def spend(self, us: int) -> None:
        """The hardware is busy for `us`, and the firmware with it; in real time it takes what it takes."""
        if self.kernel.virtual:
            self._lag_us += us
            if self._lag_us >= _TURN_US:
                self._catch_up()

    def _catch_up(self) -> None:
        """Let the kernel know of the time that calls have cost; what wakes the board does not end it."""
        end_us = self.now_us()
        while self.now_us() < end_us or self._lag_us:
            self.park(end_us)

    def wake(self) -> None:
        if self._fibre is not None:
            self._fibre.wake()

    def park(self, until_us: int | None) -> None:
        """Give way until something happens to the board, or until `until_us`."""
        self._lag_us = 0
        if until_us is not None and self.kernel.skip_to(until_us):
            return
        assert self._fibre is not None
        self._fibre.park(until_us)
        self._turn_us = self._clock.now_us
        if self._interrupted:
            self._interrupted = False
            raise Interrupted

    def interrupt(self) -> None:
        """Ctrl-C while the firmware waits for its board: the call it waits in raises `Interrupted`."""
        self._interrupted = True
        self.wake()

    def wait(self, done: Callable[[], bool], timeout_us: int | None) -> bool:
        """Block the firmware until `done()`, at most `timeout_us`; whether it was done."""
        end_us = None if timeout_us is None else self.now_us() + timeout_us
        while not done():
            if end_us is not None and self.now_us() >= end_us:
                return False
            self.park(end_us)
        return True

    def sleep_until(self, end_us: int) -> bool:
        """Sleep until `end_us` or the next timer; True at the end."""
        while True:
            now_us = self._clock.now_us + self._lag_us
            if now_us >= end_us:
                return True
            timer_us = self.timers.next_us
            if timer_us is None or timer_us > end_us:
                self.park(end_us)
            elif timer_us > now_us:
                self.park(timer_us)
            else:
                return False

    def bind(self, operation: str, on_due: Callable[[list[int]], None]) -> Callable[..., Any]:
        """What the firmware calls for `operation`, with its arguments, and the result of which it gets.

        After it, `on_due` is given the timers that are due. It raises `OSError` with the number that the firmware
        shall see; then timers wait for the next call. KeyError for an operation that no board has.
        """
        if operation in self._clock_operations:
            return self._bind_clock(operation, on_due)
        function = self._operations[operation]
        kernel, clock, timers = self.kernel, self._clock, self.timers
        free = operation.startswith(_FREE)
        cost_us = self.config.call_us if kernel.virtual and not free else 0
        gives_turns = not (kernel.virtual or free)

        def ask(*arguments: Any) -> Any:
            kernel.calls += 1
            if self._watched or self.exhausted is not None:
                self._disturb(operation)
            self._lag_us += cost_us
            if self._lag_us >= _TURN_US:
                self._catch_up()
            elif gives_turns and clock.now_us - self._turn_us >= _TURN_US:
                self._give_turn()
            try:
                result = function(*arguments)
            except OSError as e:
                if e.errno is None:  # MicroPython's errno is the only argument, CPython's is not
                    e.errno, e.strerror = e.args[0], f"error {e.args[0]}"
                if 0 < e.args[0] < _ESP_IDF:
                    e.args = e.args[:1]  # only errors of ESP-IDF and mbedTLS have words
                raise
            except (AttributeError, LookupError, ArithmeticError) as e:
                raise TypeError(f"{operation}: {e}") from e  # an argument of another kind
            due_us = timers.next_us
            if due_us is not None and due_us <= clock.now_us + self._lag_us:
                on_due(timers.take_due(clock.now_us + self._lag_us))
            return result

        return ask

    def _bind_clock(self, operation: str, on_due: Callable[[list[int]], None]) -> Callable[[], int]:
        """As `bind`, for an operation that cannot fail and looks at nothing but the time."""
        at = self._clock_operations[operation]
        kernel, clock, timers = self.kernel, self._clock, self.timers
        cost_us = self.config.call_us if kernel.virtual else 0

        def ask() -> int:
            kernel.calls += 1
            if self._watched or self.exhausted is not None:
                self._disturb(operation)
            self._lag_us += cost_us
            if self._lag_us >= _TURN_US:
                self._catch_up()
            elif not kernel.virtual and clock.now_us - self._turn_us >= _TURN_US:
                self._give_turn()
            now_us = clock.now_us + self._lag_us
            result = at(now_us)
            if timers.next_us is not None and timers.next_us <= now_us:
                on_due(timers.take_due(now_us))
            return result

        return ask

    def _disturb(self, operation: str) -> None:
        self._count_watched(operation)
        if self.exhausted is not None:
            self._meet_exhaustion(operation)

    def _count_watched(self, operation: str) -> None:
        for entry in list(self._watched.get(operation, ())):
            entry[0] -= 1
            if entry[0] <= 0:
                self._watched[operation].remove(entry)
                entry[1]()

    def _meet_exhaustion(self, operation: str) -> None:
        """What allocates fails: buffers of the network stack with ENOMEM, Python objects with MemoryError."""
        if self.exhausted == "network" and operation in ("sockets.open", "sockets.connect", "sockets.send"):
            raise OSError(net.ENOMEM, "ENOMEM")
        if self.exhausted == "python" and operation in _ALLOCATING:
            raise MemoryError

    def _give_turn(self) -> None:
        assert self._fibre is not None
        self.kernel.loop.call_soon(self._fibre.wake)
        self.park(None)


def operations(board: Board) -> tuple[dict[str, Callable[..., Any]], dict[str, Callable[[int], int]]]:
    from .operations import clock_table, table  # the tables know the board, the board only their keys

    return table(board), clock_table(board)
