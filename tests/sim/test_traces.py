"""Traces: the shapes that their names promise, noise without state, CSV files and what is wrong with them."""

from __future__ import annotations

import random
import statistics
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host_sim.board import traces
from host_sim.board.traces import (
    GENERATORS,
    csv_trace,
    finger_press,
    make_trace,
    noise,
    quiet_room,
    slow_drift,
)

HEADER = "t_s,temperature,humidity,pressure\n"


@pytest.fixture
def csv_file(tmp_path):
    def write(text):
        path = tmp_path / "room.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.mark.parametrize("name", GENERATORS)
def test_the_same_seed_gives_the_same_world_in_any_order(name):
    times = [0.0, 1.5, 33.25, 3600.0, 86_399.999, 604_800.0]
    trace = make_trace(name, seed=7)
    forth = [trace(t_s) for t_s in times]
    assert [make_trace(name, seed=7)(t_s) for t_s in reversed(times)] == forth[::-1]
    assert [make_trace(name, seed=8)(t_s) for t_s in times] != forth


@pytest.mark.parametrize("name", GENERATORS)
@given(t_s=st.floats(0, 31_536_000), seed=st.integers(0, 2**63))
def test_a_world_stays_within_what_a_sensor_measures(name, t_s, seed):
    temperature_c, humidity_pct, pressure_hpa = make_trace(name, seed)(t_s)
    assert 10 < temperature_c < 40 and 20 < humidity_pct < 80 and 1000 < pressure_hpa < 1030


def test_noise_is_centred_of_unit_size_and_independent():
    rows = [noise(5, 0.1 * i) for i in range(20_000)]
    for column in zip(*rows, strict=True):
        assert abs(statistics.fmean(column)) < 0.03
        assert statistics.pstdev(column) == pytest.approx(1.0, abs=0.02)
        assert max(map(abs, column)) <= 3.0
    t, h, p = zip(*rows, strict=True)
    for one, other in ((t, h), (h, p), (t, p), (t[1:], t[:-1])):
        assert abs(statistics.fmean(a * b for a, b in zip(one, other, strict=True))) < 0.03


def test_quiet_room_is_quiet():
    room = quiet_room(1)
    temperatures = [room(60.0 * i)[0] for i in range(1440)]
    assert max(temperatures) - min(temperatures) < 0.5


def test_finger_press_warms_with_its_time_constant_and_cools_again():
    room, pressed = quiet_room(3), finger_press(3, start_s=10.0, hold_s=40.0, rise_c=6.0, tau_s=8.0)

    def warmth_c(t_s):
        return pressed(t_s)[0] - room(t_s)[0]

    assert warmth_c(9.9) == warmth_c(10.0) == 0.0
    assert warmth_c(18.0) == pytest.approx(6.0 * (1 - 2.718281828**-1), abs=1e-6)
    assert warmth_c(50.0) == pytest.approx(6.0, abs=0.05)
    assert warmth_c(58.0) == pytest.approx(warmth_c(50.0) / 2.718281828, abs=1e-6)
    assert pressed(50.0)[1] > room(50.0)[1] + 10
    assert pressed(50.0)[2] == room(50.0)[2]
    with pytest.raises(ValueError, match="above 0"):
        finger_press(tau_s=0.0)


def test_slow_drift_loses_five_degrees_overnight():
    room, drifting = quiet_room(2), slow_drift(2)
    night_s = 12 * 3600.0
    assert drifting(0.0) == room(0.0)
    assert room(night_s)[0] - drifting(night_s)[0] == pytest.approx(5.0)
    assert drifting(2 * night_s)[0] == pytest.approx(room(2 * night_s)[0], abs=1e-9)


# CSV


def test_csv_interpolates_and_holds_its_ends(csv_file):
    trace = csv_trace(csv_file(HEADER + "10,20,40,1000\n20,30,50,990\n\n40,30,50,1010\n"))
    assert trace(0.0) == trace(10.0) == (20.0, 40.0, 1000.0)
    assert trace(15.0) == (25.0, 45.0, 995.0)
    assert trace(20.0) == (30.0, 50.0, 990.0)
    assert trace(35.0) == (30.0, 50.0, 1005.0)
    assert trace(40.0) == trace(1e9) == (30.0, 50.0, 1010.0)
    assert len(trace) == 3


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=30, unique=True), st.floats(0, 1))
def test_csv_never_leaves_the_rows_around_it(tmp_path_factory, times, part):
    rng = random.Random(len(times))
    rows = [(t, rng.uniform(-40, 85), rng.uniform(0, 100), rng.uniform(300, 1100)) for t in sorted(times)]
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_text(HEADER + "".join(",".join(map(repr, row)) + "\n" for row in rows))
    trace = csv_trace(path)
    for left, right in pairwise(rows):
        got = trace(left[0] + part * (right[0] - left[0]))
        for value, a, b in zip(got, left[1:], right[1:], strict=True):
            assert min(a, b) - 1e-9 <= value <= max(a, b) + 1e-9


def test_csv_columns_in_any_order_others_ignored(csv_file):
    path = csv_file(b"\xef\xbb\xbfpressure, note ,temperature,t_s,humidity\r\n1000,x,20,0,40\r\n")
    assert make_trace(str(path))(0.0) == (20.0, 40.0, 1000.0)


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "room.csv:1: column t_s: missing from the header"),
        ("t_s,temperature,humidity\n", "room.csv:1: column pressure: missing from the header"),
        ("t_s,t_s,temperature,humidity,pressure\n", "room.csv:1: column t_s: twice in the header"),
        (HEADER, "room.csv: no rows"),
        (HEADER + "0,20,40,1000\n1,20,wet,1000\n", "room.csv:3: column humidity: 'wet' is not a number"),
        (HEADER + "0,20,40\n", "room.csv:2: column pressure: missing"),
        (HEADER + "0,nan,40,1000\n", "room.csv:2: column temperature: 'nan' is not finite"),
        (HEADER + "5,20,40,1000\n5,20,40,1000\n", "room.csv:3: column t_s: 5.0 does not come after 5.0"),
        (HEADER.encode() + b"0,20,40,\xff\n", "room.csv: not UTF-8 text"),
    ],
)
def test_csv_says_what_is_wrong_and_where(csv_file, text, said):
    with pytest.raises(ValueError) as caught:
        csv_trace(csv_file(text))
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_csv_rows_are_limited(csv_file, monkeypatch):
    monkeypatch.setattr(traces, "MAX_ROWS", 2)
    with pytest.raises(ValueError, match=r"room\.csv:4: more than 2 rows"):
        csv_trace(csv_file(HEADER + "0,20,40,1000\n1,20,40,1000\n2,20,40,1000\n"))


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'sauna' is none of quiet_room, finger_press, slow_drift"):
        make_trace("sauna")
    with pytest.raises(FileNotFoundError):
        make_trace("nowhere.csv")
