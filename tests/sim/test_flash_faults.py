"""Bad sectors, errors and bit rot do what they say, and the same seed does it again."""

from __future__ import annotations

import errno
import random

import pytest

from host_sim.board.flash import Flash
from host_sim.board.flash_faults import (
    BAD_KINDS,
    ERASE_ERROR,
    ERASE_NOOP,
    PROGRAM_ERROR,
    PROGRAM_NOOP,
    READ_ERROR,
    PowerCut,
)

SECTOR = 256
COUNT = 4
SIZE = SECTOR * COUNT
ZEROS = bytes(SECTOR)


def small(seed: int = 0, **settings) -> Flash:
    return Flash(SIZE, SECTOR, rng=random.Random(seed), **settings)


# bad sectors


def test_five_kinds_of_bad_sectors():
    seen = {}
    for kind in BAD_KINDS:
        flash = small()
        flash.program(SECTOR, b"\x0f")
        flash.spoil(1, kind)
        seen[kind] = []
        for act in (
            lambda f: f.program(SECTOR, b"\xf0"),
            lambda f: f.erase(1),
            lambda f: f.read(SECTOR, 1),
        ):
            try:
                result = act(flash)
                seen[kind].append(result if result is not None else flash.peek(SECTOR, 1))
            except OSError as e:
                assert e.errno == errno.EIO
                seen[kind].append("EIO")
        flash.program(0, b"\x00")  # others are well
        assert flash.read(0, 1) == b"\x00"
    assert seen == {
        PROGRAM_ERROR: ["EIO", b"\xff", b"\xff"],
        ERASE_ERROR: [b"\x00", "EIO", b"\x00"],
        READ_ERROR: [b"\x00", b"\xff", "EIO"],
        PROGRAM_NOOP: [b"\x0f", b"\xff", b"\xff"],
        ERASE_NOOP: [b"\x00", b"\x00", b"\x00"],
    }


@pytest.mark.parametrize("kind", BAD_KINDS)
def test_a_bad_sector_can_be_healed(kind):
    flash = small()
    flash.spoil(1, kind)
    flash.spoil(1, None)
    flash.program(SECTOR, b"\x00")
    flash.program(SECTOR, b"\x00")
    assert flash.read(SECTOR, 1) == b"\x00"
    flash.erase(1)
    assert flash.read(SECTOR, 1) == b"\xff"


def test_a_sector_wears_out():
    flash = small()
    flash.endurance_cycles = 3
    for _ in range(3):
        flash.erase(2)
    with pytest.raises(OSError):
        flash.erase(2)
    flash.erase(1)
    assert flash.wear == [0, 1, 3, 0]


def test_a_snapshot_knows_bad_sectors_but_not_what_is_planned():
    flash = small()
    flash.endurance_cycles = 1
    fresh = flash.snapshot()
    flash.erase(0)
    worn = flash.snapshot()
    flash.cut_at(1)
    flash.restore(fresh)
    with pytest.raises(PowerCut):
        flash.erase(0)
    flash.restore(worn)
    with pytest.raises(OSError):
        flash.erase(0)


def test_errors_at_the_nth_operation_and_read():
    flash = small()
    flash.fail_at(2)
    flash.fail_at(3)
    flash.fail_read_at(2)
    flash.program(0, b"\x00")
    for act in (lambda: flash.program(1, b"\x00"), lambda: flash.erase(0)):
        with pytest.raises(OSError) as error:
            act()
        assert error.value.errno == errno.EIO
    flash.program(2, b"\x00")
    assert flash.read(0, 3) == b"\x00\xff\x00"
    with pytest.raises(OSError) as error:
        flash.read(0, 3)
    assert error.value.errno == errno.EIO
    assert flash.read(0, 3) == b"\x00\xff\x00"
    assert flash.wear[0] == 0


def test_clearing_faults_makes_a_flash_well():
    flash = small()
    flash.cut_at(1)
    flash.fail_at(2)
    flash.fail_read_at(1)
    flash.reorder(3)
    flash.spoil(0, READ_ERROR)
    flash.clear_faults()
    flash.program(0, b"\x00")
    flash.program(1, b"\x00")
    flash.lose_power()
    assert flash.read(0, 2) == b"\x00\x00"


# bit rot


def test_bits_rot_where_they_are_told_to():
    flash = small()
    flash.program(SECTOR, ZEROS)
    flash.flip(SECTOR + 7, 3)
    flash.flip(0, 0)
    assert flash.read(SECTOR + 7, 1) == b"\x08"
    assert flash.read(0, 1) == b"\xfe"
    before = flash.image()
    places = flash.rot(20, SECTOR, 100)
    assert len(set(places)) == 20
    assert all(SECTOR <= offset < SECTOR + 100 for offset, _ in places)
    changed = int.from_bytes(before, "big") ^ int.from_bytes(flash.image(), "big")
    assert changed.bit_count() == 20


def test_rot_of_an_encrypted_bit_is_noise_in_its_unit():
    flash = small(encrypted=True)
    flash.program(0, bytes(48))
    flash.flip(20, 1)
    assert flash.read(0, 16) == flash.read(32, 16) == bytes(16)
    assert flash.read(16, 16).count(0) < 8


# determinism


def history(seed: int, salt: int = 0) -> list[str]:
    """Digests along a run with every random fault."""
    flash = small(seed)
    digests = []
    flash.reorder(5)
    for operation in (3, 6, 9):
        flash.cut_at(operation, salt=salt)
        with pytest.raises(PowerCut):
            for n in range(10):
                flash.program(n * 16, bytes((seed, n)) * 8)
                flash.erase(n % COUNT)
        digests.append(flash.digest())
    flash.rot(5)
    return [*digests, flash.digest()]


def test_the_seed_decides_everything():
    assert history(1) == history(1)
    assert history(1) != history(2)
    assert history(1) != history(1, salt=1)


def test_a_run_from_a_snapshot_is_torn_as_the_run_that_made_it():
    def go(flash: Flash) -> str:
        flash.cut_at(6)
        with pytest.raises(PowerCut):
            while True:
                flash.program(flash.operations * 20, bytes(20))
        return flash.digest()

    flash = small(5)
    for n in range(3):
        flash.program(n * 20, bytes(20))
    snapshot = flash.snapshot()
    straight = go(flash)
    for target in (flash, small(99)):
        target.restore(snapshot)
        assert go(target) == straight
