"""The long sweeps: `make soak`, or python tools/soak.py [--seeds 300]. Prints progress; exit code 1 on a failure.

Power cuts at every operation of a history of 2,000 appends, in every way of tearing, and again during the recovery:
for each granularity, plain and encrypted, on 4 KiB sectors, and for files; every bit of images of real records
flipped; then histories with every fault from seeds 0 to N-1; then each fault of the menu by itself.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.e2e import fault_menu
from tests.e2e.histories import play
from tests.sim.flash_damage import bits, flip, write
from tests.sim.flash_history import (
    FILES,
    PARTITIONS,
    Geometry,
    Tried,
    history,
    remembered_crc,
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


def cuts(geometry: Geometry, appends: int) -> Tried:
    """Every single cut, every seventh a second time. AssertionError at the first violation."""
    with remembered_crc():
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
    with remembered_crc():
        for seed in range(IMAGES):
            written = write(seed)
            for offset, bit in bits(written):
                worst = max(worst, flip(written, offset, bit))
                tried += 1
            print(f"  {tried} bits flipped", flush=True)
    return tried, worst


def seeds(count: int) -> tuple[int, int]:
    """(faults injected, seeds that failed)."""
    faults = failed = 0
    for seed in range(count):
        outcome = play(seed)
        faults += outcome.faults
        complaint = outcome.complaint()
        if complaint is not None:
            failed += 1
            print("  " + complaint, flush=True)
        if seed % 50 == 49:
            print(f"  {seed + 1} seeds, {faults} faults, {failed} failed", flush=True)
    return faults, failed


def menu(count: int) -> int:
    """Every fault of the menu over each transport, from so many seeds; how many histories failed."""
    failed = 0
    print(fault_menu.TABLE_HEAD, flush=True)
    for name, transport in fault_menu.histories():
        results = [fault_menu.play(name, transport, seed) for seed in range(count)]
        print(fault_menu.row(results), flush=True)
        for complaint in filter(None, (result.complaint() for result in results)):
            failed += 1
            print("  " + complaint, flush=True)
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=300)
    parser.add_argument("--menu-seeds", type=int, default=200, help="for each fault of the menu")
    arguments = parser.parse_args()
    geometries = [(with_sectors(geometry, SECTOR_BYTES), APPENDS_4K) for geometry in PARTITIONS]
    for geometry, appends in [*geometries, *((files, APPENDS) for files in FILES)]:
        start = time.monotonic()
        print(f"power cuts, {geometry.name}, {geometry.sector_bytes}-byte sectors", flush=True)
        print(f"{cuts(geometry, appends)}, {time.monotonic() - start:.0f} s", flush=True)
    start = time.monotonic()
    flipped, worst = flips()
    print(
        f"{flipped} bits flipped, at most {worst} points lost, {time.monotonic() - start:.0f} s", flush=True
    )
    start = time.monotonic()
    faults, failed = seeds(arguments.seeds)
    print(f"{arguments.seeds} seeds, {faults} faults, {failed} failed, {time.monotonic() - start:.0f} s")
    start = time.monotonic()
    failed_menu = menu(arguments.menu_seeds)
    took_s = time.monotonic() - start
    print(f"fault menu, {arguments.menu_seeds} seeds each, {failed_menu} failed, {took_s:.0f} s")
    return 1 if failed or failed_menu else 0


if __name__ == "__main__":
    sys.exit(main())
