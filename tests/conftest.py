"""What tests of all folders share."""

import gc
import os
import sys

import pytest
from hypothesis import HealthCheck, settings

from tests.e2e.simulation import KEYS, VMS

# How long an example takes says how busy the machine is.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


def pytest_configure():
    """Each worker of pytest-xdist has a core to itself: a VM then shares that one with its board, not the other's."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker and sys.platform == "linux":
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker[2:]) % len(cores)]})


@pytest.fixture(params=VMS)
def vm(request):
    """Each of the VMs, by name."""
    return request.param


@pytest.fixture(scope="module", autouse=True)
def light_collections():
    """Each client collects garbage when it is made: what the files before have left for good is looked at once."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """No test may let a key out: what it printed and logged is searched."""
    outcome = yield
    report = outcome.get_result()
    shown = [name for name, text in report.sections if KEYS.search(text)]
    if shown and report.passed:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: a key stands in {', '.join(shown)}"
