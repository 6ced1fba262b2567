"""The `cpython` VM with the library under observation, from outside: what it transmits, and how long its calls take."""

from __future__ import annotations

import json
import time
import types
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from host_sim.board.board import Board
from host_sim.vms.cpython import CPythonVm

# What a caller waits for in one of these is named in docs/blocking.md; a slice cannot be cut out of it.
DNS, ERASE, FILES, TLS = "name resolution", "flash erase", "file", "TLS key exchange"
DATING = "dating boots"
_UNSLICED = {"sockets.resolve": DNS, "partitions.erase": ERASE, "rp2flash.erase": ERASE}
# The key exchange happens in whichever call finds the server's certificate; what else TLS does is far below this.
_EXCHANGE_US = 100_000
# A tick is a slice, whoever drives it: the handlers of commands, which `tick()` calls too, take what they take.
_CALLS = {"send": "send", "send_batch": "send", "_slice": "tick", "_on_timer": "timer"}


@dataclass
class Call:
    """One call of the library by firmware or timer, without those that interrupted it.

    `us` of board time in all, `unsliced` of it by kind; `own_ns` of wall time computed.
    """

    name: str
    at_us: int
    us: int = 0
    own_ns: int = 0
    unsliced: Counter[str] = field(default_factory=Counter)

    @property
    def sliced_us(self) -> int:
        """What should have been cut into slices."""
        return self.us - sum(self.unsliced.values())


@dataclass
class Worst:
    """The longest of the calls of one name: in all, and without what cannot be sliced."""

    calls: int = 0
    longest: Call | None = None
    longest_sliced: Call | None = None
    unsliced: Counter[str] = field(default_factory=Counter)  # us at most in one call, by kind
    own_ns: list[int] = field(default_factory=list)

    def add(self, call: Call) -> None:
        self.calls += 1
        self.own_ns.append(call.own_ns)
        self.unsliced |= call.unsliced
        if self.longest is None or call.us > self.longest.us:
            self.longest = call
        if self.longest_sliced is None or call.sliced_us > self.longest_sliced.sliced_us:
            self.longest_sliced = call

    def merge(self, other: Worst) -> None:
        for call in (other.longest, other.longest_sliced):
            if call is not None:
                self.add(call)
                self.calls -= 1
                self.own_ns.pop()
        self.calls += other.calls
        self.own_ns += other.own_ns
        self.unsliced |= other.unsliced


class Watch:
    """What one board's library did, over all its boots."""

    def __init__(self) -> None:
        self.calls: dict[str, Worst] = {}
        self.frames = 0  # handed to a transport, those without points not counted
        self.resent = 0  # of them, with a point that had been handed over before
        self.probes = 0
        self._seen: set[int] = set()
        self.modules: dict[str, types.ModuleType] = {}
        self._stack: list[Call] = []
        self._marks: list[tuple[int, int]] = []

    # boots

    def boot(self, vm: ObservedVm) -> None:
        self._stack.clear()
        self._marks.clear()
        self.modules = vm.modules

    @property
    def client(self) -> Any:
        """The `Plexus` of the running firmware, None before there is one."""
        start = self.modules.get("_start")
        return start._clients[-1] if start is not None and start._clients else None

    # transport

    def transmitted(self, text: bytes) -> None:
        message = json.loads(text)
        if "points" not in message:
            return
        values = {point["value"] for point in message["points"] if isinstance(point["value"], int)}
        if not message["points"]:
            self.probes += 1
            return
        self.frames += 1
        self.resent += not self._seen.isdisjoint(values)
        self._seen |= values

    # calls

    def enter(self, name: str, now_us: int) -> None:
        self._pause(now_us)
        self._stack.append(Call(name, now_us))
        self._marks.append((now_us, time.perf_counter_ns()))

    def leave(self, now_us: int) -> None:
        self._pause(now_us)
        call = self._stack.pop()
        self._marks.pop()
        self.calls.setdefault(call.name, Worst()).add(call)
        if call.name == "tick" and self._stack and self._stack[-1].name == "timer":
            self._charge(self._stack[-1], call)  # a timer's callback is what it calls
        self._resume(now_us)

    @staticmethod
    def _charge(outer: Call, inner: Call) -> None:
        outer.us += inner.us
        outer.own_ns += inner.own_ns
        outer.unsliced += inner.unsliced

    def _pause(self, now_us: int) -> None:
        if self._stack:
            since_us, since_ns = self._marks[-1]
            self._stack[-1].us += now_us - since_us
            self._stack[-1].own_ns += time.perf_counter_ns() - since_ns

    def _resume(self, now_us: int) -> None:
        if self._stack:
            self._marks[-1] = (now_us, time.perf_counter_ns())

    def dated(self, us: int, before: int) -> None:
        """Boots were given their times, which took `us` with what else cannot be sliced since it was `before`."""
        if self._stack:
            call = self._stack[-1]
            call.unsliced[DATING] += us - (sum(call.unsliced.values()) - before)

    @property
    def unsliced_us(self) -> int:
        """Of the call under way, up to now."""
        return sum(self._stack[-1].unsliced.values()) if self._stack else 0

    def exchanged(self, operation: str, layered: bool, us: int, ns: int) -> None:
        """The board took so long over a call from the library; `layered`: it was about a TLS stream."""
        if not self._stack:
            return
        call = self._stack[-1]
        call.own_ns -= ns
        kind = FILES if operation.startswith("files.") else _UNSLICED.get(operation)
        if layered and us >= _EXCHANGE_US:
            kind = TLS
        if kind is not None and us:
            call.unsliced[kind] += us


