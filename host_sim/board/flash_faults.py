"""What can go wrong in NOR flash: torn operations, operations that finish out of order, sectors that are bad.

Pure functions and a queue; `flash.py` applies them. All choices come from the generator that is passed in.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

# The five ways in which a block is bad in littlefs's emulated block device (bd/lfs_emubd.h). Unlike there, a
# sector that ignores erases can still be programmed: the cells go on doing what cells do.
PROGRAM_ERROR: Final = "program_error"
ERASE_ERROR: Final = "erase_error"
READ_ERROR: Final = "read_error"
PROGRAM_NOOP: Final = "program_noop"
ERASE_NOOP: Final = "erase_noop"
BAD_KINDS: Final = (PROGRAM_ERROR, ERASE_ERROR, READ_ERROR, PROGRAM_NOOP, ERASE_NOOP)

PROGRAM_TEARS: Final = ("none", "prefix", "bits", "all")
ERASE_TEARS: Final = ("none", "mixture", "all")

UNIT_BYTES: Final = 16  # an AES block: what an encrypted partition is written in
UNTOUCHED, WRITTEN, GARBLED = 0, 1, 2  # what became of a unit

_STRIPE_BYTES: Final = 256

# (sector, start in it, data or None for an erase, what was there): enough to undo an operation and redo it.
Change = tuple[int, int, "bytes | None", "bytes | bytearray | None"]


class PowerCut(BaseException):
    """The power is gone, where no board stands behind the flash to lose it. No `except Exception` stops it."""


@dataclass(frozen=True)
class Cut:
    """The power goes during operation number `operation` of a flash (its first is 1).

    `program` tells what is left of it if it is a program: "none" of it, a "prefix" of its bytes (of
    `prefix_bytes`, else of random length), random "bits" of those it clears, "all" of it. `erase` likewise:
    "none", "all", or a "mixture" in the sector. Tears are drawn from the flash's seed and the number of the
    operation; another `salt` draws another. ValueError for a tear that is not one of these.
    """

    operation: int
    program: str = "bits"
    erase: str = "mixture"
    prefix_bytes: int | None = None
    salt: int = 0

    def __post_init__(self) -> None:
        if self.program not in PROGRAM_TEARS or self.erase not in ERASE_TEARS:
            raise ValueError(f"a program tears in {PROGRAM_TEARS}, an erase in {ERASE_TEARS}, not as {self}")


def torn_bytes(data: bytes, tear: str, done: int, rng: random.Random) -> bytes:
    """What a torn program of `data` amounts to; `done` bytes are its prefix."""
    n = len(data)
    if tear == "all":
        return data
    if tear == "prefix":
        return data[:done] + b"\xff" * (n - done)
    if tear == "bits":
        return (int.from_bytes(data, "little") | rng.getrandbits(8 * n)).to_bytes(n, "little")
    return b"\xff" * n


def torn_units(n: int, tear: str, done: int, rng: random.Random) -> list[int]:
    """What becomes of each unit of a torn program of `n` encrypted bytes: half a cipher block is noise."""
    units = n // UNIT_BYTES
    if tear == "all":
        return [WRITTEN] * units
    if tear == "prefix":
        whole, part = divmod(done, UNIT_BYTES)
        fates = [WRITTEN] * whole + [GARBLED] * (part > 0)
        return fates + [UNTOUCHED] * (units - len(fates))
    if tear == "bits":
        return [rng.choice((UNTOUCHED, WRITTEN, GARBLED)) for _ in range(units)]
    return [UNTOUCHED] * units


def torn_erase(old: bytes, blank: bytes, encrypted: bool, rng: random.Random) -> bytes:
    """A sector whose erase was cut: stripes of old, erased and undecided bytes.

    Undecided bits read either way: those that were 0 are on their way up, and an erase pulls the others down
    before it begins.
    """
    stripes = []
    for at in range(0, len(old), _STRIPE_BYTES):
        stripe = old[at : at + _STRIPE_BYTES]
        noise = rng.randbytes(len(stripe))
        if encrypted:
            stripes.append(rng.choice((stripe, blank[at : at + _STRIPE_BYTES], noise)))
        else:
            stripes.append(rng.choice(_STATES)(stripe, noise))
    return b"".join(stripes)


def _combined(stripe: bytes, noise: bytes, up: bool) -> bytes:
    a, b = int.from_bytes(stripe, "little"), int.from_bytes(noise, "little")
    return (a | b if up else a & b).to_bytes(len(stripe), "little")


_STATES: Final = (
    lambda stripe, noise: stripe,
    lambda stripe, noise: b"\xff" * len(stripe),
    lambda stripe, noise: _combined(stripe, noise, True),
    lambda stripe, noise: _combined(stripe, noise, False),
    lambda stripe, noise: noise,
)


def overlap(a: Change, b: Change) -> bool:
    """Whether two operations touch the same bytes; an erase touches all of its sector."""
    if a[0] != b[0]:
        return False
    if a[2] is None or b[2] is None:
        return True
    return a[1] < b[1] + len(b[2]) and b[1] < a[1] + len(a[2])


class Unsynced:
    """The last `limit` operations, not yet known to be complete: at a cut each survives or does not.

    What was read back is complete, and so is whatever it lies on. An erase cannot be overtaken by what was
    programmed into its sector afterwards.
    """

    def __init__(self, limit: int, changes: Sequence[Change] = ()) -> None:
        self.limit = limit
        self.changes = list(changes)

    def add(self, change: Change) -> None:
        self.changes.append(change)
        del self.changes[: -self.limit]

    def settle(self, read: Change) -> None:
        """`read` describes the bytes that were read back, as a program of them."""
        certain = [read]
        waiting = []
        for change in reversed(self.changes):
            if any(overlap(change, later) for later in certain):
                certain.append(change)
            else:
                waiting.append(change)
        self.changes = waiting[::-1]

    def survivors(self, rng: random.Random) -> list[Change]:
        """Those that made it, in their order."""
        made: list[Change] = []
        for change in reversed(self.changes):
            lucky = rng.random() < 0.5
            if lucky or (change[2] is None and any(overlap(change, later) for later in made)):
                made.append(change)
        return made[::-1]
