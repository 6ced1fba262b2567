"""A Bosch BME280 at register level, on a virtual I2C bus.

Everything here follows the datasheet BST-BME280-DS002 (revision 1.6): its sections are named where a number
comes from. The raw ADC words are found by running the datasheet's compensation backwards, so a driver's own
arithmetic is what gets tested.

Not modelled: SPI, self-heating, the NVM copy before every conversion (§5.4.4), the time of a transfer.
"""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Final

from host_sim.board.i2c import ENODEV
from host_sim.board.traces import Trace

CHIP_ID_BME280, CHIP_ID_BMP280 = 0x60, 0x58  # §5.4.1; BST-BMP280-DS001 §4.3.1

REG_CALIBRATION_LOW: Final = 0x88  # dig_T1 to dig_P9, one unused byte, dig_H1 (§4.2.2, table 16)
REG_ID: Final = 0xD0
REG_RESET: Final = 0xE0
REG_CALIBRATION_HIGH: Final = 0xE1  # dig_H2 to dig_H6
REG_CTRL_HUM: Final = 0xF2
REG_STATUS: Final = 0xF3
REG_CTRL_MEAS: Final = 0xF4
REG_CONFIG: Final = 0xF5
REG_DATA: Final = 0xF7

RESET_WORD: Final = 0xB6  # §5.4.2; any other value does nothing
STATUS_MEASURING, STATUS_IM_UPDATE = 0x08, 0x01  # §5.4.4
STARTUP_US: Final = 2000  # t_startup, the longest time to first communication (§1, table 1)

SKIPPED_20: Final = 0x80000  # what a skipped pressure or temperature reads (§5.4.7, §5.4.8)
SKIPPED_16: Final = 0x8000  # and humidity (§5.4.9)
_MAX_20: Final = (1 << 20) - 1

_OVERSAMPLING: Final = (0, 1, 2, 4, 8, 16, 16, 16)  # osrs_x (§5.4.3, §5.4.5)
_MISSING_BITS: Final = (4, 4, 3, 2, 1, 0, 0, 0)  # of 20, by osrs_x, with the filter off (§3.4.2, §3.4.3)
_FILTER: Final = (1, 2, 4, 8, 16, 16, 16, 16)  # filter (§5.4.6)
_STANDBY_US: Final = (500, 62_500, 125_000, 250_000, 500_000, 1_000_000, 10_000, 20_000)  # t_sb (§5.4.6)
_FORCED: Final = (1, 2)
_NORMAL: Final = 3
# After so many samples the slowest filter holds less than one part in 2^20 of what was before: (15/16)^256.
_FILTER_MEMORY_SAMPLES: Final = 256

# RMS noise by osrs_x with the filter off: temperature in °C and pressure in Pa as typical in §3.6, humidity
# in %RH from the 0.02 %RH that table 2 gives at the highest oversampling, scaled as the others are.
_NOISE_C: Final = (0.0, 0.005, 0.004, 0.003, 0.003, 0.002, 0.002, 0.002)
_NOISE_HPA: Final = (0.0, 0.033, 0.026, 0.021, 0.016, 0.013, 0.013, 0.013)
_NOISE_PCT: Final = (0.0, 0.07, 0.05, 0.04, 0.03, 0.02, 0.02, 0.02)

_LOW: Final = struct.Struct("<HhhHhhhhhhhhxB")
_LIMITS: Final = {
    **dict.fromkeys(("dig_T1", "dig_P1"), (0, 65535)),
    **dict.fromkeys(("dig_H1", "dig_H3"), (0, 255)),
    **dict.fromkeys(("dig_H4", "dig_H5"), (-2048, 2047)),
    "dig_H6": (-128, 127),
}


