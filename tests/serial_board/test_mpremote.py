"""The real mpremote, on a simulated board."""

from __future__ import annotations

import functools
import http.server
import json
import sys
import threading
import time
from pathlib import Path

import pytest

from host_sim.journal import Row
from host_sim.remote import remote_rows
from host_sim.world import ROOT
from tests.serial_board.running import API_KEY, LIMIT_S, running_board, running_gateway

sys.path.append(str(ROOT / "tools"))
import build_mpy

METRICS = {"temperature", "humidity", "pressure"}


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    with running_board(tmp_path_factory.mktemp("board")) as running:
        yield running


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """The library as .mpy, with the package.json that mip reads beside it."""
    folder = tmp_path_factory.mktemp("mpy")
    build_mpy.build(folder / "plexus_mp")
    files = [path.with_suffix(".mpy") for path in build_mpy.sources()]
    (folder / "package.json").write_text(build_mpy.package_json(files, "plexus_mp"))
    return folder


def stored(url: str, at_least: int) -> list[Row]:
    """The rows of the firmware's source, when there are so many of each metric."""
    end = time.monotonic() + LIMIT_S
    now_ms = time.time_ns() // 1_000_000
    while True:
        try:
            rows = remote_rows(url, API_KEY, "esp32-bme280", now_ms - 600_000, now_ms + 600_000)
        except OSError:
            rows = []  # the gateway does not know the device yet
        counts = [sum(row.metric == metric for row in rows) for metric in METRICS]
        if min(counts) >= at_least:
            return rows
        assert time.monotonic() < end, f"after {LIMIT_S} s there are {counts}"
        time.sleep(0.2)


def test_copied_firmware_sends_after_a_reset_and_again_in_the_next_run(tmp_path, package):
    state = tmp_path / "state"
    with running_gateway() as url:
        with running_board(tmp_path, "--dir", state, "--gateway", url) as board:
            board.mpremote("mkdir", ":lib")
            board.mpremote("cp", "-r", package / "plexus_mp", ":/lib/")
            firmware = sorted((ROOT / "firmware").glob("*.py"))
            board.mpremote("cp", *firmware, ":", "+", "cp", ROOT / "boards/esp32.py", ":plexus_board.py")
            assert board.mpremote("eval", "__import__('machine').reset_cause()").strip() == "5"
            board.mpremote("reset")
            rows = stored(url, 3)
            assert {row.metric for row in rows} == METRICS
            assert all(18 < row.value < 26 for row in rows if row.metric == "temperature")
        # The next run starts main.py at its power-on, from the files that were kept.
        assert (state / "files/lib/plexus_mp/client.mpy").exists()
        with running_board(tmp_path, "--dir", state, "--gateway", url):
            more = stored(url, 3 + len(rows))
    keys = [(row.timestamp_ms, row.metric) for row in more]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("served", [False, True], ids=["file", "server"])
def test_mip_installs_the_library(board, package, served, file_server):
    source = f"{file_server(package)}/package.json" if served else package / "package.json"
    board.mpremote("mip", "install", source)
    names = board.mpremote("ls", ":lib/plexus_mp")
    assert "client.mpy" in names and ".py\n" not in names
    assert "<class 'Plexus'>" in board.mpremote("exec", "from plexus_mp import Plexus; print(Plexus)")
    board.mpremote("rm", "-r", ":lib")
    assert "lib" not in board.mpremote("ls")


@pytest.fixture
def file_server():
    """Serves a folder over HTTP; its address."""
    servers = []

    def serve(folder: Path) -> str:
        handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
        handler.log_message = lambda *_: None
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def test_the_package_of_the_repository_lists_the_library():
    listed = json.loads((ROOT / "package.json").read_text())
    text = build_mpy.package_json(build_mpy.sources(), "lib/plexus_mp")
    assert listed == json.loads(text), "run tools/build_mpy.py"
    assert all((ROOT / source).exists() for _, source in listed["urls"])


def test_files_come_and_go(board, tmp_path):
    (tmp_path / "tree/inner").mkdir(parents=True)
    (tmp_path / "tree/a.txt").write_bytes(b"\x00\x01\x04\xff" * 1000)
    (tmp_path / "tree/inner/b.txt").write_text("größer\n")
    board.mpremote("cp", "-r", tmp_path / "tree", ":")
    assert board.mpremote("cat", ":tree/inner/b.txt") == "größer\n"
    assert "4000 a.txt" in board.mpremote("ls", ":tree")
    board.mpremote("cp", ":tree/a.txt", tmp_path / "back.txt")
    assert (tmp_path / "back.txt").read_bytes() == (tmp_path / "tree/a.txt").read_bytes()
    board.mpremote("mkdir", ":tree/new", "+", "touch", ":tree/new/c.txt", "+", "rm", ":tree/a.txt")
    assert board.mpremote("exec", "import os; print(os.listdir('tree'))") == "['inner', 'new']\n"
    assert "No such file" in board.mpremote("cat", ":tree/a.txt", ok=False)
    assert "File exists" in board.mpremote("mkdir", ":tree", ok=False)
    board.mpremote("rm", "-r", ":tree")


