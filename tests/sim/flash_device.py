"""The library's recorder and outbox on simulated flash: what is sent, and what a gateway would get of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from plexus_mp.outbox import HEADROOM

from tests.device import fakes

FRAME_BYTES = 1024


class Counting:
    """A block device that counts the bytes that go through it."""

    def __init__(self, device: Any) -> None:
        self._device = device
        self.read = self.programmed = 0

    def readblocks(self, n: int, buf: Any, off: int = 0) -> None:
        self.read += len(buf)
        self._device.readblocks(n, buf, off)

    def writeblocks(self, n: int, buf: Any, off: int = 0) -> None:
        self.programmed += len(buf)
        self._device.writeblocks(n, buf, off)

    def ioctl(self, op: int, arg: int) -> Any:
        return self._device.ioctl(op, arg)


def boot(
    ticks: fakes.Ticks,
    device: Any,
    page: int = 256,
    align: int = 1,
    commit_ms: int = 0,
    source: str = "test-1",
    synced: bool = True,
    rtc_ms: Callable[[], int] | None = None,
) -> fakes.Device:
    """A boot on the block device `device`; its first tick was at fakes.UNIX_MS."""
    name = json.dumps(source).encode()
    return fakes.Device(
        ticks,
        page=page,
        frame=FRAME_BYTES,
        blocks=device,
        align=align,
        commit_ms=commit_ms,
        synced=synced,
        source=name,
        rtc_ms=rtc_ms,
    )


def drain(device: fakes.Device) -> list[tuple[str, str]]:
    """(source_id, the point's JSON) of all that waits, as a gateway that stores everything gets it."""
    found = []
    while device.next_frame():
        outbox = device.outbox
        end = outbox.close(b'"source_id":' + outbox.source)
        body = json.loads(bytes(outbox.view[HEADROOM:end]))
        found += [(body["source_id"], json.dumps(point, sort_keys=True)) for point in body["points"]]
        assert outbox.release()
    return found
