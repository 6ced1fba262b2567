"""The board's filesystem on both VMs: modes and errors of MicroPython on littlefs, what survives a power cut, time."""

from __future__ import annotations

import asyncio
import random

import pytest

from host_sim.board.files import BoardFiles
from host_sim.board.flash import Flash
from tests.e2e.simulation import ATTEMPT, program, simulate
from tests.sim.littlefs_disk import LittlefsDisk

TOUR = """
import os

def show(path):
    with open(path, "rb") as f:
        return f.read()

os.mkdir("/d")
with open("/d/b", "wb") as f:
    print(f.write(b"abc"), f.write(memoryview(b"defg")[1:]), f.tell())
with open("/d/a", "w") as f:
    print(f.write("text"))
print(os.listdir("/d"), [e[0] for e in os.ilistdir("/d")], os.stat("/d/b")[0], os.stat("/d/b")[6], os.stat("/d")[0])
with open("d/b", "ab") as f:
    f.seek(0)
    f.write(b"!")
with open("/d/b", "r+b") as f:
    f.write(b"A")
    f.seek(9)
    f.write(b"z")
    print(f.seek(-1, 2), f.seek(2, 1), attempt(f.seek, -1))
print(show("/d/b"))
f = open("/d/b", "rb")
b = bytearray(4)
print(f.seek(4), f.readinto(b), bytes(b), f.readinto(memoryview(b)[:2]), f.seek(0, 2), f.readinto(b), f.read())
f.close()
f.close()
print(attempt(f.read), attempt(f.seek, 0))

f = open("/d/b", "wb")
f.write(b"new")
print(show("/d/b")[:3], os.listdir("/d"))
f.flush()
print(show("/d/b"))
f.write(b"er")
f.close()
print(show("/d/b"))

print(attempt(open, "/none", "rb"), attempt(open, "/none/x", "wb"), attempt(open, "/d", "rb"))
print(attempt(open, "/d", "wb"), attempt(open, "/d/b/x", "wb"), attempt(open, "/d/b", "xb"))
print(attempt(open, "/d/b", "rw"))
print(attempt(os.mkdir, "/d"), attempt(os.mkdir, "/no/d"), attempt(os.remove, "/none"), attempt(os.remove, "/d"))
print(attempt(os.listdir, "/none"), attempt(os.listdir, "/d/b"), attempt(os.stat, "/none"), attempt(os.stat, "/d/b/x"))
os.rename("/d/a", "/d/b")
print(os.listdir("/d"), show("/d/b"), attempt(os.rename, "/d/a", "/d/c"), attempt(os.rename, "/d/b", "/d"))
os.mkdir("/e")
os.rename("/d", "/e/f")
print(os.listdir("/e"), show("/e/f/b"), attempt(os.rename, "/e", "/e/f/g"), attempt(os.rename, "/e", "/main.py"))
os.remove("/e/f/b")
os.rmdir("/e/f")
os.rmdir("/e")
print(attempt(os.stat, "/e"))

size, _, count, free = os.statvfs("/")[:4]
with open("/big", "wb") as f:
    f.write(bytes(10000))
print(size, count, free - os.statvfs("/")[3])
f = open("/huge", "wb")
f.write(bytes(21 * size))
print(attempt(f.close), os.stat("/huge")[6])
os.remove("/big")
print(free - os.statvfs("/")[3])
"""

TOLD = """\
3 3 6
4
['a', 'b'] ['a', 'b'] 32768 6 16384
9 11 OSError 22
b'Abcefg!\\x00\\x00z'
4 4 b'fg!\\x00' 2 10 0 b''
ValueError ValueError
b'Abc' ['a', 'b']
b'new'
b'newer'
OSError 2 OSError 2 OSError 21
OSError 21 OSError 20 OSError 17
ValueError
OSError 17 OSError 2 OSError 2 OSError 39
OSError 2 OSError 20 OSError 2 OSError 20
['b'] b'text' OSError 2 OSError 21
['f'] b'text' OSError 22 OSError 20
OSError 2
4096 512 3
OSError 28 0
0
"""