@dataclass(frozen=True)
class Calibration:
    """The trimming words of one part, named as in the datasheet's table 16; the defaults are plausible.

    ValueError for a word that does not fit its register.
    """

    dig_T1: int = 28009
    dig_T2: int = 26211
    dig_T3: int = 50
    dig_P1: int = 36738
    dig_P2: int = -10635
    dig_P3: int = 3024
    dig_P4: int = 7242
    dig_P5: int = -47
    dig_P6: int = -7
    dig_P7: int = 9900
    dig_P8: int = -10230
    dig_P9: int = 4285
    dig_H1: int = 75
    dig_H2: int = 362
    dig_H3: int = 0
    dig_H4: int = 321
    dig_H5: int = 50
    dig_H6: int = 30

    def __post_init__(self) -> None:
        for field in fields(self):
            low, high = _LIMITS.get(field.name, (-32768, 32767))
            value = getattr(self, field.name)
            if not low <= value <= high:
                raise ValueError(f"{field.name} = {value} is outside {low}..{high}")

    @classmethod
    def random(cls, rng: random.Random) -> Calibration:
        """A part as it might come from the reel: words drawn from the ranges seen in read-outs of parts.

        dig_H3 stays 0, as in those.
        """
        draw = rng.randint
        p7, p8, p9 = rng.choice(((9900, -10230, 4285), (12300, -12000, 5000), (15500, -14600, 6000)))
        return cls(
            dig_T1=draw(26800, 29000),
            dig_T2=draw(25700, 27000),
            dig_T3=draw(-1000, 100),
            dig_P1=draw(35000, 39500),
            dig_P2=draw(-11000, -10000),
            dig_P4=draw(1500, 10500),
            dig_P5=draw(-300, 300),
            dig_P7=p7,
            dig_P8=p8,
            dig_P9=p9,
            dig_H2=draw(345, 400),
            dig_H4=draw(280, 345),
            dig_H5=draw(0, 60),
        )

    def low_bytes(self) -> bytes:
        """Registers 0x88 to 0xA1."""
        words = [getattr(self, field.name) for field in fields(self)]
        return _LOW.pack(*words[:12], self.dig_H1)

    def high_bytes(self) -> bytes:
        """Registers 0xE1 to 0xE7; dig_H4 and dig_H5 share the nibbles of 0xE5."""
        nibbles = (self.dig_H4 & 0x0F) | (self.dig_H5 & 0x0F) << 4
        return struct.pack(
            "<hBbBbb", self.dig_H2, self.dig_H3, self.dig_H4 >> 4, nibbles, self.dig_H5 >> 4, self.dig_H6
        )


def _root(square: float, linear: float, value: float) -> float:
    """The x nearest 0 with square·x² + linear·x = value; infinite where the parabola ends before."""
    discriminant = linear * linear + 4.0 * square * value
    if discriminant < 0.0:
        return math.copysign(math.inf, value * linear)
    return 2.0 * value / (linear + math.copysign(math.sqrt(discriminant), linear))


def _clip(value: float, limit: int) -> int:
    """`value` to the nearest integer, saturating at 0 and `limit` as the converter does."""
    return 0 if value < 0.5 else limit if value >= limit else int(value + 0.5)


