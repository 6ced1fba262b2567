"""`python -m host_sim chaos`."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import click

from .history import DAY_S
from .play import FIRMWARE, play
from .story import restored, save, story
from .sweep import Orders, Report, Sums, quieten, shrunk, sweep

SEEDS_MAX = 1_000_000
DAYS_MAX = 366
# Of many that fail the first ones tell enough.
_SHRUNK_MAX = 3
_PATH = click.Path(exists=True, path_type=Path)


class _Seeds(click.ParamType[range]):
    name = "seeds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> range:
        found = re.fullmatch(r"(\d{1,12})(?:-(\d{1,12}))?", str(value))
        if found is None:
            self.fail(f"{value!r} is neither a seed nor two such as 1-1000", param, ctx)
        seeds = range(int(found[1]), int(found[2] or found[1]) + 1)
        if not 0 < len(seeds) <= SEEDS_MAX:
            self.fail(f"{value!r} must be 1 to {SEEDS_MAX} seeds", param, ctx)
        return seeds


@click.command()
@click.argument("path", type=_PATH, required=False)
@click.option(
    "--days", type=click.FloatRange(0.001, DAYS_MAX), default=1.0, show_default=True, help="Of board time."
)
@click.option("--seeds", type=_Seeds(), default="1-20", show_default=True, help="The first and the last.")
@click.option("--vm", default="cpython", show_default=True, help="cpython or micropython.")
@click.option("--board", type=_PATH, help="The board's constants file; default: ten kinds, drawn.")
@click.option("--jobs", type=click.IntRange(1), help="Processes; default: one for each core.")
@click.option(
    "--shrink", "shrink_s", type=click.FloatRange(0), default=300.0, show_default=True,
    help="Seconds for making each failing history shorter.",
)  # fmt: skip
@click.option("--save", "folder", type=click.Path(path_type=Path), help="Folder for shrunk histories.")
@click.option("--replay", type=_PATH, help="Play a saved history again instead.")
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON.")
def chaos(
    path: Path | None,
    days: float,
    seeds: range,
    vm: str,
    board: Path | None,
    jobs: int | None,
    shrink_s: float,
    folder: Path | None,
    replay: Path | None,
    as_json: bool,
) -> None:
    """Histories with every kind of fault, drawn from seeds; exit code 1 when a promise did not hold in one.

    PATH is the firmware; by default one that sends readings of every shape, each with a value of its own.
    """
    orders = Orders(days * DAY_S, vm, board, (path or FIRMWARE).resolve())
    if replay is not None:
        raise SystemExit(_replay(replay, orders))
    started = time.monotonic()
    sums, failed = _play_all(orders, seeds, jobs or os.cpu_count() or 1)
    wall_s = time.monotonic() - started
    for report in failed[:_SHRUNK_MAX]:
        _tell(orders, report, shrink_s, folder)
    print(_in_words(sums, wall_s), flush=True)
    if as_json:
        print(json.dumps(sums.line(wall_s)), flush=True)
    raise SystemExit(1 if failed else 0)


def _play_all(orders: Orders, seeds: range, jobs: int) -> tuple[Sums, list[Report]]:
    sums, failed = Sums(), []
    reports = sweep(orders, seeds, min(jobs, len(seeds)))
    with click.progressbar(reports, len(seeds), label="histories", file=sys.stderr) as bar:
        for report in bar:
            sums.add(report)
            if report.complaints:
                failed.append(report)
                print(f"\nseed {report.seed}: {_complaint(report.complaints)}", flush=True)
    return sums, failed


def _complaint(complaints: list[tuple[str, str]]) -> str:
    return "; ".join(f"{kind}: {text}" for kind, text in complaints)


def _tell(orders: Orders, report: Report, shrink_s: float, folder: Path | None) -> None:
    """The story of a failing seed, as short as it can be told."""
    history = orders.history(report.seed)
    if shrink_s and report.complaints[0][0] != "simulator":
        before = len(history.events)
        history, plays = shrunk(orders, report.seed, shrink_s)
        print(f"\nseed {report.seed}, {before} events shrunk to {len(history.events)} in {plays} plays:")
    else:
        print(f"\nseed {report.seed}:")
    print(story(history), flush=True)
    if folder is not None:
        saved = save(history, folder)
        print(f"again: python -m host_sim run {_shown(orders.firmware)} --vm {orders.vm} --scenario {saved}")


def _shown(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _replay(path: Path, orders: Orders) -> int:
    quieten()
    outcome = play(restored(path), orders.firmware, orders.vm)
    print(story(outcome.history))
    print(_complaint(outcome.complaints) or "all promises held", flush=True)
    return 1 if outcome.complaints else 0


def _in_words(sums: Sums, wall_s: float) -> str:
    counts, days = sums.counts, sums.board_s / DAY_S
    lines = [f"{kind:<34}{number:>8}" for kind, number in sorted(sums.faults.items())]
    told = f"{sums.seeds} histories, {days:.1f} days of board time in {wall_s:.0f} s, "
    told += f"{sums.faults.total()} faults of {len(sums.faults)} kinds, {len(sums.failed)} failed"
    of = f"{counts['accepted']} readings accepted, {counts['stored']} stored, {counts['pending']} waiting, "
    of += f"{counts['dropped']} dropped by full rings, {counts['at_cut']} in RAM at a power cut, "
    of += f"{counts['lost']} lost, {counts['duplicates']} stored twice, {counts['resent']} sent again"
    return "\n".join([*lines, told, of])
