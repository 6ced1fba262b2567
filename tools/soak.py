"""The long sweeps: `make soak`, or python tools/soak.py [--seeds 1000]. Prints progress; exit code 1 on a failure.

Power cuts at every operation of a history of 2,000 appends, in every way of tearing, and again during the recovery:
on small sectors, on those of 4 KiB for each granularity, plain and encrypted, and for files; every bit of images of
real records flipped; an exception and a timer at every bytecode of the library; then chaos: histories of a day with
every fault, from seeds 1 to N; then each fault of the menu by itself.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from host_sim.chaos.command import chaos
from host_sim.world import ROOT
from tests.e2e import fault_menu, fault_table
from tests.sim.flash_damage import bits, flip, write
from tests.sim.flash_history import (
    ESP32,
    FILES,
    PARTITIONS,
    Geometry,
    Tried,
    crc_in_c,
    history,
    run_straight,
    sweep,
    with_sectors,
)

SECTOR_BYTES = 4096
APPENDS = 2000
# Three turns of eight such sectors take so many appends of this history.
APPENDS_4K = 6000
IMAGES = 4
PROGRESS_S = 60.0
_CHUNK = 5  # histories of the menu that a process plays in a row
_CHUNKS_A_PROCESS = 20


def cuts(geometry: Geometry, appends: int) -> Tried:
    """Every single cut, every seventh a second time. AssertionError at the first violation."""
    with crc_in_c():
        straight = run_straight(history(appends), geometry)
        said = time.monotonic()
        for number, tried in enumerate(sweep(straight)):
            if time.monotonic() - said > PROGRESS_S:
                said = time.monotonic()
                print(f"  {number / len(straight.segments):4.0%}  {tried}", flush=True)
    return tried


def flips() -> tuple[int, int]:
    """(bits flipped, points that this cost at most). AssertionError at the first violation."""
    tried = worst = 0
    with crc_in_c():
        for seed in range(IMAGES):
            written = write(seed)
            for offset, bit in bits(written):
                worst = max(worst, flip(written, offset, bit))
                tried += 1
            print(f"  {tried} bits flipped", flush=True)
    return tried, worst


def seeds(count: int, days: float) -> bool:
    """Whether all histories from these seeds keep their promises; prints how many faults there were of each kind."""
    try:
        chaos.main(["--days", str(days), "--seeds", f"1-{count}"], standalone_mode=False)
    except SystemExit as end:
        return not end.code
    return True


def menu(count: int) -> int:
    """Every fault of the menu over each transport, from so many seeds; how many histories failed."""
    failed = 0
    print(fault_table.HEAD, flush=True)
    # A new process every so often: a board that lost its power stays in memory for good (kernel.Fibre).
    with multiprocessing.Pool(maxtasksperchild=_CHUNKS_A_PROCESS) as pool:
        for name, transport in fault_menu.histories():
            played = list(pool.imap(partial(fault_table.play, name, transport), range(count), _CHUNK))
            print(fault_table.row(name, transport, played), flush=True)
            for one in played:
                if one.complaint:
                    failed += 1
                    print("  " + one.complaint, flush=True)
    return failed


def strikes() -> bool:
    """Whether all holds with an exception and a timer at each bytecode."""
    command = [sys.executable, "-m", "pytest", "-q", "-n", "logical", "tests/sim/test_interrupts.py"]
    return not subprocess.run(command, cwd=ROOT, env={**os.environ, "PLEXUS_STRIDE": "1"}).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1000, help="of chaos")
    parser.add_argument("--days", type=float, default=1.0, help="of each of its histories")
    parser.add_argument("--menu-seeds", type=int, default=200, help="for each fault of the menu")
    arguments = parser.parse_args()
    geometries = [(with_sectors(geometry, SECTOR_BYTES), APPENDS_4K) for geometry in PARTITIONS]
    for geometry, appends in [(ESP32, APPENDS), *geometries, *((files, APPENDS) for files in FILES)]:
        start = time.monotonic()
        print(f"power cuts, {geometry.name}, {geometry.sector_bytes}-byte sectors", flush=True)
        print(f"{cuts(geometry, appends)}, {time.monotonic() - start:.0f} s", flush=True)
    start = time.monotonic()
    flipped, worst = flips()
    print(
        f"{flipped} bits flipped, at most {worst} points lost, {time.monotonic() - start:.0f} s", flush=True
    )
    print("exceptions and timers at each bytecode", flush=True)
    struck_well = strikes()
    print(f"chaos, {arguments.seeds} histories of {arguments.days:g} days", flush=True)
    sound = seeds(arguments.seeds, arguments.days)
    start = time.monotonic()
    failed_menu = menu(arguments.menu_seeds)
    took_s = time.monotonic() - start
    print(f"fault menu, {arguments.menu_seeds} seeds each, {failed_menu} failed, {took_s:.0f} s")
    return 1 if failed_menu or not sound or not struck_well else 0


if __name__ == "__main__":
    sys.exit(main())
