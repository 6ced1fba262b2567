"""`esp32.Partition` and RTC memory on both VMs, and the partition table of a board file."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from host_sim.board.config import load_board
from host_sim.board.partitions import DEFAULT_PARTITIONS, Partition, parse_partitions
from tests.e2e.simulation import ATTEMPT, BOARD, VMS, program, simulate

MIB = 1 << 20

TOUR = """
from esp32 import Partition
from machine import RTC
import time

print([p.info()[4] for p in Partition.find(Partition.TYPE_DATA)])
print([p.info()[4] for p in Partition.find()], Partition(Partition.RUNNING).info())
print([p.info()[4] for p in Partition.find(Partition.TYPE_DATA, subtype=2)])
print(Partition.find(Partition.TYPE_DATA, label="nowhere"), attempt(Partition, "nowhere"), attempt(Partition, 7))
p = Partition("ring")
print(p)
print([p.ioctl(op, 0) for op in (1, 2, 3, 4, 5, 9)])

buf = bytearray(8)
p.readblocks(1, buf)
print(buf)
p.writeblocks(1, b"\\x0f" * 4, 2)
p.writeblocks(1, memoryview(b"\\xf3\\x3f"), 2)
p.readblocks(1, memoryview(buf), 0)
print(buf)
print(p.ioctl(6, 1))
p.readblocks(1, buf)
print(buf)
p.writeblocks(0, bytes(4096))
p.writeblocks(0, b"\\x55" * 4096)
p.readblocks(0, buf, 4090)
print(buf)
print(attempt(p.writeblocks, 0, b"short"))
print(attempt(p.writeblocks, p.ioctl(4, 0), b"x", 0), attempt(p.writeblocks, p.ioctl(4, 0) - 1, b"xy", 4095))
print(attempt(p.readblocks, -1, buf), attempt(p.ioctl, 6, p.ioctl(4, 0)))

secret = Partition("secret")
print(secret.info()[5], attempt(secret.writeblocks, 0, b"short", 0), attempt(secret.writeblocks, 0, bytes(16), 8))
secret.readblocks(0, buf)
print(buf != b"\\xff" * 8)
secret.writeblocks(0, b"0123456789abcdef", 16)
secret.readblocks(0, buf, 20)
print(buf)