class Inverse:
    """The datasheet's floating-point compensation (§8.1) solved for the raw words, for one calibration.

    Each formula is at most quadratic in its raw word, so each has a closed form. The result is the raw word
    whose compensated value is nearest: the formulas are straight to 1e-9 within one step, so rounding needs
    no search. ValueError for a calibration under which a reading says nothing (dig_T2, dig_P1 or dig_H2 is
    0).
    """

    def __init__(self, calibration: Calibration) -> None:
        if not (calibration.dig_T2 and calibration.dig_P1 and calibration.dig_H2):
            raise ValueError("a calibration needs dig_T2, dig_P1 and dig_H2 other than 0")
        c = self._c = calibration
        self._t_square = c.dig_T3 / 64.0
        self._t_zero = c.dig_T1 * 16.0
        self._p_square = c.dig_P9 / 2.0**35
        self._p_linear = 1.0 + c.dig_P8 / 2.0**19
        self._p_offset = c.dig_P7 / 16.0
        self._h_square = -c.dig_H1 / 524288.0

    def raw_temperature(self, temperature_c: float) -> int:
        """The 20-bit word for a temperature in °C."""
        x = _root(self._t_square, self._c.dig_T2, temperature_c * 5120.0)
        return _clip(x * 16384.0 + self._t_zero, _MAX_20)

    def fine_temperature(self, raw: int) -> int:
        """The datasheet's t_fine for a 20-bit word: 1/5120 °C, truncated."""
        x = (raw - self._t_zero) / 16384.0
        return int(x * (self._c.dig_T2 + x * self._t_square))

    def raw_pressure(self, pressure_hpa: float, t_fine: int) -> int:
        """The 20-bit word for a pressure in hPa at that temperature."""
        c = self._c
        v = t_fine / 2.0 - 64000.0
        offset = v * (v * c.dig_P6 / 2.0**29 + c.dig_P5 / 8192.0) + c.dig_P4 * 16.0
        slope = (1.0 + v * (v * c.dig_P3 / 2.0**53 + c.dig_P2 / 2.0**34)) * c.dig_P1
        p = _root(self._p_square, self._p_linear, pressure_hpa * 100.0 - self._p_offset)
        return _clip(1048576.0 - offset - p * slope / 6250.0, _MAX_20)

    def raw_humidity(self, humidity_pct: float, t_fine: int) -> int:
        """The 16-bit word for a relative humidity in %RH, taken as 0..100, at that temperature."""
        c = self._c
        v = t_fine - 76800.0
        gain = c.dig_H2 / 65536.0 * (1.0 + c.dig_H6 / 67108864.0 * v * (1.0 + c.dig_H3 / 67108864.0 * v))
        h = _root(self._h_square, 1.0, min(max(humidity_pct, 0.0), 100.0))
        return _clip(c.dig_H4 * 64.0 + c.dig_H5 / 16384.0 * v + h / gain, 0xFFFF)


def measurement_us(osrs_t: int, osrs_p: int, osrs_h: int, slowest: bool = False) -> int:
    """Time of one conversion in µs for register fields osrs_x: typical or, if `slowest`, maximum (§9.1)."""
    start, each, settle = (1250, 2300, 575) if slowest else (1000, 2000, 500)
    t, p, h = _OVERSAMPLING[osrs_t], _OVERSAMPLING[osrs_p], _OVERSAMPLING[osrs_h]
    return start + each * (t + p + h) + settle * ((p > 0) + (h > 0))


