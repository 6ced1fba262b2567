"""The firmware's BME280 driver: its arithmetic against others', its waits, its words when things fail."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host_sim.board.bme280 import BME280, Calibration
from host_sim.board.i2c import EIO, ENODEV, ETIMEDOUT_ESP32, ETIMEDOUT_INTERNAL, GARBAGE, NACK, STUCK

SEEDS = st.integers(0, 2**32 - 1)
DATASHEET = Calibration(
    dig_T1=27504,
    dig_T2=26435,
    dig_T3=-1000,
    dig_P1=36477,
    dig_P2=-10685,
    dig_P3=3024,
    dig_P4=2855,
    dig_P5=140,
    dig_P6=-7,
    dig_P7=15500,
    dig_P8=-14600,
    dig_P9=6000,
)


def literal_formulas(c, raw_t, raw_h, raw_p):
    """BST-BME280-DS002 §8.1 line by line in doubles: (°C, %RH, Pa), humidity not limited."""
    var1 = (raw_t / 16384.0 - c.dig_T1 / 1024.0) * c.dig_T2
    var2 = (raw_t / 131072.0 - c.dig_T1 / 8192.0) * (raw_t / 131072.0 - c.dig_T1 / 8192.0) * c.dig_T3
    t_fine = int(var1 + var2)
    temperature_c = (var1 + var2) / 5120.0

    var1 = t_fine / 2.0 - 64000.0
    var2 = var1 * var1 * c.dig_P6 / 32768.0
    var2 = var2 + var1 * c.dig_P5 * 2.0
    var2 = var2 / 4.0 + c.dig_P4 * 65536.0
    var1 = (c.dig_P3 * var1 * var1 / 524288.0 + c.dig_P2 * var1) / 524288.0
    var1 = (1.0 + var1 / 32768.0) * c.dig_P1
    p = 1048576.0 - raw_p
    p = (p - var2 / 4096.0) * 6250.0 / var1
    var1 = c.dig_P9 * p * p / 2147483648.0
    var2 = p * c.dig_P8 / 32768.0
    p = p + (var1 + var2 + c.dig_P7) / 16.0

    h = t_fine - 76800.0
    h = (raw_h - (c.dig_H4 * 64.0 + c.dig_H5 / 16384.0 * h)) * (
        c.dig_H2 / 65536.0 * (1.0 + c.dig_H6 / 67108864.0 * h * (1.0 + c.dig_H3 / 67108864.0 * h))
    )
    return temperature_c, h * (1.0 - c.dig_H1 * h / 524288.0), p


def draw_truth(rng):
    return rng.uniform(-39.9, 84.9), rng.uniform(0.1, 99.9), rng.uniform(301.0, 1099.0)


def worst(seen, one, other):
    return tuple(max(w, abs(a - b)) for w, a, b in zip(seen, one, other, strict=True))


# Arithmetic


def test_datasheets_worked_example(kit):
    bench = kit.Bench(DATASHEET, sensor_class=kit.RawSensor)
    temperature_c, _, pressure_hpa = bench.driver().read()
    assert temperature_c == pytest.approx(25.08, abs=0.005)
    # The example goes on with a t_fine of 128422.286; the formula in §8.1 makes it an integer: 0.012 Pa less.
    assert 100 * pressure_hpa == pytest.approx(100653.27, abs=0.015)
    assert 100 * pressure_hpa == pytest.approx(literal_formulas(DATASHEET, *bench.raw())[2], abs=1e-6)


def test_agrees_with_the_datasheets_formulas_for_any_calibration_of_humidity(kit):
    rng = random.Random(1)
    seen = (0.0, 0.0, 0.0)
    for _ in range(500):
        base = Calibration.random(rng).__dict__
        calibration = Calibration(**{**base, "dig_H3": rng.randint(0, 5), "dig_H6": rng.randint(-30, 60)})
        bench = kit.Bench(calibration, draw_truth(rng))
        values = bench.driver(oversampling=16).read()
        temperature_c, humidity_pct, pressure_pa = literal_formulas(calibration, *bench.raw())
        seen = worst(seen, values, (temperature_c, min(max(humidity_pct, 0.0), 100.0), pressure_pa / 100.0))
    assert max(seen) < 1e-9, seen


def test_agrees_with_adafruits_driver(kit, adafruit, record_property):
    rng = random.Random(2)
    seen = (0.0, 0.0, 0.0)
    for _ in range(2000):
        bench = kit.Bench(Calibration.random(rng), draw_truth(rng))
        ours = bench.driver(oversampling=16).read()
        theirs = adafruit(bench)
        theirs.overscan_temperature = theirs.overscan_pressure = theirs.overscan_humidity = 5
        seen = worst(seen, ours, (theirs.temperature, theirs.relative_humidity, theirs.pressure))
    record_property("worst_deviation_c_pct_hpa", seen)
    assert seen[0] <= 0.01 and seen[1] <= 0.05 and seen[2] <= 0.01, seen


def test_adafruits_humidity_has_a_factor_that_the_datasheet_has_not(kit, adafruit):
    """Unless dig_H3 is 0, (1 + dig_H3 / 2^26 · h) enters Adafruit's product twice; parts have 0."""
    calibration = Calibration(dig_H3=5, dig_H1=0)
    bench = kit.Bench(calibration, (60.0, 40.0, 1000.0))
    ours = bench.driver(oversampling=16).read()
    theirs = adafruit(bench)
    theirs.overscan_temperature = theirs.overscan_humidity = 5
    factor = 1.0 + 5 / 67108864.0 * (int(ours[0] * 5120.0 + 0.5) - 76800.0)
    assert ours[1] == pytest.approx(40.0, abs=0.01)
    assert theirs.relative_humidity == pytest.approx(factor * ours[1], rel=1e-9)
    assert theirs.relative_humidity - ours[1] > 0.05


