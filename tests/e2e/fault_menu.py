"""The fault menu: each thing that can go wrong between a board and its gateway, by name, as a history from a seed.

`python -m tests.e2e.fault_menu NAME TRANSPORT SEED` plays one again and tells what came of it.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from host_sim.faults import FAULTS
from host_sim.journal import Verdict
from host_sim.world import ROOT, VIRTUAL_GATEWAY, VIRTUAL_TLS_HOST, VIRTUAL_TLS_PORT, Placement, World
from tests.e2e.observed import DNS, ERASE, FILES, TLS, ObservedVm, Watch

# Whose readings a power cut must not cost; and, where nothing cuts the power, also those that wait elsewhere.
FLASH_BOARD = "esp32_flash_ring.py"
_BOARDS = (FLASH_BOARD, FLASH_BOARD, "esp32.py", "esp32_ram_ring.py")
SOURCE = "rig-01"
TRANSPORTS = ("auto", "http")
# A pause after trouble is at most 60 s and a quarter, and a request that nobody answers takes 10 s more.
BOUND_S = 100.0
# No call waits for longer, but for these: an erase takes 45 ms, the key exchange 0.9 s; a name as long as it takes.
SLICE_MAX_US = 10_000
UNSLICED_MAX_US = {DNS: 1e12, ERASE: 46_000, FILES: 60_000, TLS: 1_000_000}
_TAIL_S = 40.0  # after all is well again: what would be sent twice has been by then
_PERIOD_S = 2
_TLS_EVERY = 5  # seeds
_PENDING_MAX = 16  # when the run ends: a ring in files takes some samples at a time
_REFUSED = "long"
_EVENT_MAX_BYTES = 64  # at this gateway: a longer event is refused, by its index

FIRMWARE = """
import time
import rig
from plexus_mp import Plexus

px = Plexus(source_id="SOURCE", transport="TRANSPORT", gateway_url="URL")
n = rig.boot * 100000
next_ms = time.ticks_ms()
while True:
    px.send_batch([("a", n), ("b", n + 1), ("c", n + 2)])
    px.send("d", n + 3)
    n += 4
    if rig.poison():
        px.event("REFUSED", "x" * 100)
    next_ms = time.ticks_add(next_ms, PERIOD_MS)
    time.sleep_ms(max(0, time.ticks_diff(next_ms, time.ticks_ms())))
