"""How long calls of the library wait, per fault: writes docs/blocking.md, or prints it with --print.

Plays every fault of the menu over each transport, on every kind of ring, plain and over TLS. Board time is the
simulated board's own; it is the same for the same seeds. What the calls compute is measured by this machine's clock.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from host_sim.world import ROOT
from tests.e2e.fault_menu import MENU, SLICE_MAX_US, play
from tests.e2e.observed import DATING, DNS, ERASE, FILES, TLS, Worst

DOCUMENT = ROOT / "docs" / "blocking.md"
# A ring in flash, files and RAM; then in flash and files over TLS (fault_menu.py says which seed is which).
SEEDS = (1, 2, 3, 5, 10)
_KINDS = {"send": (ERASE, FILES), "tick": (ERASE, FILES, DNS, TLS, DATING)}

_HEAD = """# How long a call waits

Written by `python tools/blocking.py`: every fault of the menu (tests/e2e/fault_menu.py), over the WebSocket (`auto`)
and over HTTP alone, on boards whose ring is in flash, in files and in RAM, plain and over TLS. Times are the longest
that was seen, in ms of the simulated board's time: a call into its hardware costs 20 µs, a page of flash 1 ms.

`send()` and `tick()` are cut into slices: none waits for longer than {limit:g} ms, except for what cannot be cut.

| what cannot be cut | in | ms |
|---|---|--:|
| erasing one sector of flash | `send()` when none was erased ahead, `tick()` when it erases ahead | {erase:.0f} |
| writing one file of a ring in files | `send()` and `tick()` | {files:.0f} |
| resolving the gateway's name | `tick()` when it opens a connection | as long as `getaddrinfo` takes |
| the key exchange of TLS | `tick()` when it opens a connection | {tls:.0f} |
| dating boots that met no gateway: a sector each time | `tick()` before it sends their readings | {dating:.1f} |

Where writing to the flash fails, a call may erase two sectors.

The timer calls `tick()` up to eight times in a row as long as there is something to do, and interrupts `send()` and
what else the program does; its ticks are counted as ticks. A program that cannot spare that time sets `tick_ms` to 0
and calls `tick()` where it can.

Not in these numbers: a slice that meets something for the first time, or again after a while ([memory.md](memory.md)
says what), loads the module for it. Reading one from a board's filesystem takes milliseconds; from a ROMFS, next to
nothing.
"""

_TABLE = """
## By fault

First what is cut into slices, then the longest of what cannot be cut, where there was any.

| fault | transport | `send()` | `tick()` | `send()`: {columns} |
|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|
"""
_COLUMNS = "erase | `send()`: file | `tick()`: erase | " + " | ".join(
    f"`tick()`: {what}" for what in ("file", "name", "TLS", "dating")
)

_COMPUTED = """
## What the calls compute

Apart from what they wait for, on the `cpython` VM, in multiples of one `json.dumps` of one point on the same VM
({dumps_us:.1f} µs here): measured by this machine's clock, and so not the same twice.

| call | calls | median | 99 of 100 | 999 of 1000 |
|---|--:|--:|--:|--:|
"""
_POINT = {"class": "metric", "metric": "temperature", "value": 22.5, "timestamp": 1_800_000_000_000}


def measure() -> tuple[dict[tuple[str, str], dict[str, Worst]], dict[str, Worst]]:
    """The calls of each fault and transport by name, and all of them together."""
    found: dict[tuple[str, str], dict[str, Worst]] = {}
    total: dict[str, Worst] = {}
    for name, entry in MENU.items():
        for transport in entry.over:
            row = found.setdefault((name, transport), {})
            for seed in SEEDS:
                for call, worst in play(name, transport, seed).watch.calls.items():
                    if call == "timer":  # ticks, which are there already
                        continue
                    row.setdefault(call, Worst()).merge(worst)
                    total.setdefault(call, Worst()).merge(worst)
    return found, total


def _ms(us: float) -> str:
    return f"{us / 1000:.1f}" if us >= 100 else ""


def _row(name: str, transport: str, calls: dict[str, Worst]) -> str:
    sliced, unsliced = [], []
    for call, kinds in _KINDS.items():
        worst = calls.get(call, Worst())
        sliced.append(f"{(worst.longest_sliced.sliced_us if worst.longest_sliced else 0) / 1000:.1f}")
        unsliced += [_ms(worst.unsliced[kind]) for kind in kinds]
    return f"| {name} | {transport} | {' | '.join(sliced + unsliced)} |"


def _dumps_ns() -> float:
    rounds = 2000
    samples = []
    for _ in range(9):
        start = time.perf_counter_ns()
        for _ in range(rounds):
            json.dumps(_POINT)
        samples.append((time.perf_counter_ns() - start) / rounds)
    return statistics.median(samples)


def document() -> str:
    found, total = measure()
    longest = {
        kind: max(worst.unsliced[kind] for worst in total.values()) / 1000
        for kind in (ERASE, FILES, TLS, DATING)
    }
    ms = {"erase": longest[ERASE], "files": longest[FILES], "tls": longest[TLS], "dating": longest[DATING]}
    text = _HEAD.format(limit=SLICE_MAX_US / 1000, **ms)
    text += _TABLE.format(columns=_COLUMNS)
    text += "\n".join(_row(*key, calls) for key, calls in found.items()) + "\n"
    dumps_ns = _dumps_ns()
    text += _COMPUTED.format(dumps_us=dumps_ns / 1000)
    for call in _KINDS:
        own = sorted(total[call].own_ns)
        points = (own[len(own) // 2], own[len(own) * 99 // 100], own[len(own) * 999 // 1000])
        text += f"| `{call}()` | {len(own)} | {' | '.join(f'{ns / dumps_ns:.0f}' for ns in points)} |\n"
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--print", action="store_true", help="print it and change no file")
    arguments = parser.parse_args()
    text = document()
    if arguments.print:
        print(text)
    else:
        DOCUMENT.write_text(text)


if __name__ == "__main__":
    main()
