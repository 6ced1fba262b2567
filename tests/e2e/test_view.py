"""The view of a running board: what it shows, what its keys do, and that it leaves the terminal as it was."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import pty
import signal
import subprocess
import sys
import termios
import time

import pytest
from rich.console import Console

from host_sim.view.render import Screen, spark
from host_sim.view.snapshot import METRICS_MAX, Course, Snapshot, Watcher
from host_sim.view.switches import Switchboard, all_switches
from host_sim.world import ROOT, Target, World
from tests.e2e.simulation import FIRMWARE, program, simulate

LIMIT_S = 60


def drawn(seen, board=None, width=110, height=40):
    out = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    board = board or Switchboard(World(1, virtual=True), None)
    out.print(Screen(seen, board))
    return out.file.getvalue()


def test_a_snapshot_shows_all_there_is():
    courses = {"temperature": Course(last=21.5, count=3), "door": Course(last="open", count=1)}
    courses["temperature"].values.extend([20.0, 21.0, 21.5])
    seen = Snapshot(
        "esp32", "micropython", "http://127.0.0.1:8765/#x", 61.4, True, 2, "online", "connected", 7, 0.25,
        100, 93, 4, 1, 12, -8, 20480, 40960, courses, ["plexus: hello"],
    )  # fmt: skip
    text = drawn(seen)
    for shown in (
        "esp32", "61 s", "power on", "boot 2", "21.50", "▁▆█", "open", "online", "connected", "█████░", "25%",
        "7 waiting", "100 accepted, 93 stored, 12 repeats refused, 4 dropped, 1 rejected", "-8 ms",
        "20 KB used, 40 KB free", "plexus: hello", "w Wi-Fi off", "q quit", "http://127.0.0.1:8765/#x",
    ):  # fmt: skip
        assert shown in text, shown


def test_a_plain_terminal_shows_all_and_what_the_board_printed_last():
    courses = {name: Course(last=1.0, count=1) for name in ("humidity", "pressure", "temperature")}
    courses["sensor_error"] = Course(last="BME280 at 0x76: nothing answers; check SDA, SCL", count=1)
    seen = Snapshot("esp32", "micropython", "http://127.0.0.1:8765/#x", courses=courses)
    seen.lines = [f"line {n}" for n in range(60)]
    lines = drawn(seen, width=80, height=24).rstrip("\n").split("\n")
    assert len(lines) <= 24 and "line 59" in lines[-1] and "line 58" in lines[-2]
    for shown in ("nothing answers", "RTC jumps an hour", "no memory for sockets", "the board prints"):
        assert any(shown in line for line in lines), shown
    assert "too small" not in lines[0] and "too small" in drawn(seen, width=80, height=12)


def test_what_is_not_known_is_not_invented():
    text = drawn(Snapshot("esp32", "cpython"))
    assert "NO POWER" in text and "not synced" in text and "? waiting" in text and "none yet" in text


def test_sparks():
    assert spark([]) == "" and spark([5, 5]) == "▁▁" and spark([0, 7, 3.5, 1]) in ("▁█▅▂", "▁█▄▂")


def test_keys_are_unlike():
    keys = [switch.key for switch in all_switches()]
    assert len(set(keys)) == len(keys) and "q" not in keys


def test_each_key_begins_its_fault_and_ends_it():
    """Nothing is lost or stored twice by any of them."""
    pressed = []

    async def press(world, placement):
        board = Switchboard(world, placement)
        wires, wifi = placement.wires, placement.board.wifi
        looks = {
            "w": lambda: not wifi.available,
            "n": lambda: wires.path.swallow,
            "d": lambda: wires.path.dns == "fail",
            "x": lambda: wires.path.stalled,
            "g": lambda: not world.gateway_runs,
            "m": lambda: placement.board.exhausted == "network",
        }
        await asyncio.sleep(20)
        for switch in board.switches:
            look = looks.get(switch.key, lambda: None)
            assert not look()
            assert board.press(switch.key) and switch.on is switch.holds and switch.times == 1
            assert look() in (True, None)
            await asyncio.sleep(10)
            if switch.holds:
                assert board.press(switch.key) and not switch.on
            assert not look()
            await asyncio.sleep(30)
            pressed.append(switch.key)
        assert not board.press("?") and not board.press("q")
        assert placement.board.boots == 5  # a power-on, a power cut and three brown-outs

    outcome = simulate(FIRMWARE, "cpython", 700, press)
    assert len(pressed) == len(all_switches())
    assert outcome.verdict.clean and outcome.verdict.pending <= 6
    assert outcome.verdict.stored > 800 and outcome.verdict.stored == len(outcome.rows())


def test_a_gateway_elsewhere_cannot_be_made_to_fail():
    world = World(1, target=Target("http://127.0.0.1:9", "key"))
    board = Switchboard(world, None)
    by_key = {switch.key: switch for switch in board.switches}
    assert not board.press("g") and not board.works(by_key["g"]) and board.works(by_key["w"])
    world.kernel.close()


MANY = """
import time
from plexus_mp import Plexus
px = Plexus(source_id="many")
print("half a li", end="")
for n in range(200):
    px.send("m%d" % (n % 10), n if n % 7 else "text")
    time.sleep(0.5)
    if n == 5:
        print("ne")