"""


class Stage:
    """A board that sends four readings every two seconds, and what is done to it."""

    def __init__(
        self, transport: str, seed: int, host: str = "", board: str = FLASH_BOARD, tls: bool = False
    ) -> None:
        self.world = World(seed, virtual=True)
        self.rng = random.Random(f"{seed}/menu")
        self.watch = Watch()
        self.console: list[str] = []
        self.faults = 0
        self.poisoned = 0
        self._poison = False
        self.for_s = 0.0
        self.stored_us: dict[int, int] = {}
        self._transport = transport
        self._host = host
        self._board = ROOT / "boards" / board
        self._tls = tls
        self.placement: Placement
        self._watch_store()

    async def start(self, folder: Path) -> None:
        world = self.world
        await world.start()
        if self._host:
            world._net.names[self._host] = VIRTUAL_GATEWAY[0]
        url = f"http://{self._host or VIRTUAL_GATEWAY[0]}:{VIRTUAL_GATEWAY[1]}"
        if self._tls:
            url = f"https://{VIRTUAL_TLS_HOST}:{VIRTUAL_TLS_PORT}"
        source = FIRMWARE.replace("PERIOD_MS", str(_PERIOD_S * 1000)).replace("URL", url)
        source = source.replace("SOURCE", SOURCE).replace("TRANSPORT", self._transport)
        source = source.replace("REFUSED", _REFUSED)
        (folder / "boot.py").write_bytes((ROOT / "firmware" / "boot.py").read_bytes())
        (folder / "main.py").write_text(source)
        self.set_limit("string_max_bytes", _EVENT_MAX_BYTES)
        self.placement = world.add_board(folder, self._board, "cpython", console=self.console.append)
        if self._tls:
            world.serve_tls()
        rig = {"poison": self._take_poison}
        self.placement.board._make_vm = lambda: ObservedVm(self.watch, rig)
        self.placement.board.power_on()

    def _watch_store(self) -> None:
        store: Any = self.world.store
        insert = store.insert

        def watched(points: Any, received_ms: int) -> Any:
            result = insert(points, received_ms)
            now_us = self.world.kernel.now_us()
            for point in points:
                if point.cls == "metric":
                    self.stored_us.setdefault(int(point.value), now_us)
            return result

        store.insert = watched

    def _take_poison(self) -> bool:
        self.poisoned += self._poison
        return self._poison

    def verdict(self) -> Verdict:
        """What was refused is still in flash, and nobody waits for it."""
        witness = self.placement.witness
        witness.held = [row for row in witness.held if row.metric != _REFUSED]
        return self.world.verdict()

    def twice(self) -> int:
        """Values that are stored more than once, whatever their timestamps."""
        assert self.world.store is not None
        values = [row.value for row in self.world.store.rows() if row.cls == "metric"]
        return len(values) - len(set(values))

    # what entries do

    def fault(self, name: str, after_s: float = 0.0, **settings: Any) -> None:
        """A fault of scenario files, for the time of the history's, unless `for` says otherwise."""
        if after_s:
            self.world.later(int(after_s * 1e6), partial(self.fault, name, **settings))
            return
        keys = FAULTS[name].keys
        whole = {key: kind.default for key, kind in keys.items()} | {"for": self.for_s} | settings
        self.faults += 1
        undo = FAULTS[name].start(self.world, self.placement, whole)
        if undo is not None:
            self.world.later(int(whole["for"] * 1e6), undo)

    def condition(self, begin: Callable[[Any], object], end: Callable[[Any], object]) -> None:
        """Something is wrong around the gateway."""
        self.faults += 1
        assert self.world.gateway is not None
        begin(self.world.gateway.conditions)
        self.world.later(int(self.for_s * 1e6), lambda: end(self.world.gateway.conditions))  # type: ignore[union-attr]

    def set_limit(self, name: str, value: Any) -> None:
        assert self.world.gateway is not None
        object.__setattr__(self.world.gateway.settings, name, value)

    def limit(self, name: str, value: Any) -> None:
        self.faults += 1
        assert self.world.gateway is not None
        before = getattr(self.world.gateway.settings, name)
        self.set_limit(name, value)
        self.world.later(int(self.for_s * 1e6), lambda: self.set_limit(name, before))

    def poison(self) -> None:
        self.faults += 1
        self._poison = True

        def end() -> None:
            self._poison = False

        self.world.later(int(self.for_s * 1e6), end)

    def off_socket(self) -> None:
        """The board has to do with HTTP meanwhile."""
        if self._transport != "http":
            self.fault("ws_connect", answer="status", status=503)
            self.fault("evict")

    def again(self, name: str, each_s: float, **settings: Any) -> None:
        """Again and again, at drawn moments about `each_s` apart."""
        at_s = 0.0
        while at_s <= self.for_s:
            self.fault(name, at_s, **settings)
            at_s += self.rng.uniform(0.3, 1.7) * each_s


Strike = Callable[[Stage], object]


@dataclass(frozen=True)
class Entry:
    """`over`: the transports that meet it. `instant`: it has no duration. `early`: it may strike before first contact.

    `bound_s`: after its end everything is delivered within that. `host`: the gateway has a name to be resolved.
    `flash`: it needs the ring there. `cuts`: the board boots again, and counts anew. `skews`: timestamps may be wrong.
    """

    strike: Strike
    over: tuple[str, ...] = TRANSPORTS
    instant: bool = False
    early: bool = True
    bound_s: float = BOUND_S
    host: str = ""
    cuts: bool = False
    flash: bool = False
    skews: bool = False


