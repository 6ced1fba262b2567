"""The flash without faults: against a naive model, with its counters, snapshots, encryption and files."""

from __future__ import annotations

import errno
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host_sim.board.flash import ERASE_US, PROGRAM_PAGE_US, Flash

SECTOR = 256
COUNT = 4
SIZE = SECTOR * COUNT


class Naive:
    """NOR flash in the fewest words."""

    def __init__(self) -> None:
        self.cells = bytearray(b"\xff" * SIZE)
        self.wear = [0] * COUNT
        self.programmed_bytes = 0

    def program(self, offset: int, data: bytes) -> None:
        for i, byte in enumerate(data):
            self.cells[offset + i] &= byte
        self.programmed_bytes += len(data)

    def erase(self, sector: int) -> None:
        self.cells[sector * SECTOR : (sector + 1) * SECTOR] = b"\xff" * SECTOR
        self.wear[sector] += 1


def program_steps():
    return st.tuples(st.integers(0, SIZE - 1), st.binary(min_size=1, max_size=300)).map(
        lambda step: ("program", step[0], step[1][: SIZE - step[0]])
    )


STEPS = st.lists(
    st.one_of(
        program_steps(),
        st.tuples(st.just("erase"), st.integers(0, COUNT - 1)),
        st.tuples(st.just("snapshot")),
        st.tuples(st.just("restore")),
    ),
    max_size=30,
)


def small(**settings) -> Flash:
    return Flash(SIZE, SECTOR, **settings)


@settings(max_examples=150)
@given(STEPS, st.booleans())
def test_it_does_what_a_naive_model_does(steps, reorder):
    flash, model = small(), Naive()
    flash.reorder(4 if reorder else 0)  # nothing of it shows while the power stays
    saved = (flash.snapshot(), bytes(model.cells), list(model.wear), 0, 0)
    operations = 0
    for name, *arguments in steps:
        if name == "snapshot":
            saved = (
                flash.snapshot(),
                bytes(model.cells),
                list(model.wear),
                operations,
                model.programmed_bytes,
            )
        elif name == "restore":
            flash.restore(saved[0])
            model.cells, model.wear = bytearray(saved[1]), list(saved[2])
            operations, model.programmed_bytes = saved[3:]
        else:
            getattr(flash, name)(*arguments)
            getattr(model, name)(*arguments)
            operations += 1
        assert flash.image() == bytes(model.cells)
        assert flash.read(0, SIZE) == bytes(model.cells)
    assert flash.wear == model.wear
    assert (flash.operations, flash.programmed_bytes) == (operations, model.programmed_bytes)


@settings(max_examples=50)
@given(st.integers(-3, SIZE + 3), st.integers(-1, SIZE + 3))
def test_reads_are_slices_and_nothing_beyond_the_end(offset, n):
    content = random.Random(1).randbytes(SIZE)
    flash = small()
    flash.load(content)
    if offset < 0 or n < 0 or offset + n > SIZE:
        with pytest.raises(OSError) as error:
            flash.read(offset, n)
        assert error.value.errno == errno.EINVAL
    else:
        assert flash.read(offset, n) == content[offset : offset + n]


def test_programming_only_clears_bits():
    flash = small()
    flash.program(10, b"\xf0")
    flash.program(10, b"\x3f")
    assert flash.read(9, 3) == b"\xff\x30\xff"


