"""`rp2.Flash` on both VMs, and the board files that have it."""

from __future__ import annotations

from pathlib import Path

import pytest

from host_sim.board.config import load_board
from host_sim.world import ROOT
from tests.e2e.simulation import program, simulate

PICO = ROOT / "boards" / "pico_w.py"

TOUR = """
import os
import sys
import rp2

def attempt(function, *arguments, **named):
    try:
        return function(*arguments, **named)
    except OSError as e:
        return "OSError %d" % e.errno
    except ValueError:
        return "ValueError"
    except ImportError:
        return "ImportError"

print(attempt(__import__, "esp32"), os.uname().sysname, "Pico W" in os.uname().machine)
KIB = 1024
whole = rp2.Flash()
print([whole.ioctl(op, 0) for op in (1, 2, 3, 4, 5, 9)])
for start, len in ((1, -1), (848 * KIB, -1), (-4096, -1), (0, 0), (0, 1000), (4096, 848 * KIB), (0, -4096)):
    print(attempt(rp2.Flash, start=start, len=len))
print(attempt(whole.writeblocks, 0, bytes(256), 0), attempt(whole.ioctl, 6, 0))

p = rp2.Flash(start=800 * KIB, len=16 * KIB)
print(p.ioctl(4, 0), rp2.Flash(start=840 * KIB).ioctl(4, 0))
buf = bytearray(8)
p.readblocks(1, buf, 252)
print(buf)
p.writeblocks(1, b"\\x0f" * 256, 256)
p.writeblocks(1, memoryview(b"\\xf3" * 512), 256)
p.readblocks(1, memoryview(buf), 252)
print(buf)
p.readblocks(1, buf, 508)
print(buf)
print(p.ioctl(6, 1))
p.readblocks(1, buf, 252)
print(buf)
p.writeblocks(0, bytes(4096))
p.writeblocks(0, b"\\x55" * 4096)
p.readblocks(0, buf)
print(buf)
print(attempt(p.writeblocks, 2, b"short", 0), attempt(p.writeblocks, 2, bytes(256), 16))
print(attempt(p.writeblocks, 2, bytes(256)))
print(attempt(p.readblocks, 13, buf), attempt(p.ioctl, 6, 12), attempt(p.ioctl, 6, 3))
"""

TOLD = """\
ImportError rp2 True
[0, 0, 0, 212, 4096, None]
ValueError
ValueError
ValueError
ValueError
ValueError
ValueError
ValueError
ValueError ValueError
4 2
bytearray(b'\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff')
bytearray(b'\\xff\\xff\\xff\\xff\\x03\\x03\\x03\\x03')
bytearray(b'\\x03\\x03\\x03\\x03\\xf3\\xf3\\xf3\\xf3')
0
bytearray(b'\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff')
bytearray(b'UUUUUUUU')
ValueError ValueError
ValueError
ValueError ValueError 0
"""


def test_the_storage_is_what_it_is_on_a_board(vm, tmp_path):
    folder = tmp_path / "firmware"
    folder.mkdir()
    board = tmp_path / "split.py"
    board.write_text(PICO.read_text() + "FILES_BYTES = 800 * 1024\n")
    outcome = simulate(program(folder, TOUR), vm, 5, board_file=board)
    assert outcome.console[-len(TOLD) :] == TOLD
    flash = outcome.world.placements[0].board.flash
    storage = (2 << 20) - 848 * 1024
    assert flash.peek(storage + 800 * 1024, 4) == b"UUUU" and flash.granularity == 256


def test_an_esp32_has_no_rp2(vm, tmp_path):
    source = "try:\n    import rp2\nexcept ImportError:\n    import esp32\n    print('none')\n"
    assert simulate(program(tmp_path, source), vm, 2).console == "none\n"


def test_the_pico_w_is_an_rp2_with_files():
    config, source = load_board(PICO)
    assert config.port == "rp2" and config.partitions == () and config.epoch_year == 1970
    assert config.files_bytes == config.storage_bytes == 848 * 1024
    settings: dict[str, object] = {}
    exec(source, settings)
    assert settings["RING"] == "files" and settings["RING_BYTES"] // settings["SECTOR_BYTES"] == 64
    assert (settings["I2C_SDA"], settings["I2C_SCL"]) == (4, 5)


@pytest.mark.parametrize(
    ("text", "complaint"),
    (
        ("PORT = 'stm32'", "PORT must be one of"),
        ("STORAGE_BYTES = 1000", "STORAGE_BYTES must be whole sectors"),
        ("STORAGE_BYTES = 4 << 20", "STORAGE_BYTES must be whole sectors, at most 2097152"),
        ("FILES_BYTES = 852 << 10", "FILES_BYTES must be whole sectors, at most 868352"),
        ("FLASH_BYTES = 100", "FLASH_BYTES must be whole sectors"),
    ),
)
def test_settings_that_cannot_be_are_named(text, complaint, tmp_path: Path):
    path = tmp_path / "wrong.py"
    path.write_text(f'MACHINE = "Raspberry Pi Pico"\n{text}\n')
    with pytest.raises(ValueError, match=complaint):
        load_board(path)
