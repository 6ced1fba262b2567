"""A history in words, and as files that `host_sim run --scenario` plays again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..faults import FAULTS
from ..scenario import Event, Scenario, dump, load_scenario
from .history import CALM_S, History


def story(history: History) -> str:
    """One line for the board, one for each fault."""
    way = {"address": "by address", "name": "by name", "tls": "over TLS"}[history.gateway]
    head = f"{history.device}, gateway {way}, {history.seconds:.0f} s of board time"
    return "\n".join([head, *(f"  {_line(event)}" for event in history.events)])


def _line(event: Event) -> str:
    when = f"{event.at_s:.1f} s" if event.at_s is not None else ""
    if event.call is not None:
        when = f"{when} {'then ' if when else ''}call {event.nth} of {event.call}".strip()
    defaults = {name: key.default for name, key in FAULTS[event.fault].keys.items()}
    said = event.kind().split()
    told = {
        name: value
        for name, value in event.settings.items()
        if value != defaults[name] and str(value) not in said
    }
    more = ", ".join(f"{name} {value}" for name, value in told.items())
    return f"{when:>12}  {event.kind()}{': ' if more else ''}{more}"


def save(history: History, folder: Path) -> Path:
    """Write the history as a scenario and its board; where the scenario is."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"chaos-{history.seed}"
    (folder / f"{stem}.py").write_text(history.board)
    path = folder / f"{stem}.toml"
    path.write_text(dump(replace(history.scenario(), board=f"{stem}.py")))
    return path


def restored(path: Path) -> History:
    """The history that `save` wrote, or any scenario with a board and a length. Raises `ValueError`."""
    scenario = load_scenario(path)
    board = scenario.board_file()
    if board is None or scenario.seconds is None:
        raise ValueError(f"{path}: needs board and seconds to be played again")
    calm_s = max(0.0, min(CALM_S, scenario.seconds - _last_s(scenario)))
    events = tuple(scenario.events)
    return History(
        scenario.seed or 0, scenario.seconds, board.stem, board.read_text(), scenario.gateway, events, False, calm_s
    )  # fmt: skip


def _last_s(scenario: Scenario) -> float:
    ends = [(event.at_s or 0.0) + (event.settings.get("for") or 0.0) for event in scenario.events]
    return max(ends, default=0.0)
