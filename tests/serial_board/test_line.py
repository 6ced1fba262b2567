"""The pseudo-terminal, and the folder that keeps a board's storage, without a board."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random

import pytest

from host_sim.board.files import BoardFiles
from host_sim.board.flash import Flash
from host_sim.serial_board import line as line_module
from host_sim.serial_board.kept import StateFolder
from host_sim.serial_board.line import KEYS_MAX, OUTPUT_MAX, PtyLine


def with_line(use, link=None):
    async def main():
        line = PtyLine(asyncio.get_running_loop(), link)
        try:
            await use(line)
        finally:
            line.close()

    asyncio.run(main())


def test_what_nobody_reads_is_forgotten_and_makes_room(monkeypatch):
    monkeypatch.setattr(line_module, "DEAF_S", 0.02)

    async def use(line):
        room = asyncio.Event()
        line.attach(lambda: None, room.set)
        while not line.full:
            line.write(b"x" * 5000)
        await asyncio.wait_for(room.wait(), 10)
        assert not line.full
        line.write(b"new")
        with open(line.device, "rb", buffering=0) as reader:
            assert reader.read(100) == b"new"

    with_line(use)


def test_a_slow_reader_gets_everything():
    sent = bytes(random.Random(1).choices(range(256), k=OUTPUT_MAX // 2))

    async def use(line):
        line.write(sent)
        received = b""
        reader = os.open(line.device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        while len(received) < len(sent):
            await asyncio.sleep(0)
            try:
                received += os.read(reader, 700)
            except BlockingIOError:
                continue
        os.close(reader)
        assert received == sent

    with_line(use)


def test_keys_have_a_limit():
    async def use(line):
        came = []
        line.attach(lambda: came.append(1), lambda: None)
        writer = os.open(line.device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        for _ in range(400):
            with contextlib.suppress(BlockingIOError):
                os.write(writer, b"\x03\r\n\x00" * 100)
            await asyncio.sleep(0.001)
        os.close(writer)
        assert len(line.keys) == KEYS_MAX and line.keys.startswith(b"\x03\r\n\x00") and came

    with_line(use)


def test_a_link_replaces_a_dead_one_and_nothing_else(tmp_path):
    link = tmp_path / "tty"
    link.symlink_to("/nowhere")

    async def use(line):
        assert os.readlink(link) == line.device and line.path == str(link)

    with_line(use, link)
    assert not link.is_symlink()
    link.write_text("mine")
    with pytest.raises(ValueError, match="no symbolic link"):
        with_line(use, link)
    assert link.read_text() == "mine"


def test_files_are_the_same_in_the_next_run(tmp_path):
    rng = random.Random(1)
    state = StateFolder(tmp_path)
    kept, model = state.files(64), BoardFiles(64)
    names = ["a", "b", "d", "d/a", "d/e", "d/e/f", "../x", "plexus.json"]
    done = 0
    for _ in range(400):
        name, other = rng.choice(names), rng.choice(names)
        data = rng.randbytes(rng.choice([0, 9, 5000, 90_000]))
        changes = [("write", name, data), ("create", name), ("mkdir", name), ("remove", name)]
        method, *arguments = rng.choice([*changes, ("rename", name, other)])
        outcomes = []
        for files in (kept, model):
            try:
                outcomes.append(getattr(files, method)(*arguments))
            except OSError as e:
                outcomes.append(e.errno)
        assert outcomes[0] == outcomes[1], (method, arguments[0])
        done += outcomes[0] is None
    assert done > 100 and kept.digest() == model.digest()
    with pytest.raises(OSError):
        kept.write("nul\0byte", b"")
    state.close()
    again = StateFolder(tmp_path)
    assert again.files(64).digest() == model.digest()
    again.close()


def test_flash_is_saved_when_it_has_changed(tmp_path):
    state = StateFolder(tmp_path)
    flash = Flash(1 << 16, rng=random.Random(1))
    state.load_flash(flash)
    state.save_flash(flash)
    assert not (tmp_path / "flash.bin").exists()
    flash.program(100, b"reading")
    state.save_flash(flash)
    with pytest.raises(ValueError, match="another board"):
        StateFolder(tmp_path)
    state.close()
    later = Flash(1 << 16, rng=random.Random(2))
    StateFolder(tmp_path).load_flash(later)
    assert later.peek(100, 7) == b"reading" and later.digest() == flash.digest()
    with pytest.raises(ValueError, match="not an image"):
        state.load_flash(Flash(1 << 17, rng=random.Random(3)))
