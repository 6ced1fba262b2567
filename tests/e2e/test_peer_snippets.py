"""Code that was written for plexus-python: its READMEs' snippets on a board, and one history through both."""

import asyncio
import json
import os
import subprocess
import sys
import time

import pytest

from host_sim.gateway import Grant
from host_sim.gateway.strict_json import canonical
from host_sim.world import ROOT
from tests.e2e.peer_snippets import NEEDS, VERSIONS, noted, snippets
from tests.e2e.simulation import program, simulate
from tests.gateway.conftest import start  # noqa: F401 - a fixture

ALL = snippets()
RUN = [snippet for snippet in ALL if not snippet.need.reason]
FLASH = ROOT / "boards" / "esp32_flash_ring.py"


def test_every_snippet_runs_or_is_listed_with_its_reason():
    assert len(RUN) >= 22
    left = {(s.version, s.need.reason) for s in ALL if s.need.reason}
    text = (ROOT / "docs" / "runs.md").read_text()
    for version, reason in left:
        assert f"| {version} | " in text and reason in text, reason
    used = {(s.version, s.mark) for s in ALL}
    for version in VERSIONS:
        assert {mark for v, mark in used if v == version} == set(NEEDS["both"]) | set(NEEDS[version])


@pytest.mark.parametrize("snippet", RUN, ids=[f"{s.version}-{s.mark}" for s in RUN])
def test_snippets_run_with_only_the_import_changed(vm, tmp_path, snippet):
    async def know_key(world, placement):
        world.gateway.settings.keys["plx_xxx"] = Grant()

    source = snippet.program.replace("from plexus import", "from plexus_mp import")
    outcome = simulate(program(tmp_path, source), vm, 20, know_key, FLASH)
    assert outcome.console == ""
    notes = noted(snippet)
    told = [row for one in notes for row in one.rows]
    assert told and outcome.verdict.clean and outcome.verdict.pending == 0
    stored = [(row.metric, row.value, row.cls, row.tags) for row in outcome.rows()]
    assert _sorted(stored) == _sorted(told)
    assert {row.source_id for row in outcome.rows()} >= {one.source_id for one in notes if one.source_id}
    stamps = [stamp for one in notes for stamp in one.stamps]
    assert {round(stamp * 1000) for stamp in stamps} <= {row.timestamp_ms for row in outcome.rows()}
    runs = outcome.world.store.windows.list_newest("run")
    assert [(run.name, run.status) for run in runs] == [
        (name, "completed") for one in notes for name in one.runs
    ]


def _named(mark, wait):
    """The snippet with something at its end that lets it run for a while."""
    found = next(snippet for snippet in RUN if snippet.mark == mark)
    return found.program.replace("from plexus import", "from plexus_mp import") + wait


def test_the_command_of_a_snippet_is_obeyed(vm, tmp_path):
    runs = []

    async def ask(world, placement):
        world.gateway.settings.keys["plx_xxx"] = Grant()
        while not world.gateway.runs.manifest("pod-07"):
            await asyncio.sleep(0.1)
        for outlet in (3, 9):
            runs.append(world.gateway.runs.start("pod-07", "power_off", {"outlet": outlet}, None))
            await asyncio.sleep(5)

    source = _named("@px.command(", "import time\ntime.sleep(60)\n")
    outcome = simulate(program(tmp_path, source), vm, 40, ask, FLASH)
    assert outcome.console == "" and outcome.values("switched") == [1]
    assert [run.state for run in runs] == ["succeeded", "failed"]
    assert runs[0].reported["result"] == {"outlet": 3, "state": "off"}


def test_the_older_command_of_a_snippet_is_obeyed(vm, tmp_path):
    source = _named("px.on_command(", "import time\ntime.sleep(60)\n")
    answers = []

    async def ask(world, placement):
        await asyncio.sleep(5)
        world.gateway.live.relay = answers.append
        device = next(iter(placement.witness.source_ids))
        assert world.gateway.devices.send_typed_command(device, "reboot", {"delay_s": 2})
        await asyncio.sleep(10)

    outcome = simulate(program(tmp_path, source), vm, 40, ask, FLASH)
    assert outcome.console == ""
    told = [json.loads(answer) for answer in answers]
    assert [one["event"] for one in told] == ["ack", "result"]
    assert told[1]["result"] == {"ok": True, "delay": 2}


def _sorted(rows):
    return sorted((metric, canonical(value), cls, canonical(tags)) for metric, value, cls, tags in rows)