def _posts(**settings: Any) -> Strike:
    def strike(stage: Stage) -> None:
        stage.off_socket()
        stage.fault("gateway", **settings)

    return strike


def _refused(answer: str, status: int) -> Strike:
    def strike(stage: Stage) -> None:
        stage.fault("gateway", status=status)
        stage.fault("ws_connect", answer=answer)
        stage.fault("evict")

    return strike


def _plain(name: str, **settings: Any) -> Strike:
    return lambda stage: stage.fault(name, **settings)


def _connecting(answer: str, **settings: Any) -> Strike:
    def strike(stage: Stage) -> None:
        stage.fault("ws_connect", answer=answer, **settings)
        stage.fault("evict")

    return strike


def _frames(answer: str, **settings: Any) -> Strike:
    return lambda stage: stage.fault("ws_frame", answer=answer, **settings)


def _queue(name: str) -> Strike:
    def begin(conditions: Any) -> None:
        getattr(conditions, name).add(SOURCE)

    def end(conditions: Any) -> None:
        getattr(conditions, name).discard(SOURCE)

    return lambda stage: stage.condition(begin, end)


def _circuit(stage: Stage) -> None:
    stage.condition(
        lambda conditions: setattr(conditions, "circuit_open", True),
        lambda conditions: setattr(conditions, "circuit_open", False),
    )


def _too_large(stage: Stage) -> None:
    stage.off_socket()
    stage.limit("body_max_bytes", 250)


def _resets(stage: Stage) -> None:
    at_s = 0.0
    while at_s <= stage.for_s:
        stage.fault("transport", at_s, action="reset_after", bytes=stage.rng.randrange(1, 1500))
        at_s += stage.rng.uniform(0.5, 4)


def _cuts(stage: Stage) -> None:
    at_s = 0.0
    while at_s < stage.for_s:
        off_s = stage.rng.uniform(0.1, 3)
        stage.fault("power", at_s, **{"for": off_s})
        at_s += off_s + stage.rng.uniform(0.05, 10)


def _flash_cuts(stage: Stage) -> None:
    at_s = 0.0
    while at_s < stage.for_s:
        stage.fault("flash", at_s, action="cut", **{"for": 1.0})
        at_s += 1 + stage.rng.uniform(4, 12)


def _cut_off(name: str, **settings: Any) -> Strike:
    """`name`, and what is connected has to connect anew."""

    def strike(stage: Stage) -> None:
        stage.fault(name, **settings)
        stage.fault("evict")

    return strike


def _cuts_and(name: str, **settings: Any) -> Strike:
    def strike(stage: Stage) -> None:
        stage.fault(name, **settings)
        _cuts(stage)

    return strike


def _skew(stage: Stage) -> None:
    """The gateway's clock is wrong, in `server_time_ms` and in `Date`, and the board asks it anew."""
    stage.fault("gateway_clock", jump_s=stage.rng.choice((-86400, -3600, -30, 30, 3600, 86400)))
    stage.fault("evict")


def _pings(stage: Stage) -> None:
    stage.limit("device_ping_s", 0.2)
    stage.fault("evict")


def _latency(stage: Stage) -> None:
    up_ms, down_ms = (stage.rng.choice((20, 200, 500)) for _ in range(2))
    stage.fault("latency", up_ms=up_ms, down_ms=down_ms, jitter_ms=stage.rng.choice((0, 50, 200)))


_WS = ("auto",)
_NAMED = "gateway.test"
# Not before first contact: half of the first round trip is how wrong the board's time may be.
_LATE: dict[str, Any] = {"early": False}

