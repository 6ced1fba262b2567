"""A snapshot as what a terminal shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.columns import Columns
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from .snapshot import Snapshot
from .switches import Switchboard

_BARS = "▁▂▃▄▅▆▇█"
_FILL_CELLS = 20
_CLOCK_FINE_MS = 1000


@dataclass
class Screen:
    """All of it, as wide as the terminal, and of what the board prints as much as fits below."""

    seen: Snapshot
    board: Switchboard

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        height = options.height or console.height
        above = Group(_readings(self.seen), _state(self.seen), _keys(self.board))
        used = 1 + len(console.render_lines(above, options.update(height=None), pad=False))
        yield _head(self.seen, fits=used <= height)
        yield above
        lines = self.seen.lines[-max(0, height - used - 1) :] if height > used + 1 else []
        if lines:
            yield _title("the board prints")
            yield Text("\n".join(lines), overflow="ellipsis", no_wrap=True)


def _head(seen: Snapshot, fits: bool) -> Text:
    power = ("power on", "green") if seen.powered else ("NO POWER", "bold red")
    return Text.assemble(
        (f" {seen.name} ", "bold reverse"),
        f"  {seen.vm}  {seen.board_s:.0f} s  ",
        power,
        f"  boot {seen.boots}  ",
        (" q ", "bold cyan"),
        "quit",
        "" if fits else ("  terminal too small", "yellow"),
        overflow="ellipsis",
        no_wrap=True,
    )


def _title(text: str) -> Rule:
    return Rule(Text(text, "bold"), align="left", style="dim")


def _readings(seen: Snapshot) -> RenderableType:
    table = Table(box=box.SIMPLE_HEAD, expand=True, show_edge=False, pad_edge=False)
    table.add_column("reading", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("sent", justify="right", no_wrap=True)
    table.add_column("the last forty", ratio=1, no_wrap=True)
    for metric, course in sorted(seen.courses.items()):
        number = isinstance(course.last, (int, float))
        shown = (_number(course.last), spark(course.values)) if number else ("", str(course.last))
        table.add_row(metric, shown[0], str(course.count), shown[1])
    if not seen.courses:
        table.add_row("none yet", "", "", "")
    return table


def _number(value: float) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def spark(values: Sequence[float]) -> str:
    """A line of bars between the least and the greatest of `values`."""
    if not values:
        return ""
    low, high = min(values), max(values)
    step = (high - low) / (len(_BARS) - 1) or 1.0
    return "".join(_BARS[round((value - low) / step)] for value in values)


def _state(seen: Snapshot) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    counts = f"{seen.accepted} accepted, {_known(seen.stored)} stored, {seen.resent} repeats refused"
    if seen.dropped or seen.rejected:
        counts += f", {seen.dropped} dropped, {seen.rejected} rejected"
    for name, value in (
        ("link", Text(_known(seen.link), "green" if seen.link == "online" else "yellow")),
        ("Wi-Fi", Text(seen.wifi, "green" if seen.wifi == "connected" else "red")),
        ("ring", _ring(seen)),
        ("clock", _clock(seen.clock_error_ms)),
        ("heap", Text(_heap(seen))),
        ("readings", Text(counts)),
        *([("page", Text(seen.page, overflow="ellipsis", no_wrap=True))] if seen.page else []),
    ):
        grid.add_row(Text(name, "bold"), value)
    return grid


def _known(value: object) -> str:
    return "?" if value is None else str(value)


def _ring(seen: Snapshot) -> Text:
    waiting = f"{_known(seen.waiting)} waiting"
    if seen.ring_fill is None:
        return Text(f"{waiting}, in RAM or not begun")
    cells = round(seen.ring_fill * _FILL_CELLS)
    style = "red" if seen.ring_fill > 0.9 else "yellow" if seen.ring_fill > 0.5 else "green"
    bar = ("█" * cells + "░" * (_FILL_CELLS - cells), style)
    return Text.assemble(bar, f" {seen.ring_fill:4.0%}  {waiting}")


def _clock(error_ms: int | None) -> Text:
    if error_ms is None:
        return Text("not synced", "yellow")
    return Text(f"{error_ms:+d} ms", "green" if abs(error_ms) < _CLOCK_FINE_MS else "red")


def _heap(seen: Snapshot) -> str:
    if seen.heap_used_bytes is None or seen.heap_free_bytes is None:
        return "?"
    return f"{seen.heap_used_bytes / 1024:.0f} KB used, {seen.heap_free_bytes / 1024:.0f} KB free"


def _keys(board: Switchboard) -> RenderableType:
    cells = []
    for switch in board.switches:
        works = board.works(switch)
        style = "reverse red" if switch.on else "" if works else "dim strike"
        times = f" ({switch.times})" if switch.times and not switch.holds else ""
        cells.append(Text.assemble((f" {switch.key} ", "bold cyan"), (switch.label + times, style)))
    return Group(_title("faults"), Columns(cells, padding=(0, 2)))