HISTORY = """
px = Plexus(source_id="bench-1")
px.send("temperature", 22.5)
px.send("count", 3)
px.send("big", 9007199254740991)
px.send("state", "MOVING")
px.send("on", True)
px.send("off", False)
px.send("position", {"x": 1.5, "y": [1, 2.25, None], "name": "Mühle"})
px.send("angles", [0.5, 1.25, -0.25, 0.0])
px.send("motor.rpm", 3450, tags={"motor_id": "A1", "place": "Süd"})
px.send("as event", 5, data_class="event")
px.send("seconds", 1, timestamp=1800000000.25)
px.send("milliseconds", 1, timestamp=1800000000250)
px.event("fault", "E-stop", tags={"axis": "z"})
px.event("change", {"from": "IDLE", "to": "RUNNING"}, timestamp=1800000001)
px.send_batch([("a", 1), ("b", 2.5), ("c", "text")])
px.send_batch([("a", 1, 1800000002), ("b", 2.5)], timestamp=1800000003, tags={"set": "2"})
with px.batch(interval_ms=50) as b:
    b.send("in batch", 1)
    b.send_batch([("in batch", 2, 1800000004)])
criteria = [{"metric": "within", "operator": "<", "value": 85, "label": "cool"}]
with px.run("good", tags={"build": "a41f"}, metadata={"who": "kt"}, pass_criteria=criteria):
    px.send("within", 80)
    TURN
try:
    with px.run("bad"):
        px.send("within bad", 1)
        TURN
        raise ValueError("stop")
except ValueError:
    pass
run = px.start_run("halves")
px.send("half", 1)
TURN
px.end_run(run, status="aborted")
for refused in (None, float("nan"), float("inf")):
    try:
        px.send("refused", refused)
    except Exception:
        pass
px.close()
"""


def rows_of(windows, rows):
    """What is stored, timestamps aside unless they were given; runs without what tells them again."""
    stamped = {row.timestamp_ms for row in rows if 1_800_000_000_000 <= row.timestamp_ms <= 1_800_000_004_000}
    told = sorted(
        (r.source_id, r.metric, canonical(r.value), r.cls, canonical(_tags(r.tags)),
         r.timestamp_ms if r.timestamp_ms in stamped and r.metric not in ("a", "b") else 0)
        for r in rows
    )  # fmt: skip
    runs = []
    for run in sorted(windows.list_newest("run"), key=lambda run: run.name):
        metadata = {name: value for name, value in run.metadata.items() if name != "client_run_id"}
        ended = run.ended_ms is not None and run.ended_ms >= run.started_ms
        result = run.test_result and run.test_result["passed"]
        runs.append(
            (run.name, run.status, run.source_id, run.tags, metadata, run.pass_criteria, result, ended)
        )
    return told, runs


def _tags(tags):
    return {name: value for name, value in tags.items() if name != "run_id"}


PEERS = {
    "plexus-python": ("from plexus import Plexus", {"PYTHONPATH": str(ROOT / "build/peers/plexus-0.16.0")}),
    "plexus_mp": ("from plexus_mp import Plexus", {"PYTHONPATH": str(ROOT / "lib")}),
}


def through(gateway, client, folder):
    """Run the history through a client, on this Python, against a gateway of its own."""
    gateway.clock_ms = int(time.time() * 1000)
    imports, environment = PEERS[client]
    path = folder / "history.py"
    # The gateway's clock stands still unless told: a turn lets a run last for a moment in both.
    path.write_text(imports + "\nimport time\n" + HISTORY.replace("TURN", "time.sleep(0.3)"))
    url = f"http://127.0.0.1:{gateway.server.port}"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PLEXUS")},
        **environment, "HOME": str(folder), "PLEXUS_API_KEY": "plx_" + "a" * 32, "PLEXUS_GATEWAY_URL": url,
        "PLEXUS_GATEWAY_WS_URL": url.replace("http", "ws"), "PLEXUS_ENDPOINT": url,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, str(path)], env=environment, capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0, done.stderr
    return rows_of(gateway.store.windows, gateway.rows())


def test_one_history_through_both_leaves_the_same(start, tmp_path):  # noqa: F811
    found = {}
    for client in PEERS:
        folder = tmp_path / client
        folder.mkdir()
        found[client] = through(start(), client, folder)
    theirs, ours = found.values()
    assert (
        [row for row in ours[0] if row not in theirs[0]]
        == [row for row in theirs[0] if row not in ours[0]]
        == []
    )
    assert ours == theirs
    assert len(ours[0]) == 24 and [run[1] for run in ours[1]] == ["aborted", "completed", "aborted"], (
        json.dumps(ours)
    )