def test_programs_run_and_fail_and_see_the_board(board, tmp_path):
    (tmp_path / "program.py").write_text("import machine\nprint(machine.I2C(0).scan(), __name__)\n")
    assert board.mpremote("run", tmp_path / "program.py") == "[118] __main__\n"
    assert board.mpremote("eval", "2 ** 40") == "1099511627776\n"
    assert "ZeroDivisionError" in board.mpremote("exec", "1 / 0", ok=False)
    assert board.mpremote("exec", f"print(len('{'x' * 5000}'))") == "5000\n"  # many windows of the raw paste
    assert board.mpremote("exec", "x = 5", "+", "exec", "print(x)") == "5\n"
    assert "NameError" in board.mpremote("exec", "print(x)", ok=False)  # each run begins with a soft reset


def test_main_starts_after_a_reset_and_ctrl_d_but_not_after_a_raw_soft_reset(board):
    for name in ("boot", "main"):
        board.mpremote("exec", f"with open('{name}.py', 'w') as f: f.write('print(\"{name} runs\")')")
    terminal = board.terminal()
    board.mpremote("soft-reset", "exec", "print('raw')")
    terminal.type("\r\x01")
    terminal.until("raw REPL; CTRL-B to exit\r\n>")
    terminal.type("\x04")
    assert "main runs" not in terminal.until("boot runs\r\n") + terminal.until(
        "raw REPL; CTRL-B to exit\r\n>"
    )
    terminal.type("\x02")
    terminal.until(">>> ")
    terminal.type("\x04")
    assert "boot runs\r\nmain runs\r\n" in terminal.until("MicroPython v")
    terminal.until(">>> ")
    board.mpremote("reset")
    assert "boot runs\r\nmain runs\r\n" in terminal.until("MicroPython v")
    terminal.port.close()
    board.mpremote("rm", ":boot.py", ":main.py")


def test_a_person_at_the_prompt(board):
    board.mpremote("soft-reset", "exec", "pass")
    terminal = board.terminal()
    terminal.type("\r")
    terminal.until(">>> ")
    for typed, answer in (
        ("1 + 1\r", "2\r\n>>> "),
        ("for n in range(2): print(n)\r\r", "0\r\n1\r\n>>> "),
        ("import time; time.sleep(99)\r", "99)\r\n"),
        ("\x03", "KeyboardInterrupt: \r\n>>> "),
        ("while True: pass\r\r", "... \r\n"),
        ("\x03", "KeyboardInterrupt: \r\n>>> "),
        ("name = input('who? ')\r", "\r\nwho? "),
        ("bob\r", "bob\r\n>>> "),
        ("name\r", "'bob'\r\n>>> "),
        ("half a li\x03", ">>> "),
        ("\x05print('pas')\r\x04", "pas\r\n>>> "),
        ("\x04", "soft reboot\r\n"),
        ("", ">>> "),
        ("name\r", "NameError: name 'name' isn't defined\r\n>>> "),
    ):
        terminal.type(typed)
        terminal.until(answer)
    terminal.port.close()


def test_timers_go_on_at_the_prompt(board):
    terminal = board.terminal()
    terminal.type("\r\x02")
    terminal.until(">>> ")
    terminal.type("import machine\rmachine.Timer(1).init(period=20, callback=lambda t: print('tick'))\r")
    terminal.until("tick\r\ntick\r\ntick\r\n")
    terminal.type("machine.Timer(1).deinit()\r\x04")
    terminal.until("soft reboot\r\n")
    terminal.port.close()


BUSY = """
import machine, time
n = 0
machine.Timer(1).init(period=7, callback=lambda t: time.sleep_ms(1))
while True:
    n += 1
    if n % 300 == 0:
        time.sleep_ms(2)
"""


def test_a_program_is_stopped_wherever_it_is(board, tmp_path):
    """Ctrl-C at any moment of the boot, while it computes, while it waits, and in a timer's callback."""
    (tmp_path / "boot.py").write_text("import time\nfor _ in range(20): time.sleep_ms(3)\n")
    (tmp_path / "main.py").write_text(BUSY)
    board.mpremote("cp", tmp_path / "boot.py", tmp_path / "main.py", ":")
    terminal = board.terminal()
    for wait_s in (0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5):
        terminal.type("\r\x03\r\x01")
        terminal.until("raw REPL; CTRL-B to exit\r\n>")
        terminal.type("import machine; machine.reset()\x04")
        terminal.until("OK")
        time.sleep(wait_s)
        terminal.type("\r\x03\r\x01")
        terminal.until("raw REPL; CTRL-B to exit\r\n>")
        terminal.type("print(1 + 1)\x04")
        terminal.until("OK2\r\n\x04\x04>")
        terminal.type("\x02")
    terminal.port.close()
    board.mpremote("rm", ":boot.py", ":main.py")


def test_a_folder_serves_one_board_at_a_time(tmp_path):
    with running_board(tmp_path, "--dir", tmp_path / "state"), pytest.raises(AssertionError, match="ended"):
        (tmp_path / "other").mkdir()
        with running_board(tmp_path / "other", "--dir", tmp_path / "state"):
            pass
