"""A bench with one simulated BME280, its bus and clock, on which the firmware's driver is loaded."""

from __future__ import annotations

import sys
from pathlib import Path
from types import CodeType, ModuleType, SimpleNamespace
from typing import Any

import pytest

from host_sim.board.bme280 import BME280, Calibration
from host_sim.board.i2c import I2CBus

DRIVER_PATH = Path(__file__).resolve().parents[2] / "firmware" / "bme280.py"


class Clock:
    """Virtual time, which passes in sleeps only; stands in for the driver's `time` module."""

    def __init__(self) -> None:
        self.us = 0

    def now_us(self) -> int:
        return self.us

    def sleep_ms(self, ms: int) -> None:
        self.us += 1000 * ms

    def sleep(self, s: float) -> None:
        self.us += round(1e6 * s)


class RawSensor(BME280):
    """A sensor whose conversions give the words of `raw` = (temperature, humidity, pressure)."""

    raw = (519888, 30000, 415148)

    def _convert(self, t_s: float) -> None:
        raw_t, raw_h, raw_p = self.raw
        self._put_data(raw_p, raw_t, raw_h)


class Bench:
    """A sensor at 0x76 in a world that stays at `truth` = (°C, %RH, hPa) until told otherwise."""

    code: CodeType = compile(DRIVER_PATH.read_text(encoding="utf-8"), str(DRIVER_PATH), "exec")

    def __init__(
        self,
        calibration: Calibration | None = None,
        truth: tuple[float, float, float] = (22.5, 41.0, 1013.2),
        sensor_class: type[BME280] = BME280,
        **sensor_args: Any,
    ) -> None:
        self.truth = truth
        self.clock = Clock()
        self.bus = I2CBus()
        self.sensor = sensor_class(
            calibration or Calibration(), self.clock.now_us, lambda t_s: self.truth, **sensor_args
        )
        self.bus.attach(0x76, self.sensor)
        self.clock.sleep_ms(2)

    def load_driver(self) -> Any:
        """The driver's module, with this bench's clock as its `time`."""
        module = ModuleType("bme280")
        exec(self.code, module.__dict__)
        module.__dict__["time"] = self.clock
        return module

    def driver(self, address: int | None = None, oversampling: int = 1) -> Any:
        return self.load_driver().BME280(self.bus, address, oversampling, oversampling, oversampling)

    def registers(self, register: int, n: int = 1) -> bytes:
        return self.bus.readfrom_mem(0x76, register, n)

    def set(self, register: int, value: int) -> None:
        self.bus.writeto_mem(0x76, register, bytes((value,)))

    def raw(self) -> tuple[int, int, int]:
        """The data registers as (temperature, humidity, pressure)."""
        data = self.registers(0xF7, 8)
        words = int.from_bytes(data, "big")
        return words >> 20 & 0xFFFFF, words & 0xFFFF, words >> 44


class CircuitBus:
    """The part of busio.I2C that Adafruit's bus device uses, over an I2CBus."""

    def __init__(self, bus: I2CBus) -> None:
        self._bus = bus

    def try_lock(self) -> bool:
        return True

    def unlock(self) -> None:
        pass

    def writeto(self, address: int, buffer: bytes, *, start: int = 0, end: int = sys.maxsize) -> None:
        self._bus.writeto(address, bytes(buffer[start:end]))

    def readfrom_into(
        self, address: int, buffer: bytearray, *, start: int = 0, end: int = sys.maxsize
    ) -> None:
        view = memoryview(buffer)[start:end]
        view[:] = self._bus.readfrom(address, len(view))

    def writeto_then_readfrom(
        self, address: int, out_buffer: bytes, in_buffer: bytearray, **limits: int
    ) -> None:
        self.writeto(address, out_buffer)
        self.readfrom_into(address, in_buffer)


@pytest.fixture(scope="session")
def kit() -> SimpleNamespace:
    """The classes of this file; session-wide, as hypothesis wants it."""
    return SimpleNamespace(Bench=Bench, RawSensor=RawSensor, Clock=Clock, driver_path=DRIVER_PATH)


@pytest.fixture(scope="session")
def adafruit() -> Any:
    """`adafruit(bench)` gives Adafruit's driver on the bench's bus, at its own defaults."""
    stand_ins = {
        "micropython": {"const": lambda value: value},
        "busio": {"I2C": CircuitBus, "SPI": object},
        "digitalio": {"DigitalInOut": object},
        "circuitpython_typing": {"ReadableBuffer": object, "WriteableBuffer": object},
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, contents in stand_ins.items():
            module = ModuleType(name)
            module.__dict__.update(contents)
            patch.setitem(sys.modules, name, module)
        from adafruit_bme280 import basic

        def make(bench: Bench) -> Any:
            patch.setattr(basic, "sleep", bench.clock.sleep)
            return basic.Adafruit_BME280_I2C(CircuitBus(bench.bus), 0x76)

        yield make
