"""A board in virtual time whose readings tell how well they are dated."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from host_sim.world import ROOT, Placement, World
from tests.e2e.simulation import Outcome, program, simulate

BOARD = ROOT / "boards" / "esp32_flash_ring.py"
HOUR_S = 3600.0
DAY_S = 24 * HOUR_S
_UNKNOWN = 999_999
_STRIDE = 1_000_000

# Each value is a reading's number and the bound that the library gives at that moment.
SENDER = """
import time
from plexus_mp import Plexus
px = Plexus(source_id="clock"ARGUMENTS)
first = n = px._recorder.ring.boot * 1000000
while COUNT:
    bound = px.clock.error_ms
    px.send("n", n * 1000000 + (999999 if bound is None else bound))
    n += 1
    time.sleep(PERIOD)
c = px.clock
print("clock", c.synced, c.source, c.syncs, c.outliers, c.refused, c.drift_ppb)
"""

Setup = Callable[[Placement], None]
During = Callable[[World, Placement], Awaitable[None]]


@dataclass(frozen=True)
class Sample:
    """A reading: when it was taken, by how much it is dated too late, and the bound that was given then."""

    number: int
    true_ms: int
    error_ms: int
    bound_ms: int | None
    guessed: bool


@dataclass(frozen=True)
class Row:
    """A line of the table. `allowed_ms` is what the error must not exceed, `bound_ms` what the library said at most."""

    what: str
    allowed_ms: float
    error_ms: float
    bound_ms: int | None
    beside: str


@dataclass
class Run:
    outcome: Outcome
    samples: list[Sample]

    def error_ms(self, since_s: float = 0, until_s: float = 1e12) -> int:
        start_ms = self.outcome.world.kernel.epoch_ms
        found = [abs(s.error_ms) for s in self.samples if since_s <= (s.true_ms - start_ms) / 1000 < until_s]
        assert found, "no reading in that time"
        return max(found)

    def bound_ms(self) -> int:
        """The largest that was given; AssertionError when a reading is further off than was said then."""
        bounded = [s for s in self.samples if s.bound_ms is not None]
        for sample in bounded:
            assert sample.bound_ms is not None and abs(sample.error_ms) <= sample.bound_ms, sample
        return max(s.bound_ms or 0 for s in bounded)

    def told(self) -> tuple[bool, str, int, int, int, int]:
        """synced, source, syncs, outliers, refused, drift_ppb when the program ended."""
        found = re.search(r"^clock (\w+) (\w*) (\d+) (\d+) (\d+) (-?\d+)$", self.outcome.console, re.M)
        assert found, self.outcome.console
        synced, source, *numbers = found.groups()
        syncs, outliers, refused, drift_ppb = map(int, numbers)
        return synced == "True", source, syncs, outliers, refused, drift_ppb


def play(
    vm: str,
    seconds: float,
    period_s: float = 10,
    arguments: str = "",
    setup: Setup | None = None,
    during: During | None = None,
    source: str = SENDER,
    seed: int = 1,
    ends: bool = False,
    honest: bool = True,
) -> Run:
    """Run the sender; with `ends` it stops a little before, and tells what `px.clock` is then.

    When the gateway's clock is not `honest` readings are stored once, but not where the journal expects them.
    """
    count = f"n - first < {int((seconds - period_s) / period_s)}" if ends else "True"
    source = source.replace("ARGUMENTS", arguments).replace("PERIOD", str(period_s)).replace("COUNT", count)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if source.startswith("\nimport machine"):
            (folder / "main.py").write_text(source)
            (folder / "boot.py").write_text("")
        else:
            program(folder, source)
        outcome = simulate(folder, vm, seconds, during, BOARD, seed, setup)
    verdict = outcome.verdict
    if honest:
        assert verdict.lost == verdict.duplicates == 0
    else:
        assert verdict.accepted == verdict.stored
    assert "Traceback" not in outcome.console, outcome.console
    return Run(outcome, list(_samples(outcome)))


def _samples(outcome: Outcome) -> Iterator[Sample]:
    rows = {row.value: row for row in outcome.rows() if row.metric == "n"}
    for reading in outcome.world.placements[0].witness.journal.accepted:
        row = rows.get(reading.value)
        if row is not None:
            number, bound_ms = divmod(int(row.value), _STRIDE)
            guessed = "clock" in row.tags
            error_ms = row.timestamp_ms - reading.true_ms
            yield Sample(
                number, reading.true_ms, error_ms, None if bound_ms == _UNKNOWN else bound_ms, guessed
            )


def path(up_ms: float, down_ms: float, jitter_ms: float = 0, ppm: float = 0) -> Setup:
    """The way to the gateway, and how much too fast the board's crystal runs."""

    def setup(placement: Placement) -> None:
        way = placement.wires.path
        way.up_us, way.down_us, way.jitter_us = (int(ms * 1000) for ms in (up_ms, down_ms, jitter_ms))
        placement.board.clocks.set_drift(0, ppm)

    return setup
