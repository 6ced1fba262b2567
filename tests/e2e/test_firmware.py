"""The firmware of this repository, unchanged, on both VMs."""

import asyncio

import pytest

from host_sim.board.bme280 import BME280, CHIP_ID_BMP280, Calibration
from host_sim.board.traces import make_trace
from host_sim.world import BME280_ADDRESS, ROOT
from tests.e2e.simulation import FIRMWARE, VMS, program, simulate


def test_a_reading_every_two_seconds_is_stored_once(vm):
    outcome = simulate(FIRMWARE, vm, 60)
    assert outcome.verdict.clean and outcome.verdict.accepted == 90
    assert outcome.verdict.stored >= 81  # the rest waits for company, LINGER_MS at most
    assert {row.metric for row in outcome.rows()} == {"temperature", "humidity", "pressure"}
    assert {row.source_id for row in outcome.rows()} == {"esp32-bme280"}
    assert {row.cls for row in outcome.rows()} == {"metric"}
    assert outcome.console == ""


def test_values_are_those_of_the_room(vm):
    outcome = simulate(FIRMWARE, vm, 30)
    trace = make_trace("quiet_room", 1)
    for row in outcome.rows():
        t_s = (row.timestamp_ms - outcome.world.kernel.epoch_ms) / 1000
        index = ("temperature", "humidity", "pressure").index(row.metric)
        assert row.value == pytest.approx(trace(t_s)[index], abs=(0.05, 0.5, 0.3)[index])


def test_both_vms_store_the_same_rows():
    stored = [
        {(row.metric, row.value, row.timestamp_ms // 2000) for row in simulate(FIRMWARE, vm, 40).rows()}
        for vm in VMS
    ]
    assert stored[0] == stored[1]


def _no_sensor(placement):
    placement.board.i2c.detach(BME280_ADDRESS)


def _wrong_sensor(placement):
    _no_sensor(placement)
    sensor = BME280(Calibration(), placement.board.now_us, make_trace("quiet_room"), chip_id=CHIP_ID_BMP280)
    placement.board.i2c.attach(BME280_ADDRESS, sensor)


@pytest.mark.parametrize(("prepare", "word"), [(_no_sensor, "0x76"), (_wrong_sensor, "BMP280")])
def test_a_missing_or_wrong_sensor_is_one_line_and_one_event(vm, prepare, word):
    outcome = simulate(FIRMWARE, vm, 20, prepare=prepare)
    assert outcome.console.count("\n") == 1 and word in outcome.console
    assert len(outcome.values("sensor_error")) == 1 and word in outcome.values("sensor_error")[0]
    assert outcome.verdict.clean


def test_a_sensor_that_fails_and_returns(vm):
    async def unplug(world, placement):
        await asyncio.sleep(10)
        placement.board.i2c.detach(BME280_ADDRESS)
        await asyncio.sleep(10)
        placement.sensor.power_up()
        placement.board.i2c.attach(BME280_ADDRESS, placement.sensor)

    outcome = simulate(FIRMWARE, vm, 40, unplug)
    assert outcome.verdict.clean
    assert len(outcome.values("sensor_error")) == 1
    times = sorted({row.timestamp_ms for row in outcome.rows() if row.metric == "temperature"})
    start_ms = outcome.world.kernel.epoch_ms
    assert any(t < start_ms + 11_000 for t in times) and any(t > start_ms + 21_000 for t in times)


SEND_AND_SLEEP = """
import time
from plexus_mp import Plexus

px = Plexus(source_id="sleeper")
n = 0
while True:
    px.send("n", n)
    n += 1
    time.sleep(60)
"""


def test_a_program_of_nothing_but_send_and_sleep_delivers(vm, tmp_path):
    outcome = simulate(program(tmp_path, SEND_AND_SLEEP), vm, 630)
    assert outcome.verdict.clean and outcome.verdict.pending == 0
    assert outcome.values("n") == list(range(11))


def test_so_does_a_single_file_that_leaves_the_wifi_to_others(vm, tmp_path):
    path = tmp_path / "anything.py"
    path.write_text(SEND_AND_SLEEP)
    outcome = simulate(path, vm, 130)
    assert outcome.verdict.clean and outcome.values("n") == [0, 1, 2]


OWN_WIFI = """
import network, time
wlan = network.WLAN(network.STA_IF)
wlan.active(True)
wlan.connect("simulated", "simulated")
while not wlan.isconnected():
    pass
"""


def test_firmware_that_connects_by_itself_is_left_alone(vm, tmp_path):
    path = tmp_path / "main.py"
    path.write_text(OWN_WIFI + SEND_AND_SLEEP)
    outcome = simulate(path, vm, 130)
    assert outcome.console == "" and outcome.verdict.clean and outcome.verdict.stored == 3


OFFLINE_FIRST = """
import time
from plexus_mp import Plexus

px = Plexus(source_id="early")
for n in range(40):
    px.send("n", n)
    time.sleep(1)
"""


def test_readings_before_the_first_contact_are_dated_too(vm, tmp_path):
    async def late_network(world, placement):
        placement.board.wifi.set_available(False)
        await asyncio.sleep(30)
        placement.board.wifi.set_available(True)

    outcome = simulate(program(tmp_path, OFFLINE_FIRST), vm, 70, late_network)
    assert outcome.verdict.clean and outcome.verdict.pending == 0
    assert sorted(outcome.values("n")) == list(range(40))
    assert outcome.verdict.time_error_ms <= 600


def test_an_outage_longer_than_the_ring_drops_the_oldest_and_counts(vm, tmp_path):
    async def outage(world, placement):
        await asyncio.sleep(10)
        placement.board.wifi.set_available(False)
        await asyncio.sleep(3600)
        placement.board.wifi.set_available(True)

    outcome = simulate(FIRMWARE, vm, 3800, outage, board_file=ROOT / "boards" / "esp32_ram_ring.py")
    verdict = outcome.verdict
    assert verdict.clean and verdict.dropped > 0
    assert verdict.accepted == verdict.stored + verdict.dropped + verdict.pending
