"""Everything that can go wrong, by name: what a fault takes, how it begins, and how it ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from . import gateway_faults
from .answers import ANSWERS, CONNECT_ANSWERS, FRAME_ANSWERS
from .board import i2c
from .board.flash_faults import BAD_KINDS, ERASE_TEARS, PROGRAM_TEARS

if TYPE_CHECKING:
    from .holds import Holds
    from .world import Placement, World

Settings = Mapping[str, Any]
Undo = Callable[[], object]
Start = Callable[["World", "Placement", Settings], "Undo | None"]

_COUNT_MAX = 1_000_000

GATEWAY = "gateway"
VIRTUAL = "virtual"


@dataclass(frozen=True)
class Key:
    """A setting: `kind` is time (seconds), count (from 1), whole, number, text or one of `choices`."""

    kind: str
    default: Any = None
    choices: tuple[str, ...] = ()
    minimum: float = 0
    maximum: float = _COUNT_MAX
    required: bool = False

    def check(self, value: Any, seconds_of: Callable[[Any], float]) -> Any:
        """The value as the fault wants it. Raises `ValueError` saying what it must be."""
        if self.kind == "time":
            return seconds_of(value)
        if self.choices and value not in self.choices:
            raise ValueError(f"must be one of {', '.join(self.choices)}, not {value!r}")
        if self.kind == "text":
            if not isinstance(value, str):
                raise ValueError(f"must be a text, not {value!r}")
            return value
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole and not (self.kind == "number" and isinstance(value, float)):
            raise ValueError(f"must be a {'' if self.kind == 'number' else 'whole '}number, not {value!r}")
        low = max(1, self.minimum) if self.kind == "count" else self.minimum
        if not low <= value <= self.maximum:
            raise ValueError(f"must be from {low:g} to {self.maximum:g}, not {value!r}")
        return value


@dataclass(frozen=True)
class Fault:
    """A kind of fault. A key named `for` ends it after so many seconds, if `start` says how.

    `needs` is what the run must have: a 'gateway' of its own, or 'virtual' time.
    """

    start: Start
    keys: Mapping[str, Key] = field(default_factory=dict)
    needs: str | None = None


_FOR = Key("time", 30.0)


def _us(seconds: float) -> int:
    return int(seconds * 1_000_000)


# Wi-Fi, names, transport


def _wifi(world: World, placement: Placement, settings: Settings) -> Undo:
    wifi = placement.board.wifi
    if settings["state"] == "down":
        return placement.holds.begin("wifi", lambda: wifi.available, wifi.set_available, False)
    # Associated, with an address, and nothing behind it.
    ends = [_hold_dns(placement, "fail"), _hold_swallow(placement)]
    return lambda: [end() for end in ends]


def _hold_dns(placement: Placement, state: str) -> Undo:
    wires = placement.wires
    return placement.holds.begin("dns", lambda: wires.path.dns, wires.set_dns, state)


def _hold_swallow(placement: Placement) -> Undo:
    wires = placement.wires
    return placement.holds.begin("swallow", lambda: wires.path.swallow, wires.set_swallow, True)


def _dns(world: World, placement: Placement, settings: Settings) -> Undo:
    return _hold_dns(placement, settings["mode"])


def _transport(world: World, placement: Placement, settings: Settings) -> Undo | None:
    wires, holds, action = placement.wires, placement.holds, settings["action"]
    if action == "stall":
        return holds.begin("stall", lambda: wires.path.stalled, wires.set_stalled, True)
    if action == "black_hole":
        return _hold_swallow(placement)
    if action == "refuse":
        return _hold_attribute(holds, "refuse", wires.path, "refuse", True)
    if action == "reset_after":
        wires.reset_after(settings["bytes"])
    elif action == "half_close":
        wires.half_close()
    else:
        wires.reset_all()
    return None


def _hold_attribute(holds: Holds, thing: str, owner: object, name: str, value: Any) -> Undo:
    return holds.begin(thing, partial(getattr, owner, name), partial(setattr, owner, name), value)


def _latency(world: World, placement: Placement, settings: Settings) -> Undo:
    path = placement.wires.path

    def put(times: tuple[int, int, int]) -> None:
        path.up_us, path.down_us, path.jitter_us = times

    times = tuple(int(settings[name] * 1000) for name in ("up_ms", "down_ms", "jitter_ms"))
    return placement.holds.begin("latency", lambda: (path.up_us, path.down_us, path.jitter_us), put, times)


# the gateway


_DELAY = Key("number", None, maximum=3_600_000)
_COUNTED = {
    "count": Key("count"),
    "delay_ms": Key("number", 0.0, maximum=3_600_000),
    "for": _FOR,
}
_ANSWERED = {"status": Key("count", 503, minimum=400, maximum=599), **_COUNTED}

_CERTIFICATES = ("good", "expired", "not_yet_valid", "wrong_host", "other_ca", "self_signed")

# power


_BROWN_OUT_US = 50_000


def _power(world: World, placement: Placement, settings: Settings) -> None:
    board, action = placement.board, settings["action"]
    if action == "brown_out":
        for i in range(settings["count"]):
            world.later(_us(settings["for"] * i), partial(board.brown_out, _BROWN_OUT_US))
    elif action == "reset":  # the EN pin: to an ESP32 a power-on, RTC included
        _cut_power(world, placement, 0)
    else:
        _cut_power(world, placement, settings["for"])


def _cut_power(world: World, placement: Placement, seconds: float) -> None:
    board = placement.board

    def put(on: bool) -> None:
        if on:
            board.power_on()
        else:
            board.power_off()

    hold = placement.holds.make("supply", lambda: board.powered, put, False)
    # Armed first: inside a call of the firmware the cut does not return.
    world.later(_us(seconds), hold.end)
    hold.begin()


# flash


def _flash(world: World, placement: Placement, settings: Settings) -> Undo | None:
    flash, action = placement.board.flash, settings["action"]
    sector = settings["sector"] % (flash.size // flash.sector_bytes)
    if action == "rot":
        flash.rot(settings["bits"])
    elif action == "error":
        flash.fail_at(flash.operations + 1)
    elif action == "bad_sector":
        put = partial(flash.spoil, sector)
        return placement.holds.begin(("sector", sector), lambda: None, put, settings["kind"])
    else:
        _cut_flash(world, placement, settings)
    return None


def _cut_flash(world: World, placement: Placement, settings: Settings) -> None:
    """Power goes in the midst of the next program or erase, and returns after `for`."""
    flash = placement.board.flash
    flash.on_cut = partial(_cut_power, world, placement, settings["for"])
    flash.cut_at(flash.operations + 1, settings["program_tear"], settings["erase_tear"])


# clock, sensor, memory


def _clock(world: World, placement: Placement, settings: Settings) -> None:
    board = placement.board
    now_us = board.kernel.now_us()
    board.clocks.set_rtc_us(now_us, board.clocks.rtc_us(now_us) + _us(settings["rtc_jump_s"]))
    board.clocks.set_drift(now_us, settings["drift_ppm"])


_BUS_FAULTS = {"nack": i2c.NACK, "stuck": i2c.STUCK, "garbage": i2c.GARBAGE}


def _sensor(world: World, placement: Placement, settings: Settings) -> Undo:
    bus, holds, state = placement.board.i2c, placement.holds, settings["state"]
    if state == "hung":
        return _hold_attribute(holds, "sensor", placement.sensor, "hung", True)
    if state == "unplugged":
        return holds.begin("plug", lambda: True, partial(_plug, placement), False)

    def put(kind: str | None) -> None:
        if kind is None:
            bus.clear_faults()
        else:
            bus.set_fault(kind)

    return holds.begin("bus", lambda: None, put, _BUS_FAULTS[state])


def _plug(placement: Placement, plugged: bool) -> None:
    change = placement.board.i2c.replug if plugged else placement.board.i2c.unplug
    change(placement.sensor_address)


def _heap(world: World, placement: Placement, settings: Settings) -> Undo:
    """Memory for sockets runs out (ENOMEM from the network stack), or for Python objects (MemoryError)."""
    return _hold_attribute(placement.holds, "heap", placement.board, "exhausted", settings["kind"])


FAULTS: dict[str, Fault] = {
    "wifi": Fault(_wifi, {"state": Key("text", "down", ("down", "no_internet")), "for": _FOR}),
    "dns": Fault(_dns, {"mode": Key("text", "hang", ("hang", "fail")), "for": _FOR}),
    "transport": Fault(
        _transport,
        {
            "action": Key(
                "text", "reset", ("reset", "reset_after", "stall", "black_hole", "refuse", "half_close")
            ),
            "bytes": Key("count", 100),
            "for": _FOR,
        },
    ),
    "latency": Fault(
        _latency,
        {name: Key("number", 0.0, maximum=60_000) for name in ("up_ms", "down_ms", "jitter_ms")}
        | {"for": _FOR},
    ),
    "evict": Fault(gateway_faults.evict, needs=GATEWAY),
    "gateway": Fault(
        gateway_faults.answer,
        {"answer": Key("text", "status", ANSWERS), **_ANSWERED},
        GATEWAY,
    ),
    "ws_connect": Fault(
        gateway_faults.connect_answer,
        {"answer": Key("text", "invalid_key", CONNECT_ANSWERS), **_ANSWERED, "delay_ms": _DELAY},
        GATEWAY,
    ),
    "ws_frame": Fault(
        gateway_faults.frame_answer,
        {
            "answer": Key("text", "rate_limited", FRAME_ANSWERS),
            "after": Key("whole", 0),
            **_COUNTED,
            "delay_ms": _DELAY,
        },
        GATEWAY,
    ),
    "ws_goodbye": Fault(
        gateway_faults.goodbye,
        {"socket": Key("text", "closed", ("closed", "left_open")), "for": _FOR},
        GATEWAY,
    ),
    "ws_second_device": Fault(gateway_faults.second_device, needs=GATEWAY),
    "generation": Fault(
        gateway_faults.generation, {"to": Key("text", "aug", ("aug", "oct")), "for": _FOR}, GATEWAY
    ),
    "tls": Fault(
        gateway_faults.tls,
        {
            "certificate": Key("text", "good", _CERTIFICATES),
            "mode": Key("text", "tls", ("tls", "plain", "stall")),
            "for": _FOR,
        },
        VIRTUAL,
    ),
    "gateway_restart": Fault(gateway_faults.restart, {"for": Key("time", 5.0)}, GATEWAY),
    "gateway_clock": Fault(
        gateway_faults.clock, {"jump_s": Key("number", None, (), -1e10, 1e10, True), "for": _FOR}, GATEWAY
    ),
    "power": Fault(
        _power,
        {
            "action": Key("text", "cut", ("cut", "brown_out", "reset")),
            "count": Key("count", 3, maximum=1000),
            "for": Key("time", 2.0),
        },
    ),
    "flash": Fault(
        _flash,
        {
            "action": Key("text", "rot", ("rot", "bad_sector", "error", "cut")),
            "bits": Key("count", 1),
            "sector": Key("whole", 0),
            "kind": Key("text", BAD_KINDS[0], BAD_KINDS),
            "program_tear": Key("text", "bits", PROGRAM_TEARS),
            "erase_tear": Key("text", "mixture", ERASE_TEARS),
            "for": _FOR,
        },
    ),
    "clock": Fault(
        _clock,
        {
            "rtc_jump_s": Key("number", 0.0, (), -1e10, 1e10),
            "drift_ppm": Key("number", 0.0, (), -100_000, 100_000),
        },
    ),
    "sensor": Fault(
        _sensor,
        {"state": Key("text", "unplugged", ("unplugged", "hung", "nack", "stuck", "garbage")), "for": _FOR},
    ),
    "heap": Fault(_heap, {"kind": Key("text", "network", ("network", "python")), "for": _FOR}),
}
