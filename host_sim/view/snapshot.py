"""What there is to see of a running board: asked of the device, of the simulator, and of the gateway."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..board.board import VIEW_TIMER

if TYPE_CHECKING:
    from ..world import Placement, World

HISTORY = 40  # readings of a metric that are drawn
METRICS_MAX = 8
LINES_MAX = 60


@dataclass
class Course:
    """A metric's latest values, oldest first; None where one is no number."""

    values: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY))
    last: Any = None
    count: int = 0


@dataclass
class Snapshot:
    """One moment. What is not known is None: a board without power knows nothing."""

    name: str
    vm: str
    page: str = ""  # of the gateway, where it is one of ours
    board_s: float = 0.0
    powered: bool = False
    boots: int = 0
    link: str | None = None  # in the library's words: what it is connected by, or waits for
    wifi: str = "off"
    waiting: int | None = None
    ring_fill: float | None = None  # 0 to 1; None for a ring in RAM
    accepted: int = 0
    stored: int | None = None
    dropped: int = 0
    rejected: int = 0
    resent: int = 0
    clock_error_ms: int | None = None
    heap_used_bytes: int | None = None
    heap_free_bytes: int | None = None
    courses: dict[str, Course] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)


class Watcher:
    """Fills a snapshot. `ask` has the device tell, at its next turn; `look` is everything else."""

    def __init__(self, world: World, placement: Placement, vm: str) -> None:
        self._world = world
        self._placement = placement
        self._seen = 0
        self._console: deque[str] = deque(maxlen=LINES_MAX)
        self._partial = ""
        page = world.server.page_url if world.server is not None else ""
        self.snapshot = Snapshot(placement.board.config.name, vm, page)
        placement.board.viewed = self._viewed

    def ask(self) -> None:
        board = self._placement.board
        if board.powered:
            board.timers.start(VIEW_TIMER, board.now_us(), 1, False)
            board.wake()

    def _viewed(
        self, told: str, now_ms: int | None, used: int, free: int, dropped: int, rejected: int
    ) -> None:
        """`told` is how the library shows a client: `<Plexus NAME: LINK, N waiting>`."""
        seen = self.snapshot
        link, _, waiting = told.rstrip(">").partition(": ")[2].rpartition(", ")
        seen.link, seen.waiting = link, int(waiting.split()[0])
        seen.clock_error_ms = None if now_ms is None else now_ms - self._world.kernel.unix_ms()
        # In CPython there is no heap of the board's own.
        seen.heap_used_bytes, seen.heap_free_bytes = (used, free) if seen.vm != "cpython" else (None, None)
        seen.dropped, seen.rejected = dropped, rejected

    def hear(self, text: str) -> None:
        """What the board prints."""
        *lines, self._partial = (self._partial + text).split("\n")
        self._console.extend(lines)

    def look(self) -> Snapshot:
        board, seen, world = self._placement.board, self.snapshot, self._world
        seen.board_s = world.kernel.now_us() / 1e6
        seen.powered, seen.boots = board.powered, board.boots
        if not board.powered:
            seen.link = seen.waiting = seen.clock_error_ms = seen.heap_used_bytes = seen.heap_free_bytes = (
                None
            )
        seen.wifi = (
            "connected" if board.wifi.is_connected() else "no address" if board.wifi.active(None) else "off"
        )
        seen.ring_fill = self._placement.witness.ring_fill(board)
        if world.store is not None:
            seen.stored, seen.resent = world.store.count(), world.store.repeated_total
        self._follow()
        seen.lines = list(self._console)
        return seen

    def _follow(self) -> None:
        accepted = self._placement.witness.journal.accepted
        courses = self.snapshot.courses
        for reading in accepted[self._seen :]:
            if reading.metric not in courses and len(courses) >= METRICS_MAX:
                continue
            course = courses.setdefault(reading.metric, Course())
            course.last = reading.value
            course.count += 1
            if isinstance(reading.value, (int, float)):
                course.values.append(float(reading.value))
        self._seen = self.snapshot.accepted = len(accepted)