def test_files_are_what_they_are_on_a_board(vm, tmp_path):
    def prepare(placement):
        files = placement.board.files
        size, _, free = files.statvfs()
        files.write("/ballast", bytes((free - 20) * size))

    outcome = simulate(program(tmp_path, ATTEMPT + TOUR), vm, 60, prepare=prepare)
    assert outcome.console == TOLD


LOGGER = """
import os

def show(path):
    try:
        with open(path, "rb") as f:
            return f.read()
    except OSError:
        return None

print([show(path) for path in ("/replaced", "/appended", "/flushed", "/closed", "/removed")])
if show("/closed") is None:
    for path in ("/replaced", "/appended", "/flushed", "/removed"):
        with open(path, "wb") as f:
            f.write(b"old")
    os.remove("/removed")
    with open("/closed", "wb") as f:
        f.write(b"new")
    a = open("/replaced", "wb")
    a.write(b"new")
    b = open("/appended", "ab")
    b.write(b"er")
    c = open("/flushed", "ab")
    c.write(b"er")
    c.flush()
    %s
"""


@pytest.mark.parametrize("end", ("import time; time.sleep(100)", "import machine; machine.reset()"))
def test_what_is_closed_or_flushed_survives_and_nothing_else(vm, end, tmp_path):
    async def cut(world, placement):
        await asyncio.sleep(5)
        placement.board.power_off()
        placement.board.power_on()
        await asyncio.sleep(1)

    outcome = simulate(program(tmp_path, LOGGER % end), vm, 10, cut)
    after = "[b'old', b'old', b'older', b'new', None]"
    boots = outcome.console.splitlines()
    assert boots[0] == "[None, None, None, None, None]"
    assert set(boots[1:]) == {after}


@pytest.mark.parametrize("done", (False, True))
def test_the_power_goes_at_a_change(vm, done, tmp_path):
    """Change 3 of the logger is the creation of /appended; 2 the content of /replaced."""

    def prepare(placement):
        placement.board.files.cut_at(2, done)

    async def again(world, placement):
        await asyncio.sleep(2)
        assert not placement.board.powered and placement.board.files.operations == 2
        placement.board.power_on()
        await asyncio.sleep(1)
        placement.board.power_off()

    outcome = simulate(program(tmp_path, LOGGER % "pass"), vm, 5, again, prepare=prepare)
    seen = outcome.console.splitlines()[-1]
    assert seen == "[%s, None, None, None, None]" % ("b'old'" if done else "b''")


TIMED = """
import os
import time

def ms(function):
    start = time.ticks_us()
    function()
    return time.ticks_diff(time.ticks_us(), start) // 1000

def put(path, mode, size):
    def write():
        with open(path, mode) as f:
            f.write(bytes([len(mode)]) * size)
    return write

print(ms(put("/a", "wb", 100)), ms(put("/a", "wb", 4096)), ms(put("/a", "w+b", 4096)))
print(ms(put("/a", "ab", 128)), ms(lambda: os.remove("/a")), ms(lambda: open("/main.py").read()))
"""


def test_changes_take_the_time_that_littlefs_takes(vm, tmp_path):
    outcome = simulate(program(tmp_path, TIMED), vm, 10)
    assert outcome.console == "2 63 63\n47 1 0\n"


def attempt(function, *arguments):
    try:
        return function(*arguments)
    except OSError as e:
        return f"OSError {e.errno}"


class Littlefs:
    """The calls of `BoardFiles` on a real littlefs."""

    def __init__(self, blocks: int) -> None:
        self._disk = LittlefsDisk(Flash(blocks * 4096), new=True)
        self.mkdir, self.remove, self.rename = self._disk.mkdir, self._disk.remove, self._disk.rename

    def write(self, path: str, data: bytes) -> None:
        with self._disk.open(path, "wb") as file:
            file.write(data)

    def read(self, path: str) -> bytes:
        with self._disk.open(path, "rb") as file:
            return file.read()

    def stat(self, path: str) -> tuple[int, int]:
        found = self._disk.stat(path)
        return found[0], found[6]

    def listdir(self, path: str) -> list[tuple[str, int, int]]:
        return [(name, *self.stat(f"{path}/{name}")) for name in self._disk.listdir(path)]

    def statvfs(self) -> tuple[int, int, int]:
        size, _, count, free = self._disk.statvfs("/")[:4]
        return size, count, free


