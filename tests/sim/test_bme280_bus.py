"""The I2C bus that the sensor sits on: wiring, transfers, faults."""

from __future__ import annotations

import random

import pytest

from host_sim.board.bme280 import BME280, Calibration
from host_sim.board.i2c import (
    EIO,
    ENODEV,
    ETIMEDOUT_ESP32,
    GARBAGE,
    MAX_TRANSFER_BYTES,
    NACK,
    STUCK,
    I2CBus,
)


@pytest.fixture
def bench(kit):
    return kit.Bench()


def errno_of(call):
    with pytest.raises(OSError) as caught:
        call()
    return caught.value.errno


def test_scan_and_absent_devices(bench):
    bus = bench.bus
    assert bus.scan() == [0x76]
    for call in (
        lambda: bus.writeto(0x77, b"\xd0"),
        lambda: bus.readfrom(0x77, 1),
        lambda: bus.readfrom_mem(0x77, 0xD0, 1),
        lambda: bus.writeto_mem(0x77, 0xF4, b"\x01"),
    ):
        assert errno_of(call) == ENODEV


def test_buffers_are_filled(bench):
    buf = bytearray(26)
    bench.bus.readfrom_mem_into(0x76, 0x88, buf)
    assert buf == bench.registers(0x88, 26)
    bench.bus.writeto(0x76, b"\xd0")
    bench.bus.readfrom_into(0x76, memoryview(buf)[:1])
    assert buf[0] == 0x60


def test_addresses_are_checked(bench):
    for address in (0x07, 0x78):
        with pytest.raises(ValueError, match="outside"):
            bench.bus.attach(address, bench.sensor)
    with pytest.raises(ValueError, match="taken"):
        bench.bus.attach(0x76, bench.sensor)
    with pytest.raises(KeyError):
        bench.bus.detach(0x77)
    with pytest.raises(ValueError, match=str(MAX_TRANSFER_BYTES)):
        bench.registers(0, MAX_TRANSFER_BYTES + 1)


def test_unplugged_and_replugged_it_starts_cold(bench):
    bench.set(0xF2, 1)
    bench.bus.unplug(0x76)
    assert bench.bus.scan() == [] and errno_of(lambda: bench.registers(0xD0)) == ENODEV
    bench.bus.replug(0x76)
    assert bench.bus.scan() == [0x76] and bench.registers(0xF2) == b"\x00"
    bench.bus.unplug(0x76)
    bench.bus.detach(0x76)
    with pytest.raises(KeyError):
        bench.bus.replug(0x76)


def test_power_cycle_clears_every_device(bench):
    bench.set(0xF2, 1)
    bench.bus.power_cycle()
    assert bench.registers(0xF2) == b"\x00"


def test_faults(bench):
    bus = bench.bus
    bus.set_fault(STUCK)
    assert bus.scan() == [] and errno_of(lambda: bench.registers(0xD0)) == ETIMEDOUT_ESP32
    bus.clear_faults()
    bus.set_fault(NACK, 0x77)
    assert bench.registers(0xD0) == b"\x60"
    bus.set_fault(NACK, 0x76, count=2, errno=EIO)
    assert [errno_of(lambda: bench.registers(0xD0)) for _ in range(2)] == [EIO, EIO]
    assert bench.registers(0xD0) == b"\x60"
    with pytest.raises(ValueError, match="none of nack, stuck, garbage"):
        bus.set_fault("gremlin")
    with pytest.raises(ValueError, match="below 1"):
        bus.set_fault(NACK, count=0)


def test_garbage_replays_from_its_seed():
    def read(seed):
        bus = I2CBus(random.Random(seed))
        bus.attach(0x76, BME280(Calibration(), lambda: 0, lambda t_s: (20.0, 40.0, 1000.0)))
        bus.set_fault(GARBAGE, count=1)
        return bus.readfrom_mem(0x76, 0xD0, 8), bus.readfrom_mem(0x76, 0xD0, 8)

    (first, sound), again = read(1), read(1)
    assert (first, sound) == again and first != read(2)[0]
    assert sound[0] == 0x60 and first != sound
