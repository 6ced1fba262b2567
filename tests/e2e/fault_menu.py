"""The fault menu: each thing that can go wrong between a board and its gateway, by name, as a history from a seed.

`python -m tests.e2e.fault_menu NAME TRANSPORT SEED` plays one again and tells what came of it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from host_sim.journal import Verdict
from tests.e2e.fault_stage import FLASH_BOARD, PERIOD_S, SOURCE, Stage
from tests.e2e.observed import DATING, DNS, ERASE, FILES, TLS, Watch

# Whose readings a power cut must not cost; and, where nothing cuts the power, also those that wait elsewhere.
_PAGED_BOARD = "esp32.py"
_BOARDS = (FLASH_BOARD, FLASH_BOARD, _PAGED_BOARD, "esp32_ram_ring.py")
TRANSPORTS = ("auto", "http")
# A pause after trouble is at most 60 s and a quarter, and a request that nobody answers takes 10 s more.
BOUND_S = 100.0
# No call waits for longer, but for these: an erase takes 45 ms, a file one for itself and now and then one for its
# directory, the key exchange 0.9 s; a name takes as long as it takes. Boots without a sync are dated by reading what
# they wrote, a sector at a time.
SLICE_MAX_US = 10_000
UNSLICED_MAX_US = {DNS: 1e12, ERASE: 46_000, FILES: 110_000, TLS: 1_000_000, DATING: 60_000}
_TAIL_S = 40.0  # after all is well again: what would be sent twice has been by then
_WINDOW = 4  # frames on their way over a WebSocket
_TLS_EVERY = 5  # seeds
_PENDING_MAX = 8  # when the run ends: two samples
_LINGERING_MAX = 20  # those of the six seconds for which readings wait for company, too
_PAGED_MAX = (
    140  # in a ring of files, whose page waits for a minute when the connection was lost and nothing is due
)

Strike = Callable[[Stage], object]


@dataclass(frozen=True)
class Entry:
    """`over`: the transports that meet it. `instant`: it has no duration. `early`: it may strike before first contact.

    `bound_s`: after its end everything is delivered within that. `host`: the gateway has a name to be resolved.
    `flash`: it needs the ring there. `cuts`: the board boots again, and counts anew. `refuses`: frames are made anew.
    `harmless`: the device sees no fault in it. `skews`: timestamps may be wrong.
    `erases`: of a sector in one call, where writing to the first one fails.
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
    refuses: bool = False
    harmless: bool = False
    erases: int = 1


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
    return lambda stage: (stage.fault(name, **settings), _cuts(stage))


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
    "400 with index": Entry(lambda stage: stage.poison(), refuses=True),
    "413": Entry(_too_large, refuses=True),
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
    "ws: frames slow": Entry(_frames("slow", delay_ms=2000), _WS, harmless=True),
    "ws: frames vanish": Entry(_frames("hang"), _WS),
    "ws: reset at a frame": Entry(_frames("reset"), _WS),
    "ws: ack never": Entry(_frames("unacknowledged"), _WS),
    "ws: ack late": Entry(_frames("late", delay_ms=5000), _WS, harmless=True),
    "ws: acks gathered": Entry(_frames("gathered", delay_ms=5000), _WS, harmless=True),
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
    "latency": Entry(_latency, harmless=True),
    "ENOMEM": Entry(_plain("heap")),
    "MemoryError": Entry(_plain("heap", kind="python"), **_LATE),
    "power cuts": Entry(_cuts, cuts=True, flash=True),
    "ws: power cuts before the ack": Entry(
        _cuts_and("ws_frame", answer="unacknowledged"), _WS, cuts=True, flash=True
    ),
    "power cuts, answers lost": Entry(_cuts_and("gateway", answer="lost"), ("http",), cuts=True, flash=True),
    "power cuts without Wi-Fi": Entry(_cuts_and("wifi"), cuts=True, flash=True),
    "power cuts in the flash": Entry(_flash_cuts, cuts=True, flash=True),
    "flash error": Entry(
        lambda stage: stage.again("flash", 4, action="error"), **_LATE, flash=True, erases=2
    ),
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
            await asyncio.sleep(_TAIL_S - stage.world.kernel.now_us() / 1e6 % PERIOD_S + PERIOD_S / 2)
            while stage.at_work():
                await asyncio.sleep(0.001)
            statistics = stage.statistics()
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