@given(seed=SEEDS, oversampling=st.sampled_from((1, 2, 4, 8, 16)))
def test_reads_the_trace_back_within_one_step(kit, seed, oversampling):
    rng = random.Random(seed)
    calibration, truth = Calibration.random(rng), draw_truth(rng)
    bench = kit.Bench(calibration, truth)
    values = bench.driver(oversampling=oversampling).read()
    raw_t, raw_h, raw_p = bench.raw()
    step = 16 // oversampling
    here = literal_formulas(calibration, raw_t, raw_h, raw_p)
    # One step away in temperature alone, as its word enters the two others; then in each of those.
    step_c = literal_formulas(calibration, raw_t + step, raw_h, raw_p)[0] - here[0]
    next_word = literal_formulas(calibration, raw_t, raw_h + 1, raw_p + step)
    assert abs(values[0] - truth[0]) <= step_c
    assert abs(values[1] - truth[1]) <= abs(next_word[1] - here[1])
    assert abs(values[2] - truth[2]) <= abs(next_word[2] - here[2]) / 100


@given(
    words=st.tuples(st.integers(-2048, 2047), st.integers(-2048, 2047)),
    rest=st.tuples(st.integers(0, 255), st.integers(-32768, 32767), st.integers(-128, 127)),
)
def test_takes_every_humidity_word_from_its_nibbles(kit, words, rest):
    (h4, h5), (h1, h2, h6) = words, rest
    calibration = Calibration(dig_H1=h1, dig_H2=h2 or 1, dig_H4=h4, dig_H5=h5, dig_H6=h6)
    bench = kit.Bench(calibration, sensor_class=kit.RawSensor)
    bench.sensor.raw = (519888, 30000, 415148)
    humidity_pct = literal_formulas(calibration, *bench.sensor.raw)[1]
    assert bench.driver().read()[1] == pytest.approx(min(max(humidity_pct, 0.0), 100.0), abs=1e-9)


@pytest.mark.parametrize("truth, read", [(0.0, 0.0), (100.0, 100.0)])
def test_humidity_stays_within_its_scale(kit, truth, read):
    assert kit.Bench(truth=(20.0, truth, 1000.0)).driver().read()[1] == pytest.approx(read, abs=0.01)


# Manners on the bus


def test_finds_the_sensor_at_either_address(kit):
    bench = kit.Bench()
    assert bench.driver().address == 0x76
    bench.bus.detach(0x76)
    bench.bus.attach(0x77, bench.sensor)
    assert bench.driver().address == 0x77
    assert bench.driver(0x77).read()[0] == pytest.approx(22.5, abs=0.01)


def test_another_chip_at_the_first_address_does_not_hide_the_sensor(kit):
    bench = kit.Bench(chip_id=0x58)
    bench.bus.attach(0x77, BME280(Calibration(), bench.clock.now_us, lambda t_s: (20.0, 40.0, 990.0)))
    assert bench.driver().address == 0x77


@pytest.mark.parametrize("oversampling, longest_ms", [(1, 10), (16, 116)])
def test_waits_as_long_as_the_conversion_takes_and_no_longer(kit, oversampling, longest_ms):
    for slowest in (False, True):
        bench = kit.Bench(slowest=slowest)
        driver = bench.driver(oversampling=oversampling)
        before_us = bench.clock.us
        assert driver.read()[0] == pytest.approx(22.5, abs=0.01)
        assert bench.clock.us - before_us <= 1000 * longest_ms


