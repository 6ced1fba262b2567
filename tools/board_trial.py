"""The device library with the settings of a board file, on counted flash in virtual time: what `board_check.py` runs.

Nothing here knows what a record or a commit takes: the library itself writes them.
"""

from __future__ import annotations

import ast
import random
import runpy
import struct
from array import array
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from plexus_mp import (
    assemble,
    checks,
    client,
    clock,
    closing,
    dates,
    fileblocks,
    link,
    outbox,
    recorder,
    settings,
    trouble,
)
from plexus_mp.blocks import COUNT, ERASE, SIZE
from plexus_mp.settings import Settings

from host_sim.board.config import RP2, BoardConfig, load_board
from host_sim.board.flash import ERASE_US, Flash
from tests.sim.littlefs_disk import BLOCK_BYTES, LittlefsDisk

ROOT = Path(__file__).resolve().parent.parent
_PORT = ROOT / "lib" / "plexus_mp" / "ports" / "micropython_boot.py"
_TICKS_PERIOD = 1 << 30
_UNIX_MS = 1_800_000_000_000
_BME280 = ("temperature", "humidity", "pressure")
# Where each walk begins, and its standard deviation in a second: a room, seen by a sensor of the BME280's noise.
_WALKS = ((22.4, 0.004), (45.0, 0.02), (1013.25, 0.02))
# What the firmware and the library take of the filesystem, in blocks: they lie still.
_FIRMWARE_BLOCKS = 30
# Erases of littlefs's most worn block for each of the average one: measured over 60,000 commits (213 to 130).
_LITTLEFS_WORST = 1.64
# After a reading the timer is looked at so often; when nothing more is to be done it would only cost time.
_TICKS_SOON = 12
# Winbond W25Q32JV datasheet, AC characteristics: 400 ms at most for a sector erase, 45 typical (flash.py has that, and
# 1 ms to program a page of 256 bytes).
ERASE_MAX_US = 400_000


def longest_ms(call: tuple[int, int]) -> float:
    """Of (microseconds that the flash was busy, how many erases were in that), with each erase at its longest."""
    busy_us, erases = call
    return (busy_us + erases * (ERASE_MAX_US - ERASE_US)) / 1000


