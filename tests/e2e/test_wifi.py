"""The Wi-Fi supervisor on a simulated board whose radio does what real ones do, over days of virtual time."""

from __future__ import annotations

import asyncio
import itertools
import random

import pytest

from tests.e2e.simulation import program, simulate

HOME = {"simulated": "simulated"}  # the network of the board's /plexus.json
_HOUR_S = 3600
# Of virtual time: the real MicroPython takes a second or two for an hour of looking twice a second.
_LONG_S = {"cpython": 72 * _HOUR_S, "micropython": 2 * _HOUR_S}

# A main.py that does nothing: boot.py's timer drives the supervisor. What it counted is printed on demand.
IDLE = """
import time
from plexus_mp.wifi import supervise

wifi = supervise()
for _ in range(HOURS):
    time.sleep(3600)
print(wifi.up, wifi.connects, wifi.failures, wifi.last_error)
"""


def run(vm, folder, seconds, prepare, during=None, boot=None):
    """What a board came to in `seconds`: its placement, and what it printed at the last full hour."""
    placements = []

    def keep(placement):
        placements.append(placement)
        prepare(placement)

    firmware = program(folder, IDLE.replace("HOURS", str(int(seconds // _HOUR_S))))
    if boot is not None:
        (folder / "boot.py").write_text(boot)
    outcome = simulate(firmware, vm, seconds + 60, during, prepare=keep)
    return placements[0], outcome.console.strip()


def _gaps_s(placement):
    """Seconds between attempts."""
    return [(b - a) / 1e6 for a, b in itertools.pairwise(placement.board.wifi.attempts)]


def test_a_healthy_network_is_joined_once(vm, tmp_path):
    placement, said = run(vm, tmp_path, _LONG_S[vm], lambda placement: None)
    assert said == "True 1 0" and len(placement.board.wifi.attempts) == 1


def test_idle_in_the_midst_of_connecting_is_no_failure(vm, tmp_path):
    """After a first failure an ESP32 says IDLE until it has an address, here for twelve seconds."""

    def prepare(placement):
        placement.board.wifi._connect_us = 12_000_000
        placement.board.wifi.stuck = True

    async def mend(world, placement):
        await asyncio.sleep(10)
        placement.board.wifi.stuck = False

    placement, said = run(vm, tmp_path, _HOUR_S, prepare, mend)
    assert said.startswith("True 1 1 ") and len(placement.board.wifi.attempts) == 2


def test_a_wrong_password_is_tried_for_days_and_put_right(vm, tmp_path):
    def prepare(placement):
        placement.board.wifi.networks = {"simulated": "another"}

    async def mend(world, placement):
        await asyncio.sleep(_LONG_S[vm])
        placement.board.wifi.networks = HOME

    placement, said = run(vm, tmp_path, _LONG_S[vm] + _HOUR_S, prepare, mend)
    assert said.startswith("True 1 ") and said.endswith("Wi-Fi simulated: wrong password")
    gaps = _gaps_s(placement)
    assert min(gaps) >= 16 and max(gaps) < 30


def test_a_second_is_left_between_letting_go_and_the_next_attempt(vm, tmp_path):
    """Else the next one ends as a wrong password, and so for ever (micropython-mqtt#132)."""

    def prepare(placement):
        placement.board.wifi.settle_us = 1_000_000
        placement.board.wifi.stuck = True

    async def mend(world, placement):
        await asyncio.sleep(20)
        placement.board.wifi.stuck = False

    _, said = run(vm, tmp_path, _HOUR_S, prepare, mend)
    assert said.startswith("True 1 ") and "wrong password" not in said


def test_no_address_from_the_access_point(vm, tmp_path):
    def prepare(placement):
        placement.board.wifi.has_dhcp = False

    async def mend(world, placement):
        await asyncio.sleep(1800)
        assert len(placement.board.wifi.attempts) > 40
        placement.board.wifi.has_dhcp = True

    _, said = run(vm, tmp_path, _HOUR_S, prepare, mend)
    assert said.startswith("True 1 ") and "no address" in said


def test_only_the_interface_off_and_on_helps(vm, tmp_path):
    def prepare(placement):
        placement.board.wifi.stuck = True

    placement, said = run(vm, tmp_path, _HOUR_S, prepare)
    assert said.startswith("True 1 5 ") and len(placement.board.wifi.attempts) == 6


def test_one_attempt_of_thirty_fails_and_the_access_point_goes_every_hour(vm, tmp_path):
    """A failed one never ends by itself, as on the boards of micropython#15563."""
    hours = _LONG_S[vm] // _HOUR_S
    rng = random.Random(5)
    outages_s = []

    def prepare(placement):
        placement.board.wifi.fails = lambda: rng.random() < 1 / 30

    async def outages(world, placement):
        wifi = placement.board.wifi
        for _ in range(hours):
            await asyncio.sleep(3540)
            wifi.set_available(False)
            await asyncio.sleep(rng.choice((5, 60)))
            wifi.set_available(True)
            begun = world.kernel.now_us()
            while not wifi.is_connected():
                await asyncio.sleep(0.5)
            outages_s.append((world.kernel.now_us() - begun) / 1e6)

    _, said = run(vm, tmp_path, _LONG_S[vm] + 2 * _HOUR_S, prepare, outages)
    assert said.startswith(f"True {1 + hours} ")
    assert len(outages_s) == hours
    assert sorted(outages_s)[len(outages_s) // 2] < 8 and max(outages_s) < 60


BUSY_BOOT = """
import network
wlan = network.WLAN(network.STA_IF)
wlan.active(True)
wlan.connect("simulated", "simulated")
from plexus_mp.wifi import supervise
supervise(tick_ms=500)
"""


def test_a_boot_file_that_connects_by_itself_is_overruled(vm, tmp_path):
    """The second connect() raises "Wifi Internal Error" (micropython#17661)."""
    placement, said = run(vm, tmp_path, _HOUR_S, lambda placement: None, boot=BUSY_BOOT)
    assert said.startswith("True 1 1 ") and "Internal Error" in said
    assert _gaps_s(placement)[-1] >= 1


@pytest.mark.parametrize("is_long", [False, True])
def test_an_access_point_that_was_never_there_comes(vm, tmp_path, is_long):
    gone_s = _LONG_S[vm] if is_long else 600

    def prepare(placement):
        placement.board.wifi.networks = {}

    async def build(world, placement):
        await asyncio.sleep(gone_s)
        placement.board.wifi.networks = HOME
        await asyncio.sleep(30)
        assert placement.board.wifi.is_connected()

    _, said = run(vm, tmp_path, gone_s + _HOUR_S, prepare, build)
    assert said.startswith("True 1 ") and said.endswith("no such network")


NETWORKS = """
import json
settings = json.load(open("/plexus.json"))
settings["wifi"] = [{"ssid": "office", "password": "12345678"}, {"ssid": "home", "password": "87654321"}]
settings["hostname"] = "rig-1"
with open("/plexus.json", "w") as f:
    f.write(json.dumps(settings))
from plexus_mp.wifi import supervise
supervise(tick_ms=500)
"""


def test_of_two_networks_the_one_that_is_there(vm, tmp_path):
    joined = []

    def prepare(placement):
        placement.board.wifi.networks = {"home": "87654321"}

    async def move(world, placement):
        await asyncio.sleep(1800)
        joined.append(placement.board.wifi._ssid)
        placement.board.wifi.set_available(False)
        placement.board.wifi.networks = {"office": "12345678"}
        placement.board.wifi.set_available(True)
        await asyncio.sleep(60)
        joined.append(placement.board.wifi._ssid)

    _, said = run(vm, tmp_path, _HOUR_S, prepare, move, boot=NETWORKS)
    assert said.startswith("True 2 2 ") and joined == ["home", "office"]


def test_what_a_step_costs(vm, tmp_path):
    """At most three calls into the interface, whatever the radio does."""
    calls = []

    def prepare(placement):
        board = placement.board
        board.wifi.fails = lambda: True
        bind = board.bind

        def counting(operation, on_due):
            call = bind(operation, on_due)

            def counted(*arguments):
                calls.append((board.now_us(), operation))
                return call(*arguments)

            return counted if operation.startswith("wifi.") else call

        board.bind = counting

    run(vm, tmp_path, _HOUR_S, prepare)
    slices = {}
    for at_us, _ in calls:
        slices.setdefault(at_us // 500_000, []).append(at_us)
    assert len(slices) > 3000 and max(len(each) for each in slices.values()) <= 4
    assert max(each[-1] - each[0] for each in slices.values()) < 1000