MENU: dict[str, Entry] = {
    "503 circuit open": Entry(_circuit),
    "502 queue fails": Entry(_queue("queue_failing")),
    "500 cannot be packed": Entry(_queue("marshal_failing")),
    "503": Entry(_posts(status=503)),
    "502": Entry(_posts(status=502)),
    "401 as outage": Entry(_refused("invalid_key", 401)),
    "403": Entry(_refused("no_write_scope", 403)),
    "400 with index": Entry(lambda stage: stage.poison()),
    "413": Entry(_too_large),
    "200 and dropped": Entry(_posts(answer="dropped")),
    "captive portal": Entry(_posts(answer="captive_portal")),
    "slow answer": Entry(_posts(answer="slow", delay_ms=3000), **_LATE),
    "no answer": Entry(_posts(answer="hang")),
    "reset instead of an answer": Entry(_posts(answer="reset")),
    "answer lost": Entry(_posts(answer="lost")),
    "reset at byte N": Entry(_resets),
    "ws: refused, 1008": Entry(_connecting("invalid_key"), _WS),
    "ws: streaming_requires_plan": Entry(_connecting("streaming_requires_plan"), _WS),
    "ws: upgrade refused": Entry(_connecting("status"), _WS),
    "ws: welcome slow": Entry(_connecting("slow", delay_ms=4000), _WS, **_LATE),
    "ws: no welcome": Entry(_connecting("hang"), _WS),
    "ws: no upgrade": Entry(_connecting("hang_upgrade"), _WS),
    "ws: reset at hello": Entry(_connecting("reset"), _WS),
    "ws: RATE_LIMITED": Entry(_frames("rate_limited"), _WS),
    "ws: SOURCE_LIMIT": Entry(_frames("source_limit"), _WS),
    "ws: DEVICE_LIMIT": Entry(_frames("device_limit"), _WS),
    "ws: REDIS_UNAVAILABLE, 1013": Entry(_frames("redis_unavailable"), _WS),
    "ws: frames slow": Entry(_frames("slow", delay_ms=2000), _WS),
    "ws: frames vanish": Entry(_frames("hang"), _WS),
    "ws: reset at a frame": Entry(_frames("reset"), _WS),
    "ws: ack never": Entry(_frames("unacknowledged"), _WS),
    "ws: ack late": Entry(_frames("late", delay_ms=5000), _WS),
    "ws: acks gathered": Entry(_frames("gathered", delay_ms=5000), _WS),
    "ws: dropped before the ack": Entry(_frames("lost"), _WS),
    "ws: goodbye": Entry(_plain("ws_goodbye"), _WS, instant=True),
    "ws: goodbye, socket left open": Entry(_plain("ws_goodbye", socket="left_open"), _WS),
    "ws: evicted by a second device": Entry(lambda stage: stage.again("ws_second_device", 5), _WS),
    "ws: pings": Entry(_pings, _WS),
    "evicted": Entry(lambda stage: stage.again("evict", 5)),
    "clock of the gateway": Entry(_skew, **_LATE),
    "clock of the gateway, at first": Entry(_skew, skews=True),
    "generation aug": Entry(_plain("generation", to="aug")),
    "gateway restart": Entry(_plain("gateway_restart")),
    "Wi-Fi off": Entry(_plain("wifi")),
    "Wi-Fi without internet": Entry(_plain("wifi", state="no_internet"), host=_NAMED),
    "stall": Entry(_plain("transport", action="stall")),
    "DNS hangs": Entry(_cut_off("dns"), host=_NAMED),
    "DNS fails": Entry(_cut_off("dns", mode="fail"), host=_NAMED),
    "black hole": Entry(_plain("transport", action="black_hole")),
    "connections refused": Entry(_cut_off("transport", action="refuse")),
    "half closed": Entry(lambda stage: stage.again("transport", 5, action="half_close")),
    "resets": Entry(lambda stage: stage.again("transport", 3, action="reset")),
    "latency": Entry(_latency),
    "ENOMEM": Entry(_plain("heap")),
    "MemoryError": Entry(_plain("heap", kind="python"), **_LATE),
    "power cuts": Entry(_cuts, cuts=True, flash=True),
    "ws: power cuts before the ack": Entry(
        _cuts_and("ws_frame", answer="unacknowledged"), _WS, cuts=True, flash=True
    ),
    "power cuts, answers lost": Entry(_cuts_and("gateway", answer="lost"), ("http",), cuts=True, flash=True),
    "power cuts without Wi-Fi": Entry(_cuts_and("wifi"), cuts=True, flash=True),
    "power cuts in the flash": Entry(_flash_cuts, cuts=True, flash=True),
    "flash error": Entry(lambda stage: stage.again("flash", 4, action="error"), **_LATE, flash=True),
}


