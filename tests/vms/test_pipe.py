"""Which core a simulation and its VM run on."""

import asyncio
import os
import sys

import pytest

from tests.e2e.simulation import program, simulate

SLEEPER = "import time\ntime.sleep(100)\n"


@pytest.fixture
def all_cores():
    """Those that there are, though a worker of pytest-xdist has one."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(os.cpu_count()))
    yield os.sched_getaffinity(0)
    os.sched_setaffinity(0, before)


@pytest.mark.skipif(sys.platform != "linux", reason="cores are shared on Linux only")
def test_cores_are_given_back_with_the_last_vm(tmp_path, all_cores):
    seen = []

    async def reboot(world, placement):
        for _ in range(2):
            await asyncio.sleep(3)
            seen.append(os.sched_getaffinity(0))
            placement.board.power_off()
            seen.append(os.sched_getaffinity(0))
            placement.board.power_on()

    simulate(program(tmp_path, SLEEPER), "micropython", 10, reboot)
    assert [len(cores) for cores in seen] == [1, len(all_cores)] * 2
    assert os.sched_getaffinity(0) == all_cores
