"""Fixtures for tests of firmware: `board`, `gateway`, `scenario`.

    def test_a_night(board, gateway, scenario):
        scenario("router_reboot.toml")
        board.run("main.py", virtual="8h")
        assert board.report.lost == 0
        assert len(gateway.rows("temperature")) > 900

Installed with the package; a test that uses none of the fixtures loads nothing of the simulator. Paths are looked for
in the folder of the test and in those above it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .journal import Verdict
    from .scenario import Scenario
    from .world import Placement, World

_VMS = ("micropython", "cpython")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("plexus", "firmware on a simulated board")
    group.addoption("--plexus-vm", choices=_VMS, help="what runs the firmware, instead of what the test says")
    group.addoption("--plexus-seed", type=int, default=0, help="of what the simulator draws at random")


class Bench:
    """What the fixtures of one test share: what it has asked for, and the run when there was one."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self.folders = [request.path.parent, *request.path.parent.parents]
        self.vm: str | None = request.config.getoption("--plexus-vm")
        self.seed: int = request.config.getoption("--plexus-seed")
        self.scenarios: list[Scenario] = []
        self.files: dict[str, Path | bytes] = {}
        self.world: World | None = None

    def find(self, path: str | Path) -> Path:
        """The nearest file or folder of that name. Raises `FileNotFoundError`."""
        for folder in self.folders:
            if (folder / path).exists():
                return folder / path
        raise FileNotFoundError(f"{path}: not in {self.folders[0]}, nor in a folder above it")

    def done(self) -> World:
        if self.world is None:
            raise RuntimeError("nothing has run yet: call board.run() first")
        return self.world


class SimulatedBoard:
    """The `board` fixture: a board with a BME280 at 0x76, Wi-Fi, and the library in /lib."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._printed: list[str] = []
        self._verdict: Verdict | None = None

    def put(self, path: str, content: str | bytes | Path) -> None:
        """Have a file, or a tree, on the board before it runs: what stands in it, or the `Path` it is copied from."""
        found = self._bench.find(content) if isinstance(content, Path) else content
        self._bench.files[path] = found.encode() if isinstance(found, str) else found

    def run(
        self,
        firmware: str | Path,
        virtual: str | float = "10m",
        board: str | Path | None = None,
        vm: str = "cpython",
        trace: str = "quiet_room",
    ) -> Verdict:
        """Run `firmware`, a folder or a main.py, for so much board time; the report. Once in a test.

        `board` is a board file, else that of a plain ESP32; `vm` is cpython, which is fast and can be debugged, or
        micropython, the real one; `trace` what the sensor feels, or a .csv file. Raises
        `ValueError` and `OSError` for what does not fit, `ScenarioError` for faults that this board cannot have, and
        what the simulator itself fails with: firmware that hangs is `FirmwareHangs`.
        """
        from .durations import seconds_of
        from .world import ROOT, World

        bench = self._bench
        if bench.world is not None:
            raise RuntimeError("a board runs once in a test")
        world = bench.world = World(bench.seed, virtual=True)
        board_file = ROOT / "boards" / "esp32.py" if board is None else bench.find(board)
        if trace.endswith(".csv"):
            trace = str(bench.find(trace))

        async def main() -> Verdict:
            await world.start()
            placement = world.add_board(
                bench.find(firmware), board_file, bench.vm or vm, trace, self._printed.append
            )
            self._prepare(world, placement, seconds_of(virtual))
            placement.board.power_on()
            await asyncio.sleep(seconds_of(virtual))
            return await world.finish()

        self._verdict = world.kernel.run(main())
        error = world.placements[0].board.error
        if error is not None:
            raise error
        return self._verdict

    def _prepare(self, world: World, placement: Placement, seconds: float) -> None:
        for path, content in self._bench.files.items():
            if isinstance(content, Path):
                placement.board.files.copy(content, path)
            else:
                placement.board.files.write(path, content)
        for scenario in self._bench.scenarios:
            world.direct(placement, scenario, seconds)

    @property
    def report(self) -> Verdict:
        """What came of the readings that the firmware gave to the library: see docs/simulator.md, "The journal"."""
        self._bench.done()
        assert self._verdict is not None
        return self._verdict

    @property
    def console(self) -> str:
        """What the firmware printed; a traceback when it failed."""
        return "".join(self._printed)

    @property
    def boots(self) -> int:
        return self._bench.done().placements[0].board.boots

    def read(self, path: str) -> bytes:
        """A file of the board's, after the run. Raises `OSError`."""
        return self._bench.done().placements[0].board.files.read(path)


class SimulatedGateway:
    """The `gateway` fixture: the gateway that the board sends to."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def rows(self, metric: str | None = None) -> list[Any]:
        """What is stored, oldest first, of one metric or all: rows with `metric`, `value`, `tags`, `timestamp_ms`."""
        store = self._bench.done().store
        assert store is not None
        return [row for row in store.rows() if metric in (None, row.metric)]

    def values(self, metric: str) -> list[Any]:
        return [row.value for row in self.rows(metric)]


class FaultPlan:
    """The `scenario` fixture: what goes wrong, told before the run."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def __call__(self, path: str | Path | None = None, **event: Any) -> None:
        """A scenario file, by its path or the name of one of the simulator's own; or one event, as a file would say it:
        `scenario(fault="wifi", at="10m", **{"for": "30s"})`. Raises `ScenarioError`, `FileNotFoundError`.
        """
        from .scenario import load_scenario, make_scenario

        if path is not None:
            self._bench.scenarios.append(load_scenario(self._find(path)))
        if event:
            self._bench.scenarios.append(make_scenario("event", [_as_in_a_file(event)]))

    def _find(self, path: str | Path) -> Path:
        own = Path(__file__).parent / "scenarios" / f"{path}.toml"
        return own if own.exists() else self._bench.find(path)


def _as_in_a_file(event: Mapping[str, Any]) -> dict[str, Any]:
    """`for` is a word that Python keeps for itself: `for_` stands for it."""
    return {"for" if key == "for_" else key: value for key, value in event.items()}


@pytest.fixture
def _plexus_bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    bench = Bench(request)
    yield bench
    if bench.world is not None:
        with contextlib.suppress(RuntimeError):  # of a loop that an error left running
            bench.world.kernel.close()


@pytest.fixture
def board(_plexus_bench: Bench) -> SimulatedBoard:
    """A simulated board, to run firmware on."""
    return SimulatedBoard(_plexus_bench)


@pytest.fixture
def gateway(_plexus_bench: Bench) -> SimulatedGateway:
    """The gateway that the board sends to."""
    return SimulatedGateway(_plexus_bench)


@pytest.fixture
def scenario(_plexus_bench: Bench) -> FaultPlan:
    """What goes wrong while the firmware runs."""
    return FaultPlan(_plexus_bench)
