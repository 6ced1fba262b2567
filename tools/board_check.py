"""What a board file promises at a rate: outage survived, flash life, RAM, what a power cut costs, the longest send().

    python tools/board_check.py boards/X.py --rate "3/2s" [--rate "1/10min"] [--json]

A rate is POINTS/PERIOD, several are sent side by side. The figures come from running the library itself with the
settings of the board file, on simulated flash in virtual time, with float32 readings that walk as those of a BME280
do; a ring in files runs on a real littlefs (tests/sim/littlefs_disk.py). The code's RAM is that of
docs/memory.md. A setting that cannot be is named, exit code 2.
"""

from __future__ import annotations

import argparse
import heapq
import json
import re
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "lib"), str(ROOT / "tools")]

from board_trial import Trial, longest_ms  # noqa: E402

from host_sim.board.config import RP2  # noqa: E402

# Winbond W25Q32JV datasheet, features: at least 100,000 erases a sector.
ENDURANCE_CYCLES = 100_000
# MicroPython's heap: 111,168 bytes on an ESP32 without PSRAM (its single heap up to 1.20; later ones grow to about as
# much), 192 KiB on an RP2040 (MICROPY_GC_HEAP_SIZE of ports/rp2).
HEAP_BYTES = {"esp32": 111_168, RP2: 196_608}

