"""What tests of all folders share."""

import pytest

from tests.e2e.simulation import VMS


@pytest.fixture(params=VMS)
def vm(request):
    """Each of the VMs, by name."""
    return request.param
