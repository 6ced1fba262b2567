"""The Python snippets of the READMEs of plexus-python, as they come with the installed packages, and what each needs.

Nothing of them is kept here: they are read from the packages' metadata, told apart by something that stands in each,
and what they send is found out by running them on a client that only takes notes.
"""

from __future__ import annotations

import email
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

from host_sim.world import ROOT

VERSIONS = ("0.7.0", "0.16.0")
BLOCK = re.compile(r"^```python\n(.*?)^```", re.M | re.S)

PX = 'px = Plexus(source_id="snippets")\n'
TIMES = """
class Times:
    def __init__(self, n):
        self.n = n
    def __bool__(self):
        self.n -= 1
        return self.n >= 0
running = Times(3)
class Some:
    pass
"""
MOTION = "att, gyro, grabber = Some(), Some(), Some()\natt.x, gyro.x, grabber.count = 1.5, -2.5, 7\n"
BENCH = "bench = Some()\nbench.execute = lambda: px.send('motor.temp_c', 80.5)\n"
BUSES = """
class Attitude:
    roll = 0.25
    def get_type(self):
        return "ATTITUDE"
class Frame:
    arbitration_id = 291
    data = b"\\x01\\x02"
conn, bus, bme = [Attitude()], [Frame()], Some()
bme.temperature = 21.5
"""
MESSAGE = "note = Some()\nnote.topic, note.payload = 'hall/north', '3.5'\non_message(None, None, note)\n"


PDU = """
class Outlet:
    def off(self):
        px.send("switched", 1)
class Pdu:
    def outlet(self, number):
        return Outlet()
pdu = Pdu()
"""


@dataclass(frozen=True)
class Need:
    """What a snippet is given before and after it, or the `reason` why it does not run on a board."""

    before: str = ""
    after: str = ""
    reason: str = ""


# Something that stands in the snippet and in no other of its README, by version or for both.
NEEDS: dict[str, dict[str, Need]] = {
    "both": {
        'source_id="device-001"': Need(),
        'px.send("engine.rpm"': Need(),
        "px.send_batch([": Need(PX),
        'px.event("fault"': Need(PX),
        "px.send_video_frame(": Need(reason="OpenCV captures and encodes; a board's camera gives JPEG"),
        "px.stream_camera(": Need(reason="FFmpeg and RTSP: no board has them"),
        "# MAVLink": Need(PX + TIMES + BUSES, MESSAGE),
        "persistent_buffer=": Need(after="px.send('kept', 1)\n"),
        "px.buffer_size()": Need(PX + "px.send('waits', 1)\n"),
        "timestamp=t": Need(PX + "t = 1_800_000_000.5\n"),
    },
    "0.16.0": {
        "px.batch(": Need(PX + TIMES + MOTION),
        "pass_criteria=[": Need(PX + TIMES + BENCH),
        'px.event("log"': Need(PX),
        "# ws with": Need(after="px.send('either way', 1)\n"),
        "@px.command(": Need(PDU, "px.send('outlets', 8)\n"),
    },
    "0.7.0": {
        "px.run(": Need(PX + TIMES + "def read_temp():\n    return 20.5 + running.n\n"),
        'transport="http"': Need(after="px.send('either way', 1)\n"),
        "px.on_command(": Need(),
    },
}  # fmt: skip


@dataclass(frozen=True)
class Snippet:
    version: str
    mark: str
    need: Need
    text: str

    @property
    def program(self) -> str:
        """The snippet with what it needs; its import is not changed yet."""
        imports = "from plexus import Plexus\n"
        return imports + self.need.before + self.text + self.need.after


def readme(version: str) -> str:
    folder = ROOT / "build" / "peers" / f"plexus-{version}" / f"plexus_python-{version}.dist-info"
    return str(email.message_from_string((folder / "METADATA").read_text()).get_payload())


def snippets() -> list[Snippet]:
    """All of both, in their order. Raises `LookupError` for one that the table does not know, or not as one."""
    found = []
    for version in VERSIONS:
        needs = NEEDS["both"] | NEEDS[version]
        for text in BLOCK.findall(readme(version)):
            marks = [mark for mark in needs if mark in text]
            if len(marks) != 1:
                raise LookupError(f"README of {version}: {marks} for\n{text}")
            found.append(Snippet(version, marks[0], needs[marks[0]], text))
    return found


class Notes:
    """Stands for `Plexus` and writes down what it is told: (metric, value, class, tags) of each reading."""

    made: ClassVar[list[Notes]] = []

    def __init__(self, **settings: Any) -> None:
        self.source_id = settings.get("source_id")
        self.rows: list[tuple[str, Any, str, dict[str, str]]] = []
        self.stamps: list[float] = []
        self.runs: list[str] = []
        self._tags: dict[str, str] = {}
        Notes.made.append(self)

    def send(self, metric: str, value: Any, timestamp: Any = None, tags: Any = None) -> None:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        self._note(metric, value, "metric" if number else "event", tags, timestamp)

    def event(self, name: str, data: Any, timestamp: Any = None, tags: Any = None) -> None:
        self._note(name, data, "event", tags, timestamp)

    def _note(self, metric: str, value: Any, cls: str, tags: Any, timestamp: Any) -> None:
        self.rows.append((metric, value, cls, {**self._tags, **(tags or {})}))
        if timestamp is not None:
            self.stamps.append(timestamp)

    def send_batch(self, points: list[Any]) -> None:
        for metric, value, *_ in points:
            self.send(metric, value)

    @contextmanager
    def batch(self, interval_ms: float) -> Any:
        yield self

    @contextmanager
    def run(self, name: str, **_: Any) -> Any:
        self.runs.append(name)
        self._tags = {"run_id": name}
        yield {"name": name}
        self._tags = {}

    def command(self, name: str, **_: Any) -> Any:
        return lambda handler: handler

    def on_command(self, name: str, handler: Any, description: str) -> None:
        """Nobody asks for it here."""

    def serve(self) -> None:
        """Here nothing has to be served."""

    def buffer_size(self) -> int:
        return 0

    def flush_buffer(self) -> bool:
        return True


def noted(snippet: Snippet) -> list[Notes]:
    """What each client that the snippet makes is told, in their order."""
    Notes.made = []
    exec(snippet.program.replace("from plexus import Plexus\n", ""), {"Plexus": Notes})
    return Notes.made