@dataclass
class Result:
    """What came of a history; `complaints` say which promise did not hold. `recovery_s` of board time."""

    name: str
    transport: str
    seed: int
    strike_s: float
    for_s: float
    verdict: Verdict
    faults: int
    resent: int
    recovery_s: float
    watch: Watch
    statistics: dict[str, Any]
    complaints: list[str] = field(default_factory=list)

    def complaint(self) -> str | None:
        if not self.complaints:
            return None
        where = f"{self.name!r} {self.transport} {self.seed}: at {self.strike_s:.1f} s for {self.for_s:.1f} s"
        return f"{where}: {'; '.join(self.complaints)}"


def play(name: str, transport: str, seed: int) -> Result:
    """One history: the fault strikes once in it, at a time and for a time drawn from `seed`."""
    entry = MENU[name]
    board = FLASH_BOARD if entry.flash else _BOARDS[seed % len(_BOARDS)]
    stage = Stage(transport, seed, entry.host, board, seed % _TLS_EVERY == 0)
    rng = stage.rng
    strike_s = rng.uniform(0 if entry.early else 10, 60)
    stage.for_s = 0.0 if entry.instant else 10 ** rng.uniform(0, 1.8)

    async def run() -> tuple[Verdict, float, dict[str, Any]]:
        with TemporaryDirectory() as folder:
            await stage.start(Path(folder))
            await asyncio.sleep(strike_s)
            entry.strike(stage)
            await asyncio.sleep(stage.for_s)
            recovery_s = await _recovered(stage, entry.bound_s)
            # It ends between two samples: of what a ring in RAM takes in the last moment nobody would learn.
            await asyncio.sleep(_TAIL_S - stage.world.kernel.now_us() / 1e6 % _PERIOD_S + _PERIOD_S / 2)
            statistics = _statistics(stage)
            await stage.world.finish()
            return stage.verdict(), recovery_s, statistics

    verdict, recovery_s, statistics = stage.world.kernel.run(run())
    stage.world.kernel.close()
    watch = stage.watch
    result = Result(
        name, transport, seed, strike_s, stage.for_s, verdict, stage.faults, watch.resent, recovery_s,
        watch, statistics,
    )  # fmt: skip
    result.complaints = list(_complaints(result, stage, entry))
    return result


async def _recovered(stage: Stage, bound_s: float) -> float:
    """Seconds from now until all that is accepted by now is stored; infinite when that takes too long."""
    start_us = stage.world.kernel.now_us()
    waiting = {r.value for r in stage.placement.witness.journal.accepted if isinstance(r.value, int)}
    while (stage.world.kernel.now_us() - start_us) / 1e6 <= bound_s:
        if waiting <= stage.stored_us.keys():
            last_us = max((stage.stored_us[value] for value in waiting), default=0)
            return max(0.0, (last_us - start_us) / 1e6)
        await asyncio.sleep(1)
    return float("inf")


def _statistics(stage: Stage) -> dict[str, Any]:
    """What the device says of itself."""
    client = stage.watch.client
    if client is None:
        return {}
    link, recorder = client._link, client._recorder
    found = {
        key: getattr(link, key)
        for key in ("retries", "failures", "frames", "reconnects", "status", "last_error")
    }
    found["accepted"] = recorder.accepted + recorder.pending
    found["dropped"] = client.dropped_points
    found["rejected"] = client.rejected_points
    found["delivered"] = client._outbox.delivered
    found["waiting"] = client.buffer_size()
    found["refused"] = recorder.refused
    found["journal"] = sum(1 for _ in stage.placement.witness.journal.accepted)
    found["stored"] = len(stage.stored_us)
    return found