@pytest.mark.parametrize("granularity", (16, 32, 256))
def test_programs_come_in_whole_units(granularity):
    flash = small(granularity=granularity)
    flash.program(granularity, bytes(granularity))
    for offset, n in ((1, granularity), (0, granularity - 1), (granularity // 2, granularity)):
        with pytest.raises(ValueError, match=f"units of {granularity}"):
            flash.program(offset, bytes(n))
    assert flash.operations == 1


def test_nothing_is_programmed_or_erased_beyond_the_end():
    flash = small()
    for offset, n in ((SIZE, 1), (SIZE - 1, 2), (-1, 1)):
        with pytest.raises(OSError) as error:
            flash.program(offset, bytes(n))
        assert error.value.errno == errno.EINVAL
    for sector in (-1, COUNT):
        with pytest.raises(OSError):
            flash.erase(sector)
    assert flash.operations == 0
    assert flash.image() == b"\xff" * SIZE


@pytest.mark.parametrize(
    "wrong",
    ((0, 4096), (4097, 4096), (4096, 100), (4096, 0), (1 << 30, 4096), (8192, 4096, 3)),
)
def test_sizes_that_do_not_fit_are_refused(wrong):
    with pytest.raises(ValueError):
        Flash(*wrong)


def test_counters_and_wear():
    flash = small()
    flash.program(0, bytes(10))
    flash.program(SECTOR - 5, bytes(10))  # across two sectors: one operation
    flash.erase(1)
    flash.erase(1)
    flash.read(0, 10)
    flash.peek(0, 10)
    assert (flash.operations, flash.programmed_bytes, flash.reads) == (4, 20, 1)
    assert flash.wear == [0, 2, 0, 0]


def test_time_is_charged_by_page_and_by_sector():
    flash = Flash(8192)
    charged = []
    flash.on_busy = charged.append
    flash.program(0, bytes(1))
    flash.program(0, bytes(256))
    flash.program(255, bytes(2))
    flash.program(10, bytes(600))
    flash.erase(0)
    assert charged == [PROGRAM_PAGE_US * pages for pages in (1, 1, 2, 3)] + [ERASE_US]


def test_sectors_take_memory_only_when_they_are_written():
    flash = Flash()
    flash.read(0, flash.size)
    flash.program(0x200000, b"\x00")
    assert sum(cells is not None for cells in flash._sectors) == 1
    flash.erase(0x200000 // 4096)
    assert not any(flash._sectors)


def test_a_snapshot_is_not_changed_by_what_follows():
    flash = small()
    flash.program(0, b"before")
    snapshot = flash.snapshot()
    digest = flash.digest()
    flash.program(0, bytes(6))
    flash.erase(1)
    flash.flip(SIZE - 1)
    assert flash.digest() != digest
    other = small(rng=random.Random(9))
    for target in (flash, other, flash):
        target.restore(snapshot)
        assert target.digest() == digest
        assert (target.operations, target.wear) == (1, [0] * COUNT)
        target.program(100, bytes(3))
    with pytest.raises(ValueError, match="geometry"):
        Flash(SIZE * 2, SECTOR).restore(snapshot)


def test_the_digest_is_of_the_content_alone():
    one, other = small(), small()
    one.program(0, b"\xff\xfe")
    other.program(1, b"\xfe")
    other.erase(2)
    assert one.digest() == other.digest()
    other.flip(3, 2)
    assert one.digest() != other.digest()
    assert small().digest() != Flash(SIZE * 2, SECTOR).digest()


@pytest.mark.parametrize("encrypted", (False, True))
def test_files_keep_content_wear_and_counts(tmp_path: Path, encrypted):
    flash = small(encrypted=encrypted, rng=random.Random(3))
    flash.erase(2)
    flash.program(SECTOR, bytes(range(64)))
    flash.save(tmp_path / "flash.bin")
    again = small(encrypted=encrypted)
    again.load_file(tmp_path / "flash.bin")
    assert again.digest() == flash.digest()
    assert (again.wear, again.operations, again.programmed_bytes) == ([0, 0, 1, 0], 2, 64)
    flash.program(3 * SECTOR, bytes(16))
    again.program(3 * SECTOR, bytes(16))
    assert again.image() == flash.image()
    with pytest.raises(ValueError, match=r"flash\.bin"):
        Flash(SIZE * 2, SECTOR).load_file(tmp_path / "flash.bin")


def test_a_bare_image_is_a_file_too(tmp_path: Path):
    content = random.Random(4).randbytes(SIZE)
    (tmp_path / "dump.bin").write_bytes(content)
    flash = small()
    flash.load_file(tmp_path / "dump.bin")
    assert flash.image() == content
    flash.load(b"abc", 300)
    assert flash.read(299, 5) == content[299:300] + b"abc" + content[303:304]
    with pytest.raises(ValueError):
        flash.load(b"abc", SIZE - 2)


def test_encrypted_space_reads_as_noise_that_the_seed_decides():
    flash, same, other = (small(encrypted=True, rng=random.Random(seed)) for seed in (1, 1, 2))
    blank = flash.image()
    assert blank == same.image() != other.image()
    assert len(set(blank)) > 200
    flash.program(0, bytes(256))
    flash.erase(0)
    assert flash.image() == blank
    assert flash.digest() == same.digest()


def test_encrypted_units_are_written_once():
    flash = small(encrypted=True)
    text = bytes(range(32))
    flash.program(16, text)
    assert flash.read(16, 32) == text
    flash.program(16, text)  # the same bits again
    assert flash.read(16, 32) == text
    assert flash.spoiled_units == 0
    flash.program(32, bytes(16))
    assert flash.read(16, 16) == text[:16]
    assert flash.read(32, 16) not in (text[16:], bytes(16))
    assert flash.spoiled_units == 1
    for offset, n in ((0, 15), (8, 16)):
        with pytest.raises(ValueError, match="units of 16"):
            flash.program(offset, bytes(n))


def test_part_of_a_flash_can_be_encrypted():
    flash = small()
    flash.encrypt(SECTOR, SECTOR)
    assert flash.read(0, SECTOR) == b"\xff" * SECTOR != flash.read(SECTOR, SECTOR)
    flash.program(3, b"x")
    for offset, size in ((1, SECTOR), (0, SECTOR), (0, 10), (SIZE, SECTOR)):
        with pytest.raises(ValueError):
            flash.encrypt(offset, size)
