"""Histories from seeds: fixed ones, some that nobody has seen, and libraries with known mistakes."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from dataclasses import replace

import pytest

from host_sim.chaos import FIRMWARE, draw, play
from host_sim.chaos.sweep import Orders, Sums, report_on, shrunk_from, sweep
from host_sim.world import ROOT
from tests.e2e.chaos_bugs import BUGS, buggy

HOUR_S = 3600.0
EVENTS_MAX = 10
# A seed that finds it soon, in so many seconds of board time, and what it breaks.
HALF_S = 1800.0
FOUND_BY = {
    "released before it is stored": (3, HALF_S, "lost"),
    "one answer releases all that is under way": (9, HALF_S, "lost"),
    "settled one commit too far": (100, HALF_S, "dropped"),
    "names told once, not in each sector": (2, HALF_S, "lost"),
    "what a gateway dropped is taken for stored": (27, HALF_S, "lost"),
    "what was sent is dated anew": (15, HALF_S, "duplicates"),
    "dropped and not counted": (11, HALF_S, "lost"),
}
PLAYS = 16  # bounds how long this takes; the command takes 300


def complaint(seed, seconds=HOUR_S, vm="cpython"):
    """None, or what to say of it."""
    report = report_on(Orders(seconds, vm), seed)
    assert report.counts["accepted"] > 0
    if not report.complaints:
        return None
    return f"{report.complaints}: python -m host_sim chaos --days {seconds / 86_400} --seeds {seed}"


@pytest.mark.parametrize("seed", range(20))
def test_all_promises_hold(seed):
    assert complaint(seed) is None


def test_all_promises_hold_in_fresh_histories():
    seeds = random.SystemRandom().sample(range(1 << 30), 5)
    print("fresh seeds:", *seeds)
    assert [text for text in map(complaint, seeds) if text] == []


def test_on_the_real_micropython():
    assert complaint(4, HALF_S, "micropython") is None


def test_firmware_of_somebody_else():
    orders = Orders(HALF_S, board=ROOT / "boards" / "esp32_flash_ring.py", firmware=ROOT / "firmware")
    reports = [report_on(orders, seed) for seed in (3, 6)]
    assert [report.complaints for report in reports] == [[], []]
    assert any("sensor" in fault for report in reports for fault in report.faults)


def test_the_clock_is_held_to_what_it_claims():
    outcome = play(draw(4, HOUR_S))
    assert outcome.claims > 50 and not outcome.complaints


DIGEST = """
from host_sim.chaos.sweep import Orders, report_on
print(report_on(Orders(1800.0), 11).digest)
"""


def test_a_time_that_came_in_the_midst_of_a_correction_does_not_undo_it():
    """Readings behind its end had been promised that end. Found among a thousand days."""
    outcome = play(replace(draw(872, 86_400.0), seconds=3000.0))
    assert outcome.claims and not outcome.complaints


def test_the_same_seed_gives_the_same_bytes_in_any_process():
    digests = set()
    for hash_seed in ("1", "2"):
        env = dict(os.environ, PYTHONHASHSEED=hash_seed)
        result = subprocess.run(
            [sys.executable, "-c", DIGEST], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120
        )
        assert result.returncode == 0, result.stderr
        digests.add(result.stdout)
    assert len(digests) == 1 and digests.pop().strip()


def test_processes_report_as_one_does():
    orders = Orders(HALF_S)
    alone, together = (list(sweep(orders, range(3), jobs)) for jobs in (1, 2))
    assert alone == together and [report.seed for report in alone] == [0, 1, 2]


@pytest.mark.parametrize("name", BUGS)
def test_a_known_mistake_is_found_and_told_in_ten_events(name, tmp_path):
    seed, seconds, kind = FOUND_BY[name]
    firmware = buggy(name, tmp_path)
    history = draw(seed, seconds)
    found = play(history, firmware)
    assert kind in found.kinds(), "the mistake is not found"
    short, plays = shrunk_from(history, firmware, plays_max=PLAYS)
    assert kind in play(short, firmware).kinds()
    assert len(short.events) <= EVENTS_MAX and plays <= PLAYS
    assert kind not in play(short).kinds(), "the library without the mistake fails too"


def run(*arguments):
    command = [sys.executable, "-m", "host_sim", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def test_the_command_ends_with_the_sums():
    result = run("chaos", "--days", 0.02, "--seeds", "0-3", "--json")
    assert result.returncode == 0, result.stdout + result.stderr
    line = json.loads(result.stdout.splitlines()[-1])
    keys = ("accepted", "stored", "pending", "lost", "duplicates", "resent", "dropped", "rejected")
    assert all(isinstance(line[key], int) for key in keys) and line["stored"] > 0
    assert line["lost"] == line["duplicates"] == line["rejected"] == 0 and line["failed"] == []
    assert line["board_s"] >= 4 * 0.02 * 86_400 and line["wall_s"] > 0
    assert sum(line["faults"].values()) > 10 and "power cut" in line["faults"]


def test_a_failure_is_told_saved_and_played_again(tmp_path):
    name = "names told once, not in each sector"
    firmware = buggy(name, tmp_path)
    seed, seconds, _ = FOUND_BY[name]
    folder = tmp_path / "saved"
    arguments = (
        firmware,
        "--days",
        seconds / 86_400,
        "--seeds",
        seed,
        "--shrink",
        30,
        "--save",
        folder,
        "--json",
    )
    result = run("chaos", *arguments)
    assert result.returncode == 1, result.stdout + result.stderr
    assert json.loads(result.stdout.splitlines()[-1])["failed"] == [seed]
    assert re.search(rf"seed {seed}, \d+ events shrunk to \d+ in \d+ plays:", result.stdout)
    for command in commands(folder, seed, firmware):
        again = run(*command)
        assert again.returncode == 1, again.stdout + again.stderr
        assert "lost" in again.stdout
    sound = run("chaos", "--replay", folder / f"chaos-{seed}.toml")
    assert sound.returncode == 0 and "all promises held" in sound.stdout


def commands(folder, seed, firmware):
    """Those of docs/chaos.md that play a saved history again, for this one."""
    found = re.findall(
        r"^    \.venv/bin/python -m host_sim (.+)$", (ROOT / "docs/chaos.md").read_text(), re.M
    )
    assert len(found) == 2
    words = [line.replace("FOLDER/chaos-17", f"{folder}/chaos-{seed}").split() for line in found]
    return [
        [str(firmware) if word == "host_sim/chaos/firmware" else word for word in line]
        + ([str(firmware)] if line[0] == "chaos" else [])
        for line in words
    ]


@pytest.mark.parametrize("seeds", ["5-4", "x", "0-9999999"])
def test_seeds_that_are_none(seeds):
    result = run("chaos", "--seeds", seeds)
    assert result.returncode == 2 and "seeds" in result.stderr


def test_sums_add_up():
    sums = Sums()
    for report in sweep(Orders(HALF_S), (0, 1), 1):
        sums.add(report)
    line = sums.line(1.0)
    assert line["accepted"] == line["stored"] + line["pending"] + line["dropped"] + line["at_cut"]
    assert FIRMWARE.is_dir() and sums.seeds == 2