start = time.ticks_us()
p.ioctl(6, 2)
erase_us = time.ticks_diff(time.ticks_us(), start)
start = time.ticks_us()
p.writeblocks(2, bytes(257), 0)
print(erase_us // 1000, time.ticks_diff(time.ticks_us(), start) // 1000)

rtc = RTC()
print(rtc.memory())
rtc.memory(b"kept")
print(rtc.memory(), attempt(rtc.memory, bytes(2049)))
"""

TOLD = """\
['nvs', 'ring', 'secret']
['factory'] (0, 0, 65536, 2031616, 'factory', False)
['nvs']
[] OSError 2 ValueError
<Partition type=1, subtype=64, address=2097152, size=65536, label=ring, encrypted=0>
[0, 0, 0, 16, 4096, None]
bytearray(b'\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff')
bytearray(b'\\xff\\xff\\x03\\x0f\\x0f\\x0f\\xff\\xff')
0
bytearray(b'\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff')
bytearray(b'UUUUUU\\xff\\xff')
OSError -260
OSError -260 OSError -260
OSError -258 OSError -260
True OSError -260 OSError -258
True
bytearray(b'456789ab')
45 2
b''
b'kept' ValueError
"""

TABLE = """
PARTITIONS = [
    ("nvs", 1, 0x02, 0x9000, 0x6000, False),
    ("factory", 0, 0x00, 0x10000, 0x1F0000, False),
    ("secret", 1, 0x41, 0x210000, 0x10000, True),
    ("ring", 1, 0x40, 0x200000, 0x10000, False),
]
"""


@pytest.fixture
def board_file(tmp_path: Path) -> Path:
    path = tmp_path / "split.py"
    path.write_text(BOARD.read_text() + TABLE)
    return path


def firmware(tmp_path: Path, source: str) -> Path:
    folder = tmp_path / "firmware"
    folder.mkdir()
    return program(folder, source)


@pytest.mark.parametrize("vm", VMS)
def test_a_partition_is_what_it_is_on_a_board(vm, tmp_path, board_file):
    outcome = simulate(firmware(tmp_path, ATTEMPT + TOUR), vm, 5, board_file=board_file)
    assert outcome.console[-len(TOLD) :] == TOLD
    flash = outcome.world.placements[0].board.flash
    assert flash.wear[0x200] == 2
    assert flash.peek(0x210010, 16) == b"0123456789abcdef"


LOGGER = """
from esp32 import Partition
from machine import RTC
import time

p = Partition("ring")
b = bytearray(1)
n = 0
p.readblocks(0, b)
while b[0] != 255:
    n += 1
    p.readblocks(0, b, n)
print("found %d, memory %s" % (n, RTC().memory()))
RTC().memory(b"warm")
try:
    while n < 40:
        p.writeblocks(0, b"\\x01", n)
        n += 1
    import machine
    if RTC().memory() != b"reset":
        RTC().memory(b"reset")
        machine.reset()
finally:
    p.writeblocks(1, bytes(1), 0)
"""


@pytest.mark.parametrize("vm", VMS)
def test_a_cut_in_the_middle_of_a_program_runs_no_more_firmware(vm, tmp_path, board_file):
    def prepare(placement):
        placement.board.flash.cut_at(8, program="none")

    async def during(world, placement):
        await asyncio.sleep(1)
        assert placement.board.flash.operations == 8
        assert placement.board.flash.peek(0x201000, 1) == b"\xff"
        placement.board.power_on()

    folder = firmware(tmp_path, LOGGER.replace('!= b"reset"', '== b"never"'))
    outcome = simulate(folder, vm, 5, during, board_file=board_file, prepare=prepare)
    assert [line for line in outcome.console.splitlines() if line.startswith("found")] == [
        "found 0, memory b''",
        "found 7, memory b''",
    ]


def test_rtc_memory_outlasts_a_reset(tmp_path, board_file):
    source = 'import machine\nrtc = machine.RTC()\nprint("memory", rtc.memory())\n'
    source += 'if not rtc.memory():\n    rtc.memory(b"warm")\n    machine.reset()\n'

    async def during(world, placement):
        await asyncio.sleep(1)
        placement.board.power_off()
        placement.board.power_on()

    outcome = simulate(firmware(tmp_path, source), "cpython", 5, during, board_file=board_file)
    found = [line for line in outcome.console.splitlines() if line.startswith("memory")]
    assert found == ["memory b''", "memory b'warm'"] * 2


def test_a_cut_from_outside_tears_the_erase_under_way(tmp_path, board_file):
    source = "from esp32 import Partition\np = Partition('ring')\np.writeblocks(3, bytes(4096), 0)\np.ioctl(6, 3)\n"
    source += "print('erased')\n"
    seen = set()

    async def during(world, placement):
        while not any(placement.board.flash.wear):
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)
        placement.board.power_off()
        seen.add(placement.board.flash.peek(0x203000, 4096))

    for seed in range(6):
        folder = tmp_path / str(seed)
        folder.mkdir()
        outcome = simulate(firmware(folder, source), "cpython", 3, during, board_file, seed)
        assert "erased" not in outcome.console
    assert len(seen) > 1


# the table


def test_the_usual_table_is_micropythons():
    config, _ = load_board(BOARD)
    assert config.partitions == DEFAULT_PARTITIONS
    assert parse_partitions(
        [(p.label, p.type, p.subtype, p.offset, p.size, p.encrypted) for p in DEFAULT_PARTITIONS], 4 * MIB
    ) == tuple(DEFAULT_PARTITIONS)


def test_a_table_is_in_the_order_of_its_offsets():
    table = parse_partitions([("b", 1, 0, 0x20000, 0x1000, False), ("a", 0, 0, 0x10000, 0x1000, False)], MIB)
    assert table == (Partition("a", 0, 0, 0x10000, 0x1000), Partition("b", 1, 0, 0x20000, 0x1000))


FIRST = ("one", 1, 0x40, 0x10000, 0x10000, False)


@pytest.mark.parametrize(
    ("entry", "complaint"),
    (
        (("two", 1, 0, 0x1F000, 0x1000, False), "overlaps 'one'"),
        (("two", 1, 0, 0x20800, 0x1000, False), "multiple of 0x1000"),
        (("two", 0, 0, 0x21000, 0x1000, False), "multiple of 0x10000"),
        (("two", 1, 0, 0x20000, 0x800, False), "size"),
        (("two", 1, 0, 0x20000, 0, False), "size"),
        (("two", 1, 0, 0x3F0000, 0x20000, False), "ends at 0x410000"),
        (("two", 1, 0, 0x8000, 0x1000, False), "bootloader"),
        (("one", 1, 0, 0x20000, 0x1000, False), "taken"),
        (("a label too long for it", 1, 0, 0x20000, 0x1000, False), "16 bytes"),
        (("two", 2, 0, 0x20000, 0x1000, False), "type"),
        (("two", 1, 255, 0x20000, 0x1000, False), "subtype"),
        (("two", 1, 0, "0x20000", 0x1000, False), "must be int"),
        (("two", 1, 0, 0x20000, 0x1000, 1), "must be bool"),
        (("two", 1, 0, 0x20000, 0x1000), "must be"),
        ("two", "must be"),
    ),
)
def test_a_table_that_cannot_be_names_file_and_entry(entry, complaint, tmp_path):
    path = tmp_path / "wrong.py"
    path.write_text(f"PARTITIONS = {[FIRST, entry]!r}\n")
    with pytest.raises(ValueError, match=complaint) as error:
        load_board(path)
    assert str(error.value).startswith(f"{path}: PARTITIONS[1] ")


@pytest.mark.parametrize(
    "text", ("PARTITIONS = []", "PARTITIONS = 3", "FLASH_BYTES = 1000", "FLASH_BYTES = 1 << 20")
)
def test_flash_settings_that_cannot_be(text, tmp_path):
    path = tmp_path / "wrong.py"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"wrong\.py: {text.split()[0]}"):
        load_board(path)
