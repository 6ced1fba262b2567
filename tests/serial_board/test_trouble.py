"""What goes wrong on a serial line, and is to go wrong as on a board."""

from __future__ import annotations

import pytest

from tests.serial_board.running import running_board

CLOSING = """
import time
try:
    while True:
        time.sleep_ms(20)
except KeyboardInterrupt:
    print('closing')
    for _ in range(30):
        time.sleep_ms(100)
    print('closed')
"""


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    with running_board(tmp_path_factory.mktemp("board")) as running:
        yield running


@pytest.mark.parametrize(
    "wrong",
    [
        "import os; os.stat(5)",
        "import os; os.rename('a', 5)",
        "import os; os.urandom('x')",
        "import machine; machine.I2C(0).readfrom_mem(0x76, 'x', 1)",
        "import machine; machine.deepsleep('x')",
    ],
)
def test_an_argument_of_another_type_is_the_programs_mistake(board, wrong):
    program = f"try:\n exec({wrong!r})\nexcept (TypeError, ValueError, OSError) as e:\n print('caught')"
    assert board.mpremote("exec", program) == "caught\n"


def test_one_ctrl_c_is_one_keyboard_interrupt(board):
    """A program has the time to close what it opened."""
    board.mpremote("soft-reset", "exec", "pass")
    terminal = board.terminal()
    terminal.type("\r\x05" + CLOSING.strip() + "\r\x04")
    terminal.until("=== \r\n")
    terminal.type("\x03")
    assert "KeyboardInterrupt" not in terminal.until("closing\r\n") + terminal.until("closed\r\n")
    terminal.until(">>> ")
    terminal.port.close()


def test_text_is_counted_in_characters(board, tmp_path):
    text = "Größe: 5 µm — ok\n" * 60
    (tmp_path / "text.txt").write_text(text)
    board.mpremote("cp", tmp_path / "text.txt", ":")
    assert board.mpremote("cat", ":text.txt") == text
    assert board.mpremote("exec", "f = open('text.txt'); print(f.read(5), f.read(3), f.readline())") == (
        "Größe : 5  µm — ok\n\n"
    )
    board.mpremote("rm", ":text.txt")


def test_old_names_are_the_same_modules(board):
    program = (
        "import utime, time, uos, os, usocket, socket; print(utime is time, uos is os, usocket is socket)"
    )
    assert board.mpremote("exec", program) == "True True True\n"


def test_errors_have_a_number_alone(board):
    assert board.mpremote("exec", "try: open('no')\nexcept OSError as e: print(e, e.args)") == (
        "[Errno 2] ENOENT (2,)\n"
    )
    board.mpremote("exec", "import os; os.mkdir('d'); open('d/f', 'w').close()")
    assert "OSError: 39\n" in board.mpremote("exec", "import os; os.rmdir('d')", ok=False)
    board.mpremote("rm", "-r", ":d")


def test_what_is_printed_as_an_error_comes_too(board):
    assert "sys.stderr" in board.mpremote("exec", "import sys; print('sys.stderr', file=sys.stderr)")


def test_a_main_that_only_exits_leaves_a_way_in(board):
    board.mpremote("exec", "with open('main.py', 'w') as f: f.write('import sys; sys.exit()')")
    terminal = board.terminal()
    terminal.type("\r\x02")
    terminal.until(">>> ")
    terminal.type("\x04")
    for _ in range(3):
        terminal.until("soft reboot\r\n")
    terminal.type("\x03")
    terminal.until(">>> ")
    terminal.type("print(1 + 1)\r")
    terminal.until("2\r\n>>> ")
    terminal.port.close()
    board.mpremote("resume", "rm", ":main.py")
