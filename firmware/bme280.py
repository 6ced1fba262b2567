"""Driver for the Bosch BME280: temperature, humidity and pressure over I2C, in forced mode.

    sensor = BME280(machine.I2C(0, scl=machine.Pin(22), sda=machine.Pin(21)))
    temperature_c, humidity_pct, pressure_hpa = sensor.read()

Registers, formulas and times are those of the datasheet BST-BME280-DS002 (revision 1.6); sections are named.
Longest block: 10 ms for a read at the default oversampling, 26 ms when the sensor hangs; 113 and 206 ms at
x16. The constructor, and the first read after an error, take 2 ms more, 20 ms when it hangs. The I2C
transfers, about 40 bytes a read, come on top: 1 ms at 400 kHz.
"""

import struct
import time

try:
    from micropython import const
except ImportError:

    def const(value):
        return value


_ADDRESSES = (0x76, 0x77)  # SDO to ground, SDO to the supply (§6.2)

_CALIBRATION_LOW = const(0x88)
_ID = const(0xD0)
_RESET = const(0xE0)
_CALIBRATION_HIGH = const(0xE1)
_CTRL_HUM = const(0xF2)
_STATUS = const(0xF3)
_CTRL_MEAS = const(0xF4)

_MEASURING = const(0x08)  # status bits (§5.4.4)
_IM_UPDATE = const(0x01)
_FORCED = const(1)
_MODE = const(3)

_SKIPPED = const(0x80000)  # data registers after a reset and of a skipped measurement (§5.4.7)
_SKIPPED_H = const(0x8000)

# These two have the same number in every port. ETIMEDOUT has not (110, 116), so it is not used here.
_EIO = const(5)
_ENODEV = const(19)

_START_POLLS = const(10)  # of 2 ms each, which is t_startup (§1, table 1): ten times what the chip may need
_SPARE_POLLS = const(10)  # of 1 ms each, beyond twice the typical conversion time; the maximum is 1.17 times


def _osrs(factor):
    """Register field for an oversampling factor (§5.4.3, §5.4.5). ValueError for any other."""
    if factor not in (1, 2, 4, 8, 16):
        raise ValueError(f"BME280: oversampling {factor!r} is none of 1, 2, 4, 8, 16")
    return (1, 2, 4, 8, 16).index(factor) + 1


def _wrong_chip(address, chip_id):
    if chip_id == 0x58:
        name = "a BMP280, which has no humidity"
    elif chip_id == 0x61:
        name = "a BME680, which needs another driver"
    else:
        name = "not a BME280 (id 0x60)"
    return f"{_at(address)}: has chip id 0x{chip_id:02x}, is {name}"


def _find(i2c, addresses):
    """The first address where a BME280 answers. ValueError for another chip, OSError when there is none."""
    fault = None
    errno = _ENODEV
    for address in addresses:
        try:
            chip_id = i2c.readfrom_mem(address, _ID, 1)[0]
        except OSError as e:
            errno = e.args[0]
            continue
        if chip_id == 0x60:
            return address
        fault = fault or _wrong_chip(address, chip_id)
    if fault:
        raise ValueError(fault)
    raise OSError(errno, _silence(errno, addresses))


def _at(*addresses):
    return "BME280 at " + " or ".join([f"0x{address:02x}" for address in addresses])


def _silence(errno, addresses):
    """What to say when no chip answers at `addresses`: no acknowledge, or no working bus."""
    if errno in (_EIO, _ENODEV):
        return f"{_at(*addresses)}: nothing answers; check SDA, SCL, supply and ground"
    return f"{_at(*addresses)}: the I2C bus does not work (errno {errno}); a line held low, no pull-ups?"


