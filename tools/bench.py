"""How fast board time passes: `make bench`, or python tools/bench.py [--days 7] [--hours 1].

Runs the demo firmware without faults in virtual time: days on the cpython VM, hours on the real MicroPython.
Prints the ratio to real time, and where the processor's time goes. A benchmark, not a test: it never fails
for being slow.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats
import resource
import time
from collections import Counter
from pathlib import Path

from host_sim.journal import Verdict
from host_sim.scenario import find_scenario
from host_sim.world import ROOT, World

# What a file of the profile counts as, first match wins.
_PARTS = {
    "/h11/": "HTTP protocol (h11)",
    "/wsproto/": "WebSocket protocol (wsproto)",
    "uvicorn": "server protocols (uvicorn)",
    "asyncio": "event loop",
    "host_sim/gateway": "gateway",
    "sqlite": "gateway",
    "host_sim/board": "board and sensor",
    "host_sim/shims": "MicroPython modules",
    "host_sim": "simulator",
    "lib/plexus_mp": "device library",
    "firmware": "firmware",
    "~": "built-in functions",
}


def run(vm: str, seconds: float, name: str = "") -> tuple[Verdict, float, float]:
    """The verdict, seconds of wall clock, and seconds of this process's and its children's processors.

    `name` is that of a scenario, which is played as long.
    """
    world = World(1, virtual=True)
    scenario = find_scenario(name) if name else None

    async def play() -> Verdict:
        await world.start()
        board = (scenario and scenario.board_file()) or ROOT / "boards" / "esp32.py"
        placement = world.add_board(ROOT / "firmware", board, vm, console=lambda text: None)
        if scenario is not None:
            world.direct(placement, scenario, seconds)
        placement.board.power_on()
        await asyncio.sleep(seconds)
        return await world.finish()

    start, cpu = time.monotonic(), _cpu_s()
    verdict = world.kernel.run(play())
    return verdict, time.monotonic() - start, _cpu_s() - cpu


def _cpu_s() -> float:
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in usage)


def report(vm: str, seconds: float, span: str, name: str = "") -> None:
    verdict, wall_s, cpu_s = run(vm, seconds, name)
    span = f"{span}, `{name}`" if name else span
    state = "clean" if verdict.clean and (name or not verdict.resent) else f"NOT CLEAN {verdict.counts()}"
    sample_us = cpu_s / (verdict.accepted / 3) * 1e6
    print(
        f"| {vm} | {span} | {verdict.accepted} | {state} | {wall_s:.0f} | {seconds / wall_s:,.0f} | {sample_us:.0f} |"
    )


def profile(seconds: float) -> None:
    profiler = cProfile.Profile()
    profiler.enable()
    run("cpython", seconds)
    profiler.disable()
    parts: Counter[str] = Counter()
    for (path, _, _), (_, _, own_s, _, _) in pstats.Stats(profiler).stats.items():  # type: ignore[attr-defined]
        parts[next((name for key, name in _PARTS.items() if key in Path(path).as_posix()), "other")] += own_s
    total_s = sum(parts.values())
    for name, own_s in parts.most_common():
        print(f"| {name} | {own_s / total_s:.0%} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--days", type=float, default=7)
    parser.add_argument("--hours", type=float, default=1)
    arguments = parser.parse_args()
    print("| VM | board time | readings | journal | wall s | times real time | processor µs a sample |")
    print("|---|---|--:|---|--:|--:|--:|")
    report("cpython", arguments.days * 86400, f"{arguments.days:g} d")
    report("cpython", arguments.days * 86400, f"{arguments.days:g} d", "week-in-a-house")
    report("micropython", arguments.hours * 3600, f"{arguments.hours:g} h")
    print("\n| on the cpython VM | share of the time, profiled |")
    print("|---|--:|")
    profile(3600)


if __name__ == "__main__":
    main()
