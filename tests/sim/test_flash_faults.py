"""Every fault of the flash does what it says, and the same seed does it again."""

from __future__ import annotations

import errno
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host_sim.board.flash import Flash
from host_sim.board.flash_faults import (
    BAD_KINDS,
    ERASE_ERROR,
    ERASE_NOOP,
    ERASE_TEARS,
    PROGRAM_ERROR,
    PROGRAM_NOOP,
    PROGRAM_TEARS,
    READ_ERROR,
    PowerCut,
)

SECTOR = 256
COUNT = 4
SIZE = SECTOR * COUNT
ZEROS = bytes(SECTOR)
ONES = b"\xff" * SECTOR


def small(seed: int = 0, **settings) -> Flash:
    return Flash(SIZE, SECTOR, rng=random.Random(seed), **settings)


def cleared(before: bytes, after: bytes) -> int:
    return int.from_bytes(before, "big") & ~int.from_bytes(after, "big")


# power cuts


@settings(max_examples=200, deadline=None)
@given(
    st.binary(min_size=SIZE, max_size=SIZE),
    st.integers(0, SIZE - 1),
    st.binary(min_size=1, max_size=400),
    st.sampled_from(PROGRAM_TEARS),
    st.integers(0, 1000),
)
def test_a_torn_program_clears_only_bits_that_it_was_asked_to_clear(content, offset, data, tear, salt):
    data = data[: SIZE - offset]
    flash = small()
    flash.load(content)
    flash.cut_at(1, program=tear, salt=salt)
    with pytest.raises(PowerCut):
        flash.program(offset, data)
    after = flash.image()
    whole = small()
    whole.load(content)
    whole.program(offset, data)
    assert cleared(after, content) == 0  # no bit rose
    assert cleared(content, after) & ~cleared(content, whole.image()) == 0
    if tear == "none":
        assert after == content
    if tear == "all":
        assert after == whole.image()


@pytest.mark.parametrize("done", (0, 1, 100, 256, 300))
def test_a_prefix_is_a_prefix(done):
    flash = small()
    flash.cut_at(1, program="prefix", prefix_bytes=done)
    with pytest.raises(PowerCut):
        flash.program(10, bytes(300))
    assert flash.image() == b"\xff" * 10 + bytes(done) + b"\xff" * (SIZE - 10 - done)


def test_prefixes_of_random_length_and_bits_come_out_in_many_ways():
    for tear in ("prefix", "bits"):
        seen = set()
        for salt in range(50):
            flash = small()
            flash.cut_at(1, program=tear, salt=salt)
            with pytest.raises(PowerCut):
                flash.program(0, bytes(64))
            seen.add(flash.digest())
        assert len(seen) > 20


def test_a_torn_erase_leaves_nothing_everything_or_a_mixture():
    content = random.Random(2).randbytes(SECTOR)
    results = {}
    for tear in ERASE_TEARS:
        flash = Flash(8192, 4096)
        flash.load(content * 32)
        flash.cut_at(1, erase=tear)
        with pytest.raises(PowerCut):
            flash.erase(1)
        assert flash.read(0, 4096) == content * 16  # the neighbour
        results[tear] = (flash.peek(4096, 4096), flash.wear[1])
    assert results["none"] == (content * 16, 0)
    assert results["all"] == (b"\xff" * 4096, 1)
    mixture, wear = results["mixture"]
    stripes = {mixture[at : at + 256] for at in range(0, 4096, 256)}
    assert wear == 1
    assert len(stripes - {content, ONES}) > 1
    assert stripes & {content, ONES}


def test_encrypted_units_tear_into_noise():
    for tear in ("prefix", "bits"):
        flash = small(encrypted=True)
        blank = flash.image()
        flash.cut_at(1, program=tear, prefix_bytes=40)
        with pytest.raises(PowerCut):
            flash.program(0, bytes(128))
        units = [flash.peek(at, 16) for at in range(0, 128, 16)]
        if tear == "prefix":
            assert units[:2] == [bytes(16)] * 2
            assert units[2] not in (bytes(16), blank[32:48])
            assert b"".join(units[3:]) == blank[48:128]
        else:
            fates = {
                "written" if unit == bytes(16) else "blank" if unit == blank[i * 16 :][:16] else "noise"
                for i, unit in enumerate(units)
            }
            assert len(fates) > 1