"""


def test_the_watcher_sees_what_is(vm, tmp_path):
    """The device's own word for link, clock and heap; the journal and the gateway for the rest."""
    watchers = []

    async def watch(world, placement):
        watcher = Watcher(world, placement, vm)
        watchers.append(watcher)
        for console in ("half a li", "ne\nlast"):
            watcher.hear(console)
        await asyncio.sleep(0.01)
        assert watcher.look().link is None
        await asyncio.sleep(30)
        watcher.ask()
        await asyncio.sleep(1)
        seen = watcher.look()
        assert seen.powered and seen.boots == 1 and seen.wifi == "connected" and seen.link == "online"
        assert abs(seen.clock_error_ms) < 1000 and seen.lines == ["half a line"]
        assert 50 < seen.accepted <= 70 and seen.accepted - 20 <= seen.stored <= seen.accepted
        assert 0 <= seen.waiting <= 20 and 0 <= seen.ring_fill < 0.3
        assert (seen.heap_used_bytes is None) is (vm == "cpython")
        assert len(seen.courses) == METRICS_MAX and seen.courses["m1"].count > 4
        placement.board.power_off()
        off = watcher.look()
        assert not off.powered and off.link is off.waiting is off.clock_error_ms is None and off.wifi == "off"
        watcher.ask()  # of a board without power: nothing

    simulate(program(tmp_path, MANY), vm, 60, watch)
    assert "NO POWER" in drawn(watchers[0].snapshot)


class OnTerminal:
    """`host_sim run --view` on a pseudo-terminal of its own."""

    def __init__(self, *arguments):
        self.master, self.slave = pty.openpty()
        self.before = termios.tcgetattr(self.slave)
        os.set_blocking(self.master, False)
        command = [sys.executable, "-m", "host_sim", "run", str(FIRMWARE), "--vm", "cpython", "--view"]
        env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "110", "LINES": "40"}
        self.process = subprocess.Popen(
            [*command, *arguments], cwd=ROOT, env=env, stdin=self.slave, stdout=self.slave, stderr=self.slave
        )
        self.seen = ""

    def until(self, text):
        end = time.monotonic() + LIMIT_S
        while text not in self.seen:
            assert time.monotonic() < end, f"{text!r} does not come: {self.seen[-3000:]!r}"
            time.sleep(0.02)
            self.read()
        self.seen = self.seen.partition(text)[2]

    def read(self):
        with contextlib.suppress(BlockingIOError, OSError):
            self.seen += os.read(self.master, 1 << 16).decode(errors="replace")

    def type(self, keys):
        os.write(self.master, keys.encode())

    def end(self):
        """Its exit code; the terminal must be what it was."""
        for _ in range(LIMIT_S * 50):
            self.read()
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        self.read()
        assert termios.tcgetattr(self.slave) == self.before
        return self.process.poll()

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def terminal():
    opened = []

    def open_terminal(*arguments):
        opened.append(OnTerminal(*arguments))
        return opened[-1]

    yield open_terminal
    for one in opened:
        one.close()


def test_a_person_presses_keys(terminal):
    view = terminal()
    view.until("\x1b[?1049h")  # the other screen
    view.until("online")
    view.type("w")
    view.until("offline")
    view.type("w")
    view.until("online")
    view.type("p")
    view.until("NO POWER")
    view.until("boot 2")
    view.type("q")
    view.until("\x1b[?1049l")
    assert view.end() in (0, 1)  # 1 while nothing has been stored
    assert "0 lost, 0 stored twice" in view.seen


@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM", "seconds"])
def test_every_end_gives_the_terminal_back(terminal, how):
    view = terminal(*(["--seconds", "3"] if how == "seconds" else []))
    view.until("power on")
    if how == "Ctrl-C":
        view.process.send_signal(signal.SIGINT)
    elif how == "SIGTERM":
        view.process.send_signal(signal.SIGTERM)
    assert view.end() in (0, 1)
    assert "\x1b[?1049l" in view.seen and "readings accepted" in view.seen


def test_without_a_terminal_or_in_virtual_time_it_is_refused():
    for arguments, words in (([], "needs a terminal"), (["--virtual", "1m"], "real time")):
        command = [sys.executable, "-m", "host_sim", "run", str(FIRMWARE), "--view", *arguments]
        done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert done.returncode == 2 and words in done.stderr and len(done.stderr.splitlines()) == 1
