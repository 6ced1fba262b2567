"""Sends a fixed plan of points through an installed plexus-python; run with its folder on the path."""

from __future__ import annotations

import sys
from typing import Any

BATCHES = 10
NUMBERS_PER_BATCH = 995
FIRST_MS = 1_792_000_000_000
EVENTS: list[Any] = ["door opened", True, {"code": 7, "where": [1, 2.5, None]}, [0.5, -1, "x"], 42]

Planned = tuple[str, Any, int]


def plan(batch: int) -> tuple[list[Planned], list[Planned], dict[str, str]]:
    """Numbers, events and tags of one batch: 1,000 points together."""
    first_ms = FIRST_MS + batch * 100_000
    numbers: list[Planned] = [
        (f"m{n % 7}", n if n % 2 else n * 0.37 - 50, first_ms + n) for n in range(NUMBERS_PER_BATCH)
    ]
    events: list[Planned] = [("e", value, first_ms + 50_000 + n) for n, value in enumerate(EVENTS)]
    return numbers, events, {"batch": str(batch), "place": "Mühle"}


def main(api_key: str, source_id: str, ws_url: str, timeout_s: str) -> None:
    import plexus

    client = plexus.Plexus(
        api_key=api_key, source_id=source_id, ws_url=ws_url, timeout=float(timeout_s), persistent_buffer=False
    )
    for batch in range(BATCHES):
        numbers, events, tags = plan(batch)
        client.send_batch(numbers, tags=tags)
        for name, value, at_ms in events:
            client.event(name, value, timestamp=at_ms, tags=tags)
    client.close()
    print(plexus.__version__)


if __name__ == "__main__":
    main(*sys.argv[1:])