def _is_layer(arguments: tuple[Any, ...]) -> bool:
    """Streams of TLS have numbers below zero; `poll` takes a list of them."""
    first = arguments[0][:1] if arguments and isinstance(arguments[0], list) else arguments[:1]
    return bool(first) and isinstance(first[0], int) and first[0] < 0


class ObservedVm(CPythonVm):
    """The `cpython` VM whose library `watch` sees. `rig` is a module that the firmware finds."""

    def __init__(self, watch: Watch, rig: dict[str, Any]) -> None:
        super().__init__()
        self._watch = watch
        self._rig = rig

    def run(self, board: Board) -> None:
        self._watch.boot(self)
        super().run(board)

    def _add_modules(self) -> None:
        super()._add_modules()
        self._module("rig", boot=self._board.boots, **self._rig)

    def _bind(self, operation: str, on_due: Callable[[list[int]], None]) -> Callable[..., Any]:
        board, watch = self._board, self._watch
        marks: list[tuple[int, int, bool] | None] = []

        def over() -> None:
            mark, marks[-1] = marks[-1], None
            if mark is not None:
                us, ns, layered = mark
                watch.exchanged(operation, layered, board.now_us() - us, time.perf_counter_ns() - ns)

        def due(timers: list[int]) -> None:
            over()  # what the timers do is no part of it
            on_due(timers)

        ask = super()._bind(operation, due)

        def asked(*arguments: Any) -> Any:
            layered = operation.startswith(("sockets.", "tls.")) and _is_layer(arguments)
            marks.append((board.now_us(), time.perf_counter_ns(), layered))
            try:
                return ask(*arguments)
            finally:
                over()
                marks.pop()

        return asked

    def _execute(self, name: str, code: types.CodeType, path: str, is_package: bool) -> types.ModuleType:
        module = super()._execute(name, code, path, is_package)
        if name == "plexus_mp.client":
            for method, called in _CALLS.items():
                self._time(module.Plexus, method, called)
        elif name == "plexus_mp.survey":
            self._time_dating(module)
        elif name == "plexus_mp.http":
            self._tap(module.Http, "post", lambda body: bytes(body))
        elif name == "plexus_mp.ws":
            self._tap(
                module.Ws, "send", lambda op, buf, at, n: bytes(buf[at : at + n]) if op == 0x81 else b"{}"
            )
        return module

    def _time(self, cls: type, method: str, called: str) -> None:
        original, watch, board = getattr(cls, method), self._watch, self._board

        def timed(*arguments: Any, **named: Any) -> Any:
            watch.enter(called, board.now_us())
            try:
                return original(*arguments, **named)
            finally:
                watch.leave(board.now_us())

        setattr(cls, method, timed)

    def _time_dating(self, module: Any) -> None:
        original, watch, board = module.survey, self._watch, self._board

        def survey(*arguments: Any) -> Iterator[None]:
            slices = original(*arguments)
            while True:
                start_us, before = board.now_us(), watch.unsliced_us
                more = next(slices, slices) is None
                watch.dated(board.now_us() - start_us, before)
                if not more:
                    return
                yield

        module.survey = survey

    def _tap(self, cls: type, method: str, text_of: Callable[..., bytes]) -> None:
        original, watch = getattr(cls, method), self._watch

        def tapped(this: Any, *arguments: Any) -> Any:
            text = text_of(*arguments)  # before it is masked
            result = original(this, *arguments)
            if result is not False:
                watch.transmitted(text)
            return result

        setattr(cls, method, tapped)