POINTS_MAX = 64
_UNITS_MS = {"ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
_NAMES = ("temperature", "humidity", "pressure")
_LIVE_BATCHES = 3000
_OUTAGE_BATCHES = 30_000  # then what is left of the ring is taken to last as long as what was filled
_UNTENDED_BATCHES = 6000
_MS_PER_DAY = 86_400_000
_MEMORY = ROOT / "docs" / "memory.md"
_MEASURED = {"ram": "esp32_ram_ring.py", "files": "esp32.py"}  # any other ring is a partition
_CODE = ("code", "the VM's table of names", "other objects", "more with the first readings of three names")


@dataclass(frozen=True)
class Rate:
    points: int
    period_ms: int

    def __str__(self) -> str:
        unit, ms = next((u, ms) for u, ms in reversed(_UNITS_MS.items()) if self.period_ms % ms == 0)
        return f"{self.points}/{self.period_ms // ms}{unit}"


def parse_rate(text: str) -> Rate:
    """`3/2s` is three points every two seconds; units ms, s, min, h, d. ValueError for what is none, or too much."""
    found = re.fullmatch(r"(\d+)/(\d+(?:\.\d+)?)?(ms|s|min|h|d)", text.strip())
    if not found:
        raise ValueError(f"rate must be POINTS/PERIOD such as 3/2s or 1/10min, not {text!r}")
    points = int(found[1])
    period_ms = round(float(found[2] or 1) * _UNITS_MS[found[3]])
    if not 1 <= points <= POINTS_MAX:
        raise ValueError(f"rate: {text!r} has {points} points, 1 to {POINTS_MAX} are sent at a time")
    if not 10 <= period_ms <= _MS_PER_DAY:
        raise ValueError(f"rate: the period of {text!r} must be 10 ms to 1 day")
    return Rate(points, period_ms)


class Load:
    """Sends what the rates say to a trial, one batch after another."""

    def __init__(self, trial: Trial, rates: list[Rate]) -> None:
        self._trial = trial
        self._names = [[_name(i, n, rates) for i in range(rate.points)] for n, rate in enumerate(rates)]
        self._rates = rates
        self._due = [(0, n) for n in range(len(rates))]
        self.points = 0

    def send(self, tended: bool = True) -> tuple[int, int]:
        """The next batch at its time; `Trial.call_us` of it. Untended the timer does not run meanwhile."""
        trial = self._trial
        due_ms, n = heapq.heappop(self._due)
        if tended:
            trial.rest(due_ms)
        trial.ms = max(trial.ms, due_ms)
        heapq.heappush(self._due, (due_ms + self._rates[n].period_ms, n))
        self.points += self._rates[n].points
        return trial.call_us(self._names[n], self._rates[n].period_ms)


def _name(i: int, n: int, rates: list[Rate]) -> str:
    return _NAMES[i] if not n and i < len(_NAMES) else f"value{n * POINTS_MAX + i}"


@dataclass
class Check:
    """The answers. `scaled`: the ring was not filled to its end, what was filled stands for the rest."""

    board: str
    rates: list[str]
    ring: str
    ring_bytes: int
    outage_h: float
    points_held: int
    bytes_per_point: float
    scaled: bool
    erases_per_day: float
    erases_per_day_outage: float
    flash_years: float | None
    programmed_per_point: float
    ram_buffers_bytes: int
    ram_code_bytes: int
    power_cut_s: float | None
    power_cut_points: int | None
    send_ms: float
    send_max_ms: float
    send_unprepared_ms: float
    send_unprepared_max_ms: float
    tick_ms: float
    tick_max_ms: float


def check(path: Path, rates: list[Rate]) -> Check:
    """Run everything. ValueError names the setting, or the rate, that cannot be."""
    try:
        outage = _outage(path, rates)
        live = _live(path, rates)
        alone = _untended(path, rates)
    except OSError as e:
        raise ValueError(f"ring_bytes: the ring does not fit into the board's storage ({e.args[-1]})") from e
    found = Check(board=str(path), rates=[str(rate) for rate in rates], **outage, **live, **alone)
    found.ram_code_bytes = code_bytes(found.ring)
    heap = HEAP_BYTES[Trial(path).config.port]
    need = found.ram_buffers_bytes + found.ram_code_bytes
    if need > heap:
        raise ValueError(
            f"ring_bytes, page_bytes, frame_bytes: {need} bytes of RAM with the code, the heap has {heap}"
        )
    return found


def _outage(path: Path, rates: list[Rate]) -> dict[str, Any]:
    """No network, until the first reading is dropped."""
    with Trial(path).running() as trial:
        load = Load(trial, rates)
        for _ in range(40):
            load.send()
        trial.live = False
        trial.at_cut = trial.at_cut_ms = 0
        start_ms, seq, erases, busy_us = trial.ms, trial.ring.head_seq, trial.erases, trial.busy_us
        points, batches, worst = load.points, 0, (0, 0)
        while not trial.ring.dropped and batches < _OUTAGE_BATCHES:
            worst = max(worst, load.send(), key=longest_ms)
            batches += 1
        span_ms = trial.ms - start_ms
        _check_speed(trial, rates, span_ms, trial.busy_us - busy_us)
        held = load.points - points
        turned = trial.ring.head_seq - seq
        scale = 1.0 if trial.ring.dropped else max(1.0, (trial.ring.sectors - 2) / max(1, turned))
        volatile = trial.ring.volatile
        outage_h = span_ms * scale / 3_600_000
        return {
            "ring": trial.where,
            "ring_bytes": trial.ring_bytes,
            "outage_h": outage_h,
            "points_held": round(held * scale),
            "bytes_per_point": trial.ring_bytes / (held * scale),
            "scaled": scale > 1,
            "erases_per_day_outage": (trial.erases - erases) * _MS_PER_DAY / span_ms,
            "ram_buffers_bytes": trial.buffer_bytes(),
            "ram_code_bytes": 0,
            "power_cut_s": None if volatile else trial.at_cut_ms / 1000,
            "power_cut_points": None if volatile else trial.at_cut,
            "send_ms": worst[0] / 1000,
            "send_max_ms": longest_ms(worst),
            "tick_ms": trial.longest_tick[0] / 1000,
            "tick_max_ms": longest_ms(trial.longest_tick),
        }


def _check_speed(trial: Trial, rates: list[Rate], span_ms: int, busy_us: int) -> None:
    if busy_us > span_ms * 1000:
        text = " and ".join(map(str, rates))
        raise ValueError(f"rate: {text} keeps the flash busy for {busy_us / span_ms / 10:.0f} % of the time")


def _live(path: Path, rates: list[Rate]) -> dict[str, Any]:
    """The gateway answers each batch."""
    with Trial(path).running() as trial:
        load = Load(trial, rates)
        for _ in range(40):
            load.send()
        start_ms, erases, programmed, points = trial.ms, trial.erases, trial.programmed_bytes, load.points
        for _ in range(_LIVE_BATCHES):
            load.send()
        per_day = (trial.erases - erases) * _MS_PER_DAY / (trial.ms - start_ms)
        years = ENDURANCE_CYCLES * trial.wearing_sectors / per_day / 365 if per_day else None
        return {
            "erases_per_day": per_day,
            "flash_years": years,
            "programmed_per_point": (trial.programmed_bytes - programmed) / (load.points - points),
        }


def _untended(path: Path, rates: list[Rate]) -> dict[str, Any]:
    """A program that leaves the timer no time: nothing is erased ahead, no page is committed between the calls."""
    with Trial(path).running() as trial:
        load = Load(trial, rates)
        trial.live = False
        worst = max((load.send(tended=False) for _ in range(_UNTENDED_BATCHES)), key=longest_ms)
        return {"send_unprepared_ms": worst[0] / 1000, "send_unprepared_max_ms": longest_ms(worst)}


def code_bytes(ring: str) -> int:
    """RAM of the code and of a client's small objects, as docs/memory.md has them measured for that kind of ring."""
    lines = _MEMORY.read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    rows = {row[0]: row[1:] for row in cells}
    try:
        column = rows["a client as of"].index(_MEASURED.get(ring, "esp32_flash_ring.py"))
        return sum(int(rows[name][column]) for name in _CODE)
    except (KeyError, ValueError) as e:
        raise ValueError(f"{_MEMORY} has no table of RAM: make size writes it") from e


def in_words(found: Check) -> str:
    """The lines for a person."""
    where = {"ram": "RAM", "files": "files"}.get(found.ring, f"partition {found.ring!r}")
    if found.flash_years is None:
        life = "flash is not written"
    else:
        life = f"{found.flash_years:.1f} years (each sector good for {ENDURANCE_CYCLES:,} erases; "
        life += f"{found.erases_per_day:,.0f} a day in all, {found.erases_per_day_outage:,.0f} in an outage)"
    if found.power_cut_s is None:
        cut = "all that waits"
    elif not found.power_cut_points:
        cut = "nothing that send() has accepted"
    else:
        cut = f"{found.power_cut_s:.0f} s of readings at most, {found.power_cut_points} points"
    scaled = ", from a part" if found.scaled else ""
    lines = {
        "ring": f"{found.ring_bytes // 1024} KB in {where}",
        "outage survived": f"{found.outage_h:.1f} h, {found.points_held:,} points of "
        f"{found.bytes_per_point:.1f} bytes{scaled}",
        "flash life": life,
        "flash written": f"{found.programmed_per_point:.1f} bytes a point, delivered at once",
        "RAM": f"{found.ram_buffers_bytes + found.ram_code_bytes:,} bytes: {found.ram_buffers_bytes:,} of buffers, "
        f"{found.ram_code_bytes:,} of code and objects",
        "a power cut costs": cut,
        "longest send()": f"{found.send_ms:.0f} ms, {found.send_max_ms:.0f} with the slowest erase; "
        f"{found.send_unprepared_ms:.0f} and {found.send_unprepared_max_ms:.0f} when no tick comes between",
        "longest tick()": f"{found.tick_ms:.0f} ms, {found.tick_max_ms:.0f} with the slowest erase",
    }
    head = f"{found.board} at {' and '.join(found.rates)}"
    return "\n".join([head, *(f"  {name:18} {text}" for name, text in lines.items())])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("board", type=Path, help="a board file, boards/X.py")
    parser.add_argument(
        "--rate", action="append", required=True, help="POINTS/PERIOD: 3/2s, 1/10min; may be repeated"
    )
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    arguments = parser.parse_args()
    try:
        found = check(arguments.board, [parse_rate(text) for text in arguments.rate])
    except (ValueError, FileNotFoundError) as e:
        print(f"{arguments.board}: {e}", file=sys.stderr)
        return 2
    print(json.dumps(asdict(found)) if arguments.json else in_words(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