def _complaints(result: Result, stage: Stage, entry: Entry) -> Iterator[str]:
    verdict, told = result.verdict, result.statistics
    pending_max = _LINGERING_MAX if stage.lingers else _PENDING_MAX
    if stage.board_file == _PAGED_BOARD:
        pending_max = _PAGED_MAX
    if stage.placement.board.error is not None:
        yield repr(stage.placement.board.error)
    console = "".join(stage.console)
    if "Traceback" in console:
        yield console
    if not (verdict.clean or entry.skews) or verdict.at_cut:
        yield f"not clean: {verdict.counts()}"
    if stage.twice():
        yield f"{stage.twice()} values stored twice"
    if verdict.accepted - verdict.rejected - len(stage.stored_us) > pending_max:
        yield f"stored {len(stage.stored_us)} values of {verdict.accepted}"
    if verdict.dropped or verdict.rejected != stage.poisoned:
        yield f"dropped {verdict.dropped}, rejected {verdict.rejected} of {stage.poisoned}"
    if result.recovery_s > entry.bound_s:
        yield f"not delivered {entry.bound_s:.0f} s after its end: {told}"
    if verdict.pending > pending_max and not entry.skews:
        yield f"{verdict.pending} pending at the end: {told}"
    yield from _blocks(result.watch, entry.erases)
    yield from _disagreements(result, stage, entry)


def _blocks(watch: Watch, erases: int) -> Iterator[str]:
    """Calls that waited for longer than docs/blocking.md says."""
    for name, worst in watch.calls.items():
        call = worst.longest_sliced
        if call is not None and call.sliced_us > SLICE_MAX_US and name != "timer":
            yield f"{name} waited {call.sliced_us} us at {call.at_us} us, not for {dict(call.unsliced)}"
        for kind, us in worst.unsliced.items():
            if name != "timer" and us > UNSLICED_MAX_US[kind] * (erases if kind == ERASE else 1):
                yield f"{name} waited {us} us for {kind}"


def _disagreements(result: Result, stage: Stage, entry: Entry) -> Iterator[str]:
    """Where the device's own statistics are wrong."""
    told = result.statistics
    if not told:
        yield "no client"
        return
    if told["status"] != "online" and stage.board_file != _PAGED_BOARD:
        yield f"status {told['status']!r} at the end"
    if told["refused"]:
        yield f"refused {told['refused']}"
    if entry.cuts:
        return
    if told["accepted"] != told["journal"]:
        yield f"accepted {told['accepted']}, {told['journal']} sent"
    # What is stored as the run ends may wait for its answer.
    if not told["stored"] - told["waiting"] <= told["delivered"] <= told["stored"]:
        yield f"delivered {told['delivered']}, {told['stored']} stored"
    trouble = told["failures"] + told["reconnects"]
    # A frame that was handed to a connection counts, whether or not it left; several may go again as one.
    if not entry.refuses and not bool(result.resent) <= told["retries"] <= result.resent + _WINDOW * trouble:
        yield f"retries {told['retries']}, {result.resent} frames sent again"
    if entry.harmless and (trouble or told["retries"] or result.resent):
        yield f"{told['retries']} retries, {told['failures']} failures, {told['reconnects']} reconnects"


def histories() -> list[tuple[str, str]]:
    """Every fault over every transport that meets it."""
    return [(name, transport) for name, entry in MENU.items() for transport in entry.over]


def main() -> int:
    name, transport, seed = sys.argv[1:4]
    result = play(name, transport, int(seed))
    print(result.complaint() or "all promises held")
    print(f"{result.faults} faults, {result.resent} frames sent again, recovery in {result.recovery_s:.1f} s")
    print(result.verdict.counts(), result.statistics)
    return 1 if result.complaints else 0


if __name__ == "__main__":
    sys.exit(main())
