"""`python -m host_sim fleet`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ..durations import seconds_of
from ..scenario import find_scenario
from ..session import in_words
from .meter import Table
from .run import BOARD, BOARDS_MAX, FIRMWARE, Fleet, FleetOptions, FleetResult

_PATH = click.Path(exists=True, path_type=Path)


@click.command()
@click.argument("path", type=_PATH, required=False)
@click.option("--boards", type=click.IntRange(1, BOARDS_MAX), default=100, show_default=True)
@click.option("--minutes", type=click.FloatRange(0.1), help="Of real time.")
@click.option("--virtual", help="So much board time, as fast as it goes: 90, 10m, 2h. Default: 10m.")
@click.option("--board", type=_PATH, default=BOARD, show_default=True, help="The boards' constants file.")
@click.option(
    "--scenario", "named", help="What goes wrong: a board's faults at each board, the gateway's once."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON.")
def fleet(
    path: Path | None,
    boards: int,
    minutes: float | None,
    virtual: str | None,
    board: Path,
    named: str | None,
    seed: int,
    as_json: bool,
) -> None:
    """Many boards on the CPython VM against one gateway, with a table of rates, lags and losses.

    PATH is the firmware; it must leave source_id out, so that each board goes by its chip's. Exit code 0 only when
    every board's readings were stored once each.
    """
    if minutes is not None and virtual is not None:
        raise ValueError("--minutes is real time, --virtual board time: give one of them")
    seconds = minutes * 60 if minutes is not None else seconds_of(virtual or "10m")
    scenario = find_scenario(named) if named is not None else None
    options = FleetOptions(boards, seconds, seed, minutes is None, path or FIRMWARE, board, scenario)
    result = Fleet(options, Table().show).run()
    _tell(result, options)
    if as_json:
        print(json.dumps(_line(result, options)), flush=True)
    clean = result.verdict.clean and not result.uneven and not result.errors and result.verdict.stored
    raise SystemExit(0 if clean else 1)


def _tell(result: FleetResult, options: FleetOptions) -> None:
    print(in_words(result.verdict))
    for name in result.uneven[:10]:
        print(f"{name}: not every reading was stored once")
    for error in result.errors[:10]:
        print(error)
    rows_s = result.verdict.stored / result.wall_s
    print(
        f"{options.boards} boards, {result.board_s:.0f} s of board time in {result.wall_s:.0f} s, {rows_s:.0f} rows/s;"
        f" {result.boards_a_core(options.boards):.0f} boards on one core in real time,"
        f" {result.board_bytes / 1024:.0f} KB of memory each",
        flush=True,
    )


def _line(result: FleetResult, options: FleetOptions) -> dict[str, object]:
    return {
        "seed": options.seed,
        "boards": options.boards,
        **result.verdict.counts(),
        "uneven": len(result.uneven),
        "board_s": round(result.board_s, 1),
        "wall_s": round(result.wall_s, 1),
        "cpu_s": round(result.cpu_s, 1),
        "boards_per_core": round(result.boards_a_core(options.boards)),
        "board_bytes": result.board_bytes,
        "lag_s": [round(lag_s, 1) for lag_s in result.look.lags],
    }