def test_the_cut_comes_in_the_operation_that_was_named_and_once():
    flash = small()
    told = []

    def on_cut() -> None:
        told.append(flash.operations)
        raise PowerCut

    flash.on_cut = on_cut
    flash.cut_at(3, program="none")
    flash.program(0, b"\x01")
    flash.program(1, b"\x02")
    with pytest.raises(PowerCut):
        flash.program(2, b"\x03")
    flash.program(3, b"\x04")
    assert told == [3]
    assert flash.read(0, 5) == b"\x01\x02\xff\x04\xff"


def test_a_hook_that_returns_is_an_error():
    flash = small()
    flash.on_cut = lambda: None
    flash.cut_at(1)
    with pytest.raises(AssertionError):
        flash.erase(0)


def test_a_cut_while_the_chip_is_busy_tears_the_operation_under_way():
    seen: dict[str, set[str]] = {"program": set(), "erase": set()}
    for seed in range(40):
        for kind in seen:
            flash = small(seed)
            flash.program(0, b"\x0f" * 64)
            flash.on_busy = lambda us, flash=flash: flash.lose_power()
            if kind == "program":
                flash.program(0, bytes(64))
                assert cleared(b"\x0f" * 64, flash.peek(0, 64)) >= 0
                assert flash.peek(64, SIZE) == b"\xff" * (SIZE - 64)
            else:
                flash.erase(0)
            seen[kind].add(flash.digest())
    assert len(seen["program"]) > 10
    assert len(seen["erase"]) > 5


def test_unknown_tears_and_kinds_are_refused():
    flash = small()
    for wrong in ({"program": "half"}, {"erase": "prefix"}):
        with pytest.raises(ValueError):
            flash.cut_at(1, **wrong)
    with pytest.raises(ValueError):
        flash.spoil(0, "dusty")


# operations that complete out of order


def outcomes(act, limit: int = 8) -> set[bytes]:
    """What a cut right after `act` may leave behind."""
    found = set()
    for seed in range(60):
        flash = small(seed)
        flash.reorder(limit)
        act(flash)
        flash.lose_power()
        found.add(flash.peek(0, 4))
    return found


def three_programs(flash: Flash) -> None:
    for at in range(3):
        flash.program(at, b"\x00")


def test_unsynced_programs_survive_or_not_each_by_itself():
    assert len(outcomes(three_programs)) == 8
    assert len(outcomes(three_programs, limit=2)) == 4
    assert outcomes(three_programs, limit=0) == {b"\x00\x00\x00\xff"}


def test_sync_and_reading_back_make_sure():
    def synced(flash):
        three_programs(flash)
        flash.sync()

    def read_back(flash):
        three_programs(flash)
        flash.read(1, 1)

    assert outcomes(synced) == {b"\x00\x00\x00\xff"}
    after = outcomes(read_back)
    assert len(after) == 4
    assert {found[1] for found in after} == {0}


def test_what_was_read_back_settles_what_it_lies_on():
    def act(flash):
        flash.erase(0)
        flash.program(0, b"\x0f\x0f")
        flash.program(1, b"\x00\x00")
        flash.read(2, 1)

    assert outcomes(act) == {b"\x0f\x00\x00\xff"}


def test_an_erase_is_not_overtaken_by_what_is_programmed_after_it():
    def act(flash):
        flash.program(0, b"\x00\x00")
        flash.sync()
        flash.erase(0)
        flash.program(0, b"\xf0")

    assert outcomes(act) == {b"\x00\x00\xff\xff", b"\xff\xff\xff\xff", b"\xf0\xff\xff\xff"}


def test_the_wear_is_that_of_the_erases_that_happened():
    wear = set()
    for seed in range(20):
        flash = small(seed)
        flash.reorder(4)
        flash.erase(0)
        flash.lose_power()
        wear.add(flash.wear[0])
    assert wear == {0, 1}


def test_a_planned_cut_loses_unsynced_programs_too():
    found = set()
    for seed in range(80):
        flash = small(seed)
        flash.reorder(8)
        flash.cut_at(4, program="none")
        with pytest.raises(PowerCut):
            three_programs(flash)
            flash.program(3, b"\x00")
        found.add(flash.peek(0, 4))
    assert len(found) == 8


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


def test_a_torn_operation_comes_after_what_it_lies_on():
    """An erase that was not synced is complete when a program into its sector has begun."""
    seen = set()
    for seed in range(40):
        flash = small(seed)
        flash.program(0, bytes(8))
        flash.reorder(4)
        flash.erase(0)
        flash.cut_at(3, program="prefix", prefix_bytes=2)
        with pytest.raises(PowerCut):
            flash.program(0, b"\x77" * 4)
        seen.add(flash.peek(0, 5))
    assert seen == {b"\x77\x77\xff\xff\xff"}
