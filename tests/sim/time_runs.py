"""How well readings are dated, whatever happens: what docs/time.md has in its table."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from host_sim.answers import Rule
from host_sim.gateway import Fate, Frame, Hello, Say
from host_sim.world import Placement, World
from tests.e2e.simulation import program, simulate
from tests.sim.time_boards import BOARD, DAY_S, HOUR_S, During, Row, Sample, Setup, path, play

YEAR_S = 365 * DAY_S

# A wake is a boot: it numbers its reading in the RTC's memory, and meets the gateway at every sixth.
SLEEPER = """
import machine
from plexus_mp import Plexus
memory = machine.RTC().memory
n = int(memory() or b"0")
memory(str(n + 1).encode())
px = Plexus(source_id="clock", tick_ms=0)
px.send("n", n * 1000000 + 999999)
if n % 6 == 0:
    px.flush_buffer(60)
machine.deepsleep(600000)
"""


# synced boots


def symmetric(vm: str, seconds: float = 600) -> list[Row]:
    rows = []
    for rtt_ms in (0, 40, 200, 600):
        run = play(vm, seconds, setup=path(rtt_ms / 2, rtt_ms / 2))
        what = f"synced boot, WebSocket, round trip {rtt_ms} ms, the same both ways"
        rows.append(Row(what, rtt_ms / 2 + 10, run.error_ms(), run.bound_ms(), "half of it and 10 ms"))
    return rows


def asymmetric(vm: str, seconds: float = 600) -> list[Row]:
    rows = []
    for up_ms, down_ms, jitter_ms in ((5, 300, 0), (300, 5, 0), (20, 20, 400)):
        run = play(vm, seconds, setup=path(up_ms, down_ms, jitter_ms))
        what = f"{up_ms} ms there, {down_ms} ms back, up to {jitter_ms} ms more each way"
        bound_ms = run.bound_ms()
        rows.append(Row(what, bound_ms, run.error_ms(), bound_ms, "never beyond its bound, polling included"))
    return rows


# what was sent once


async def _lose_acks(world: World, placement: Placement, then: During) -> None:
    """Frames are stored and never acknowledged; meanwhile something changes; then all is well again."""
    await asyncio.sleep(60)
    end = world.answers.add(Rule(False, Fate.HANG, 0.0, None, Frame))
    await asyncio.sleep(20)
    await then(world, placement)
    await asyncio.sleep(60)
    end()


async def _other_round_trip(world: World, placement: Placement) -> None:
    path(400, 100)(placement)


async def _other_drift(world: World, placement: Placement) -> None:
    placement.board.clocks.set_drift(placement.board.now_us(), 80)


async def _power_cut(world: World, placement: Placement) -> None:
    path(200, 20)(placement)
    placement.board.power_off()
    await asyncio.sleep(5)
    placement.board.power_on()


async def _recycled(world: World, placement: Placement) -> None:
    """Long enough for a ring of four sectors to go round."""
    path(200, 20)(placement)
    await asyncio.sleep(600)


def _small_ring(placement: Placement) -> None:
    placement.board.files.write(
        "/plexus_board.py",
        placement.board.files.read("/plexus_board.py")
        + b'\nRING = "files"\nRING_BYTES = 4096\nSECTOR_BYTES = 1024\n'
        b"COMMIT_MS = 10000\nPAGE_BYTES = 600\n",
    )


def resent(vm: str) -> list[Row]:
    rows = []
    cases: tuple[tuple[str, During, Setup | None, float], ...] = (
        ("with another round trip", _other_round_trip, None, 400),
        ("with another drift", _other_drift, None, 400),
        ("with a power cut in between", _power_cut, None, 400),
        ("with its sector recycled", _recycled, _small_ring, 1000),
    )
    for name, then, setup, seconds in cases:
        run = play(vm, seconds, 2, setup=setup, during=partial(_lose_acks, then=then))
        verdict = run.outcome.verdict
        assert verdict.resent > 0, name
        told = f"{verdict.resent} readings sent again, {verdict.duplicates} stored twice, {verdict.lost} lost"
        what = f"acknowledgement lost, then a new sync {name}"
        bound_ms = run.bound_ms()
        rows.append(Row(what, bound_ms, run.error_ms(), bound_ms, told))
    return rows


# a long life


def drifting(vm: str, days: float, transport: str, period_s: float = 60) -> list[Row]:
    """The first hour, and what comes behind it, at 50 ppm either way."""
    rows = []
    allowed_ms = (200, 50) if transport == "auto" else (600, 600)
    for ppm in (-50, 50):
        arguments = f', transport="{transport}", tick_ms=1000'
        run = play(vm, days * DAY_S, period_s, arguments, path(10, 10, 60, ppm), ends=True)
        _, _, syncs, outliers, _, drift_ppb = run.told()
        name = f"{'WebSocket' if transport == 'auto' else 'HTTP only'}, {ppm:+} ppm, 10 to 70 ms each way"
        bound_ms = run.bound_ms()
        first_ms, later_ms = run.error_ms(0, HOUR_S), run.error_ms(HOUR_S)
        told = f"{-drift_ppb / 1000:+.1f} ppm told, {outliers} outliers"
        if transport == "auto":
            told += f", {syncs - 1} reconnects"
        rows.append(
            Row(f"{name}: the first hour", allowed_ms[0], first_ms, bound_ms, "the drift is not known yet")
        )
        rows.append(Row(f"{name}: the rest of {days:g} days", allowed_ms[1], later_ms, None, told))
    return rows


def sleeping(vm: str, hours: float = 24) -> list[Row]:
    rows = []
    for name, wanders in (("5 % too fast", False), ("wandering by up to 5 % either way", True)):
        rng = random.Random(7)

        async def wander(
            world: World, placement: Placement, rng: random.Random = rng, wanders: bool = wanders
        ) -> None:
            for _ in range(int(hours * 12) - 1):
                placement.board.config.sleep_drift_ppm = rng.uniform(-50_000, 50_000) if wanders else 50_000
                await asyncio.sleep(300)

        run = play(vm, hours * HOUR_S, setup=path(20, 20), during=wander, source=SLEEPER)
        synced = [s for s in run.samples if not s.guessed]
        between = [s for s in run.samples if s.guessed]
        assert between and all(s.number % 6 for s in between) and not any(s.number % 6 for s in synced)
        assert [s.number for s in run.samples] == list(range(len(run.samples)))
        bound_ms = max(_bound_ms(s, synced) for s in between)
        for sample in between:
            assert abs(sample.error_ms) <= _bound_ms(sample, synced), sample
        what = f"deep sleep, its clock {name}: six wakes of ten minutes between two syncs"
        worst_ms = max(abs(s.error_ms) for s in between)
        exact_ms = max(abs(s.error_ms) for s in synced)
        rows.append(Row(what, bound_ms, worst_ms, bound_ms, f"tagged; wakes with a sync {exact_ms} ms"))
    return rows


def _bound_ms(sample: Sample, synced: list[Sample]) -> int:
    """Between two syncs: a tenth of what the way there and the way on have in common, and 500 ms for the boots."""
    before = max(s.true_ms for s in synced if s.true_ms < sample.true_ms)
    after = min(s.true_ms for s in synced if s.true_ms > sample.true_ms)
    there, on = sample.true_ms - before, after - sample.true_ms
    return int(0.105 * there * on / (there + on)) + 500


# boots


def reboots(vm: str, count: int = 20) -> list[Row]:
    rng = random.Random(3)

    async def during(world: World, placement: Placement) -> None:
        for _ in range(count):
            await asyncio.sleep(rng.uniform(20, 90))
            placement.board.power_off()
            placement.board.wifi.set_available(rng.random() < 0.6)
            await asyncio.sleep(rng.uniform(1, 60))
            placement.board.power_on()
        placement.board.wifi.set_available(True)

    run = play(vm, count * 160, 2, setup=path(20, 20), during=during)
    guessed = [s for s in run.samples if s.guessed]
    synced = [s for s in run.samples if not s.guessed]
    stamps = [s.true_ms + s.error_ms for s in run.samples]
    assert guessed and stamps == sorted(stamps), "not in order"
    boots = {s.number // 1_000_000 for s in guessed}
    assert not boots & {s.number // 1_000_000 for s in synced}
    assert min(stamps) > 1_790_000_000_000
    told = f"{len(boots)} boots met no gateway: tagged, in order, between their neighbours"
    worst_ms = max(abs(s.error_ms) for s in synced)
    return [
        Row(
            f"{count} random power cuts, some boots without network: synced boots",
            30,
            worst_ms,
            run.bound_ms(),
            told,
        )
    ]


def before_the_first(vm: str, minutes: float = 20, known_h: float = 4) -> list[Row]:
    rows = []
    for ppm, boot in ((0, "first"), (50, "first"), (50, "second")):
        known_s = known_h * HOUR_S if boot == "second" else 0.0

        async def during(world: World, placement: Placement, known_s: float = known_s) -> None:
            board = placement.board
            if known_s:
                await asyncio.sleep(known_s)
                board.power_off()
                await asyncio.sleep(1)
            board.wifi.set_available(False)
            board.power_on()
            await asyncio.sleep(minutes * 60)
            board.wifi.set_available(True)

        early_s = known_s + minutes * 60
        run = play(vm, early_s + minutes * 60, 10, setup=path(20, 20, 0, ppm), during=during)
        what = f"the {minutes:g} minutes before the first answer, {ppm} ppm, in a board's {boot} boot"
        allowed_ms = 30 + (minutes * 60 * ppm / 1000 if boot == "first" else 0)
        told = f"later ones {run.error_ms(early_s + 60)} ms"
        rows.append(Row(what, allowed_ms, run.error_ms(known_s + 1, early_s), None, told))
    return rows


# clocks


def wraps(vm: str) -> list[Row]:
    rows = []
    for name, period_ms in (("2^29", 1 << 29), ("2^30", 1 << 30), ("2^32", 1 << 32)):

        def setup(placement: Placement, period_ms: int = period_ms) -> None:
            placement.board.config.ticks_period_ms = period_ms
            placement.board.config.ticks_start_ms = period_ms - 10_000
            path(20, 20)(placement)

        run = play(vm, 120, 1, setup=setup)
        rows.append(
            Row(f"ticks that wrap at {name}, 10 s after the start", 30, run.error_ms(), run.bound_ms(), "")
        )
    return rows


def epochs(vm: str) -> list[Row]:
    rows = []
    for year in (1970, 2000):

        def setup(placement: Placement, year: int = year) -> None:
            placement.board.config.epoch_year = year
            path(20, 20)(placement)

        run = play(vm, 120, 2, setup=setup)
        rows.append(Row(f"a clock that counts from {year}", 30, run.error_ms(), run.bound_ms(), ""))
    return rows


def rtc_jump(vm: str) -> list[Row]:
    async def during(world: World, placement: Placement) -> None:
        await asyncio.sleep(60)
        now_us = placement.board.now_us()
        clocks = placement.board.clocks
        clocks.set_rtc_us(now_us, clocks.rtc_us(now_us) + int(YEAR_S * 1e6))

    run = play(vm, 180, 2, setup=path(20, 20), during=during)
    return [Row("the real-time clock jumps a year", 30, run.error_ms(), run.bound_ms(), "ticks date, not it")]


def gateway_jump(vm: str) -> list[Row]:
    rows = []
    for name, follows in (("for two minutes", False), ("and stays there", True)):

        async def during(world: World, placement: Placement, follows: bool = follows) -> None:
            await asyncio.sleep(600)
            world.gateway_skew_ms += 3_600_000
            world.abort_connections()
            await asyncio.sleep(120)
            if not follows:
                world.gateway_skew_ms = 0
                world.abort_connections()

        run = play(vm, 2700, 10, setup=path(20, 20), during=during, ends=True, honest=not follows)
        outliers = run.told()[3]
        shown = [s.error_ms > 3_000_000 for s in run.samples]
        assert any(shown) == follows and outliers >= (3 if follows else 1)
        first = 600 if follows else 1e12
        told = f"{outliers} answers that contradict were counted, " + (
            "then followed" if follows else "none followed"
        )
        rows.append(Row(f"the gateway's clock jumps an hour {name}", 30, run.error_ms(0, first), None, told))
    return rows


ABSURD: tuple[Any, ...] = (0, -1, "1800000000000", 10**18)


def absurd(vm: str) -> list[Row]:
    def setup(placement: Placement) -> None:
        path(20, 20)(placement)

    async def during(world: World, placement: Placement) -> None:
        for time_ms in ABSURD:
            said = {"type": "authenticated", "source_id": "clock", "server_time_ms": time_ms, "acks": True}
            world.answers.add(Rule(True, Say(said), 0.0, 1, Hello))

    run = play(vm, 2400, 10, setup=setup, during=during, ends=True)
    synced, _, _, _, refused, _ = run.told()
    assert synced and refused == len(ABSURD), run.told()
    what = "`server_time_ms` of " + ", ".join(map(str, ABSURD[:2])) + ", a text and 10^18"
    return [
        Row(what, 600, run.error_ms(), run.bound_ms(), f"{refused} refused and counted, HTTP told the time")
    ]


STAMPS = """
import time
from plexus_mp import Plexus
px = Plexus(source_id="clock")
px.send("given", 1, timestamp=1700000000)
px.send("given", 2, timestamp=1700000000.25)
px.send("given", 3, timestamp=1700000000123)
px.send_batch([("given", 4, 1700000000456), ("given", 5)], timestamp=1600000000)
for wrong in (0, -1, float("nan"), "now", float("inf"), True):
    try:
        px.send("wrong", 1, timestamp=wrong)
    except (TypeError, ValueError) as e:
        print("refused", e)
