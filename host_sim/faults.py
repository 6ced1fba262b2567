"""Everything that can go wrong, by name: what a fault takes, how it begins, and how it ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .answers import ANSWERS, rule_for
from .board import i2c
from .board.flash_faults import BAD_KINDS, ERASE_TEARS, PROGRAM_TEARS

if TYPE_CHECKING:
    from .world import Placement, World

Settings = Mapping[str, Any]
Undo = Callable[[], object]
Start = Callable[["World", "Placement", Settings], "Undo | None"]

_COUNT_MAX = 1_000_000


@dataclass(frozen=True)
class Key:
    """A setting: `kind` is time (seconds), count, number, text or one of `choices`."""

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
            raise ValueError(f"must be a {'whole ' if self.kind == 'count' else ''}number, not {value!r}")
        low = max(1, self.minimum) if self.kind == "count" else self.minimum
        if not low <= value <= self.maximum:
            raise ValueError(f"must be from {low:g} to {self.maximum:g}, not {value!r}")
        return value


@dataclass(frozen=True)
class Fault:
    """A kind of fault. A key named `for` ends it after so many seconds, if `start` says how."""

    start: Start
    keys: Mapping[str, Key] = field(default_factory=dict)


_FOR = Key("time", 30.0)


def _us(seconds: float) -> int:
    return int(seconds * 1_000_000)


# Wi-Fi, names, transport


def _wifi(world: World, placement: Placement, settings: Settings) -> Undo:
    if settings["state"] == "down":
        placement.board.wifi.set_available(False)
        return lambda: placement.board.wifi.set_available(True)
    # Associated, with an address, and nothing behind it.
    placement.wires.set_dns("fail")
    placement.wires.set_swallow(True)

    def back() -> None:
        placement.wires.set_dns("ok")
        placement.wires.set_swallow(False)

    return back


def _dns(world: World, placement: Placement, settings: Settings) -> Undo:
    placement.wires.set_dns(settings["mode"])
    return lambda: placement.wires.set_dns("ok")


def _transport(world: World, placement: Placement, settings: Settings) -> Undo | None:
    wires, action = placement.wires, settings["action"]
    if action == "stall":
        wires.set_stalled(True)
        return lambda: wires.set_stalled(False)
    if action == "black_hole":
        wires.set_swallow(True)
        return lambda: wires.set_swallow(False)
    if action == "refuse":
        wires.path.refuse = True
        return lambda: setattr(wires.path, "refuse", False)
    if action == "reset_after":
        wires.reset_after(settings["bytes"])
    elif action == "half_close":
        wires.half_close()
    else:
        wires.reset_all()
    return None


def _latency(world: World, placement: Placement, settings: Settings) -> Undo:
    path = placement.wires.path
    before = (path.up_us, path.down_us, path.jitter_us)

    def put(up_us: int, down_us: int, jitter_us: int) -> None:
        path.up_us, path.down_us, path.jitter_us = up_us, down_us, jitter_us

    put(*(int(settings[name] * 1000) for name in ("up_ms", "down_ms", "jitter_ms")))
    return lambda: put(*before)


def _evict(world: World, placement: Placement, settings: Settings) -> None:
    """The gateway drops all its connections without a word, as when a second device takes the name."""
    world.abort_connections()


# the gateway


def _gateway(world: World, placement: Placement, settings: Settings) -> Undo:
    rule = rule_for(settings["answer"], settings["status"], settings["count"], settings["delay_ms"] / 1000)
    return world.answers.add(rule)


def _restart(world: World, placement: Placement, settings: Settings) -> Undo:
    world.stop_gateway()
    return world.restart_gateway


def _gateway_clock(world: World, placement: Placement, settings: Settings) -> Undo:
    world.gateway_skew_ms += int(settings["jump_s"] * 1000)
    return lambda: setattr(world, "gateway_skew_ms", 0)


def _tls(world: World, placement: Placement, settings: Settings) -> Undo:
    """What the gateway presents on its TLS port, to connections that begin from now on."""
    tls = world.serve_tls()
    tls.identity = getattr(world.identities, settings["certificate"])
    tls.mode = settings["mode"]

    def back() -> None:
        tls.identity = world.identities.good
        tls.mode = "tls"

    return back


_CERTIFICATES = ("good", "expired", "not_yet_valid", "wrong_host", "other_ca", "self_signed")

# power


_BROWN_OUT_US = 50_000


def _power(world: World, placement: Placement, settings: Settings) -> None:
    board, action = placement.board, settings["action"]
    now_us = world.kernel.now_us()
    if action == "brown_out":
        for i in range(settings["count"]):
            at_us = now_us + _us(settings["for"] * i)
            world.kernel.call_at(at_us, lambda: board.brown_out(_BROWN_OUT_US))
    elif action == "reset":
        board.press_reset()
    else:
        # Armed first: inside a call of the firmware the cut does not return.
        world.kernel.call_at(now_us + _us(settings["for"]), board.power_on)
        board.power_off()


# flash


def _flash(world: World, placement: Placement, settings: Settings) -> Undo | None:
    board, action = placement.board, settings["action"]
    flash = board.flash
    sector = settings["sector"] % (flash.size // flash.sector_bytes)
    if action == "rot":
        flash.rot(settings["bits"])
    elif action == "error":
        flash.fail_at(flash.operations + 1)
    elif action == "bad_sector":
        flash.spoil(sector, settings["kind"])
        return lambda: flash.spoil(sector, None)
    else:
        _cut_flash(world, placement, settings)
    return None


def _cut_flash(world: World, placement: Placement, settings: Settings) -> None:
    """Power goes in the midst of the next program or erase, and returns after `for`."""
    board = placement.board

    def cut() -> None:
        world.kernel.call_at(world.kernel.now_us() + _us(settings["for"]), board.power_on)
        board.power_off()

    board.flash.on_cut = cut
    board.flash.cut_at(board.flash.operations + 1, settings["program_tear"], settings["erase_tear"])


# clock, sensor, memory


def _clock(world: World, placement: Placement, settings: Settings) -> None:
    board = placement.board
    now_us = board.kernel.now_us()
    board.clocks.set_rtc_us(now_us, board.clocks.rtc_us(now_us) + _us(settings["rtc_jump_s"]))
    board.clocks.set_drift(now_us, settings["drift_ppm"])


def _sensor(world: World, placement: Placement, settings: Settings) -> Undo:
    bus, address = placement.board.i2c, placement.sensor_address
    if settings["state"] == "unplugged":
        bus.unplug(address)
        return lambda: bus.replug(address)
    if settings["state"] == "hung":
        placement.sensor.hung = True
        return lambda: setattr(placement.sensor, "hung", False)
    kind = {"nack": i2c.NACK, "stuck": i2c.STUCK, "garbage": i2c.GARBAGE}[settings["state"]]
    bus.set_fault(kind)
    return bus.clear_faults


def _heap(world: World, placement: Placement, settings: Settings) -> Undo:
    """Memory for sockets runs out (ENOMEM from the network stack), or for Python objects (MemoryError)."""
    placement.board.exhausted = settings["kind"]
    return lambda: setattr(placement.board, "exhausted", None)


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
    "evict": Fault(_evict),
    "gateway": Fault(
        _gateway,
        {
            "answer": Key("text", "status", ANSWERS),
            "status": Key("count", 503, minimum=400, maximum=599),
            "count": Key("count"),
            "delay_ms": Key("number", 0.0, maximum=3_600_000),
            "for": _FOR,
        },
    ),
    "tls": Fault(
        _tls,
        {
            "certificate": Key("text", "good", _CERTIFICATES),
            "mode": Key("text", "tls", ("tls", "plain", "stall")),
            "for": _FOR,
        },
    ),
    "gateway_restart": Fault(_restart, {"for": Key("time", 5.0)}),
    "gateway_clock": Fault(
        _gateway_clock, {"jump_s": Key("number", None, (), -1e10, 1e10, True), "for": _FOR}
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
            "sector": Key("number", 0),
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
