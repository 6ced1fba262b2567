"""An API key stands in no output, log, exception or repr.

Beside this file every test is searched: what it prints and logs (tests/conftest.py), what simulated boards print
(simulation.py), and what documented commands print (test_docs.py).
"""

import logging
import os
import subprocess
import sys

import pytest

from host_sim.gateway import Grant, Settings
from host_sim.world import ROOT, Target, World
from tests.e2e.simulation import KEYS, program, simulate
from tests.gateway.conftest import KEY, Running, points

COMMANDS = {
    "run, with faults": "-m host_sim run firmware --vm cpython --virtual 10m --seed 7"
    " --board boards/esp32_flash_ring.py --scenario host_sim/scenarios/everything.toml",
    "run, json": "-m host_sim run firmware --vm cpython --virtual 1m --json",
    "run, no gateway there": "-m host_sim run firmware --vm cpython --seconds 3 --gateway http://127.0.0.1:9",
    "gateway, port taken": "-m host_sim gateway --host 203.0.113.1 --api-key " + KEY,
    "board_check": "tools/board_check.py boards/esp32_ram_ring.py --rate 3/2s",
    "help": "-m host_sim run --help",
}


@pytest.mark.parametrize("name", COMMANDS)
def test_commands(name):
    command = [sys.executable, *COMMANDS[name].split()]
    env = {**os.environ, "PLEXUS_API_KEY": KEY}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
    assert done.stdout + done.stderr and "No such option" not in done.stderr
    assert not KEYS.search(done.stdout + done.stderr), done.stdout + done.stderr


TELL = """
import sys
import plexus_mp
from plexus_mp import Plexus, PlexusError
px = Plexus(source_id="teller", tick_ms=0)
seen = []

def tell(what, depth):
    if id(what) in seen or depth > 6:
        return
    seen.append(id(what))
    print(repr(what)[:2000] if not isinstance(what, (bytes, bytearray, memoryview)) else "bytes")
    for name in dir(what):
        if not name.startswith("__") and name not in ("_hello", "_head", "_headers"):
            try:
                tell(getattr(what, name), depth + 1)
            except Exception as e:
                print(repr(e))

px.send("m", 1)
px.sleep(3)
for part in (px, px._link, px._link.session, px._recorder, px._outbox):
    tell(part, 4)
print(px.stats, px.clock.source, px._link.last_error)
for wrong in (lambda: px.send("", 1), lambda: px.send("m", None), lambda: px.run(5), lambda: Plexus(ring_bytes="x")):
    try:
        wrong()
    except Exception as e:
        sys.print_exception(e)
px.close()
"""
REFUSED = """
import sys
from plexus_mp import Plexus
px = Plexus(source_id="refused", api_key="plx_0123456789abcdefghijklmnopqrstuv", tick_ms=0)
px.on_status(print)
px.send("m", 1)
for _ in range(2):
    try:
        px.flush_buffer(5)
    except Exception as e:
        sys.print_exception(e)
        print(px, repr(e), px._link.last_error)
px.close(1)
"""


@pytest.mark.parametrize("source", [TELL, REFUSED], ids=["tell", "refused"])
def test_a_board_that_tells_all_it_knows(vm, tmp_path, source):
    """`simulate` searches the console; the three attributes left out hold the key, as bytes to be sent."""
    outcome = simulate(program(tmp_path, source), vm, 60)
    assert len(outcome.console) > 200


def test_reprs_of_the_host():
    world = World(1, virtual=True)
    told = [
        Target("http://gw", KEY),
        Settings(keys={KEY: None}),
        world,
        world.gateway,
        world.gateway.settings,
    ]
    told += [world.gateway.conditions, world.gateway._authenticator]
    world.gateway.conditions.billing_disabled.add(KEY)
    assert not KEYS.search("".join(map(repr, told)))
    world.kernel.close()


class Stumbles:
    async def before(self, request):
        raise RuntimeError("a fault of the gateway's own")


def test_logs_of_a_gateway_that_meets_everything(caplog):
    caplog.set_level(logging.DEBUG)
    gateway = Running(Settings(keys={KEY: Grant()}), None, "sqlite://")
    try:
        gateway.gateway.script = Stumbles()
        answers = [gateway.post(points(1))]
        gateway.gateway.script = None
        answers += [gateway.post(b"{", KEY), gateway.post(points(1), KEY + "x")]
        answers += [gateway.get("/api/runs"), gateway.get("/health"), gateway.get("/nothing")]
    finally:
        gateway.stop()
    assert answers[0].status == 500 and "request failed" in caplog.text
    told = caplog.text + "".join(f"{answer.headers}{answer.body}" for answer in answers)
    assert not KEYS.search(told)


def test_the_search_finds_keys():
    assert KEYS.search(f"x {KEY} y") and KEYS.search(World(1, virtual=True)._api_key)