def test_every_read_is_a_new_measurement(kit):
    bench = kit.Bench()
    driver = bench.driver()
    for temperature_c in (10.0, 30.0, -5.0):
        bench.truth = (temperature_c, 50.0, 900.0)
        assert driver.read()[0] == pytest.approx(temperature_c, abs=0.01)


def test_default_is_the_datasheets_weather_monitoring(kit):
    bench = kit.Bench()
    bench.driver().read()
    assert bench.registers(0xF2) == b"\x01"
    assert bench.registers(0xF4) == bytes((1 << 5 | 1 << 2,))  # back at sleep
    assert bench.registers(0xF5) == b"\x00"


@pytest.mark.parametrize(
    "truth, value",
    [((0x80000, 30000, 415148), 0), ((519888, 0x8000, 415148), 1), ((519888, 30000, 0x80000), 2)],
)
def test_the_value_of_a_skipped_measurement_may_be_a_sound_one(kit, truth, value):
    bench = kit.Bench(sensor_class=kit.RawSensor)
    bench.sensor.raw = truth
    values = list(literal_formulas(bench.sensor.calibration, *truth))
    values[2] /= 100
    assert bench.driver().read()[value] == pytest.approx(values[value], abs=0.001)


def test_a_read_leaves_nothing_behind_on_the_heap(kit):
    bench = kit.Bench()
    driver = bench.driver()
    driver.read()
    tracemalloc.start()
    try:
        driver.read()
        before = tracemalloc.take_snapshot()
        for _ in range(50):
            driver.read()
        after = tracemalloc.take_snapshot()
    finally:
        tracemalloc.stop()
    only = [tracemalloc.Filter(True, str(kit.driver_path))]
    kept = after.filter_traces(only).compare_to(before.filter_traces(only), "filename")
    assert sum(entry.size_diff for entry in kept) < 200


# What it says


def failure(call):
    """The error of `call` and its line."""
    with pytest.raises((OSError, ValueError)) as caught:
        call()
    line = str(caught.value)
    assert "\n" not in line and "BME280 at 0x7" in line
    return caught.value, line


def test_says_that_nothing_is_on_the_bus(kit):
    bench = kit.Bench()
    bench.bus.detach(0x76)
    error, line = failure(bench.driver)
    assert isinstance(error, OSError) and error.errno == ENODEV
    assert "0x76 or 0x77: nothing answers" in line
    _, line = failure(lambda: bench.driver(0x77))
    assert "at 0x77: nothing answers" in line


@pytest.mark.parametrize(
    "chip_id, said",
    [(0x58, "BMP280, which has no humidity"), (0x61, "a BME680"), (0x55, "id 0x55, is not a BME280")],
)
def test_names_a_chip_that_is_not_a_bme280(kit, chip_id, said):
    error, line = failure(kit.Bench(chip_id=chip_id).driver)
    assert isinstance(error, ValueError) and said in line and "0x76" in line


@pytest.mark.parametrize("errno", [ETIMEDOUT_ESP32, ETIMEDOUT_INTERNAL])
def test_says_that_the_bus_is_stuck(kit, errno):
    bench = kit.Bench()
    driver = bench.driver()
    bench.bus.set_fault(STUCK, errno=errno)
    for call in (bench.driver, driver.read):
        error, line = failure(call)
        assert error.errno == errno and "the I2C bus does not work" in line
    bench.bus.clear_faults()
    assert driver.read()[0] == pytest.approx(22.5, abs=0.01)


@pytest.mark.parametrize("errno", [ENODEV, EIO])
def test_says_that_the_sensor_is_gone_and_goes_on_when_it_is_back(kit, errno):
    bench = kit.Bench()
    driver = bench.driver()
    bench.bus.set_fault(NACK, 0x76, errno=errno)
    error, line = failure(driver.read)
    assert error.errno == errno and "at 0x76: nothing answers" in line
    bench.bus.clear_faults()
    assert driver.read()[0] == pytest.approx(22.5, abs=0.01)


@given(transfer=st.integers(1, 20), seed=SEEDS)
def test_a_transfer_lost_anywhere_costs_one_clear_error_at_most(kit, transfer, seed):
    bench = kit.Bench(Calibration.random(random.Random(seed)))
    bench.bus.set_fault(NACK, 0x77)
    driver = bench.driver()
    for _ in range(transfer - 1):
        driver.read()
    bench.bus.set_fault(NACK, 0x76, count=1)
    failure(driver.read)
    assert driver.read()[0] == pytest.approx(22.5, abs=0.01)


