"""`tools/partition.py` on generated tables, on images, and on a board behind a fake `esptool`."""

from __future__ import annotations

import hashlib
import os
import random
import re
import runpy
import shlex
import shutil
import struct
import subprocess
import sys

import pytest

from host_sim.board.config import load_board
from host_sim.board.flash import Flash
from host_sim.board.partitions import DEFAULT_PARTITIONS, parse_partitions
from host_sim.world import ROOT
from tests.sim.littlefs_disk import LittlefsDisk

TOOL = ROOT / "tools" / "partition.py"
MIB = 1 << 20
SECTOR = 4096
# (label, type, subtype, offset, size, flags)
DEFAULT = [(p.label, p.type, p.subtype, p.offset, p.size, 0) for p in DEFAULT_PARTITIONS]
VFS = DEFAULT[-1]


def packed(entries: list[tuple], md5: bool = True) -> bytes:
    """A table's sector, as ESP-IDF's documentation describes it."""
    table = b"".join(
        b"\xaa\x50"
        + struct.pack("<BBII", t, s, at, size)
        + label.encode().ljust(16, b"\0")
        + struct.pack("<I", f)
        for label, t, s, at, size, f in entries
    )
    if md5:
        table += b"\xeb\xeb" + b"\xff" * 14 + hashlib.md5(table).digest()
    return table.ljust(SECTOR, b"\xff")


def entries_in(sector: bytes) -> list[tuple]:
    """Read it back, MD5 included."""
    found = []
    for at in range(0, 0xC00, 32):
        entry = sector[at : at + 32]
        if entry[:2] == b"\xeb\xeb":
            assert entry[16:] == hashlib.md5(sector[:at]).digest() and sector[at + 32 :].strip(b"\xff") == b""
            return found
        if entry == b"\xff" * 32:
            return found
        assert entry[:2] == b"\xaa\x50"
        label = entry[12:28].rstrip(b"\0").decode()
        found.append((label, *struct.unpack_from("<BBII", entry, 2), *struct.unpack_from("<I", entry, 28)))
    return found


