"""What a reading costs: `send()` and `send_batch()` against one `json.dumps` of it, on the real MicroPython.

Run as `python tools/bench_send.py`. All numbers come from one run of one VM; the ratios count, the microseconds
are those of the machine.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(_ROOT))

from host_sim.vms.bare import WITHOUT_SOCKETS, run_bare  # noqa: E402

_TREES = {"/lib": _ROOT / "lib", "/tests/device": _ROOT / "tests" / "device"}
_SETUP = """
import json
from time import ticks_us, ticks_diff
from device import fakes
from plexus_mp import recorder as recorder_module

now = [1000]


def ticks_ms():
    # Two seconds between readings, as most programs have it.
    now[0] = now[0] + 2000 & 0x3FFFFFFF
    return now[0]


recorder_module.ticks_ms = ticks_ms
VALUES = [22 + (i * 7 % 40) / 128 for i in range(64)]
BATCHES = [[("temperature", v), ("humidity", v + 30), ("pressure", v + 991)] for v in VALUES]


def per_call_us(function, count):
    times = []
    for _ in range(5):
        start = ticks_us()
        for i in range(count):
            function(i & 63)
        times.append(ticks_diff(ticks_us(), start) / count)
    return min(times)


def devices(flash, commit_ms):
    blocks = fakes.NorBlocks(32768, 4096) if flash else None
    ticks = fakes.Ticks()
    device = fakes.Device(ticks, 32768, 4096, 512, 2048, blocks, 1, commit_ms)
    recorder = device.recorder

    def one(i):
        recorder.send(None, "temperature", VALUES[i], None, None)

    def three(i):
        recorder.send_batch(BATCHES[i], None, None, int)

    return one, three


def dumps(i):
    json.dumps({"class": "metric", "metric": "temperature", "value": VALUES[i], "timestamp": 1772712000000})


found = {"json.dumps": per_call_us(dumps, 20000)}
for name, flash, commit_ms in (("ram", False, 0), ("pages", False, 60000)):
    one, three = devices(flash, commit_ms)
    found["send " + name] = per_call_us(one, 4000)
    found["send_batch " + name] = per_call_us(three, 2000) / 3
print(json.dumps(found))
"""


def measure() -> dict[str, float]:
    """Microseconds per point, by name."""
    result = run_bare([WITHOUT_SOCKETS + _SETUP], _TREES, ("/lib", "/tests"), timeout_s=120)
    if not result.ok:
        raise RuntimeError(result.stdout)
    found: dict[str, float] = json.loads(result.stdout.splitlines()[-1])
    return found


def table(found: dict[str, float]) -> str:
    """A Markdown table with the ratios to `json.dumps`."""
    unit = found["json.dumps"]
    lines = ["| per point | µs | against json.dumps |", "|---|---:|---:|"]
    lines += [f"| {name} | {value:.1f} | {value / unit:.2f} |" for name, value in found.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(measure()))
