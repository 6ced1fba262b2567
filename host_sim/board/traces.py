"""What the world around a sensor is like: temperature, humidity and pressure as functions of time.

A trace is a callable from seconds since power-on to `(temperature_c, humidity_pct, pressure_hpa)`. It keeps
no state: its noise is a hash of (seed, time), so the order of evaluation does not matter and a run replays
from its seed.
"""

from __future__ import annotations

import csv
import math
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Protocol

Trace = Callable[[float], "tuple[float, float, float]"]

MAX_ROWS: Final = 200_000  # a week at one row per 3 s; four columns of doubles are 6.4 MB
COLUMNS: Final = ("t_s", "temperature", "humidity", "pressure")

_ROOM_C: Final = 22.4
_ROOM_PCT: Final = 41.0
_ROOM_HPA: Final = 1013.2
_DAY_S: Final = 86_400.0

_MASK64: Final = (1 << 64) - 1


def _hash64(seed: int, t_us: int) -> int:
    """Mix (seed, time) into 64 bits with the finaliser of SplitMix64 (Steele, Lea, Flood 2014)."""
    x = (t_us * 0x9E3779B97F4A7C15 + seed * 0xD1342543DE82EF95 + 0x9E3779B97F4A7C15) & _MASK64
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK64
    return x ^ (x >> 31)


def noise(seed: int, t_s: float) -> tuple[float, float, float]:
    """Three independent values of zero mean and unit deviation for (seed, time to the microsecond).

    Each is a sum of three uniform 21-bit numbers less its mean: deviation 2^21 · sqrt(3 / 12), bounded at ±3.
    """
    t_us = round(t_s * 1e6)
    return (
        _bell(_hash64(3 * seed, t_us)),
        _bell(_hash64(3 * seed + 1, t_us)),
        _bell(_hash64(3 * seed + 2, t_us)),
    )


def _bell(bits: int) -> float:
    total = (bits & 0x1FFFFF) + ((bits >> 21) & 0x1FFFFF) + (bits >> 43)
    return (total - 3145726.5) / 1048576.0


def _phase(seed: int, channel: int) -> float:
    return _hash64(seed, -1 - channel) * (2.0 * math.pi / 2**64)


def quiet_room(seed: int = 0) -> Trace:
    """A room that nobody enters: about 22.4 °C, 41 %RH, 1013 hPa.

    Heating cycles of ±0.15 °C, humidity the other way, pressure ±0.8 hPa in a day, and a little noise.
    """
    heating, weather = _phase(seed, 0), _phase(seed, 1)

    def trace(t_s: float) -> tuple[float, float, float]:
        swing = math.sin(t_s * (2.0 * math.pi / 2700.0) + heating)
        n_t, n_h, n_p = noise(seed, t_s)
        return (
            _ROOM_C + 0.15 * swing + 0.01 * n_t,
            _ROOM_PCT - 0.4 * swing + 0.05 * n_h,
            _ROOM_HPA + 0.8 * math.sin(t_s * (2.0 * math.pi / _DAY_S) + weather) + 0.01 * n_p,
        )

    return trace


def finger_press(
    seed: int = 0, start_s: float = 30.0, hold_s: float = 20.0, rise_c: float = 6.0, tau_s: float = 8.0
) -> Trace:
    """A quiet room in which someone touches the sensor at `start_s` and lets go `hold_s` later.

    Temperature approaches `rise_c` °C above the room with time constant `tau_s`, then falls back; damp skin
    brings humidity up by 2.5 %RH per °C. ValueError for a time constant or a hold that is not above zero.
    """
    if tau_s <= 0.0 or hold_s <= 0.0:
        raise ValueError(f"finger_press: tau_s {tau_s} and hold_s {hold_s} must be above 0")
    room = quiet_room(seed)
    peak_c = rise_c * (1.0 - math.exp(-hold_s / tau_s))

    def warmth_c(t_s: float) -> float:
        held_s = t_s - start_s
        if held_s <= 0.0:
            return 0.0
        if held_s <= hold_s:
            return rise_c * (1.0 - math.exp(-held_s / tau_s))
        return peak_c * math.exp((hold_s - held_s) / tau_s)

    def trace(t_s: float) -> tuple[float, float, float]:
        temperature_c, humidity_pct, pressure_hpa = room(t_s)
        warm_c = warmth_c(t_s)
        return temperature_c + warm_c, humidity_pct + 2.5 * warm_c, pressure_hpa

    return trace