class BME280:
    """One sensor on `i2c`, an object with machine.I2C's memory operations.

    `address` is 0x76 or 0x77; None tries both. Oversampling is 1, 2, 4, 8 or 16. The default is what the
    datasheet recommends for weather monitoring (§3.5.1): x1 each, forced mode, filter off. That resolves
    0.005 °C, 0.01 %RH and 0.026 hPa in 8 ms; x16 resolves temperature and pressure 16 times finer in 98 ms.

    OSError when nothing answers or the chip does not start; ValueError for another chip or a bad argument.
    """

    def __init__(self, i2c, address=None, oversampling_t=1, oversampling_p=1, oversampling_h=1):
        ctrl_hum = _osrs(oversampling_h)
        ctrl_meas = _osrs(oversampling_t) << 5 | _osrs(oversampling_p) << 2
        # One write of register-value pairs (§6.2.1); ctrl_hum takes effect with ctrl_meas, so it goes first.
        self._command = bytes((ctrl_hum, _CTRL_MEAS, ctrl_meas | _FORCED))
        # Typical t_measure in ms (§9.1): 1 + 2T + (2P + 0.5) + (2H + 0.5)
        self._wait_ms = 2 + 2 * (oversampling_t + oversampling_p + oversampling_h)
        self._buffer = bytearray(13)
        self._i2c = i2c
        self._addresses = _ADDRESSES if address is None else (address,)
        self._started = False
        self._start()

    def read(self):
        """Measure once: (temperature in °C, humidity in %RH, pressure in hPa).

        OSError when the sensor does not answer, does not finish or has lost its settings; ValueError when
        what it says cannot be; what the constructor raises, too. After an error the next read finds and
        starts the sensor afresh: what is plugged in then may be another one, with another calibration.
        """
        if not self._started:
            self._start()
        self._started = False  # until this read has succeeded
        try:
            finished = self._measure()
        except OSError as e:
            # `from None`, as MicroPython prints a warning for a chained exception
            raise OSError(e.args[0], _silence(e.args[0], (self.address,))) from None
        if not finished:
            raise OSError(_EIO, f"{_at(self.address)}: the measurement does not end")
        self._check_settings()
        values = self._values()
        self._started = True
        return values

    def _start(self):
        """Find the chip, reset it, wait for its NVM copy, take its calibration."""
        self.address = _find(self._i2c, self._addresses)
        try:
            ready = self._reset()
            low = self._i2c.readfrom_mem(self.address, _CALIBRATION_LOW, 26)
            high = self._i2c.readfrom_mem(self.address, _CALIBRATION_HIGH, 7)
        except OSError as e:
            raise OSError(e.args[0], _silence(e.args[0], (self.address,))) from None
        if not ready:
            raise OSError(_EIO, f"{_at(self.address)}: its start-up does not end")
        self._fold(low, high)
        self._started = True

    def _reset(self):
        """Soft reset (§5.4.2); False when the copy of the calibration from NVM does not end."""
        self._i2c.writeto_mem(self.address, _RESET, b"\xb6")
        for _ in range(_START_POLLS):
            time.sleep_ms(2)
            if not self._i2c.readfrom_mem(self.address, _STATUS, 1)[0] & _IM_UPDATE:
                return True
        return False

    def _fold(self, low, high):
        """Turn the trimming words (§4.2.2, table 16) into the coefficients of _values.

        They are the datasheet's floating-point formulas (§8.1) as polynomials, with every constant factor
        folded in: fewer than half the operations, each of which puts a float on the heap (a read leaves 0.5
        KB). Single precision, which is what MicroPython computes with on most boards, is enough for them:
        over the range of the sensor it is off by at most 0.00001 °C, 0.0004 hPa and 0.00004 %RH, and
        CircuitPython's 30-bit floats by 0.0014 hPa. So the 64-bit integer formula, with its big
        integers on a 32-bit board, is not needed. (tests/sim/test_bme280_float32.py measures this.)
        """
        t1, t2, t3, p1, p2, p3, p4, p5, p6, p7, p8, p9, h1 = struct.unpack("<HhhHhhhhhhhhxB", low)
        h2, h3, e4, e5, e6, h6 = struct.unpack("<hBbBbb", high)
        if not (t1 and t2 and p1 and h2) or t1 == p1 == 0xFFFF:
            raise ValueError(f"{_at(self.address)}: its calibration is empty")
        self._t = (t1 << 4, t2 / 16384, t3 / (1 << 34))
        self._p_offset = (p4 * 16.0, p5 / 16384, p6 / (1 << 31))
        self._p_slope = (p1 / 6250, p1 * p2 / (6250 << 35), p1 * p3 / (6250 << 55))
        self._p = (p7 / 1600, (524288 + p8) / 52428800, p9 / (100 << 35))
        h4 = e4 << 4 | e5 & 15
        h5 = e6 << 4 | e5 >> 4
        gain = h2 / 65536
        self._h_offset = (h4 * 64.0, h5 / 16384)
        self._h_gain = (gain, gain * h6 / 67108864, gain * h6 / 67108864 * h3 / 67108864)
        self._h = h1 / 524288

    def _measure(self):
        """Convert once in forced mode and read registers 0xF2 to 0xFE; False when it never ends.

        It has ended when the status says so and the mode is back at sleep: right after the command the status
        alone might still be that of before.
        """
        buf = self._buffer
        self._i2c.writeto_mem(self.address, _CTRL_HUM, self._command)
        time.sleep_ms(self._wait_ms)
        for _ in range(self._wait_ms + _SPARE_POLLS):
            self._i2c.readfrom_mem_into(self.address, _CTRL_HUM, buf)
            if not (buf[1] & _MEASURING or buf[2] & _MODE):
                return True
            time.sleep_ms(1)
        return False

    def _check_settings(self):
        """Raise OSError when the oversampling is no longer ours, so that a measurement was skipped.

        The value of a skipped measurement, 0x80000, proves nothing: it lies inside the range of sound
        readings (near 26 °C, near 65 %RH on common parts) and comes up there by itself.
        """
        buf = self._buffer
        if buf[0] & 7 != self._command[0] or (buf[2] ^ self._command[2]) & ~_MODE:
            raise OSError(_EIO, f"{_at(self.address)}: lost its settings; supply dipped?")

    def _values(self):
        """The compensated buffer. ValueError for what no BME280 in its operating range says."""
        buf = self._buffer
        raw_p = buf[5] << 12 | buf[6] << 4 | buf[7] >> 4
        raw_t = buf[8] << 12 | buf[9] << 4 | buf[10] >> 4
        raw_h = buf[11] << 8 | buf[12]
        self._check_raw(raw_t, raw_h, raw_p)
        zero, linear, square = self._t
        d = raw_t - zero
        t = d * (linear + d * square)  # 1/5120 °C
        fine = int(t)  # the datasheet's t_fine
        humidity_pct = self._humidity(raw_h, fine - 76800)
        return self._checked(t / 5120, humidity_pct, self._pressure(raw_p, fine - 128000))

    def _check_raw(self, raw_t, raw_h, raw_p):
        if raw_t == raw_p == _SKIPPED and raw_h == _SKIPPED_H:
            raise OSError(_EIO, f"{_at(self.address)}: it did not measure")
        if raw_t in (0, 0xFFFFF) or raw_p in (0, 0xFFFFF) or raw_h in (0, 0xFFFF):
            raise ValueError(f"{_at(self.address)}: a reading at its limit (raw {raw_t}, {raw_h}, {raw_p})")

    def _pressure(self, raw, u):
        """hPa; `u` is t_fine - 128000, twice the first var1 of §8.1."""
        a, b, c = self._p_offset
        offset = a + u * (b + u * c)
        a, b, c = self._p_slope
        p = (1048576 - raw - offset) / (a + u * (b + u * c))
        a, b, c = self._p
        return a + p * (b + p * c)

    def _humidity(self, raw, v):
        """%RH, limited to 0..100 as in §8.1; `v` is t_fine - 76800."""
        a, b = self._h_offset
        offset = a + v * b
        a, b, c = self._h_gain
        h = (raw - offset) * (a + v * (b + v * c))
        return min(max(h * (1 - h * self._h), 0.0), 100.0)

    def _checked(self, temperature_c, humidity_pct, pressure_hpa):
        """Pass values inside the operating range (§1), widened by about its accuracy."""
        if not (-42 < temperature_c < 87 and 298 < pressure_hpa < 1102):
            raise ValueError(f"{_at(self.address)}: {temperature_c:.1f} C, {pressure_hpa:.1f} hPa cannot be")
        return temperature_c, humidity_pct, pressure_hpa
