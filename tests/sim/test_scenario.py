"""Scenario files: what they may say, and how a mistake is reported."""

import random

import pytest

from host_sim.durations import seconds_of
from host_sim.faults import FAULTS
from host_sim.scenario import Event, ScenarioError, load_scenario, moments
from host_sim.world import ROOT

SCENARIOS = sorted((ROOT / "host_sim" / "scenarios").glob("*.toml"))


def load(tmp_path, text):
    path = tmp_path / "s.toml"
    path.write_text(text)
    return load_scenario(path)


def test_a_scenario(tmp_path):
    scenario = load(tmp_path, 'name = "n"\nseconds = "10m"\n[[event]]\nat = 5\nfault = "wifi"\nfor = "1m"\n')
    [event] = scenario.events
    assert (scenario.name, scenario.seconds, event.fault, event.at_s) == ("n", 600, "wifi", 5)
    assert event.settings == {"state": "down", "for": 60} and event.line == 3


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("nme = 1", 1, ["nme", "no key"]),
        ('name = "a"\nseconds = "soon"', 2, ["seconds", "duration"]),
        ('[[event]]\nat = 1\nfault = "rain"', 3, ["fault", "'rain'", "wifi"]),
        ("[[event]]\nat = 1", 1, ["has no fault"]),
        ('[[event]]\nfault = "wifi"', 1, ["exactly one of", "at"]),
        ('[[event]]\nat = 1\nevery = 2\nfault = "wifi"', 1, ["exactly one of"]),
        ('[[event]]\nat = -1\nfault = "wifi"', 2, ["at", "duration"]),
        ('[[event]]\nat = 1\nfault = "wifi"\nstate = "up"', 4, ["state", "down, no_internet"]),
        ('[[event]]\nat = 1\nfault = "wifi"\ncolour = 3', 4, ["colour", "no setting of wifi", "state"]),
        ('[[event]]\nat = 1\nfault = "evict"\nfor = 3', 4, ["for", "no settings"]),
        (
            '[[event]]\nat = 1\nfault = "wifi"\n\n[[event]]\nat = 1\nfault = "gateway"\nstatus = 200',
            8,
            ["status", "400 to 599"],
        ),
        ('[[event]]\nat = 1\nfault = "gateway"\ncount = 1.5', 4, ["count", "whole number"]),
        ('[[event]]\nat = 1\nfault = "gateway_clock"', 1, ["gateway_clock needs jump_s"]),
        ('[[event]]\nat = 1\nnth = 3\nfault = "wifi"', 3, ["nth", "needs call"]),
        ('[event]\nat = 1\nfault = "wifi"', 1, ["[[event]]"]),
    ],
)
def test_mistakes_name_file_line_and_key(tmp_path, text, line, words):
    with pytest.raises(ScenarioError) as raised:
        load(tmp_path, text)
    message = str(raised.value)
    assert message.startswith(f"{tmp_path / 's.toml'}:{line}: ")
    assert all(word in message for word in words), message


def test_broken_toml_names_the_file(tmp_path):
    with pytest.raises(ScenarioError, match=r"s\.toml: .*line 2"):
        load(tmp_path, 'name = "a"\n[[event\n')


def test_durations():
    good = {90: 90, "90": 90, "30s": 30, "10m": 600, "2h": 7200, "7d": 604800, "250ms": 0.25, 1.5: 1.5}
    assert {value: seconds_of(value) for value in good} == good
    for bad in (0, -1, "", "x", "5w", True, None, "400d", "nan", "inf"):
        with pytest.raises(ValueError, match="duration"):
            seconds_of(bad)


def test_moments():
    rng = random.Random(1)
    assert (
        moments(Event("wifi", {}, at_s=5), 10, rng) == [5]
        and moments(Event("wifi", {}, at_s=5), 4, rng) == []
    )
    assert moments(Event("wifi", {}, every_s=3), 10, rng) == [3, 6, 9]
    drawn = moments(Event("wifi", {}, times=50), 10, rng)
    assert len(drawn) == 50 and drawn == sorted(drawn) and all(0 <= t <= 10 for t in drawn)


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_every_scenario_that_comes_with_it_loads(path):
    assert load_scenario(path).events


def test_one_scenario_has_every_kind_of_fault():
    assert load_scenario(ROOT / "host_sim/scenarios/everything.toml").kinds() == set(FAULTS)