def port_defaults(ring: str | None = None) -> dict[str, Any]:
    """Those of the MicroPython port, which this Python cannot import, for its own kind of ring or another."""
    found: dict[str, Any] = {}
    for node in ast.parse(_PORT.read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name == "DEFAULTS" or (name == "FILES" and (ring or found["ring"]) == "files"):
                found |= ast.literal_eval(node.value)
    if ring == "ram":
        found["linger_ms"] = 0
    return found


class _BoardSettings(Settings):
    """What a client finds on the board: its board file, then the port's defaults."""

    def __init__(self, constants: dict[str, Any]) -> None:
        self.place = ""
        self._constants = constants
        self._defaults = port_defaults(constants.get("RING"))

    def get(self, name: str, argument: Any = None) -> Any:
        self.place = name
        if argument is not None:
            return argument
        return self._constants.get(name.upper(), self._defaults.get(name))


class FlashBlocks:
    """A range of the simulated flash, as `esp32.Partition` and `rp2.Flash` have it."""

    def __init__(self, flash: Flash, offset: int, size: int) -> None:
        self._flash = flash
        self._first = offset // flash.sector_bytes
        self._count = size // flash.sector_bytes

    def _at(self, n: int, off: int) -> int:
        return (self._first + n) * self._flash.sector_bytes + off

    def readblocks(self, n: int, buf: memoryview | bytearray, off: int = 0) -> None:
        buf[:] = self._flash.read(self._at(n, off), len(buf))

    def writeblocks(self, n: int, buf: memoryview | bytearray, off: int = 0) -> None:
        self._flash.program(self._at(n, off), bytes(buf))

    def ioctl(self, op: int, arg: int) -> int:
        if op == ERASE:
            self._flash.erase(self._first + arg)
        return {COUNT: self._count, SIZE: self._flash.sector_bytes}.get(op, 0)


class Trial:
    """A client of the board of `path`; `ms` is its uptime, `busy_us` how long its flash was busy.

    Raises `ValueError` naming the setting that does not fit.
    """

    def __init__(self, path: Path) -> None:
        self.config, _ = load_board(path)
        constants = {name: value for name, value in runpy.run_path(str(path)).items() if name.isupper()}
        self.settings = _BoardSettings(constants)
        self.where = str(self.settings.get("ring"))
        self.ms = 0
        self.busy_us = 0
        self.live = True
        self.since_ms: int | None = None  # when the oldest reading of the page was taken
        self._committed = 0  # points, when that page began
        self.at_cut_ms = self.at_cut = 0
        self.longest_tick = 0, 0  # as `call_us` returns it
        self._next_tick_ms = 0
        self._flash = self._make_flash(self.config)
        self._rng = random.Random(1)
        self._values: dict[str, float] = {}

    def _make_flash(self, config: BoardConfig) -> Flash:
        size = config.files_bytes if self.where == "files" else config.flash_bytes
        flash = Flash(size, granularity=config.page_bytes)
        if self.where != "files":
            for partition in config.partitions:
                if partition.encrypted:
                    flash.encrypt(partition.offset, partition.size)
        flash.on_busy = self._on_busy
        return flash

    def _on_busy(self, us: int) -> None:
        self.busy_us += us

    @contextmanager
    def running(self) -> Iterator[Trial]:
        """In a `with` block the library's clock, settings and flash are this board's."""
        with ExitStack() as stack:
            for module in (client, clock, closing, dates, link, outbox, recorder, trouble):
                stack.enter_context(patch.object(module, "ticks_ms", lambda: self.ms % _TICKS_PERIOD))
            stack.enter_context(patch.object(client, "start_ticker", lambda *_: self))
            stack.enter_context(patch.object(settings, "Settings", lambda: self.settings))
            stack.enter_context(patch.object(settings.port, "open_flash", self._open_flash))
            stack.enter_context(patch.object(assemble, "print", lambda *_: None, create=True))
            if self.where == "files":
                stack.enter_context(self._make_disk().under(fileblocks))
            self._make_client()
            yield self

    def _make_disk(self) -> LittlefsDisk:
        prog_bytes = 256 if self.config.port == RP2 else 32
        disk = LittlefsDisk(self._flash, new=True, prog_bytes=prog_bytes)
        with disk.open("/firmware", "wb") as f:
            f.write(bytes(_FIRMWARE_BLOCKS * BLOCK_BYTES))
        self.disk = disk
        return disk

    def _make_client(self) -> None:
        self.client = client.Plexus("x" * 40, "esp32-bme280", "http://192.168.1.20:8080")
        self.tick_ms = self.settings.integer("tick_ms") or 1000
        self.recorder = self.client._recorder
        self.ring = self.recorder.ring
        if self.where == "files":
            self._check_room()
        self.recorder.hear_time(_UNIX_MS, _UNIX_MS, 0, 0, -1, "trial")

    def _check_room(self) -> None:
        """Raise `ValueError` when the files, all full, and one being written have no room on the disk."""
        count, size = self.ring.sectors, self.ring.sector_bytes
        need = (count + 1) * -(-size // BLOCK_BYTES)
        free = self._flash.count - self.disk.used_blocks
        if need > free:
            raise ValueError(
                f"ring_bytes: {count} files of {size} bytes need {need} blocks of {BLOCK_BYTES} bytes, "
                f"the filesystem has {free} beside the firmware"
            )

    def stop(self) -> None:
        """This client has no timer; a later one on a ring of the same name lets go of it."""

    def _open_flash(self, where: str) -> tuple[FlashBlocks, int, bool]:
        config = self.config
        if where.startswith("rp2:"):
            try:
                start, size = map(int, where[4:].split(":"))
            except ValueError:
                raise ValueError(f"ring must be rp2:START:LENGTH in bytes, not {where!r}") from None
            if config.port != RP2 or start < config.files_bytes or start + size > config.storage_bytes:
                most = f"{config.files_bytes} to {config.storage_bytes}"
                raise ValueError(f"ring: {where!r} is not in what the files leave of the storage, {most}")
            base = config.flash_bytes - config.storage_bytes
            return FlashBlocks(self._flash, base + start, size), config.page_bytes, False
        for found in config.partitions:
            if found.label == where and where != "vfs":
                blocks = FlashBlocks(self._flash, found.offset, found.size)
                return blocks, 16 if found.encrypted else 1, found.encrypted
        raise ValueError(f"ring: {where!r} is 'ram', 'files' or a data partition that holds no files")

    # what the board does

    def send(self, names: list[str], period_ms: int) -> None:
        """One reading of each name, a walk on from the last."""
        points = [(name, self._walk(name, period_ms)) for name in names]
        if len(points) == 1:
            self.recorder.send(None, *points[0], None, None)
        else:
            self.recorder.send_batch(points, None, None, checks.to_ms)
        self._look_at_page()

    def _walk(self, name: str, period_ms: int) -> float:
        start, noise = _WALKS[_BME280.index(name) if name in _BME280 else 0]
        step = self._rng.gauss(0, noise * min(10.0, max(1.0, period_ms / 1000) ** 0.5))
        value: float = struct.unpack("<f", struct.pack("<f", self._values.get(name, start) + step))[0]
        self._values[name] = value
        return value

    def tick(self) -> None:
        """What the timer does: upkeep and, while the gateway answers, a frame and its acknowledgement."""
        before = self.busy_us, self.erases
        outbox = self.client._outbox
        self.recorder.upkeep(self.live and not outbox.unsettled and not outbox.lingers(self.recorder.pending))
        self._look_at_page()
        if self.live and outbox.ready and outbox.next_frame():
            outbox.release()
        tick = self.busy_us - before[0], self.erases - before[1]
        self.longest_tick = max(self.longest_tick, tick, key=longest_ms)

    def _look_at_page(self) -> None:
        pending = self.recorder.pending
        if not pending:
            self.since_ms = None
            return
        self.at_cut = max(self.at_cut, pending)
        if self.since_ms is None or self.recorder.accepted != self._committed:  # the page is another one
            self.since_ms = self.ms
            self._committed = self.recorder.accepted
        self.at_cut_ms = max(self.at_cut_ms, self.ms - self.since_ms)

    def rest(self, until_ms: int) -> None:
        """Let the time pass with ticks: as often as the timer at first, then as often as pages age."""
        slow_ms = max(self.tick_ms, min(60_000, self.settings.integer("commit_ms") // 8))
        ticks = 0
        while self._next_tick_ms <= until_ms:
            self.ms = max(self.ms, self._next_tick_ms)
            self.tick()
            ticks += 1
            self._next_tick_ms = self.ms + (self.tick_ms if ticks < _TICKS_SOON else slow_ms)
        self.ms = until_ms
        self._next_tick_ms = min(self._next_tick_ms, until_ms + self.tick_ms)

    # what it cost

    @property
    def erases(self) -> int:
        return sum(self._flash.wear)

    @property
    def programmed_bytes(self) -> int:
        return self._flash.programmed_bytes

    @property
    def wearing_sectors(self) -> float:
        """How many share the erases, if all were worn as the worst: a ring goes round, littlefs takes what is free."""
        if self.where == "files":
            return (self._flash.count - self.disk.used_blocks) / _LITTLEFS_WORST
        return float(self.ring.sectors)

    @property
    def ring_bytes(self) -> int:
        return int(self.ring.sectors * self.ring.sector_bytes)

    def call_us(self, names: list[str], period_ms: int) -> tuple[int, int]:
        """Send; (microseconds that the flash was busy with it, how many of its erases were in that)."""
        busy_us, erases = self.busy_us, self.erases
        self.send(names, period_ms)
        return self.busy_us - busy_us, self.erases - erases

    def buffer_bytes(self) -> int:
        """Of all buffers that the client holds."""
        return sum(_buffers(self.client))


def _buffers(root: Any) -> Iterator[int]:
    """The sizes of all buffers that are reached from `root` through objects of the library."""
    seen: set[int] = set()
    stack = [root]
    while stack:
        item = stack.pop()
        if isinstance(item, memoryview):
            item = item.obj
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, bytearray):
            yield len(item)
        elif isinstance(item, array):
            yield len(item) * item.itemsize
        elif isinstance(item, (list, tuple)):
            stack += item
        elif isinstance(item, dict):
            stack += item.values()
        elif type(item).__module__.startswith("plexus_mp."):
            stack += vars(item).values()
