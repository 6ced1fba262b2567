"""A cut at every operation of what the ring lies on, in every way it can tear, and again during the recovery."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sim.flash_history import (
    COUNT,
    ESP32,
    FILES,
    PARTITIONS,
    TEARS,
    Geometry,
    Player,
    Truth,
    crc_in_c,
    cut,
    history,
    run_straight,
    sweep,
)
from tests.sim.flash_stores import original_names

APPENDS = 2000
# Of how many operations one is cut here, and one twice; `make soak` cuts at each, on sectors of 4 KiB too.
SAMPLES = {ESP32.name: (5, 80), "files on littlefs": (400, 1200)}


@pytest.fixture(autouse=True)
def files_of_its_own():
    restore = original_names()
    with crc_in_c():
        yield
    restore()


@pytest.mark.parametrize("geometry", (*PARTITIONS, *FILES), ids=lambda geometry: geometry.name)
def test_a_cut_at_every_operation(geometry: Geometry, capsys):
    straight = run_straight(history(APPENDS), geometry)
    truth = straight.segments[-1][1]
    assert truth.settled > 100 and len(truth.accepted) - truth.settled > 100
    if geometry.kind == "nor":
        assert min(straight.store.wear) > 3  # it went round more often than that
    every, second_every = SAMPLES.get(geometry.name, (20, 60))
    *_, tried = sweep(straight, every, second_every)
    with capsys.disabled():
        print(f"\n{geometry.name}: {straight.operations} operations, {tried}")
    assert tried.single >= straight.operations * len(TEARS) // every - len(straight.segments) * len(TEARS)
    assert tried.double > 10


def test_a_ring_in_ram_plays_the_same_history():
    """It survives nothing, so nothing is cut."""
    player = Player(Geometry("ram", kind="ram").store(), Truth())
    for number, step in enumerate(history(APPENDS)):
        player.step(step)
        if number % 20 == 0:
            player.check()
    player.check()
    assert player.ring.dropped > 100 and player.truth.settled > 300


@pytest.mark.parametrize("geometry", (ESP32, FILES[0]), ids=lambda geometry: geometry.name)
def test_a_frame_that_is_confirmed_when_its_sector_is_gone(geometry: Geometry):
    """It settles nothing then, and least of all what lies in the same block now."""
    player = Player(geometry.store(), Truth())
    ring = player.ring
    for number in range(5):
        player.step(("append", (number, "x")))
    seq = ring.settled_seq
    ring.claim(seq, 1)
    number = 5
    while ring.head_seq < seq + COUNT:
        player.step(("append", (number, "x")))
        number += 1
    assert ring.tail_seq > seq and ring.orphaned == 1
    ring.settle(seq, ring.first + 100, 1, 0, 1)
    assert ring.orphaned == 0 and ring.settled_seq == ring.tail_seq
    waiting = player.records()
    player.step(("settle", 1))
    assert player.records() == waiting[1:]
    again = Player(player.store, Truth(accepted=waiting))
    assert again.records() in (waiting, waiting[1:]) and again.records()[-1] == waiting[-1]


UNSYNCED = 3


@pytest.mark.parametrize("geometry", (PARTITIONS[0], PARTITIONS[3]), ids=lambda geometry: geometry.name)
def test_operations_that_finish_out_of_order(geometry: Geometry, capsys):
    """A chip that promises less than NOR flash does: of the last programs any may be missing after the cut.

    Then those records are missing, and no other: nothing is there twice, in another order, or was never sent.
    """
    steps = [step for step in history(900) if step[0] != "settle"]
    straight = run_straight(steps, geometry)
    store = straight.store
    tried = missing = 0
    for number, (snapshot, truth, first, last, part) in enumerate(straight.segments):
        for operation in range(first + 1 + number % 3, last + 1, 3):
            store.restore(snapshot)
            store.reorder(UNSYNCED)
            store.cut_at(operation, *TEARS[operation % len(TEARS)])
            player = Player(store, truth.copy())
            with pytest.raises(BaseException, match="power cut"):
                for step in part:
                    player.step(step)
            store.clear_faults()
            missing += _check_missing(Player(store, player.truth))
            tried += 1
    with capsys.disabled():
        print(f"\n{geometry.name}, out of order: {tried} cuts, {missing} records undone, 0 violations")
    assert tried > 300 and missing > 10


def _check_missing(player: Player) -> int:
    """How many of the newest records are not there; all others must be."""
    truth, found = player.truth, player.records()
    sent = [*truth.accepted, *([truth.in_flight] if truth.in_flight else [])]
    order = [sent.index(payload) for payload in found]
    assert order == sorted(set(order))
    certain = len(truth.accepted) - UNSYNCED
    kept = [index for index in range(player.ring.dropped, certain) if index not in set(order)]
    assert not kept, (kept, certain)
    return len(truth.accepted) - player.ring.dropped - len([i for i in order if i < len(truth.accepted)])


@settings(max_examples=60, derandomize=True)
@given(
    geometry=st.sampled_from((*PARTITIONS, FILES[0], *(Geometry("odd", a, 1024) for a in (16, 32)))),
    seed=st.integers(0, 1 << 20),
    appends=st.integers(5, 300),
    tears=st.lists(st.sampled_from(TEARS), min_size=1, max_size=6),
)
def test_random_histories_with_random_cuts(geometry, seed, appends, tears):
    straight = run_straight(history(appends, seed), geometry)
    rng = random.Random(seed)
    for tear in tears:
        segment = rng.choice(straight.segments)
        if segment[3] > segment[2]:
            cut(
                straight,
                segment,
                rng.randint(segment[2] + 1, segment[3]),
                tear,
                rng.choice((None, 1, 2, 5)),
                settle_first=rng.choice((0, 2)),
            )


def test_all_sectors_wear_alike():
    """A thousand turns, of which some sectors are opened for a mark and some erased ahead."""
    store = ESP32.store()
    player = Player(store, Truth())
    for step in history(1000 * COUNT * 8):
        player.step(step)
        if len(player.truth.accepted) % 999 == 0:
            player.check()
    assert min(store.wear) >= 1000 and max(store.wear) - min(store.wear) <= 1, store.wear
