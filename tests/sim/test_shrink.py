"""Shrinking, histories and their files, without playing one."""

from __future__ import annotations

import dataclasses

import pytest

from host_sim.chaos import draw, shrink
from host_sim.chaos.devices import DEVICES
from host_sim.chaos.kinds import KINDS
from host_sim.chaos.story import restored, save, story
from host_sim.faults import FAULTS
from host_sim.scenario import ScenarioError, dump, find_scenario, gallery, load_scenario
from host_sim.world import ROOT

HOUR_S = 3600.0


def test_a_seed_is_one_history_and_another_seed_another():
    assert draw(7, HOUR_S) == draw(7, HOUR_S)
    assert draw(7, HOUR_S).events != draw(8, HOUR_S).events


def test_histories_have_every_fault_and_every_device_of_their_kinds():
    histories = [draw(seed, HOUR_S) for seed in range(200)]
    drawn = {event.fault for history in histories for event in history.events}
    assert drawn == {kind.fault for kind in KINDS} - {"sensor"}, "chaos's own firmware has no sensor"
    assert {history.device for history in histories} == {device.name for device in DEVICES}
    assert drawn | {"sensor"} == set(FAULTS)


def test_what_happens_ends_before_the_calm():
    for seed in range(100):
        history = draw(seed, HOUR_S)
        for event in history.events:
            lasts_s = event.settings.get("for") or 0.0
            if event.at_s is not None and event.fault != "power":
                assert event.at_s + lasts_s <= HOUR_S - history.calm_s + 1


def test_a_longer_history_has_more_in_it():
    counts = [sum(len(draw(seed, days * 86_400).events) for seed in range(20)) for days in (0.02, 1, 7)]
    assert counts[0] < counts[1] < counts[2]


def test_firmware_of_which_nothing_is_known_keeps_a_clock_to_be_matched_by():
    for seed in range(100):
        history = draw(seed, HOUR_S, plain=True)
        assert not history.skews()
        assert all((event.settings.get("delay_ms") or 0) <= 500 for event in history.events)


def test_histories_are_written_as_scenario_files_and_read_again(tmp_path):
    for seed in range(60):
        history = draw(seed, HOUR_S)
        path = tmp_path / f"{seed}.toml"
        path.write_text(dump(history.scenario()))
        read = load_scenario(path)
        events = [dataclasses.replace(event, line=0) for event in read.events]
        assert events == list(history.events), seed
        assert (read.seconds, read.gateway, read.seed) == (HOUR_S, history.gateway, seed)


def test_a_saved_history_is_the_same_history(tmp_path):
    history = draw(3, HOUR_S)
    again = restored(save(history, tmp_path))
    events = tuple(dataclasses.replace(event, line=0) for event in again.events)
    assert (events, again.board, again.seconds, again.seed) == (history.events, history.board, HOUR_S, 3)
    assert again.calm_s <= history.calm_s


def test_a_scenario_without_a_board_is_no_history(tmp_path):
    path = tmp_path / "s.toml"
    path.write_text('seconds = 5\n[[event]]\nat = 1\nfault = "evict"\n')
    with pytest.raises(ValueError, match="board and seconds"):
        restored(path)


@pytest.mark.parametrize("guilty", [(3,), (2, 11), (0, 7, 13)])
def test_shrinking_finds_the_events_that_are_to_blame(guilty):
    history = draw(5, 86_400.0)
    events = list(history.events)[:16]
    blamed = {(events[i].fault, events[i].kind()) for i in guilty}
    history = history.with_events(events)

    def fails(candidate):
        return blamed <= {(event.fault, event.kind()) for event in candidate.events}

    short = shrink(history, fails)
    assert {(event.fault, event.kind()) for event in short.events} == blamed
    assert len(short.events) == len(blamed)
    assert short.seconds < history.seconds


def test_shrinking_shortens_times_as_far_as_it_still_fails():
    history = draw(7, 86_400.0)
    [wifi, *_] = [
        event for event in history.events if event.fault == "wifi" and 8 < event.settings["for"] < 64
    ]
    history = history.with_events([wifi])
    short = shrink(history, lambda h: any(event.settings.get("for", 0) > 4 for event in h.events))
    [event] = short.events
    assert 4 < event.settings["for"] <= 8 and event.at_s < wifi.at_s


def test_shrinking_keeps_to_its_budget():
    plays = 0

    def fails(history):
        nonlocal plays
        plays += 1
        return True

    shrink(draw(5, 86_400.0), fails, plays=5)
    assert plays == 5


def test_a_story_names_board_way_and_each_fault():
    history = draw(9, HOUR_S)
    lines = story(history).splitlines()
    assert lines[0].startswith(history.device) and len(lines) == len(history.events) + 1
    for line, event in zip(lines[1:], history.events, strict=True):
        assert event.fault in line


def test_scenarios_are_found_by_name_and_by_path():
    assert find_scenario("router-reboot").path == ROOT / "host_sim/scenarios/router-reboot.toml"
    assert find_scenario(str(ROOT / "host_sim/scenarios/dns-dead.toml")).gateway == "name"
    with pytest.raises(ScenarioError, match="captive-portal"):
        find_scenario("rain")


def test_each_scenario_of_the_gallery_says_what_it_teaches():
    scenarios = gallery()
    assert len(scenarios) >= 12
    for scenario in scenarios:
        assert scenario.teaches.endswith(".") and scenario.seconds, scenario.path
        assert scenario.board_file() is None or scenario.board_file().exists()
