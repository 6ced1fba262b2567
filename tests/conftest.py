"""What tests of all folders share."""

import pytest

from tests.e2e.simulation import KEYS, VMS


@pytest.fixture(params=VMS)
def vm(request):
    """Each of the VMs, by name."""
    return request.param


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """No test may let a key out: what it printed and logged is searched."""
    outcome = yield
    report = outcome.get_result()
    shown = [name for name, text in report.sections if KEYS.search(text)]
    if shown and report.passed:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: a key stands in {', '.join(shown)}"
