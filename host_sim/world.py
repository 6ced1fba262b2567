"""Boards and the gateway they talk to, around one kernel: what `run`, `demo` and the tests set up."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from .answers import ScriptedAnswers
from .board.bme280 import BME280, Calibration
from .board.board import Board, Vm
from .board.config import BoardConfig, load_board
from .board.files import BoardFiles
from .board.traces import make_trace
from .dialers import RealDialer
from .director import Director
from .gateway import Gateway, GatewayServer, Grant, Settings, Store, create_app, open_store, protocol_factory
from .holds import Holds
from .journal import TOLERANCE_MS, Row, Verdict, compare
from .kernel import Kernel
from .remote import remote_rows
from .scenario import ROUTES, Scenario
from .virtual_net import VirtualNet
from .wire import Dialer, Wires
from .witness import Witness

if TYPE_CHECKING:
    from .authority import Authority, Identities
    from .tls_server import TlsFactory

NO_LIMITS: Mapping[str, Any] = MappingProxyType({})
ROOT = Path(__file__).resolve().parent.parent
FIRMWARE = ROOT / "firmware"
LIBRARY = ROOT / "lib" / "plexus_mp"
BME280_ADDRESS = 0x76
VIRTUAL_GATEWAY = ("192.168.4.1", 8765)
VIRTUAL_TLS_HOST = "gateway.test"
VIRTUAL_TLS_PORT = 8443
VIRTUAL_EPOCH_MS = 1_800_000_000_000  # 2027-01-15T08:00:00Z, so that a run replays whenever it is run
# A run's rows at a gateway elsewhere: from so long before it to so long after it.
_WINDOW_MS = 5_000
# After the power is cut: long enough for the gateway to finish what it has received.
_SETTLE_S = 0.1


@dataclass(frozen=True)
class Target:
    """Where boards send: a URL and a key, which is never shown."""

    url: str
    api_key: str = field(repr=False)


@dataclass
class Placement:
    """A board in the world: its witness, its way to the gateway, its sensor."""

    board: Board
    witness: Witness
    wires: Wires
    sensor: BME280
    sensor_address: int = BME280_ADDRESS
    holds: Holds = field(default_factory=Holds)


def make_vm_factory(name: str, interpreter: str | None = None) -> Callable[[], Vm]:
    """The VM called `name`: 'cpython' or 'micropython', the latter in an executable when one is given.

    ValueError for any other, `MissingTool` for an executable that does not do.
    """
    if name == "cpython" and interpreter is None:
        from .vms.cpython import CPythonVm

        return CPythonVm
    if name == "micropython" and interpreter is None:
        from .vms.micropython import MicroPythonVm

        return MicroPythonVm
    if name == "micropython" and interpreter is not None:
        from .vms.executable import executable_factory

        return executable_factory(interpreter)
    if name == "circuitpython":
        raise ValueError(
            "--vm circuitpython: the library and the simulated modules have no CircuitPython port yet"
        )
    if name == "cpython":
        raise ValueError("--interpreter is for --vm micropython: cpython is this process")
    raise ValueError(f"vm must be cpython or micropython, not {name!r}")


class World:
    """Everything that a run needs, made from `seed`, in real time or `virtual` time.

    Without `target` a gateway of its own is started, with `store`: on `port` or the next free one, or, in
    virtual time, inside this process. A `target` needs real time. `route`, in virtual time: boards find the gateway by
    its 'address', by a 'name', or by that over 'tls'. Where all values differ, `tolerance_ms` may be large.
    `limits` are settings of the gateway.
    """

    def __init__(
        self,
        seed: int = 0,
        store: str = "sqlite://",
        target: Target | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        virtual: bool = False,
        route: str = ROUTES[0],
        limits: Mapping[str, Any] = NO_LIMITS,
    ) -> None:
        if virtual and target is not None:
            raise ValueError("--virtual needs the simulator's own gateway, not --gateway")
        if route != ROUTES[0] and not virtual:
            raise ValueError(f"a gateway that is reached by {route!r} needs virtual time")
        self.seed = seed
        self.route = route
        self.tolerance_ms = TOLERANCE_MS
        self._limits = limits
        self.kernel = Kernel(virtual, VIRTUAL_EPOCH_MS if virtual else None)
        self._net = VirtualNet(self.kernel)
        self._real = RealDialer(self.kernel)
        self.ended = False
        self.placements: list[Placement] = []
        self.store: Store | None = None
        self.gateway: Gateway | None = None
        self.identities: Identities
        self._authority: Authority
        self.answers = ScriptedAnswers()
        self._tls: TlsFactory | None = None
        self.gateway_skew_ms = 0  # what the gateway's clock is ahead of true time
        self.holds = Holds()  # of faults, on the gateway
        self.gateway_runs = target is None
        self.server: GatewayServer | None = None
        self._starting: asyncio.Task[None] | None = None
        self._target = target
        if target is None:
            self._make_gateway(store, host, port)

    def _make_gateway(self, store: str, host: str, port: int) -> None:
        self._rng = random.Random(self.seed) if self.kernel.virtual else random.SystemRandom()
        self._api_key = f"plx_{self._rng.getrandbits(128):032x}"
        self.store = open_store(store)
        self._open_gateway(host, port)

    def _open_gateway(self, host: str, port: int) -> None:
        assert self.store is not None
        settings = Settings(keys={self._api_key: Grant()}, **self._limits)
        self.gateway = create_app(settings, self.store, self._gateway_ms, self._rng)
        self.gateway.script = self.answers
        if self.kernel.virtual:
            self._factory = protocol_factory(self.gateway)
        else:
            self.server = GatewayServer(self.gateway, host, port)

    def _gateway_ms(self) -> int:
        return self.kernel.unix_ms() + self.gateway_skew_ms

    def serve_tls(self) -> TlsFactory:
        """Serve TLS too, in virtual time: `VIRTUAL_TLS_URL`, by an authority that boards find in /ca.der.

        Raises `ValueError` in real time. Making the keys takes a while, once in a process.
        """
        if not self.kernel.virtual or self.gateway is None:
            raise ValueError("TLS is served in virtual time only")
        if self._tls is None:
            from .authority import Authority, make_identities  # keys that few runs need
            from .tls_server import tls_factory

            self._authority = authority = Authority()
            self.identities = make_identities(authority, VIRTUAL_TLS_HOST, self.kernel.epoch_ms // 1000)
            self._tls = tls_factory(lambda: self._factory(), self.identities.good)
            self._net.names[VIRTUAL_TLS_HOST] = VIRTUAL_GATEWAY[0]
            if self.gateway_runs:
                self._net.listen(VIRTUAL_GATEWAY[0], VIRTUAL_TLS_PORT, self._tls)
            for placement in self.placements:
                placement.board.files.write("/ca.der", authority.der)
        return self._tls

    def stop_gateway(self) -> None:
        """The gateway's process dies; its store keeps what was committed."""
        self.gateway_runs = False
        if self.server is not None:
            self.server.kill()
        elif self.gateway is not None:
            self._net.stop(*VIRTUAL_GATEWAY)
            self._net.stop(VIRTUAL_GATEWAY[0], VIRTUAL_TLS_PORT)
            self._factory.kill()

    def restart_gateway(self) -> None:
        """A new process on the same store and address, with no memory of connections, keys or limits.

        A port that somebody else has taken meanwhile is an `OSError` of `finish`.
        """
        self.gateway_runs = True
        if self.server is not None:
            self._open_gateway(self.server.host, self.server.port)
            self._starting = self.kernel.loop.create_task(self._start_again(self.server))
        elif self.gateway is not None:
            self._open_gateway(*VIRTUAL_GATEWAY)
            self._net.listen(*VIRTUAL_GATEWAY, self._factory)
            if self._tls is not None:
                self._net.listen(VIRTUAL_GATEWAY[0], VIRTUAL_TLS_PORT, self._tls)

    async def _start_again(self, server: GatewayServer) -> None:
        if self.gateway_runs and self.server is server:  # it may be dead before it lived
            await server.start(may_move=False)

    def abort_connections(self) -> None:
        """The gateway drops every connection without a word."""
        if self.server is not None:
            self.server.abort_connections()
        elif self.gateway is not None:
            self._factory.kill()

    def later(self, after_us: int, callback: Callable[[], object]) -> None:
        """Call back after so long, unless the run is over by then."""
        self.kernel.call_at(self.kernel.now_us() + after_us, lambda: self.ended or callback())

    def direct(self, placement: Placement, scenario: Scenario, duration_s: float) -> Director:
        """Make `scenario` happen to a board in the `duration_s` from now.

        Raises `ScenarioError` for an event that this board or this run cannot have.
        """
        rng = random.Random(f"{self.seed}/scenario")
        return Director(self, placement, scenario, duration_s, rng)

    def digests(self) -> dict[str, str]:
        """Of the boards' files, of what their firmware sent and received, and of what is stored."""
        boards = [placement.board for placement in self.placements]
        rows = sorted(map(str, self.store.rows())) if self.store is not None else []
        parts = {
            "flash": [board.files.digest() + board.flash.digest() for board in boards],
            "frames": [board.net.digest() for board in boards],
            "rows": rows,
        }
        return {name: hashlib.sha256("\n".join(part).encode()).hexdigest() for name, part in parts.items()}

    async def start(self) -> Target:
        """Start the gateway, if there is one here; where boards shall send."""
        if self.server is not None:
            await self.server.start()
            self._target = Target(self.server.url, self._api_key)
        elif self.gateway is not None:
            self._net.listen(*VIRTUAL_GATEWAY, self._factory)
            self._target = Target(self._virtual_url(), self._api_key)
        assert self._target is not None
        return self._target

    def _virtual_url(self) -> str:
        if self.route == "tls":
            self.serve_tls()
            return f"https://{VIRTUAL_TLS_HOST}:{VIRTUAL_TLS_PORT}"
        self._net.names[VIRTUAL_TLS_HOST] = VIRTUAL_GATEWAY[0]
        host = VIRTUAL_TLS_HOST if self.route == "name" else VIRTUAL_GATEWAY[0]
        return f"http://{host}:{VIRTUAL_GATEWAY[1]}"

    def add_board(
        self,
        firmware: Path,
        board_file: Path,
        vm: str = "micropython",
        trace: str = "quiet_room",
        console: Callable[[str], None] = print,
        interpreter: str | None = None,
    ) -> Placement:
        """Put a board with a BME280 into the world and copy `firmware` (a folder, or a main.py) to it.

        Call after `start`. Raises `ValueError` for settings that do not fit, `OSError` for files that are
        not there.
        """
        config, source = load_board(board_file)
        placement = self.place(config, make_vm_factory(vm, interpreter), trace, console)
        self._copy_files(placement.board, firmware, source)
        return placement

    def place(
        self,
        config: BoardConfig,
        make_vm: Callable[[], Vm],
        trace: str,
        console: Callable[[str], None],
        files: BoardFiles | None = None,
    ) -> Placement:
        """Put a board with a BME280 and nothing, or `files`, on its filesystem into the world."""
        number = len(self.placements)
        config.unique_id = config.unique_id[:-2] + (number + 1 & 0xFFFF).to_bytes(2, "big")
        witness = Witness()
        rngs = [random.Random(f"{self.seed}/{number}/{part}") for part in ("board", "wires", "sensor")]
        dialer: Dialer = self._net if self.kernel.virtual else self._real
        wires = Wires(self.kernel, dialer, rngs[1])
        board = Board(self.kernel, config, wires, make_vm, rngs[0], console, witness, files)
        if self._tls is not None:
            board.files.write("/ca.der", self._authority.der)
        sensor = BME280(Calibration(), board.now_us, make_trace(trace, self.seed), rngs[2])
        board.i2c.attach(BME280_ADDRESS, sensor)
        placement = Placement(board, witness, wires, sensor)
        self.placements.append(placement)
        return placement

    def _copy_files(self, board: Board, firmware: Path, board_source: str) -> None:
        """What a user copies with mpremote: firmware, library, board file, settings.

        Firmware that leaves the Wi-Fi to others is given this project's boot.py, which connects it.
        """
        if not firmware.exists():
            raise FileNotFoundError(f"{firmware}: no such file or folder")
        board.files.copy(firmware, "/" if firmware.is_dir() else "/main.py")
        if not _sees_to_wifi(firmware):
            board.files.copy(FIRMWARE / "boot.py", "/boot.py")
        try:
            board.files.stat("/lib/plexus_mp")
        except OSError:
            board.files.copy(LIBRARY, "/lib/plexus_mp")
        board.files.write("/plexus_board.py", board_source.encode())
        self.set_up(board)

    def set_up(self, board: Board) -> None:
        """Gateway, key and Wi-Fi into the board's plexus.json; what else is there stays. Call after `start`."""
        assert self._target is not None
        settings = {
            "gateway_url": self._target.url,
            "api_key": self._target.api_key,
            "wifi": {"ssid": "simulated", "password": "simulated"},
        }
        board.files.write("/plexus.json", json.dumps({**_settings(board), **settings}).encode())

    async def finish(self) -> Verdict:
        """End the run: ask the boards what they hold, cut their power, stop the gateway, and compare.

        Faults that were still to come do not come any more; those that hold go on.
        """
        self.ended = True
        if self._starting is not None:
            await self._starting
        for placement in self.placements:
            await placement.board.report()
            placement.board.power_off()
            placement.witness.collect(placement.board)
        await asyncio.sleep(_SETTLE_S)
        verdict = self.verdict()
        await self.close()
        return verdict

    async def close(self) -> None:
        """Stop the gateway and the network, with no verdict."""
        await self._real.close()
        if self.server is not None:
            await self.server.stop()
        elif self.gateway is not None:
            await self._factory.close()

    def verdict(self) -> Verdict:
        """Journal against store, over all boards."""
        verdict = Verdict()
        for placement in self.placements:
            verdict.add(self.judge(placement.witness))
        if self.store is not None:
            verdict.resent = self.store.repeated_total
        return verdict

    def judge(self, witness: Witness) -> Verdict:
        """Journal against store, of one board."""
        rows = [row for source_id in sorted(witness.source_ids) for row in self._stored(source_id)]
        given_up = (witness.dropped, witness.rejected, witness.undecided)
        return compare(witness.journal, rows, witness.held, *given_up, tolerance_ms=self.tolerance_ms)

    def _stored(self, source_id: str) -> Iterable[Row]:
        if self.store is not None:
            return (Row(*row[1:6]) for row in self.store.rows(source_id))  # class to timestamp
        assert self._target is not None
        start_ms = self.kernel.epoch_ms - _WINDOW_MS
        end_ms = self.kernel.unix_ms() + _WINDOW_MS
        return remote_rows(self._target.url, self._target.api_key, source_id, start_ms, end_ms)


def _sees_to_wifi(firmware: Path) -> bool:
    """Whether the firmware has a boot.py, or anything of its own that speaks of the network interface."""
    sources = [firmware] if firmware.is_file() else [*firmware.glob("*.py")]
    return any(source.name == "boot.py" or b"WLAN" in source.read_bytes() for source in sources)


def _settings(board: Board) -> dict[str, object]:
    """The plexus.json that came with the firmware, if any."""
    try:
        found = json.loads(board.files.read("/plexus.json"))
    except FileNotFoundError:
        return {}
    if not isinstance(found, dict):
        raise ValueError("plexus.json must hold an object")
    return found
