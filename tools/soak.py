"""The long sweeps: `make soak`, or python tools/soak.py [--seeds 300]. Prints progress; exit code 1 on a failure.

Power cuts at every flash operation of a history of 2,000 appends on 4 KiB sectors, in every way of tearing, and
again during the recovery; then histories with every fault from seeds 0 to N-1.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.e2e.histories import play
from tests.sim.flash_history import TEARS, cut, history, run_straight

SECTOR_BYTES = 4096
# Three turns of eight such sectors take so many appends of this history.
APPENDS = 6000
SECOND_CUTS = 12


def cuts() -> int:
    """Every single and double cut; how many were tried. AssertionError at the first violation."""
    straight = run_straight(history(APPENDS), SECTOR_BYTES)
    tried = 0
    for number, segment in enumerate(straight.segments):
        for operation in range(segment[2] + 1, segment[3] + 1):
            for tear in TEARS:
                cut(straight, segment, operation, tear, None)
                tried += 1
            tried += _second_cuts(straight, segment, operation)
        if number % 60 == 0:
            print(f"  {number / len(straight.segments):4.0%}  {tried} cuts", flush=True)
    return tried


def _second_cuts(straight: object, segment: object, operation: int) -> int:
    tear = TEARS[operation % len(TEARS)]
    for again_after in range(1, SECOND_CUTS):
        if not cut(straight, segment, operation, tear, again_after):  # type: ignore[arg-type]
            return again_after
    return SECOND_CUTS


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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=300)
    arguments = parser.parse_args()
    start = time.monotonic()
    print(f"power cuts, {SECTOR_BYTES}-byte sectors", flush=True)
    print(f"{cuts()} cuts, 0 violations, {time.monotonic() - start:.0f} s", flush=True)
    start = time.monotonic()
    faults, failed = seeds(arguments.seeds)
    print(f"{arguments.seeds} seeds, {faults} faults, {failed} failed, {time.monotonic() - start:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
