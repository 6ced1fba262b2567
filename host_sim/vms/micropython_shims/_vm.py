"""Turns the bare VM into the board: its filesystem, its modules, its boot."""

import builtins
import sys

import vfs
from _board import call

try:
    from _streams import File  # where the heap is a board's

    _OWN = ()
except ImportError:
    from _files import File

    _OWN = ("sys", "micropython")  # what the WebAssembly build says in another way

_SHIMS = ("machine", "network", "socket", "tls", "ssl", "select", "random", "time", "os", "asyncio")


def swallowed():
    """What hears that an import is about to take Ctrl-C for "no such file"."""


class _BoardFiles:
    """The board's filesystem, as MicroPython's VFS wants it."""

    def mount(self, readonly, mkfs):
        pass

    def umount(self):
        pass

    def open(self, path, mode):
        return File(path, mode)

    def stat(self, path):
        try:
            kind, size = call("files.stat", path)
        except KeyboardInterrupt:
            swallowed()
            raise
        return (kind, 0, 0, 0, 0, 0, size, 0, 0, 0)

    def chdir(self, path):
        pass

    def getcwd(self):
        return "/"


def _run_file(name):
    try:
        source = builtins.open("/" + name)
    except OSError:
        return
    code = compile(source.read(), name, "exec")
    exec(code, {"__name__": "__main__", "__file__": name})


def set_up():
    # The shims must be in before the files they came from are hidden behind the board's.
    for name in _SHIMS + (call("setup.port"), "_start"):
        sys.modules.pop(name, None)
        __import__(name)
        sys.modules["u" + name] = sys.modules[name]  # its old name, which leads to the built-in one otherwise
    for name in _OWN:
        sys.modules[name] = sys.modules["u" + name] = __import__("_" + name)
    vfs.umount("/")
    vfs.mount(_BoardFiles(), "/")
    sys.path[:] = ["", ".frozen", "/lib"]


def run():
    set_up()
    sys.modules["_start"].run(_run_file)
