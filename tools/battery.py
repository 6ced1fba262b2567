"""A battery's day on the simulated board: writes docs/sleep.md, or prints it with --print.

Takes some minutes: 1,440 boots for each kind of ring.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from host_sim.world import ROOT
from tests.e2e.battery import FIRMWARE, RINGS, Day, play

DOCUMENT = ROOT / "docs" / "sleep.md"
HOURS = 24

_HEAD = """# Deep sleep

Written by `python tools/battery.py`. A board that wakes, sends and sleeps:

```python
{firmware}```

`px.suspend(ms, deliver_s=10)` delivers what waits, for `deliver_s` at most, puts away what is left, and calls
`machine.deepsleep(ms)`. It goes to sleep at once when staying awake would not help: nothing waits, the gateway does not
answer, there is no Wi-Fi. `px.sleep_ready()` tells that to programs that have something else to do meanwhile.

What is put away, and where:

| ring | what waits | at a power cut |
|---|---|---|
| a partition | is in flash already | stays |
| files | is in files; a page that is not full goes into RTC memory, until it is `commit_ms` old | costs the page |
| RAM | all of it goes into RTC memory: some 300 readings of one metric at an even pace | costs all |

Without RTC memory (RP2) the page is committed before the board sleeps, and readings in RAM are refused
(`PlexusError`). RTC memory is the library's then: a program that keeps something there itself uses a partition, or
files with `commit_ms` short, and reads its own before it makes the client.

- Uptime goes on across the sleep, counted by the RTC: all wakes are one boot, and their readings are dated by the times
  heard before and after. What the RTC may be off by (5 % on an ESP32 without a crystal of its own) is in
  `px.clock.error_ms`.
- A gateway that did not answer is asked again only after 1, 2, 4, … wakes, at least every 15 minutes; the Wi-Fi stays
  off meanwhile. So keep the Wi-Fi to the library: `wifi` in `/plexus.json`, and no boot.py that connects.
- `tick_ms=0`: a timer has no part in this.

## A day

Wakes every minute, for 24 hours; the gateway can be reached in one hour of six. Nothing is lost, nothing stored twice.
Awake: board time from the boot to the sleep, without what Python computes and what the chip takes to boot; most of it
is the Wi-Fi (1.2 s here).

"""
_COLUMNS = [
    "ring",
    "wakes",
    "accepted",
    "stored",
    "lost",
    "twice",
    "sent again",
    "dated wrong by, ms",
    "flash programs",
]
_COLUMNS += ["erases", "changes of files", "awake, median ms: gateway there", "not there", "awake in all, s"]


def row(ring: str, day: Day) -> str:
    verdict = day.verdict
    cells = [
        day.wakes, verdict.accepted, verdict.stored, verdict.lost, verdict.duplicates, verdict.resent,
        day.time_error_ms, day.flash_programs, day.flash_erases, day.file_changes,
        f"{day.median_ms(True):.0f}", f"{day.median_ms(False):.1f}", f"{day.awake_s:.0f}",
    ]  # fmt: skip
    return f"| {ring} | " + " | ".join(map(str, cells)) + " |\n"


def document(hours: int) -> str:
    text = _HEAD.format(firmware=FIRMWARE.lstrip())
    text += f"| {' | '.join(_COLUMNS)} |\n|---|{'--:|' * (len(_COLUMNS) - 1)}\n"
    for ring in RINGS:
        with tempfile.TemporaryDirectory() as folder:
            text += row(ring, play(ring, "cpython", hours, Path(folder)))
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--print", action="store_true", help="print it and change no file")
    parser.add_argument("--hours", type=int, default=HOURS)
    arguments = parser.parse_args()
    text = document(arguments.hours)
    if arguments.print:
        print(text)
    else:
        DOCUMENT.write_text(text)


if __name__ == "__main__":
    main()
