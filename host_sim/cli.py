"""The command line: `python -m host_sim run|gateway|demo|board|ring|chaos|fleet|scenarios`."""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from .chaos.command import chaos
from .durations import seconds_of
from .fleet.command import fleet
from .node import MissingTool
from .ring_tool import RingImage, cut_out
from .scenario import find_scenario, gallery
from .session import GatewaySession, RunOptions, run_session
from .world import ROOT, Target

_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

DEFAULT_BOARD = ROOT / "boards" / "esp32.py"
DEFAULT_PORT = 8765

# Where a user may say once and for all which executable to take.
_EXECUTABLES = {"micropython": "MICROPYTHON", "circuitpython": "CIRCUITPYTHON"}

_PORT = click.IntRange(0, 65535)


class _Duration(click.ParamType[float]):
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return seconds_of(value)
        except ValueError as e:
            self.fail(str(e), param, ctx)


class _Bytes(click.ParamType[int]):
    name = "bytes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            number = int(str(value), 0)
        except ValueError:
            number = -1
        if number < 0:
            self.fail(f"{value!r} is no number of bytes such as 262144 or 0x40000", param, ctx)
        return number


_BYTES = _Bytes()
_PATH = click.Path(exists=True, path_type=Path)
_vm = click.option("--vm", default="micropython", show_default=True, help="cpython or micropython.")
_interpreter = click.option(
    "--interpreter", help="A micropython executable instead of the built-in one; or MICROPYTHON=."
)
_seconds = click.option(
    "--seconds", type=click.FloatRange(0.1), help="Stop after so long; default: at Ctrl-C."
)
_seed = click.option("--seed", type=click.IntRange(0), help="Replays what the simulator draws at random.")
_port = click.option(
    "--port", type=_PORT, default=DEFAULT_PORT, show_default=True, help="When it is busy: the next free one."
)


def _trace(default: str) -> _Decorator:
    kinds = "quiet_room, finger_press, slow_drift or a .csv file"
    return click.option(
        "--trace", default=default, show_default=True, help=f"What the sensor feels: {kinds}."
    )


def _store(default: str) -> _Decorator:
    return click.option(
        "--store", default=default, show_default=True, help="sqlite:///PATH, sqlite:// for memory."
    )


def main() -> None:
    """Run the command line; a mistake of the user's is one line on standard error and exit code 2."""
    try:
        cli(prog_name="python -m host_sim")
    except (ValueError, MissingTool, OSError) as e:
        print(f"host_sim: {e}", file=sys.stderr)
        raise SystemExit(2) from None


@click.group(help="Plexus firmware on a simulated board, and a gateway to talk to.")
def cli() -> None:
    pass


@cli.command()
@click.argument("path", type=_PATH)
@click.option(
    "--board", type=_PATH, help="The board's constants file; default: the scenario's, else boards/esp32.py."
)
@_vm
@_interpreter
@click.option("--gateway", help="URL of a gateway; default: one in this process.")
@_seconds
@click.option("--virtual", type=_Duration(), help="So much board time, as fast as it goes: 90, 10m, 2h, 7d.")
@_seed
@_trace("quiet_room")
@_store("sqlite://")
@click.option("--scenario", "named", help="What goes wrong, and when: a file, or a name out of `scenarios`.")
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON.")
@click.option("--view", is_flag=True, help="Show the board in this terminal, with a key for each fault.")
def run(
    path: Path,
    board: Path | None,
    vm: str,
    interpreter: str | None,
    gateway: str | None,
    seconds: float | None,
    virtual: float | None,
    seed: int | None,
    trace: str,
    store: str,
    named: str | None,
    as_json: bool,
    view: bool,
) -> None:
    """Run the firmware in PATH, a folder or a main.py, on a simulated board with a BME280.

    With --gateway the key is taken from the environment, PLEXUS_API_KEY. A scenario that says how long it takes is
    played for so much board time, unless --seconds or --virtual say otherwise.
    """
    if virtual is not None and seconds is not None:
        raise ValueError("--seconds is real time, --virtual board time: give one of them")
    if path.is_dir() and not any((path / name).is_file() for name in ("main.py", "boot.py")):
        raise ValueError(f"{path} holds no main.py")
    if view:
        _check_view(virtual is not None)
    scenario = None if named is None else find_scenario(named)
    if scenario is not None:
        board = board or scenario.board_file()
        seed = scenario.seed if seed is None else seed
        if seconds is None and gateway is None and not view:
            virtual = scenario.seconds if virtual is None else virtual
    options = RunOptions(
        path,
        board or DEFAULT_BOARD,
        vm,
        seconds if virtual is None else virtual,
        _drawn(seed),
        trace,
        store,
        _target(gateway),
        virtual=virtual is not None,
        scenario=scenario,
        view=view,
        interpreter=interpreter or os.environ.get(_EXECUTABLES.get(vm, "")) or None,
    )
    raise SystemExit(run_session(options, as_json, as_demo=False))


