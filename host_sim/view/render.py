"""A snapshot as what a terminal shows."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from .snapshot import Course, Snapshot
from .switches import Switchboard

_BARS = "▁▂▃▄▅▆▇█"
_FILL_CELLS = 20
_VALUE_MAX = 24
_CLOCK_FINE_MS = 1000


def screen(seen: Snapshot, board: Switchboard) -> RenderableType:
    """All of it, as wide as the terminal."""
    parts: list[RenderableType] = [_head(seen), _readings(seen), _state(seen), _keys(board)]
    if seen.lines:
        text = Text("\n".join(seen.lines), overflow="ellipsis", no_wrap=True)
        parts.append(Panel(text, title="the board prints", title_align="left", box=box.SQUARE))
    return Group(*parts)


def _head(seen: Snapshot) -> Text:
    power = ("power on", "green") if seen.powered else ("NO POWER", "bold red")
    return Text.assemble(
        (f" {seen.name} ", "bold reverse"),
        f"  {seen.vm}  {seen.board_s:.0f} s  ",
        power,
        f"  boot {seen.boots}",
    )


def _readings(seen: Snapshot) -> RenderableType:
    table = Table(box=box.SQUARE, expand=True)
    for name, justify in (("reading", "left"), ("value", "right"), ("sent", "right"), ("", "left")):
        table.add_column(name, justify="right" if justify == "right" else "left", no_wrap=True)
    for metric, course in sorted(seen.courses.items()):
        table.add_row(metric, _value(course), str(course.count), spark(course.values))
    if not seen.courses:
        table.add_row("none yet", "", "", "")
    return table


def _value(course: Course) -> str:
    last = course.last
    return f"{last:.2f}" if isinstance(last, float) else str(last)[:_VALUE_MAX]


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
    grid = Table.grid(padding=(0, 2), expand=True)
    cells = []
    for switch in board.switches:
        works = board.works(switch)
        style = "reverse red" if switch.on else "" if works else "dim strike"
        times = f" ({switch.times})" if switch.times and not switch.holds else ""
        cells.append(Text.assemble((f" {switch.key} ", "bold cyan"), (switch.label + times, style)))
    cells.append(Text.assemble((" q ", "bold cyan"), "quit"))
    for start in range(0, len(cells), 4):
        grid.add_row(*cells[start : start + 4])
    return Panel(grid, title="faults", title_align="left", box=box.SQUARE)