def slow_drift(seed: int = 0, fall_c: float = 5.0) -> Trace:
    """A room whose heating goes off in the evening: `fall_c` °C down in 12 hours, up again in the next 12.

    Relative humidity rises by 2.4 %RH per °C that the room loses: the same water in colder air, at 41 %RH and
    20 °C.
    """
    room = quiet_room(seed)

    def trace(t_s: float) -> tuple[float, float, float]:
        temperature_c, humidity_pct, pressure_hpa = room(t_s)
        lost_c = fall_c * 0.5 * (1.0 - math.cos(t_s * (2.0 * math.pi / _DAY_S)))
        return temperature_c - lost_c, humidity_pct + 2.4 * lost_c, pressure_hpa

    return trace


class _Reader(Protocol):
    """The part of csv.reader's result that is used here; its own type has no public name in Python 3.10."""

    @property
    def line_num(self) -> int: ...
    def __iter__(self) -> Iterator[list[str]]: ...
    def __next__(self) -> list[str]: ...


class CsvTrace:
    """A recorded trace; between rows linear, before the first and after the last row constant."""

    def __init__(self, rows: Iterator[tuple[float, ...]]) -> None:
        self._columns = tuple(array("d") for _ in COLUMNS)
        for row in rows:
            for column, value in zip(self._columns, row, strict=True):
                column.append(value)

    def __len__(self) -> int:
        return len(self._columns[0])

    def __call__(self, t_s: float) -> tuple[float, float, float]:
        times, temperature, humidity, pressure = self._columns
        right = bisect_right(times, t_s)
        if right in (0, len(times)):
            edge = 0 if right == 0 else -1
            return temperature[edge], humidity[edge], pressure[edge]
        left = right - 1
        part = (t_s - times[left]) / (times[right] - times[left])
        return (
            temperature[left] + part * (temperature[right] - temperature[left]),
            humidity[left] + part * (humidity[right] - humidity[left]),
            pressure[left] + part * (pressure[right] - pressure[left]),
        )


def csv_trace(path: str | Path) -> CsvTrace:
    """Read a trace from a CSV file with columns t_s, temperature (°C), humidity (%RH), pressure (hPa).

    Columns may stand in any order and others are ignored; t_s ascends. ValueError names file, line and column
    of what is wrong, also for more than MAX_ROWS rows; OSError when the file cannot be read.
    """
    with open(path, encoding="utf-8-sig", newline="") as file:
        try:
            trace = CsvTrace(_rows(str(path), csv.reader(file)))
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: not UTF-8 text: {error.reason}") from error
        except csv.Error as error:
            raise ValueError(f"{path}: not a CSV file: {error}") from error
    if not len(trace):
        raise ValueError(f"{path}: no rows below the header")
    return trace


def _rows(name: str, reader: _Reader) -> Iterator[tuple[float, ...]]:
    places = _places(name, next(reader, []))
    last_s = -math.inf
    count = 0
    for cells in reader:
        if not cells:
            continue
        where = f"{name}:{reader.line_num}"
        count += 1
        if count > MAX_ROWS:
            raise ValueError(f"{where}: more than {MAX_ROWS} rows")
        row = tuple(
            _number(where, column, cells, place) for column, place in zip(COLUMNS, places, strict=True)
        )
        if row[0] <= last_s:
            raise ValueError(f"{where}: column t_s: {row[0]} does not come after {last_s}")
        last_s = row[0]
        yield row


def _places(name: str, header: list[str]) -> list[int]:
    """Where each of COLUMNS stands in the header."""
    cells = [cell.strip() for cell in header]
    for column in COLUMNS:
        if cells.count(column) != 1:
            fault = "missing from" if column not in cells else "twice in"
            raise ValueError(f"{name}:1: column {column}: {fault} the header; needed: {','.join(COLUMNS)}")
    return [cells.index(column) for column in COLUMNS]


def _number(where: str, column: str, cells: list[str], place: int) -> float:
    if place >= len(cells):
        raise ValueError(f"{where}: column {column}: missing")
    try:
        value = float(cells[place])
    except ValueError:
        raise ValueError(f"{where}: column {column}: {cells[place]!r} is not a number") from None
    if not math.isfinite(value):
        raise ValueError(f"{where}: column {column}: {cells[place]!r} is not finite")
    return value


GENERATORS: Final[dict[str, Callable[[int], Trace]]] = {
    "quiet_room": quiet_room,
    "finger_press": finger_press,
    "slow_drift": slow_drift,
}


def make_trace(name: str, seed: int = 0) -> Trace:
    """The trace that a command line names: one of GENERATORS, or the path of a .csv file (no seed used).

    ValueError for any other name, and as `csv_trace` for a file.
    """
    if name.lower().endswith(".csv"):
        return csv_trace(name)
    if name not in GENERATORS:
        raise ValueError(f"trace {name!r} is none of {', '.join(GENERATORS)} and no .csv file")
    return GENERATORS[name](seed)
