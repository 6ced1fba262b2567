"""How fast a backlog drains: prints a table of docs/benchmarks.md.

    python tools/bench_backlog.py [--readings 10000]

A board without Wi-Fi fills its ring in flash, then the Wi-Fi comes: readings per second of board time from the first
frame that is stored to the last, over the WebSocket and over HTTP, at several round trips. A benchmark, not a test.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from host_sim.journal import Verdict
from host_sim.world import ROOT, World

ROUND_TRIPS_MS = (5, 50, 200)
TRANSPORTS = {"WebSocket": "auto", "HTTP": "http"}
# Who drives the link: the board file's timer, every 200 ms, or a program that waits for it.
DRIVEN = {"by the timer": (200, "time.sleep(60)"), "by `px.sleep`": (0, "px.sleep(60)")}
_END_S = 3600

FIRMWARE = """
import time
from plexus_mp import Plexus

px = Plexus(source_id="drain", transport="TRANSPORT", tick_ms=TICK_MS)
for n in range(READINGS):
    px.send("n", n)
while True:
    SLEEP
"""


def drain(transport: str, driven: str, round_trip_ms: int, readings: int) -> tuple[float, Verdict]:
    """Readings per second of board time, and the verdict."""
    tick_ms, sleep = DRIVEN[driven]
    world = World(1, virtual=True)
    times_us = _times_of_commits(world)

    async def run() -> Verdict:
        await world.start()
        with TemporaryDirectory() as folder:
            source = FIRMWARE.replace("TRANSPORT", TRANSPORTS[transport]).replace("SLEEP", sleep)
            source = source.replace("TICK_MS", str(tick_ms)).replace("READINGS", str(readings))
            (Path(folder) / "boot.py").write_bytes((ROOT / "firmware" / "boot.py").read_bytes())
            (Path(folder) / "main.py").write_text(source)
            board_file = ROOT / "boards" / "esp32_flash_ring.py"
            placement = world.add_board(Path(folder), board_file, "cpython", console=lambda text: None)
            path = placement.wires.path
            path.up_us = path.down_us = round_trip_ms * 500
            placement.board.wifi.set_available(False)
            placement.board.power_on()
            while len(placement.witness.journal.accepted) < readings:
                await asyncio.sleep(1)
            placement.board.wifi.set_available(True)
            while world.store is not None and world.store.count() < readings:
                await asyncio.sleep(1)
                assert world.kernel.now_us() < _END_S * 1e6, "the backlog does not drain"
        return await world.finish()

    verdict = world.kernel.run(run())
    world.kernel.close()
    # Of the first frame it is not known when it began.
    (start_us, first), (end_us, _) = times_us[0], times_us[-1]
    return (readings - first) / (end_us - start_us) * 1e6, verdict


def _times_of_commits(world: World) -> list[tuple[int, int]]:
    """(when, how many points) of each commit of the gateway's, as they come."""
    store: Any = world.store
    insert = store.insert
    times_us: list[tuple[int, int]] = []

    def watched(points: Any, received_ms: int) -> Any:
        times_us.append((world.kernel.now_us(), len(points)))
        return insert(points, received_ms)

    store.insert = watched
    return times_us


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--readings", type=int, default=10_000)
    arguments = parser.parse_args()
    print(f"| driven | transport | {' | '.join(f'{ms} ms' for ms in ROUND_TRIPS_MS)} |")
    print("|---|---|" + "--:|" * len(ROUND_TRIPS_MS))
    for driven in DRIVEN:
        for transport in TRANSPORTS:
            cells = []
            for round_trip_ms in ROUND_TRIPS_MS:
                rate, verdict = drain(transport, driven, round_trip_ms, arguments.readings)
                clean = verdict.clean and verdict.stored == verdict.accepted
                cells.append(f"{rate:,.0f}" if clean else f"NOT CLEAN {verdict.counts()}")
            print(f"| {driven} | {transport} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
