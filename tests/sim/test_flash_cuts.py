"""What a power cut leaves in the flash: torn operations, and operations that complete out of order."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host_sim.board.flash import Flash
from host_sim.board.flash_faults import ERASE_TEARS, PROGRAM_TEARS, PowerCut

SECTOR = 256
COUNT = 4
SIZE = SECTOR * COUNT
ONES = b"\xff" * SECTOR


def small(seed: int = 0, **settings) -> Flash:
    return Flash(SIZE, SECTOR, rng=random.Random(seed), **settings)


def cleared(before: bytes, after: bytes) -> int:
    return int.from_bytes(before, "big") & ~int.from_bytes(after, "big")


# power cuts


@settings(max_examples=200)
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


@settings(max_examples=100)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("program"), st.integers(0, 7), st.binary(min_size=1, max_size=4)),
            st.tuples(st.just("erase"), st.just(0)),
            st.tuples(st.just("read"), st.integers(0, 7), st.integers(1, 3)),
        ),
        max_size=6,
    ),
    st.integers(0, 1000),
)
def test_what_a_cut_leaves_is_some_of_what_was_not_synced(steps, seed):
    flash = small(seed)
    flash.program(0, b"\x5a" * 12)
    flash.reorder(3)
    for name, *arguments in steps:
        getattr(flash, name)(*arguments)
    seen = flash.peek(0, 12)
    flash.lose_power()
    operations = [step for step in steps if step[0] != "read"]
    possible = set()
    # A read lets what it saw leave the queue, so that an older operation may still wait in it.
    undecided = len(operations) if len(operations) < len(steps) else min(3, len(operations))
    for chosen in itertools.product((False, True), repeat=undecided):
        model = small()
        model.program(0, b"\x5a" * 12)
        for happens, (name, *arguments) in zip(
            [True] * (len(operations) - len(chosen)) + list(chosen), operations, strict=True
        ):
            if happens:
                getattr(model, name)(*arguments)
        possible.add(model.peek(0, 12))
    assert flash.peek(0, 12) in possible
    if not steps or steps[-1][0] == "read":
        at, n = steps[-1][1:] if steps else (0, 12)
        assert flash.peek(at, min(n, 12 - at)) == seen[at : at + n]


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
