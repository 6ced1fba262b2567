"""A cut at every flash operation, in every way a write can tear, and again during the recovery."""

import pytest

from tests.sim.flash_history import TEARS, cut, history, run_straight

SECTOR_BYTES = 512


@pytest.fixture(scope="module")
def straight():
    return run_straight(history(2000), SECTOR_BYTES)


def test_the_history_is_what_it_should_be(straight):
    assert sum(straight.flash.wear[s] for s in range(8)) >= 3 * 8
    truth = straight.segments[-1][1]
    assert truth.settled > 300


@pytest.mark.parametrize("tear", TEARS, ids=[f"{p}-{e}" for p, e in TEARS])
def test_a_cut_at_every_operation(straight, tear):
    cuts = 0
    for segment in straight.segments:
        for operation in range(segment[2] + 1, segment[3] + 1):
            cut(straight, segment, operation, tear, None)
            cuts += 1
    print(f"{cuts} cuts, 0 violations")
    assert cuts > 2000


def test_a_second_cut_during_the_recovery(straight):
    cuts = 0
    for number, segment in enumerate(straight.segments):
        for operation in range(segment[2] + 1, segment[3] + 1):
            if (operation + number) % 7:
                continue
            tear = TEARS[operation % len(TEARS)]
            for again_after in range(1, 12):
                if not cut(straight, segment, operation, tear, again_after):
                    break
                cuts += 1
    print(f"{cuts} double cuts, 0 violations")
    assert cuts > 2000
