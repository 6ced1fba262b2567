"""One run from start to verdict, on a terminal: what `run`, `demo` and `gateway` do."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from .gateway import GatewayServer, Generation, Grant, Settings, create_app, open_store
from .journal import Verdict
from .kernel import Kernel
from .scenario import ROUTES, Scenario
from .world import Placement, Target, World

_GENERATIONS = ("aug", "oct")
_STATUS_S = 2.0
# Without an end random events are spread over, and repeated ones planned for, so long.
_ENDLESS_S = 86_400.0
_API_KEY_MAX = 128


@dataclass(frozen=True)
class RunOptions:
    """What a run was asked for; times in seconds."""

    firmware: Path
    board_file: Path
    vm: str
    seconds: float | None
    seed: int
    trace: str
    store: str
    target: Target | None
    port: int = 0
    virtual: bool = False
    scenario: Scenario | None = None
    interpreter: str | None = None
    view: bool = False


def run_session(options: RunOptions, as_json: bool, as_demo: bool) -> int:
    """Run until the time is over or Ctrl-C; 0 when nothing was lost or stored twice, else 1."""
    route = ROUTES[0] if options.scenario is None else options.scenario.gateway
    world = World(
        options.seed, options.store, options.target, "127.0.0.1", options.port, options.virtual, route
    )
    started = time.monotonic()
    verdict = world.kernel.run(_run(world, options, as_demo))
    wall_s = time.monotonic() - started
    board_s = world.kernel.now_us() / 1e6
    board = world.placements[0].board
    if as_json:
        line = {
            "seed": options.seed,
            **verdict.counts(),
            "time_error_ms": verdict.time_error_ms,
            "raised": board.raised,
            "digest": world.digests(),
            "board_s": round(board_s, 1),
            "wall_s": round(wall_s, 1),
        }
        print(json.dumps(line), flush=True)
    else:
        print(in_words(verdict), flush=True)
        if board.raised:
            print(f"boot.py or main.py ended with an exception, {board.raised} times", flush=True)
    # A demo, a program that broke before it sent, or a run whose readings all stay on the board, would prove nothing.
    idle = verdict.stored == 0 and (as_demo or verdict.accepted > 0 or board.raised > 0)
    return 0 if verdict.clean and not idle and board.error is None else 1


async def _run(world: World, options: RunOptions, as_demo: bool) -> Verdict:
    target = await world.start()
    heard: list[Callable[[str], None]] = [_quiet if as_demo else _console]
    placement = world.add_board(
        options.firmware,
        options.board_file,
        options.vm,
        options.trace,
        lambda text: heard[-1](text),
        options.interpreter,
    )
    _say_hello(world, options, target)
    if options.scenario is not None:
        world.direct(placement, options.scenario, options.seconds or _ENDLESS_S)
    with ctrl_c(world.kernel) as stopped:
        shown = _show(world, placement, options, as_demo, stopped, heard)
        status = None if shown is None else asyncio.ensure_future(shown)
        placement.board.power_on()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(stopped.wait(), options.seconds)
        if status is not None:
            status.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await status
    heard[:] = heard[:1]
    return await world.finish()


def _show(
    world: World,
    placement: Placement,
    options: RunOptions,
    as_demo: bool,
    stopped: asyncio.Event,
    heard: list[Callable[[str], None]],
) -> Coroutine[Any, Any, None] | None:
    """What is shown while the board runs, beside what it prints; the view shows that, too."""
    if options.view:
        from .view.terminal import View  # needs a terminal, which not all systems have

        view = View(world, placement, options.vm, stopped)
        heard.append(view.watcher.hear)
        return view.show()
    return _show_status(world) if as_demo else None


def _say_hello(world: World, options: RunOptions, target: Target) -> None:
    if world.server is not None and world.server.moved_from:
        print(f"port {world.server.moved_from} is busy, using {world.server.port}")
    page = world.server.page_url if world.server is not None else target.url
    print(f"gateway  {page}{' in virtual time' if options.virtual else ''}")
    print(
        f"board    {options.board_file.stem}, {options.vm}, {options.firmware}, seed {options.seed}",
        flush=True,
    )


async def _show_status(world: World) -> None:
    """A line now and then: what is stored, and the newest values."""
    while True:
        await asyncio.sleep(_STATUS_S)
        print(_status(world), flush=True)


def _status(world: World) -> str:
    assert world.store is not None
    accepted = sum(len(placement.witness.journal.accepted) for placement in world.placements)
    values = {}
    for source in world.store.sources():
        values.update(world.store.latest(source.source_id, 0))
    shown = "  ".join(f"{metric} {value:.2f}" for metric, value in sorted(values.items()))
    return f"{world.kernel.now_us() / 1e6:6.0f} s  sent {accepted}  stored {world.store.count()}  {shown}"


@contextlib.contextmanager
def ctrl_c(kernel: Kernel) -> Iterator[asyncio.Event]:
    """An event that Ctrl-C or a polite kill sets, so that a run still ends with its verdict."""
    stopped = asyncio.Event()
    numbers = (signal.SIGINT, signal.SIGTERM)
    if kernel.virtual:  # a loop that looks at no files cannot be woken through one, and never sleeps
        before = [signal.signal(number, lambda *_: stopped.set()) for number in numbers]
    else:
        for number in numbers:
            kernel.loop.add_signal_handler(number, stopped.set)
    try:
        yield stopped
    finally:
        if kernel.virtual:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)
        else:
            for number in numbers:
                kernel.loop.remove_signal_handler(number)


def _console(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _quiet(text: str) -> None:
    """The demo's status lines are the show; what the board prints is trouble, and shown as such."""
    if text.strip():
        print(f"board says: {text}", end="", flush=True)


def in_words(verdict: Verdict) -> str:
    text = f"{verdict.accepted} readings accepted, {verdict.stored} stored, {verdict.pending} waiting on the board, "
    text += f"{verdict.lost} lost, {verdict.duplicates} stored twice"
    if verdict.dropped or verdict.rejected:
        text += f", {verdict.dropped} dropped, {verdict.rejected} rejected"
    if verdict.at_cut:
        text += f", {verdict.at_cut} in RAM when the power went ({verdict.at_cut_ms / 1000:.0f} s at most)"
    return text


class GatewaySession:
    """The gateway alone. Raises `ValueError` for a key or generation that does not fit."""

    def __init__(self, host: str, port: int, store: str, api_key: str | None, generation: str) -> None:
        if generation not in _GENERATIONS:
            raise ValueError(f"--generation must be aug or oct, not {generation!r}")
        if not api_key or len(api_key) > _API_KEY_MAX:
            raise ValueError(
                f"the gateway needs a key of 1 to {_API_KEY_MAX} characters: --api-key or PLEXUS_API_KEY"
            )
        settings = Settings(keys={api_key: Grant()}, generation=cast(Generation, generation))
        self._kernel = Kernel(virtual=False)
        self._store = open_store(store)
        app = create_app(settings, self._store, self._kernel.unix_ms, random.SystemRandom())
        self._server = GatewayServer(app, host, port)

    def run(self) -> int:
        self._kernel.run(self._serve())
        return 0

    async def _serve(self) -> None:
        await self._server.start()
        if self._server.moved_from:
            print(f"port {self._server.moved_from} is busy, using {self._server.port}")
        print(f"gateway  {self._server.page_url}", flush=True)
        with ctrl_c(self._kernel) as stopped:
            await stopped.wait()
        await self._server.stop()
        self._store.close()
