"""Histories from seeds: fixed ones, and some that nobody has seen. The long sweep is `make soak`."""

import random

import pytest

from tests.e2e.histories import play


@pytest.mark.parametrize("seed", range(10))
def test_nothing_lost_nothing_twice(seed):
    assert play(seed).complaint() is None


def test_fresh_seeds():
    for seed in random.SystemRandom().sample(range(1 << 30), 5):
        assert play(seed).complaint() is None, f"replay with seed {seed}"


def test_on_the_real_micropython():
    assert play(3, "micropython").complaint() is None