def a_path(rng: random.Random) -> str:
    return "".join(f"/{rng.choice('abc')}" for _ in range(rng.choice((1, 1, 2, 2, 3))))


@pytest.mark.parametrize("seed", range(10))
def test_results_and_errors_are_those_of_a_real_littlefs(seed):
    """Random calls on the board's filesystem and on littlefs; names few, so that they meet."""
    rng = random.Random(seed)
    files, littlefs = BoardFiles(64), Littlefs(64)
    for step in range(200):
        call = rng.choice(("write", "mkdir", "mkdir", "remove", "rename", "stat", "listdir", "read"))
        arguments: list[object] = [a_path(rng)]
        if call == "write":
            arguments.append(rng.randbytes(rng.choice((0, 50, 128, 129, 5000))))
        elif call == "rename":
            arguments.append(a_path(rng))
            if str(arguments[1]).startswith(f"{arguments[0]}/"):
                continue  # littlefs makes a loop of a directory that is moved into itself
        seen = attempt(getattr(files, call), *arguments)
        true = attempt(getattr(littlefs, call), *arguments)
        assert seen == true, (step, call, arguments)
    assert abs(files.statvfs()[2] - littlefs.statvfs()[2]) <= 1


def test_metadata_is_compacted_now_and_then():
    files = BoardFiles()
    costs = []
    for _ in range(120):
        files.begin()
        costs.append(files.commit_us())
    assert sorted(set(costs)) == [1000, 46_000] and costs.count(46_000) == 2


RING = """
from plexus_mp.fileblocks import FileBlocks
import os

dev = FileBlocks("/ring", 8 * 1024, 1024)
buf = bytearray(1024)
found = []
for n in range(8):
    dev.readblocks(n, buf, 0)
    size = 1024
    while size and buf[size - 1] == 255:
        size -= 1
    assert size in (0, 1024), (n, size)
    assert buf[72:size] == bytes([buf[72]]) * (size - 72) if size else True
    found.append(buf[72] if size else 0)
print(found)
value = max(found)
while value < 200:
    value += 1
    n = value % 8
    dev.ioctl(6, n)
    dev.writeblocks(n, b"h" * 72, 0)
    dev.writeblocks(n, bytes([value]) * 952, 72)
    if value % 5 == 0:
        dev.ioctl(6, (n + 4) % 8)
        dev.ioctl(3, 0)
"""


def expected(value: int) -> list[int]:
    """What is in the sectors after `value` has been written whole, and nothing since."""
    sectors = [0] * 8
    for written in range(1, value + 1):
        sectors[written % 8] = written
        if written % 5 == 0:
            sectors[(written + 4) % 8] = 0
    return sectors


def test_sectors_in_files_survive_cuts_on_the_board(vm, tmp_path):
    cuts = [7, 8, 9, 20, 31, 42, 53]

    async def again_and_again(world, placement):
        board = placement.board
        for number, after in enumerate(cuts):
            board.files.cut_at(board.files.operations + after, number % 2 == 0)
            board.power_on()
            while board.powered:
                await asyncio.sleep(0.5)
        board.power_on()
        await asyncio.sleep(30)

    def prepare(placement):
        placement.board.files.cut_at(5, False)

    outcome = simulate(program(tmp_path, RING), vm, 120, again_and_again, prepare=prepare)
    boots = [eval(line) for line in outcome.console.splitlines()]
    assert len(boots) >= len(cuts) and boots[-1] != [0] * 8
    for found in boots:
        top = max(found)
        # The cut came while `top` was being released, or while its successor was being written or created.
        candidates = [expected(top)]
        unreleased = list(expected(top - 1)) if top else [0] * 8
        if top:
            unreleased[top % 8] = top
        empty = list(expected(top))
        empty[(top + 1) % 8] = 0
        assert found in [*candidates, unreleased, empty], found
