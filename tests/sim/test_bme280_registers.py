"""The sensor model, register by register. Sections are those of BST-BME280-DS002."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host_sim.board.bme280 import Calibration, Inverse, measurement_us
from host_sim.board.i2c import ENODEV

AFTER_RESET = (0x80000, 0x8000, 0x80000)
SLEEP, FORCED, NORMAL = 0, 1, 3


def osrs(t, p, mode):
    return t << 5 | p << 2 | mode


@pytest.fixture
def bench(kit):
    return kit.Bench()


def measure(bench, t=1, h=1, p=1):
    """One forced conversion at register fields osrs_x; gives the raw words."""
    bench.set(0xF2, h)
    bench.set(0xF4, osrs(t, p, FORCED))
    bench.clock.us += measurement_us(t, p, h)
    return bench.raw()


# Identity, reset, calibration


def test_registers_after_power_on(bench):
    assert bench.registers(0xD0) == b"\x60"
    assert bench.registers(0xF2, 4) == bytes(4)
    assert bench.registers(0xE0) == b"\x00"
    assert bench.raw() == AFTER_RESET


def test_only_the_reset_word_resets(bench):
    measure(bench)
    bench.set(0xE0, 0xB5)
    assert bench.raw() != AFTER_RESET
    bench.set(0xE0, 0xB6)
    assert bench.raw() == AFTER_RESET
    assert bench.registers(0xF2, 4)[2] == 0


def test_calibration_is_there_when_im_update_clears(bench):
    bench.set(0xE0, 0xB6)
    assert bench.registers(0xF3) == b"\x01"
    assert bench.registers(0x88, 24) == bytes(24)
    bench.clock.us += 1999
    assert bench.registers(0xF3) == b"\x01"
    bench.clock.us += 1
    assert bench.registers(0xF3) == b"\x00"
    assert bench.registers(0x88, 26) == bench.sensor.calibration.low_bytes()
    assert bench.registers(0xE1, 7) == bench.sensor.calibration.high_bytes()


def test_calibration_map_is_table_16(bench):
    c = bench.sensor.calibration
    words = struct.unpack("<HhhHhhhhhhhh", bench.registers(0x88, 24))
    assert words == (
        *(c.dig_T1, c.dig_T2, c.dig_T3, c.dig_P1, c.dig_P2, c.dig_P3),
        *(c.dig_P4, c.dig_P5, c.dig_P6, c.dig_P7, c.dig_P8, c.dig_P9),
    )
    assert bench.registers(0xA1)[0] == c.dig_H1


@given(h4=st.integers(-2048, 2047), h5=st.integers(-2048, 2047))
def test_h4_and_h5_share_a_register(h4, h5):
    data = Calibration(dig_H4=h4, dig_H5=h5).high_bytes()
    e4, e5, e6 = data[3:6]
    assert (e4 << 4 | (e5 & 0x0F)) == h4 & 0xFFF
    assert (e6 << 4 | e5 >> 4) == h5 & 0xFFF


@pytest.mark.parametrize(
    "word", [{"dig_T1": 65536}, {"dig_T2": -32769}, {"dig_H4": 2048}, {"dig_H3": -1}, {"dig_H6": 128}]
)
def test_a_word_that_does_not_fit_its_register_is_refused(word):
    with pytest.raises(ValueError, match=next(iter(word))):
        Calibration(**word)


@given(st.integers(0, 2**32))
def test_random_calibrations_repeat_from_their_seed(seed):
    assert Calibration.random(random.Random(seed)) == Calibration.random(random.Random(seed))


def test_a_calibration_without_a_gain_is_refused():
    with pytest.raises(ValueError, match="dig_P1"):
        Inverse(Calibration(dig_P1=0))


# Pointer


def test_reads_increment_and_continue(bench):
    whole = bench.registers(0x88, 8)
    bench.bus.writeto(0x76, b"\x88")
    assert bench.bus.readfrom(0x76, 3) + bench.bus.readfrom(0x76, 5) == whole
    bench.bus.writeto(0x76, b"\xff")
    assert len(bench.bus.readfrom(0x76, 4)) == 4


def test_writes_are_pairs_and_do_not_increment(bench):
    bench.bus.writeto(0x76, bytes((0xF2, 3, 0xF5, 0x08, 0xF4, osrs(2, 3, SLEEP))))
    assert bench.registers(0xF2) == b"\x03"
    assert bench.registers(0xF5) == b"\x08"
    assert bench.registers(0xF4) == bytes((osrs(2, 3, SLEEP),))


def test_read_only_registers_stay(bench):
    for register in (0xD0, 0x88, 0xF3, 0xF7):
        before = bench.registers(register)
        bench.set(register, 0x55)
        assert bench.registers(register) == before


# Forced mode


def test_forced_mode_converts_once_and_sleeps(bench):
    bench.set(0xF2, 1)
    bench.set(0xF4, osrs(1, 1, FORCED))
    assert bench.registers(0xF3) == b"\x08"
    assert bench.registers(0xF4) == bytes((osrs(1, 1, FORCED),))
    bench.clock.us += 7999
    assert bench.raw() == AFTER_RESET and bench.registers(0xF3) == b"\x08"
    bench.clock.us += 1
    first = bench.raw()
    assert first != AFTER_RESET and bench.registers(0xF3) == b"\x00"
    assert bench.registers(0xF4) == bytes((osrs(1, 1, SLEEP),))
    bench.truth = (30.0, 30.0, 900.0)
    bench.clock.us += 10_000_000
    assert bench.raw() == first


def test_the_world_is_sampled_when_the_conversion_starts(kit):
    bench = kit.Bench()
    times = []
    bench.sensor._trace = lambda t_s: times.append(t_s) or (20.0, 40.0, 1000.0)
    bench.clock.us = 5_000_000
    measure(bench)
    bench.clock.us += 3_000_000
    bench.raw()
    assert times == [5.0]


@pytest.mark.parametrize("slowest, expected_us", [(False, 8000), (True, 9300)])
def test_measurement_times_are_section_9_1(slowest, expected_us):
    assert measurement_us(1, 1, 1, slowest) == expected_us
    assert measurement_us(0, 0, 0, slowest) == (1250 if slowest else 1000)
    assert measurement_us(5, 5, 5, slowest) == (112_800 if slowest else 98_000)
    assert measurement_us(7, 7, 7, slowest) == measurement_us(5, 5, 5, slowest)


def test_ctrl_hum_takes_effect_with_ctrl_meas(bench):
    assert measure(bench, h=0)[1] == 0x8000
    bench.set(0xF4, osrs(1, 1, SLEEP))
    bench.set(0xF2, 1)
    assert bench.registers(0xF2) == b"\x01"
    assert bench.sensor._osrs_h == 0
    bench.set(0xF4, osrs(1, 1, FORCED))
    bench.clock.us += 8000
    assert bench.raw()[1] != 0x8000


@pytest.mark.parametrize("skipped", ["t", "h", "p"])
def test_a_skipped_measurement_reads_its_marker(bench, skipped):
    fields = {"t": 1, "h": 1, "p": 1, skipped: 0}
    for word, marker, name in zip(measure(bench, **fields), AFTER_RESET, "thp", strict=True):
        assert (word == marker) == (name == skipped)


@pytest.mark.parametrize("field", [1, 2, 3, 4, 5, 7])
def test_resolution_grows_with_oversampling_unless_filtered(kit, field):
    low_bits = 5 - min(field, 5)
    seen = 0
    for i in range(40):
        bench = kit.Bench(truth=(20.0 + 0.0137 * i, 40.0, 1000.0 + 0.113 * i))
        raw_t, _, raw_p = measure(bench, t=field, p=field)
        assert (raw_t | raw_p) & ((1 << low_bits) - 1) == 0
        bench.set(0xF5, 0x04)
        raw_t, _, raw_p = measure(bench, t=field, p=field)
        seen |= raw_t | raw_p
    assert seen & 0x1F == 0x1F


def test_a_mode_asked_for_during_a_conversion_comes_after_it(bench):
    bench.set(0xF2, 1)
    bench.set(0xF4, osrs(1, 1, FORCED))
    bench.set(0xF4, osrs(2, 2, SLEEP))
    bench.set(0xF4, osrs(3, 3, FORCED))  # lost
    assert bench.registers(0xF4) == bytes((osrs(1, 1, FORCED),))
    bench.clock.us += 8000
    assert bench.registers(0xF4) == bytes((osrs(2, 2, SLEEP),))
    assert bench.raw() != AFTER_RESET


# Normal mode


@pytest.mark.parametrize(
    "t_sb, standby_us", [(0, 500), (1, 62_500), (5, 1_000_000), (6, 10_000), (7, 20_000)]
)
def test_normal_mode_repeats_with_its_standby_time(bench, t_sb, standby_us):
    bench.set(0xF2, 1)
    bench.set(0xF5, t_sb << 5)
    bench.set(0xF4, osrs(1, 1, NORMAL))
    bench.clock.us += 8000
    first = bench.raw()
    assert bench.registers(0xF3) == b"\x00"
    bench.truth = (30.0, 30.0, 900.0)
    bench.clock.us += standby_us - 1
    assert bench.registers(0xF3) == b"\x00"
    bench.clock.us += 1
    assert bench.registers(0xF3) == b"\x08" and bench.raw() == first
    bench.clock.us += 8000
    assert bench.raw() != first
    assert bench.registers(0xF4) == bytes((osrs(1, 1, NORMAL),))


def test_normal_mode_ignores_config_and_stops_on_sleep(bench):
    bench.set(0xF4, osrs(1, 1, NORMAL))
    bench.set(0xF5, 0xE0)
    assert bench.registers(0xF5) == b"\x00"
    bench.clock.us += measurement_us(1, 1, 0)
    bench.set(0xF4, osrs(1, 1, SLEEP))
    last = bench.raw()
    bench.truth = (30.0, 30.0, 900.0)
    bench.clock.us += 60_000_000
    assert bench.raw() == last and bench.registers(0xF3) == b"\x00"


def test_a_week_in_normal_mode_is_not_a_week_of_conversions(kit):
    bench = kit.Bench()
    calls = []
    bench.sensor._trace = lambda t_s: calls.append(t_s) or (20.0, 40.0, 1000.0)
    bench.set(0xF5, 0x10)
    bench.set(0xF4, osrs(1, 1, NORMAL))
    bench.clock.us += 7 * 86_400_000_000
    bench.raw()
    assert 200 < len(calls) < 300
    assert bench.clock.us * 1e-6 - calls[-1] < 0.02


# Filter


def test_filter_starts_at_the_first_word_and_approaches_the_next(bench):
    bench.set(0xF5, 0x08)  # coefficient 4
    bench.truth = (20.0, 40.0, 1000.0)
    start_t, _, start_p = measure(bench)
    bench.truth = (30.0, 40.0, 900.0)
    inverse = bench.sensor._inverse
    goal_t = inverse.raw_temperature(30.0)
    goal_p = inverse.raw_pressure(900.0, inverse.fine_temperature(goal_t))
    for n in (1, 2, 3):
        raw_t, _, raw_p = measure(bench)
        left = 0.75**n
        assert raw_t == pytest.approx(goal_t + left * (start_t - goal_t), abs=1)
        assert raw_p == pytest.approx(goal_p + left * (start_p - goal_p), abs=1)


def test_humidity_is_not_filtered_and_writing_config_empties_the_filter(bench):
    bench.set(0xF5, 0x10)
    first = measure(bench)
    bench.truth = (22.5, 60.0, 900.0)
    second = measure(bench)
    assert second[1] - first[1] > 1000
    bench.set(0xF5, 0x10)
    bench.truth = (30.0, 60.0, 900.0)
    assert measure(bench)[0] == bench.sensor._inverse.raw_temperature(30.0)


def test_a_skipped_channel_keeps_its_filter_memory(bench):
    bench.set(0xF5, 0x04)
    start = measure(bench)[2]
    assert measure(bench, p=0)[2] == 0x80000
    bench.truth = (22.5, 41.0, 900.0)
    goal = bench.sensor._inverse.raw_pressure(900.0, bench.sensor._inverse.fine_temperature(bench.raw()[0]))
    assert measure(bench)[2] == pytest.approx((start + goal) / 2, abs=1)


# The inverse, noise, variants, faults


@given(seed=st.integers(0, 2**32), c=st.floats(-40, 85), rh=st.floats(0, 100), hpa=st.floats(300, 1100))
def test_no_neighbouring_word_is_nearer(seed, c, rh, hpa):
    calibration = Calibration.random(random.Random(seed))
    inverse = Inverse(calibration)
    raw_t = inverse.raw_temperature(c)
    t_fine = inverse.fine_temperature(raw_t)
    raw_p, raw_h = inverse.raw_pressure(hpa, t_fine), inverse.raw_humidity(rh, t_fine)

    def distances(dt, dp, dh):
        t, p, h = forward(calibration, raw_t + dt, raw_p + dp, raw_h + dh, t_fine)
        return abs(t - c), abs(p - hpa), abs(h - rh)

    here = distances(0, 0, 0)
    for step in (-1, 1):
        assert all(a <= b + 1e-9 for a, b in zip(here, distances(step, step, step), strict=True))


def forward(c, raw_t, raw_p, raw_h, t_fine):
    x = raw_t / 16384.0 - c.dig_T1 / 1024.0
    temperature_c = (x * c.dig_T2 + x * x / 64.0 * c.dig_T3) / 5120.0
    v = t_fine / 2.0 - 64000.0
    offset = (v * v * c.dig_P6 / 131072.0 + v * c.dig_P5 / 2.0 + c.dig_P4 * 65536.0) / 4096.0
    slope = (1.0 + (c.dig_P3 * v * v / 524288.0 + c.dig_P2 * v) / 524288.0 / 32768.0) * c.dig_P1
    p = (1048576.0 - raw_p - offset) * 6250.0 / slope
    p += (c.dig_P9 * p * p / 2147483648.0 + p * c.dig_P8 / 32768.0 + c.dig_P7) / 16.0
    w = t_fine - 76800.0
    gain = c.dig_H2 / 65536.0 * (1.0 + c.dig_H6 / 67108864.0 * w * (1.0 + c.dig_H3 / 67108864.0 * w))
    h = (raw_h - (c.dig_H4 * 64.0 + c.dig_H5 / 16384.0 * w)) * gain
    return temperature_c, p / 100.0, h * (1.0 - c.dig_H1 * h / 524288.0)


@pytest.mark.parametrize("truth", [(-400.0, 50.0, 1000.0), (900.0, 50.0, 1000.0), (20.0, 50.0, -9e6)])
def test_words_saturate_at_the_ends_of_the_converter(kit, truth):
    raw_t, raw_h, raw_p = measure(kit.Bench(truth=truth), t=5, p=5)
    assert {raw_t, raw_p} & {0, 0xFFFFF}
    assert 0 <= raw_h <= 0xFFFF


def test_noise_is_the_rngs_and_shrinks_with_oversampling(kit):
    def words(seed, field):
        bench = kit.Bench(rng=random.Random(seed))
        return [measure(bench, t=5, p=field)[2] for _ in range(200)]

    def spread(values):
        return max(values) - min(values)

    assert words(1, 5) == words(1, 5) != words(2, 5)
    assert spread(words(1, 5)) < spread(words(1, 1))
    assert spread(words(1, 5)) > 10


def test_a_bmp280_has_no_humidity(kit):
    bench = kit.Bench(chip_id=0x58)
    assert bench.registers(0xD0) == b"\x58"
    raw_t, raw_h, raw_p = measure(bench)
    assert raw_h == 0 and raw_t != 0x80000 and raw_p != 0x80000
    assert bench.registers(0xE1, 7) == bytes(7) and bench.registers(0xF2) == b"\x00"


def test_a_hung_sensor_measures_for_ever_until_it_recovers(bench):
    bench.set(0xF4, osrs(1, 1, FORCED))
    bench.sensor.hung = True
    bench.clock.us += 60_000_000
    assert bench.registers(0xF3) == b"\x08"
    bench.sensor.hung = False
    assert bench.registers(0xF3) == b"\x00"


def test_a_dead_sensor_acknowledges_nothing(bench):
    bench.sensor.dead = True
    assert bench.bus.scan() == []
    with pytest.raises(OSError) as caught:
        bench.registers(0xD0)
    assert caught.value.errno == ENODEV