@cli.command()
@_vm
@_seconds
@_seed
@_trace("finger_press")
@_port
def demo(vm: str, seconds: float | None, seed: int | None, trace: str, port: int) -> None:
    """A gateway with its page, and a simulated ESP32 that sends to it; ends with one line of JSON."""
    firmware = ROOT / "firmware"
    options = RunOptions(firmware, DEFAULT_BOARD, vm, seconds, _drawn(seed), trace, "sqlite://", None, port)
    raise SystemExit(run_session(options, as_json=True, as_demo=True))


@cli.command()
@click.option(
    "--dir",
    "state",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep files and flash there between runs.",
)
@click.option("--link", type=click.Path(path_type=Path), help="A symbolic link to the pseudo-terminal.")
@click.option("--gateway", help="URL of a gateway; default: one in this process.")
@click.option(
    "--board", "board_file", type=_PATH, default=DEFAULT_BOARD, show_default=True, help="What the board is."
)
@_seconds
@_seed
@_trace("quiet_room")
@_port
def board(
    state: Path | None,
    link: Path | None,
    gateway: str | None,
    board_file: Path,
    seconds: float | None,
    seed: int | None,
    trace: str,
    port: int,
) -> None:
    """A board on a pseudo-terminal, for mpremote: real MicroPython with a BME280, Wi-Fi and a gateway.

    With --gateway the key is taken from the environment, PLEXUS_API_KEY.
    """
    from .serial_board.session import (  # needs pseudo-terminals, which not all systems have
        BoardOptions,
        run_board,
    )

    options = BoardOptions(board_file, state, link, _target(gateway), _drawn(seed), trace, port, seconds)
    raise SystemExit(run_board(options))


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@_port
@_store("sqlite:///plexus.db")
@click.option("--api-key", envvar="PLEXUS_API_KEY", help="The key of devices and readers, or PLEXUS_API_KEY.")
@click.option(
    "--generation", default="oct", show_default=True, help="aug or oct: which Plexus gateway to be."
)
def gateway(host: str, port: int, store: str, api_key: str | None, generation: str) -> None:
    """Run the gateway alone, until Ctrl-C."""
    raise SystemExit(GatewaySession(host, port, store, api_key, generation).run())


@cli.command()
@click.argument("image", type=click.Path(path_type=Path))
@click.option("--sector-bytes", type=click.IntRange(256), default=4096, show_default=True)
@click.option("--offset", type=_BYTES, help="Where in the image the ring begins; default: it is looked for.")
@click.option("--size", type=_BYTES, help="Bytes of the ring; default: to the end of the image.")
@click.option("--all", "settled_too", is_flag=True, help="List what is delivered, too.")
@click.option("--send", "url", help="Deliver what waits to the gateway at this URL, key in PLEXUS_API_KEY.")
@click.option("--source-id", help="Whose those readings are that do not tell it, for --send.")
@click.option(
    "--precision",
    type=click.Choice(["single", "double"]),
    help="Of the board's floats; default: double if anything in the ring shows it.",
)
def ring(
    image: Path,
    sector_bytes: int,
    offset: int | None,
    size: int | None,
    settled_too: bool,
    url: str | None,
    source_id: str | None,
    precision: str | None,
) -> None:
    """What the ring in IMAGE, the dumped flash of a board, still holds: a summary, then a line of JSON for each
    reading that waits."""
    target = _target(url, "--send")
    found = RingImage(cut_out(image.read_bytes(), sector_bytes, offset, size), sector_bytes, precision)
    print(json.dumps(found.summary()))
    if target is None:
        for point in found.points if settled_too else found.waiting:
            print(point.line())
        return
    delivery = found.deliver(target.url, source_id, target.api_key)
    print(json.dumps(vars(delivery)))
    raise SystemExit(1 if delivery.refused or delivery.undated else 0)


cli.add_command(chaos)
cli.add_command(fleet)


@cli.command()
def scenarios() -> None:
    """What `run --scenario NAME` can play, and what each teaches."""
    for scenario in gallery():
        assert scenario.path is not None
        print(f"{scenario.path.stem:<24}{scenario.teaches}")


def _check_view(virtual: bool) -> None:
    from .view.terminal import check_terminal

    if virtual:
        raise ValueError("--view is in real time, without --virtual")
    check_terminal()


def _drawn(seed: int | None) -> int:
    return random.SystemRandom().getrandbits(32) if seed is None else seed


def _target(url: str | None, option: str = "--gateway") -> Target | None:
    if url is None:
        return None
    api_key = os.environ.get("PLEXUS_API_KEY")
    if not api_key:
        raise ValueError(f"{option} needs the gateway's key in the environment, PLEXUS_API_KEY")
    return Target(url, api_key)