def flash_image(sector: bytes, size: int = 4 * MIB) -> bytearray:
    """All of a flash, with something everywhere but in the table."""
    image = bytearray(random.Random(5).randbytes(SECTOR) * (size // SECTOR))
    image[0x8000:0x9000] = sector
    return image


def tool(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(TOOL), *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
    )


def checked(before: bytes, after: bytes, ring_bytes: int) -> None:
    """The table has the ring behind a smaller vfs; of the rest only what must be is erased."""
    old, new = entries_in(before[0x8000:0x9000]), entries_in(after[0x8000:0x9000])
    at = [entry[0] for entry in old].index("vfs")
    files = old[at]
    smaller = (*files[:4], files[4] - ring_bytes, files[5])
    ring = ("plexus", 1, 0x40, files[3] + files[4] - ring_bytes, ring_bytes, 0)
    assert new == [*old[:at], smaller, ring, *old[at + 1 :]]
    expected = bytearray(before)
    expected[0x8000:0x9000] = after[0x8000:0x9000]
    for start, size in ((files[3], 2 * SECTOR), (ring[3], ring_bytes)):
        expected[start : start + size] = b"\xff" * size
    assert after == bytes(expected)


# images


def test_the_usual_table_becomes_that_of_the_board_file(tmp_path):
    image, out = tmp_path / "flash.bin", tmp_path / "new.bin"
    image.write_bytes(flash_image(packed(DEFAULT)))
    before = image.read_bytes()
    done = tool("--size", "256K", "--image", image, "--out", out)
    assert done.returncode == 0 and "ALL FILES ON THE BOARD ARE LOST" in done.stdout
    assert image.read_bytes() == before
    checked(before, out.read_bytes(), 256 << 10)
    found = [(*entry[:5], bool(entry[5])) for entry in entries_in(out.read_bytes()[0x8000:0x9000])]
    config, _ = load_board(ROOT / "boards" / "esp32_flash_ring.py")
    assert parse_partitions(found, 4 * MIB) == config.partitions


def test_on_generated_tables(tmp_path):
    image = tmp_path / "flash.bin"
    for seed in range(8):
        rng = random.Random(seed)
        entries, at = [("nvs", 1, 2, 0x9000, 0x7000, 0)], 0x10000
        for label in [
            "factory",
            "vfs",
            *rng.sample(["ota_1", "spare", "data", "coredump"], rng.randrange(5)),
        ]:
            size = rng.randrange(64, 200) * SECTOR
            kind = (0, 0x10) if label in ("factory", "ota_1") else (1, 0x81)
            at = -(-at // 0x10000) * 0x10000
            entries.append((label, *kind, at, size, 0))
            at += size + rng.randrange(3) * SECTOR
        rng.shuffle(entries)
        before = bytes(flash_image(packed(entries, md5=seed % 3 > 0)))
        image.write_bytes(before)
        ring = rng.randrange(2, 30) * SECTOR
        done = tool("--size", hex(ring), "--image", image)
        assert done.returncode == 0, done.stderr
        checked(before, image.read_bytes(), ring)


def test_a_firmware_file_ends_before_its_filesystem(tmp_path):
    image = tmp_path / "ESP32_GENERIC.bin"
    image.write_bytes(flash_image(packed(DEFAULT))[0x1000:0x180000])
    done = tool("--size", "1M", "--image", image, "--at", "0x1000")
    assert done.returncode == 0 and "erase-flash first" in done.stdout
    after = image.read_bytes()
    assert len(after) == 0x17F000 and entries_in(after[0x7000:0x8000])[-1][:4] == (
        "plexus",
        1,
        0x40,
        0x300000,
    )
    assert after[:0x7000] + after[0x8000:] == bytes(flash_image(b"")[0x1000:0x180000])[:0x7000] + bytes(
        flash_image(packed(DEFAULT))[0x9000:0x180000]
    )


def damaged(sector: bytes) -> bytes:
    return sector[:4] + bytes([sector[4] ^ 1]) + sector[5:]


FULL = [(f"p{i}", 1, 0x40, 0x10000 + i * SECTOR, SECTOR, 0) for i in range(94)] + [
    ("vfs", 1, 0x81, 0x200000, 0x100000, 0)
]


@pytest.mark.parametrize(
    ("sector", "size", "complaint"),
    (
        (packed(DEFAULT), "2M", "not enough room: 'vfs' has 2048K, of which 1920K can go"),
        (packed(DEFAULT), "1000", "--size must be a multiple of 4096, at least 8192"),
        (packed(DEFAULT), "4K", "at least 8192"),
        (packed(DEFAULT), "0", "at least 8192"),
        (packed(DEFAULT), "lots", "no size such as 256K"),
        (
            packed([*DEFAULT[:3], (*VFS[:4], 0x100000, 0), ("plexus", 1, 0x40, 0x300000, 0x1000, 0)]),
            "64K",
            "already",
        ),
        (packed(DEFAULT[:3]), "64K", "no partition 'vfs', only nvs, phy_init, factory"),
        (packed([*DEFAULT[:3], ("vfs", 0, 0x10, *VFS[3:])]), "64K", "not plain data"),
        (packed([*DEFAULT[:3], (*VFS[:5], 1)]), "64K", "encrypted"),
        (packed([*DEFAULT[:3], (*VFS[:4], 0x180800, 0)]), "64K", "not aligned"),
        (packed([*DEFAULT, ("more", 1, 0x81, 0x3FF000, 0x1000, 0)]), "64K", "overlaps"),
        (damaged(packed(DEFAULT)), "64K", "MD5 is wrong"),
        (packed(FULL), "64K", "the table is full: 95 partitions"),
        (random.Random(1).randbytes(0xC00).ljust(SECTOR, b"\xff"), "64K", "or the flash is encrypted"),
        (packed(DEFAULT)[:0xC00] + bytes(0x400), "64K", "signed"),
        (b"\xff" * SECTOR, "64K", "it is empty"),
    ),
)
def test_what_does_not_fit_is_refused(sector, size, complaint, tmp_path):
    image = tmp_path / "flash.bin"
    image.write_bytes(flash_image(sector))
    before = image.read_bytes()
    done = tool("--size", size, "--image", image)
    assert done.returncode != 0 and complaint in done.stderr and "Traceback" not in done.stderr
    assert image.read_bytes() == before


def test_images_that_are_none_are_refused(tmp_path):
    short = tmp_path / "short.bin"
    short.write_bytes(bytes(0x8800))
    assert "ends before" in tool("--image", short).stderr
    assert "begins behind" in tool("--image", short, "--at", "0x10000").stderr
    missing = tool("--image", tmp_path / "none.bin")
    assert missing.returncode == 1 and missing.stderr.startswith("partition.py: ")
    assert tool("--image", short, "--port", "/dev/null").returncode == 2


# a board

FAKE = """#!{python}
import os, sys
from pathlib import Path
flash, log = Path(os.environ["FAKE_FLASH"]), Path(os.environ["FAKE_LOG"])
arguments = sys.argv[1:]
with log.open("a") as file:
    print(*arguments, file=file)
assert arguments[0] == "--port" and arguments[2] == "--after"
command, rest = arguments[4], arguments[5:]
if os.environ.get("FAKE_FAILS") == command:
    sys.exit("A fatal error occurred: no serial data received")
image = bytearray(flash.read_bytes())
if command == "read-flash":
    start, size = int(rest[0], 0), int(rest[1], 0)
    Path(rest[2]).write_bytes(image[start : start + size])
elif command == "write-flash":
    data, start = Path(rest[1]).read_bytes(), int(rest[0], 0)
    if "FAKE_WEAR" in os.environ:
        data = bytes(len(data))
    image[start : start + len(data)] = data
elif command == "erase-region":
    start, size = int(rest[0], 0), int(rest[1], 0)
    assert start % 4096 == size % 4096 == 0
    image[start : start + size] = b"\\xff" * size
else:
    assert command == "read-mac"
flash.write_bytes(image)
"""


@pytest.fixture
def board(tmp_path):
    """A flash behind a fake `esptool` on PATH: (its file, what esptool was called with, the environment)."""
    programs = tmp_path / "bin"
    programs.mkdir()
    program = programs / "esptool"
    program.write_text(FAKE.replace("{python}", sys.executable))
    program.chmod(0o755)
    flash, log = tmp_path / "flash.bin", tmp_path / "log"
    flash.write_bytes(flash_image(packed(DEFAULT)))
    environment = {"PATH": str(programs), "FAKE_FLASH": str(flash), "FAKE_LOG": str(log)}
    return flash, log, environment


def test_a_board_gets_its_partition(board, tmp_path):
    flash, log, environment = board
    before = flash.read_bytes()
    backup = tmp_path / "old.bin"
    arguments = ("--size", "256K", "--port", "/dev/ttyUSB7", "--backup", backup, "--yes")
    done = tool(*arguments, **environment)
    assert done.returncode == 0, done.stderr
    assert "ALL FILES ON THE BOARD ARE LOST" in done.stdout
    checked(before, flash.read_bytes(), 256 << 10)
    assert backup.read_bytes() == before[0x8000:0x9000]
    lines = log.read_text().splitlines()
    assert all(line.startswith("--port /dev/ttyUSB7 --after ") for line in lines)
    called = [line.split()[4:] for line in lines]
    assert [c[0] for c in called] == [
        "read-flash", "erase-region", "erase-region", "write-flash", "read-flash", "read-mac",
    ]  # fmt: skip
    assert called[1][1:] == ["0x3c0000", "0x40000"] and called[2][1:] == ["0x200000", "0x2000"]
    assert lines[-1].split()[3] == "hard-reset"
    again = tool(*arguments, **environment)
    assert again.returncode == 1 and "already" in again.stderr


def test_nobody_agreed_and_nothing_happens(board, tmp_path):
    flash, log, environment = board
    before = flash.read_bytes()
    backup = tmp_path / "old.bin"
    done = tool("--port", "/dev/ttyUSB7", "--backup", backup, **environment)
    assert done.returncode == 1 and "--yes agrees" in done.stderr
    backup.write_bytes(b"another board's")
    done = tool("--port", "/dev/ttyUSB7", "--backup", backup, "--yes", **environment)
    assert done.returncode == 1 and "exists" in done.stderr
    assert flash.read_bytes() == before and backup.read_bytes() == b"another board's"
    assert len(log.read_text().splitlines()) == 2


@pytest.mark.parametrize("fails", ("read-flash", "erase-region", "write-flash", "read-mac", "wear"))
def test_a_failure_tells_how_to_go_back(fails, board, tmp_path):
    flash, _, environment = board
    before = flash.read_bytes()
    backup = tmp_path / "old.bin"
    environment |= {"FAKE_WEAR": "1"} if fails == "wear" else {"FAKE_FAILS": fails}
    done = tool("--port", "/dev/ttyUSB7", "--backup", backup, "--yes", **environment)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    if fails == "read-flash":
        assert flash.read_bytes() == before and not backup.exists()
    else:
        assert f"esptool write-flash 0x8000 {backup}" in done.stderr
        assert backup.read_bytes() == before[0x8000:0x9000]
    if fails in ("erase-region", "write-flash"):
        assert flash.read_bytes()[0x8000:0x9000] == before[0x8000:0x9000]


def test_without_esptool_it_says_what_is_missing(tmp_path):
    done = tool("--port", "/dev/ttyUSB7", "--yes", PATH=str(tmp_path))
    assert done.returncode == 1 and 'pip install "esptool>=5"' in done.stderr


def test_the_real_esptool_takes_these_arguments(tmp_path):
    """It gets as far as the port, which is not there."""
    program = shutil.which("esptool")
    if program is None:
        pytest.skip("esptool is not installed")
    names = runpy.run_path(str(TOOL))
    file = tmp_path / "table.bin"
    file.write_bytes(packed(DEFAULT))
    for arguments in (
        ("read-flash", "0x8000", "0x1000", str(file)),
        ("erase-region", "0x3c0000", "0x40000"),
        ("write-flash", "0x8000", str(file)),
        ("read-mac",),
    ):
        for after in ("no-reset", "hard-reset"):
            command = [program, "--port", str(tmp_path / "port"), "--after", after, *arguments]
            done = subprocess.run(command, capture_output=True, text=True)
            said = " ".join((done.stdout + done.stderr).split())
            assert done.returncode and "could not open port" in said.lower().replace(
                "couldn't", "could not"
            ), said
    with pytest.raises(names["Refused"], match="failed with status"):
        names["esptool"](str(tmp_path / "port"))("read-mac")


# what the board makes of it, and the documentation


def mounts(image: bytes, start: int, size: int) -> bool:
    flash = Flash(size)
    flash.load(image[start : start + size])
    try:
        LittlefsDisk(flash)
    except OSError:
        return False
    return True


def test_the_files_begin_anew_and_the_boot_does_not_stop(tmp_path):
    files = Flash(VFS[4])
    with LittlefsDisk(files, new=True).open("/main.py", "wb") as file:
        file.write(b"print('hello')" * 1000)
    before = flash_image(packed(DEFAULT))
    before[VFS[3] :] = files.image()
    assert mounts(before, VFS[3], VFS[4])
    smaller = VFS[4] - (256 << 10)
    assert not mounts(before, VFS[3], smaller)  # which is why they cannot be kept
    image = tmp_path / "flash.bin"
    image.write_bytes(before)
    assert tool("--image", image).returncode == 0
    after = image.read_bytes()
    assert not mounts(after, VFS[3], smaller)
    # MicroPython's check_bootsec makes a new filesystem only where the first block is erased.
    assert after[VFS[3] : VFS[3] + SECTOR] == b"\xff" * SECTOR


def test_the_documented_commands(board, tmp_path):
    flash, _, environment = board
    text = (ROOT / "docs" / "partition.md").read_text()
    commands = [shlex.split(line) for line in text.splitlines() if line.startswith("    .venv/bin/python ")]
    assert len(commands) == 2
    (tmp_path / "ESP32_GENERIC.bin").write_bytes(flash.read_bytes()[0x1000:0x180000])
    for _, script, *arguments in commands:
        assert ROOT / script == TOOL
        more = ["--yes"] if "--port" in arguments else []
        env = {**os.environ, **environment}
        subprocess.run([sys.executable, str(TOOL), *arguments, *more], check=True, cwd=tmp_path, env=env)
    for image, at in ((tmp_path / "with_ring.bin", 0x7000), (flash, 0x8000)):
        assert entries_in(image.read_bytes()[at : at + SECTOR])[-1][0] == "plexus"
    for complaint in re.findall(r"^\| (`.*`) \|", text, re.M):
        for words in re.findall(r"`(.*?)`", complaint):
            assert words.split("'")[0].split("0x8000")[0].rstrip() in TOOL.read_text(), words
