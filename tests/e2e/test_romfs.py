"""The library in a ROMFS: docs/memory.md's commands, with the real mpremote and the real MicroPython."""

import re
import shlex
import subprocess
import sys

from host_sim.vms.bare import run_bare
from host_sim.world import ROOT
from tests.serial_board.running import running_board

sys.path.append(str(ROOT / "tools"))

import build_mpy

_TEXT = (ROOT / "docs" / "memory.md").read_text(encoding="utf-8")
_MAKE, *COMMANDS = re.search(r"^```sh\n(.*?)^```", _TEXT, re.M | re.S)[1].splitlines()
_BLOCKS, _BLOCK_BYTES = 32, 4096  # of partitions-4MiB-romfs.csv

# The simulated board has no ROM partition: this one, which an ESP32's firmware has as an `esp32.Partition`, is a file.
_BOOT = """
import sys, vfs

class Partition:
    def ioctl(self, op, arg):
        if op == 6:
            self.writeblocks(arg, b"\\xff" * 4096, 0)
        return {4: 32, 5: 4096}.get(op, 0)

    def writeblocks(self, n, buf, off):
        with open("/rom.bin", "r+b") as f:
            f.seek(n * 4096 + off)
            f.write(buf)

class Vfs:
    umount = vfs.umount

    @staticmethod
    def rom_ioctl(op, *arguments):
        return 1 if op == 1 else Partition()

sys.modules["vfs"] = Vfs
"""
_IMPORT = """
import sys, vfs

class Sockets:
    SOCK_STREAM = 1

    @staticmethod
    def getaddrinfo(*_):
        raise OSError(113)

sys.modules["socket"] = Sockets
with open("/plexus.romfs", "rb") as f:
    vfs.mount(vfs.VfsRom(f.read()), "/rom")
from plexus_mp import Plexus
px = Plexus("plx_x", "rig-1", "http://192.168.1.20:8080", ring="ram", tick_ms=0)
print(px.send("m", 1), px.buffer_size(), sys.modules["plexus_mp"].__file__)
"""


def _build(image):
    assert _MAKE == "make mpy"
    library = image.parent / "mpy"  # and not build/mpy, which other tests read meanwhile
    build_mpy.build(library / "plexus_mp")
    command = COMMANDS[0].replace("build/plexus.romfs", shlex.quote(str(image)))
    command = command.replace("build/mpy", shlex.quote(str(library)))
    program, *arguments = shlex.split(command)
    assert program == "mpremote"
    subprocess.run([sys.executable, "-m", "mpremote", *arguments], cwd=ROOT, check=True)


def test_the_library_runs_from_a_romfs(tmp_path):
    image = tmp_path / "plexus.romfs"
    _build(image)
    assert image.stat().st_size <= _BLOCKS * _BLOCK_BYTES
    result = run_bare([_IMPORT], {"/plexus.romfs": image}, path=["/rom"])
    assert result.ok and result.stdout == "True 1 /rom/plexus_mp/__init__.mpy\n", result.stdout


def test_mpremote_puts_it_into_the_partition(tmp_path):
    image = tmp_path / "plexus.romfs"
    _build(image)
    files = tmp_path / "state" / "files"
    files.mkdir(parents=True)
    (files / "boot.py").write_text(_BOOT)
    (files / "rom.bin").write_bytes(b"\x00" * _BLOCKS * _BLOCK_BYTES)
    deploy, reset = COMMANDS[1:]
    assert reset == "mpremote reset"
    with running_board(tmp_path, "--dir", tmp_path / "state") as running:
        told = running.mpremote(*shlex.split(deploy.replace("build/plexus.romfs", str(image)))[1:])
    assert "ROMFS image deployed" in told
    assert (files / "rom.bin").read_bytes().startswith(image.read_bytes())
