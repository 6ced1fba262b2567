"""A board in virtual time that sends four readings every two seconds, its gateway, and what can be done to both."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from host_sim.faults import FAULTS
from host_sim.journal import Verdict
from host_sim.world import ROOT, VIRTUAL_GATEWAY, VIRTUAL_TLS_HOST, VIRTUAL_TLS_PORT, Placement, World
from tests.e2e.observed import ObservedVm, Watch

FLASH_BOARD = "esp32_flash_ring.py"
SOURCE = "rig-01"
PERIOD_S = 2
_REFUSED = "long"
_EVENT_MAX_BYTES = 64  # at this gateway: a longer event is refused, by its index

FIRMWARE = """
import time
import rig
from plexus_mp import Plexus

px = Plexus(source_id="SOURCE", transport="TRANSPORT", gateway_url="URL"MORE)
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
        self.board_file = board
        self._tls = tls
        self.lingers = not seed % 2  # else each sample goes in a frame of its own, and more are under way
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
        source = FIRMWARE.replace("PERIOD_MS", str(PERIOD_S * 1000)).replace("URL", url)
        source = source.replace("SOURCE", SOURCE).replace("TRANSPORT", self._transport)
        source = source.replace("REFUSED", _REFUSED).replace("MORE", "" if self.lingers else ", linger_ms=0")
        (folder / "boot.py").write_bytes((ROOT / "firmware" / "boot.py").read_bytes())
        (folder / "main.py").write_text(source)
        self.set_limit("string_max_bytes", _EVENT_MAX_BYTES)
        self.placement = world.add_board(
            folder, ROOT / "boards" / self.board_file, "cpython", console=self.console.append
        )
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

    def at_work(self) -> bool:
        """Whether the library is in the midst of a change: what it says of itself then, adds up only after it."""
        client = self.watch.client
        return client is not None and bool(client._recorder.guard._call)

    def statistics(self) -> dict[str, Any]:
        """What the device says of itself."""
        client = self.watch.client
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
        found["journal"] = len(self.placement.witness.journal.accepted)
        found["stored"] = len(self.stored_us)
        return found

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