class BME280:
    """One sensor, for an `I2CBus` at 0x76 or 0x77.

    `now_us` gives the board's true time in µs, `trace` the world at that time in seconds, sampled when a
    conversion starts; `rng` the sensor's own noise (None: none). `chip_id` 0x58 makes a BMP280, which has no
    humidity. `slowest` converts in the datasheet's maximum time instead of the typical one.

    Faults to set at any time: `dead` acknowledges nothing, `hung` ends no conversion and no NVM copy.
    """

    def __init__(
        self,
        calibration: Calibration,
        now_us: Callable[[], int],
        trace: Trace,
        rng: random.Random | None = None,
        chip_id: int = CHIP_ID_BME280,
        slowest: bool = False,
    ) -> None:
        self.calibration = calibration
        self.dead = self.hung = False
        self._inverse = Inverse(calibration)
        self._now_us = now_us
        self._trace = trace
        self._rng = rng
        self._chip_id = chip_id
        self._has_humidity = chip_id != CHIP_ID_BMP280
        self._slowest = slowest
        self.power_up()

    def power_up(self) -> None:
        """Begin again as after power-on or soft reset (§5.4.2); the calibration is not yet copied."""
        self._registers = bytearray(256)
        self._registers[REG_ID] = self._chip_id
        self._pointer = 0
        self._osrs_h = 0
        self._filter_memory: list[float | None] = [None, None]
        self._start_us = self._end_us = -1  # of the conversion that is running or, in normal mode, comes next
        self._ctrl_pending: int | None = None
        self._copied_us = self._now_us() + STARTUP_US
        self._copying = True
        self._put_data(SKIPPED_20, SKIPPED_20, SKIPPED_16)

    def write(self, data: bytes) -> None:
        """A register pointer, or pairs of register and value (§6.2.1). OSError when dead."""
        self._advance()
        self._pointer = data[0] if data else self._pointer
        for i in range(0, len(data) - 1, 2):
            self._write_register(data[i], data[i + 1])

    def read(self, n: int) -> bytes:
        """`n` bytes from the register pointer on, which increments (§6.2.2). OSError when dead."""
        self._advance()
        self._registers[REG_STATUS] = self._status()
        first, end = self._pointer, self._pointer + n
        self._pointer = end & 0xFF
        return bytes((self._registers * (1 + end // 256))[first:end])

    def _write_register(self, register: int, value: int) -> None:
        if register == REG_CTRL_MEAS:
            self._write_ctrl_meas(value)
        elif register == REG_CONFIG:
            self._write_config(value)
        elif register == REG_CTRL_HUM and self._has_humidity:
            self._registers[REG_CTRL_HUM] = value & 0x07
        elif register == REG_RESET and value == RESET_WORD:
            self.power_up()

    def _write_ctrl_meas(self, value: int) -> None:
        """Take settings and mode; during a conversion they wait for its end, further ones are lost (§3.3)."""
        if not self._measuring():
            self._apply_ctrl_meas(value, self._now_us())
        elif self._ctrl_pending is None:
            self._ctrl_pending = value

    def _apply_ctrl_meas(self, value: int, at_us: int) -> None:
        self._registers[REG_CTRL_MEAS] = value
        self._osrs_h = self._registers[REG_CTRL_HUM]  # takes effect only now (§5.4.3)
        self._start_us = self._end_us = -1
        if value & 3:
            self._begin(at_us)

    def _write_config(self, value: int) -> None:
        """Take standby time and filter, emptying the filter (§3.4.4); ignored in normal mode (§5.4.6)."""
        if self._mode() != _NORMAL:
            self._registers[REG_CONFIG] = value & 0xFD
            self._filter_memory = [None, None]

    def _mode(self) -> int:
        return self._registers[REG_CTRL_MEAS] & 3

    def _measuring(self) -> bool:
        return self._end_us >= 0 and self._start_us <= self._now_us()

    def _status(self) -> int:
        return (STATUS_MEASURING if self._measuring() else 0) | (STATUS_IM_UPDATE if self._copying else 0)

    def _advance(self) -> None:
        """Do whatever the chip has done by itself since the last transfer."""
        if self.dead:
            raise OSError(ENODEV, "ENODEV")
        if self.hung:
            return
        now_us = self._now_us()
        if self._copying and now_us >= self._copied_us:
            self._copy_calibration()
        if 0 <= self._end_us <= now_us:
            self._skip_forgotten(now_us)
            while 0 <= self._end_us <= now_us:
                self._finish()

    def _copy_calibration(self) -> None:
        """The NVM copy at start-up: until it is done the calibration reads 0."""
        low, high = self.calibration.low_bytes(), self.calibration.high_bytes()
        if not self._has_humidity:
            low, high = low[:-1], b""
        self._registers[REG_CALIBRATION_LOW : REG_CALIBRATION_LOW + len(low)] = low
        self._registers[REG_CALIBRATION_HIGH : REG_CALIBRATION_HIGH + len(high)] = high
        self._copying = False

    def _begin(self, start_us: int) -> None:
        control = self._registers[REG_CTRL_MEAS]
        self._start_us = start_us
        self._end_us = start_us + measurement_us(control >> 5, control >> 2 & 7, self._osrs_h, self._slowest)

    def _standby_us(self) -> int:
        return _STANDBY_US[self._registers[REG_CONFIG] >> 5]

    def _skip_forgotten(self, now_us: int) -> None:
        """In normal mode, leave out the conversions whose trace in the filter is gone by now."""
        if self._mode() != _NORMAL or self._ctrl_pending is not None:
            return
        period_us = self._end_us - self._start_us + self._standby_us()
        forgotten = (now_us - self._end_us) // period_us - _FILTER_MEMORY_SAMPLES
        if forgotten > 0:
            self._start_us += forgotten * period_us
            self._end_us += forgotten * period_us

    def _finish(self) -> None:
        """End the conversion that is due: publish it, then sleep, go on, or do what was asked meanwhile."""
        self._convert(self._start_us * 1e-6)
        end_us = self._end_us
        self._start_us = self._end_us = -1
        if self._mode() in _FORCED:
            self._registers[REG_CTRL_MEAS] &= 0xFC
        elif self._mode() == _NORMAL:
            self._begin(end_us + self._standby_us())
        if self._ctrl_pending is not None:
            pending, self._ctrl_pending = self._ctrl_pending, None
            self._apply_ctrl_meas(pending, end_us)

    def _convert(self, t_s: float) -> None:
        """Turn the world at `t_s` into data registers.

        Pressure and humidity words belong to the temperature that the chip's own temperature word says,
        because that is what any driver compensates them with.
        """
        control = self._registers[REG_CTRL_MEAS]
        osrs_t, osrs_p, osrs_h = control >> 5, control >> 2 & 7, self._osrs_h
        temperature_c, humidity_pct, pressure_hpa = self._trace(t_s)
        rng = self._rng
        if rng is not None:
            temperature_c += rng.gauss(0.0, _NOISE_C[osrs_t])
            pressure_hpa += rng.gauss(0.0, _NOISE_HPA[osrs_p])
            humidity_pct += rng.gauss(0.0, _NOISE_PCT[osrs_h])
        inverse = self._inverse
        raw_t = self._at_resolution(inverse.raw_temperature(temperature_c), osrs_t)
        t_fine = inverse.fine_temperature(raw_t)
        raw_p = self._at_resolution(inverse.raw_pressure(pressure_hpa, t_fine), osrs_p)
        self._put_data(
            self._filtered(1, raw_p) if osrs_p else SKIPPED_20,
            self._filtered(0, raw_t) if osrs_t else SKIPPED_20,
            inverse.raw_humidity(humidity_pct, t_fine) if osrs_h else SKIPPED_16,
        )

    def _at_resolution(self, raw: int, osrs: int) -> int:
        """A word to the 16 + (osrs - 1) bits that it has with the filter off (§3.4.2, §3.4.3)."""
        if self._registers[REG_CONFIG] & 0x1C:
            return raw
        shift = _MISSING_BITS[osrs]
        rounded = (raw + (1 << shift >> 1)) >> shift << shift
        return rounded if rounded <= _MAX_20 else _MAX_20 >> shift << shift

    def _filtered(self, channel: int, raw: int) -> int:
        """Pass a word through the IIR filter (§3.4.4); a skipped channel keeps its memory."""
        coefficient = _FILTER[self._registers[REG_CONFIG] >> 2 & 7]
        if coefficient == 1:
            return raw
        old = self._filter_memory[channel]
        new = float(raw) if old is None else (old * (coefficient - 1) + raw) / coefficient
        self._filter_memory[channel] = new
        return int(new + 0.5)

    def _put_data(self, raw_p: int, raw_t: int, raw_h: int) -> None:
        if not self._has_humidity:
            raw_h = 0
        words = raw_p << 44 | raw_t << 20 | raw_h  # 24 + 24 + 16 bits, each 20-bit word left-justified
        self._registers[REG_DATA : REG_DATA + 8] = words.to_bytes(8, "big")
