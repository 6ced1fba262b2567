"""`os` of MicroPython, on the board's filesystem."""

from _board import call

_TYPE_DIRECTORY = 0x4000


def listdir(path="."):
    return [entry[0] for entry in call("files.listdir", path)]


def ilistdir(path="."):
    return iter([(name, kind, 0, size) for name, kind, size in call("files.listdir", path)])


def stat(path):
    kind, size = call("files.stat", path)
    return (kind, 0, 0, 0, 0, 0, size, 0, 0, 0)


def statvfs(path):
    size, count, free = call("files.statvfs")
    return (size, size, count, free, free, 0, 0, 0, 0, 255)


def mkdir(path):
    call("files.mkdir", path)


def remove(path):
    call("files.remove", path)


unlink = remove
rmdir = remove


def rename(old, new):
    call("files.rename", old, new)


def getcwd():
    return "/"


def chdir(path):
    if call("files.stat", path)[0] != _TYPE_DIRECTORY:
        raise OSError(2)


def sync():
    pass


def urandom(n):
    return call("machine.random_bytes", n)


class _Uname:
    release = "1.29.0"
    version = "simulated"

    def __init__(self):
        self.sysname = self.nodename = call("setup.port")
        self.machine = call("machine.name")


def uname():
    return _Uname()