"""
GIVEN = {
    1: 1_700_000_000_000,
    2: 1_700_000_000_250,
    3: 1_700_000_000_123,
    4: 1_700_000_000_456,
    5: 1_600_000_000_000,
}


def stamps(vm: str) -> list[Row]:
    with tempfile.TemporaryDirectory() as name:
        outcome = simulate(program(Path(name), STAMPS), vm, 20, board_file=BOARD)
    found = {row.value: row.timestamp_ms for row in outcome.rows()}
    assert found.keys() == GIVEN.keys(), found
    refused = outcome.console.count("refused timestamp must be")
    assert refused == 6, outcome.console
    worst_ms = max(abs(found[value] - GIVEN[value]) for value in GIVEN)
    what = "timestamps that the program gives, seconds and milliseconds"
    return [Row(what, 0, worst_ms, None, "0, negative, NaN, infinite, text, bool: an error that says so")]


EXPERIMENTS: dict[str, Callable[[str], list[Row]]] = {
    "symmetric": symmetric,
    "asymmetric": asymmetric,
    "resent": resent,
    "socket": partial(drifting, days=7, transport="auto"),
    "http": partial(drifting, days=7, transport="http"),
    "sleeping": sleeping,
    "reboots": reboots,
    "before": before_the_first,
    "wraps": wraps,
    "epochs": epochs,
    "rtc": rtc_jump,
    "gateway": gateway_jump,
    "absurd": absurd,
    "stamps": stamps,
}
