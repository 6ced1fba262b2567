"""How the faults of the gateway begin, and what ends them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from .answers import DELAYED_ANSWERS, connect_rule_for, frame_rule_for, rule_for

if TYPE_CHECKING:
    from .gateway import Generation
    from .world import Placement, World

Settings = Mapping[str, Any]
Undo = Callable[[], object]


def answer(world: World, placement: Placement, settings: Settings) -> Undo:
    rule = rule_for(settings["answer"], settings["status"], settings["count"], settings["delay_ms"] / 1000)
    return world.answers.add(rule)


def restart(world: World, placement: Placement, settings: Settings) -> Undo:
    def put(runs: bool) -> None:
        if runs:
            deployed = world.gateway
            world.restart_gateway()
            assert deployed is not None and world.gateway is not None
            world.gateway.conditions.generation = deployed.conditions.generation
        else:
            world.stop_gateway()

    return world.holds.begin("gateway", lambda: world.gateway_runs, put, False)


def clock(world: World, placement: Placement, settings: Settings) -> Undo:
    jump_ms = int(settings["jump_s"] * 1000)
    world.gateway_skew_ms += jump_ms

    def back() -> None:
        world.gateway_skew_ms -= jump_ms

    return back


def tls(world: World, placement: Placement, settings: Settings) -> Undo:
    """What the gateway presents on its TLS port, to connections that begin from now on."""
    tls = world.serve_tls()

    def put(shown: tuple[Any, str]) -> None:
        tls.identity, tls.mode = shown

    shown = (getattr(world.identities, settings["certificate"]), settings["mode"])
    return world.holds.begin("tls", lambda: (tls.identity, tls.mode), put, shown)


def evict(world: World, placement: Placement, settings: Settings) -> None:
    """The gateway drops all its connections without a word, as when a second device takes the name."""
    world.abort_connections()


# its WebSocket for devices


def connect_answer(world: World, placement: Placement, settings: Settings) -> Undo:
    """What a device meets that opens a WebSocket."""
    rule = connect_rule_for(settings["answer"], settings["status"], settings["count"], _delay_s(settings))
    return world.answers.add(rule)


def frame_answer(world: World, placement: Placement, settings: Settings) -> Undo:
    """What a telemetry frame meets."""
    counts = settings["count"], _delay_s(settings), settings["after"]
    rule = frame_rule_for(settings["answer"], *counts)
    return world.answers.add(rule)


def _delay_s(settings: Settings) -> float:
    """A second where the delay is the fault and the file names none."""
    delay_ms = settings["delay_ms"]
    if delay_ms is None:
        return 1.0 if settings["answer"] in DELAYED_ANSWERS else 0.0
    return float(delay_ms) / 1000


def goodbye(world: World, placement: Placement, settings: Settings) -> None:
    """All devices are sent off, as before a deploy; a socket `left_open` stays so `for` some time."""
    left_open_s = settings["for"] if settings["socket"] == "left_open" else 0.0
    assert world.gateway is not None
    world.gateway.devices.say_goodbye(left_open_s)


def second_device(world: World, placement: Placement, settings: Settings) -> None:
    """Another device comes with this board's source_id, and takes its place until the board is back."""
    assert world.gateway is not None
    for source_id in sorted(placement.witness.source_ids):
        world.gateway.devices.evict(source_id)


def generation(world: World, placement: Placement, settings: Settings) -> Undo:
    """Another gateway is deployed on the same address: its devices are sent off and find it there."""
    assert world.gateway is not None

    def put(name: Generation) -> None:
        assert world.gateway is not None
        world.gateway.conditions.generation = name
        world.gateway.devices.say_goodbye()

    return world.holds.begin("generation", partial(getattr, world.gateway, "generation"), put, settings["to"])