def test_takes_the_calibration_of_the_sensor_that_was_plugged_in_meanwhile(kit):
    bench = kit.Bench()
    driver = bench.driver()
    bench.bus.unplug(0x76)
    failure(driver.read)
    other = Calibration.random(random.Random(9))
    bench.bus.attach(0x76, BME280(other, bench.clock.now_us, lambda t_s: (31.0, 50.0, 980.0)))
    assert driver.read() == pytest.approx((31.0, 50.0, 980.0), abs=0.05)


def test_says_that_a_start_up_or_a_measurement_does_not_end(kit):
    bench = kit.Bench()
    driver = bench.driver()
    bench.sensor.hung = True
    before_us = bench.clock.us
    error, line = failure(driver.read)
    assert error.errno == EIO and "the measurement does not end" in line
    assert bench.clock.us - before_us <= 26_000
    before_us = bench.clock.us
    _, line = failure(driver.read)
    assert "its start-up does not end" in line
    assert bench.clock.us - before_us <= 20_000
    bench.sensor.hung = False
    assert driver.read()[0] == pytest.approx(22.5, abs=0.01)


def test_a_dead_sensor_is_said_to_be_silent(kit):
    bench = kit.Bench()
    driver = bench.driver()
    bench.sensor.dead = True
    assert "nothing answers" in failure(driver.read)[1]
    assert "nothing answers" in failure(bench.driver)[1]


@pytest.mark.parametrize("at_ms", [0, 5])
def test_a_supply_that_dips_during_a_measurement_is_noticed(kit, at_ms):
    bench = kit.Bench()
    driver = bench.driver()
    sleep_ms = bench.clock.sleep_ms

    def dip(ms):
        sleep_ms(at_ms)
        bench.sensor.power_up()
        sleep_ms(ms - at_ms)

    bench.clock.sleep_ms = dip
    assert "lost its settings" in failure(driver.read)[1]
    del bench.clock.sleep_ms
    assert driver.read()[0] == pytest.approx(22.5, abs=0.01)


@pytest.mark.parametrize(
    "raw, said",
    [
        ((0x80000, 0x8000, 0x80000), "did not measure"),
        ((0xFFFFF, 0xFFFF, 0xFFFFF), "at its limit"),
        ((0, 0, 0), "at its limit"),
        ((519888, 0, 415148), "at its limit"),
        ((519888, 30000, 1), "cannot be"),
        ((1, 30000, 415148), "cannot be"),
    ],
)
def test_refuses_what_cannot_be(kit, raw, said):
    bench = kit.Bench(sensor_class=kit.RawSensor)
    bench.sensor.raw = raw
    driver = bench.driver()
    assert said in failure(driver.read)[1]
    bench.sensor.raw = (519888, 30000, 415148)
    assert driver.read()[0] == pytest.approx(23.6, abs=2.0)


@pytest.mark.parametrize("fill", [0x00, 0xFF])
def test_refuses_an_empty_calibration(kit, fill):
    class Erased(BME280):
        def _copy_calibration(self) -> None:
            super()._copy_calibration()
            for first, end in ((0x88, 0xA2), (0xE1, 0xE8)):
                self._registers[first:end] = bytes((fill,)) * (end - first)

    assert "calibration is empty" in failure(kit.Bench(sensor_class=Erased).driver)[1]


@given(seed=SEEDS)
def test_garbage_on_the_bus_never_becomes_a_reading_out_of_range(kit, seed):
    bench = kit.Bench()
    bench.bus._rng.seed(seed)
    driver = bench.driver()
    bench.bus.set_fault(GARBAGE, 0x76, count=1 + seed % 5)
    for _ in range(3):
        try:
            temperature_c, humidity_pct, pressure_hpa = driver.read()
        except (OSError, ValueError) as error:
            assert "BME280 at 0x7" in str(error)
        else:
            assert -42 < temperature_c < 87 and 0 <= humidity_pct <= 100 and 298 < pressure_hpa < 1102


@pytest.mark.parametrize("factor", [0, 3, 32, None, "x1"])
def test_refuses_an_oversampling_that_the_chip_has_not(kit, factor):
    with pytest.raises(ValueError, match=r"oversampling .* is none of 1, 2, 4, 8, 16"):
        kit.Bench().driver(oversampling=factor)