def _complaints(result: Result, stage: Stage, entry: Entry) -> Any:
    verdict, told = result.verdict, result.statistics
    if stage.placement.board.error is not None:
        yield repr(stage.placement.board.error)
    console = "".join(stage.console)
    if "Traceback" in console:
        yield console
    if not (verdict.clean or entry.skews) or verdict.at_cut:
        yield f"not clean: {verdict.counts()}"
    if stage.twice():
        yield f"{stage.twice()} values stored twice"
    if verdict.accepted - verdict.rejected - len(stage.stored_us) > _PENDING_MAX:
        yield f"stored {len(stage.stored_us)} values of {verdict.accepted}"
    if verdict.dropped or verdict.rejected != stage.poisoned:
        yield f"dropped {verdict.dropped}, rejected {verdict.rejected} of {stage.poisoned}"
    if result.recovery_s > entry.bound_s:
        yield f"not delivered {entry.bound_s:.0f} s after its end: {told}"
    if verdict.pending > _PENDING_MAX and not entry.skews:
        yield f"{verdict.pending} pending at the end: {told}"
    yield from _blocks(result.watch)
    yield from _disagreements(result, stage, entry)


def _blocks(watch: Watch) -> Any:
    """Calls that waited for longer than docs/blocking.md says."""
    for name, worst in watch.calls.items():
        call = worst.longest_sliced
        if call is not None and call.sliced_us > SLICE_MAX_US and name != "timer":
            yield f"{name} waited {call.sliced_us} us at {call.at_us} us, not for {dict(call.unsliced)}"
        for kind, us in worst.unsliced.items():
            if name != "timer" and us > UNSLICED_MAX_US[kind]:
                yield f"{name} waited {us} us for {kind}"


def _disagreements(result: Result, stage: Stage, entry: Entry) -> Any:
    """Where the device's own statistics are wrong."""
    told = result.statistics
    if not told:
        yield "no client"
        return
    if told["status"] != "online":
        yield f"status {told['status']!r} at the end"
    if told["refused"]:
        yield f"refused {told['refused']}"
    if entry.cuts:
        return
    if told["accepted"] != told["journal"]:
        yield f"accepted {told['accepted']}, {told['journal']} sent"
    if told["delivered"] != told["stored"]:
        yield f"delivered {told['delivered']}, {told['stored']} stored"
    if told["retries"] != result.resent:
        yield f"retries {told['retries']}, {result.resent} frames sent again"


TABLE_HEAD = """| fault | transport | runs | faults injected | frames sent again | worst recovery, s |
|---|---|--:|--:|--:|--:|"""


def row(results: list[Result]) -> str:
    """A line of the table, for one fault over one transport."""
    sums = (sum(result.faults for result in results), sum(result.resent for result in results))
    worst_s = max(result.recovery_s for result in results)
    first = results[0]
    return f"| {first.name} | {first.transport} | {len(results)} | {sums[0]} | {sums[1]} | {worst_s:.1f} |"


def histories() -> list[tuple[str, str]]:
    """Every fault over every transport that meets it."""
    return [(name, transport) for name, entry in MENU.items() for transport in entry.over]


def main() -> int:
    name, transport, seed = sys.argv[1:4]
    result = play(name, transport, int(seed))
    print(result.complaint() or "all promises held")
    print(
        f"recovery {result.recovery_s:.1f} s, {result.faults} faults, {result.watch.frames} frames, {result.resent} again"
    )
    print(result.verdict.counts(), result.statistics)
    return 1 if result.complaints else 0


if __name__ == "__main__":
    sys.exit(main())
