"""The board on a serial line: its files run in the names that its REPL sees, and leave no trace of the simulator."""

import builtins
import io
import sys

import _pipe
import _vm

import __main__

_outcome = _pipe.outcome
_names = __main__.__dict__
_vm.set_up()
_vm.swallowed = _pipe.swallowed


def _input(prompt=""):
    """The build's own waits for ever: it has no input. Keys come from the line, and are echoed."""
    print(prompt, end="")
    text = bytearray()
    while True:
        key = _pipe.key()
        if key == 3:
            raise KeyboardInterrupt
        if key == 4 and not text:
            raise EOFError
        if key in (10, 13):
            print()
            return text.decode()
        if key in (8, 127):
            print("\b \b" if text else "", end="")
            text = text[:-1]
        elif key >= 32:
            text.append(key)
            print(chr(key) if key < 127 else "", end="")


builtins.input = _input


def run_file(name):
    """Run a file of the board as MicroPython's `pyexec_file_if_exists` does; how it ended: ok, failed or exit."""
    _outcome("ok")
    try:
        source = builtins.open("/" + name)
    except OSError:
        return
    try:
        exec(compile(source.read(), name, "exec"), _names)
    except SystemExit:
        _outcome("exit")
    except BaseException as e:
        _outcome("failed")
        text = io.StringIO()
        sys.print_exception(e, text)
        lines = text.getvalue().split("\n")
        print("\n".join([line for line in lines if "_repl.py" not in line]), end="")
