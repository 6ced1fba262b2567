"""When the faults of a scenario come, and which cannot."""

import asyncio

import pytest

from host_sim.faults import FAULTS, Fault
from host_sim.scenario import ScenarioError, load_scenario
from host_sim.world import ROOT, Target, World
from tests.e2e.simulation import BOARD, FIRMWARE
from tests.sim.fault_bench import Play, event

# when it comes


@pytest.fixture
def marks(monkeypatch):
    """The moments, in seconds, of the fault `mark`."""
    times = []

    def start(world, placement, settings):
        times.append(round(placement.board.now_us() / 1e6, 3))

    monkeypatch.setitem(FAULTS, "mark", Fault(start))
    return times


def test_at_and_every(tmp_path, marks):
    play = Play(tmp_path, event("at = 3", 'fault = "mark"') + event('every = "6s"', 'fault = "mark"'))
    assert marks == [3, 6, 12, 18] and play.director.injected == {"mark": 4}


def test_a_week_of_every_second_is_not_armed_at_once(tmp_path, marks):
    path = tmp_path / "s.toml"
    path.write_text(event("every = 1", 'fault = "mark"'))
    world = World(1, virtual=True)

    async def run():
        await world.start()
        placement = world.add_board(FIRMWARE, BOARD, "cpython")
        before = len(world.kernel.loop._scheduled)
        world.direct(placement, load_scenario(path), 7 * 86_400)
        assert len(world.kernel.loop._scheduled) == before + 1

    world.kernel.run(run())
    world.kernel.loop.close()


def test_at_random_but_the_same_for_the_same_seed(tmp_path, marks):
    toml = event("times = 9", 'fault = "mark"')
    for seed in (1, 1, 2):
        Play(tmp_path, toml, seed=seed)
    first, again, other = marks[:9], marks[9:18], marks[18:]
    assert first == again != other and first == sorted(first) and first[0] >= 0 and first[-1] <= 20


def test_at_a_call(tmp_path, marks):
    source = "import machine, time\ni2c = machine.I2C(0)\nfor i in range(5):\n    time.sleep(2); i2c.scan()\n"
    Play(tmp_path, event('call = "machine.i2c_scan"\nnth = 3', 'fault = "mark"'), source)
    [at_s] = marks
    assert 6 <= at_s < 6.1


def test_at_a_post(tmp_path, monkeypatch):
    posts = []

    def start(world, placement, settings):
        posts.append(world.answers.posts)

    monkeypatch.setitem(FAULTS, "mark", Fault(start))
    toml = event("post = 3", 'fault = "mark"') + event("post = 5", 'fault = "gateway"\ncount = 1')
    source = "import time\nfrom plexus_mp import Plexus\npx = Plexus(transport='http')\n"
    source += "for i in range(30):\n    px.send('n', i); time.sleep(1)\n"
    play = Play(tmp_path, toml, source, seconds=60)
    assert posts == [3] and play.world.answers.used == 1 and play.verdict.clean


# scenarios that cannot be


@pytest.mark.parametrize(
    ("toml", "line", "words", "world"),
    [
        ('\n[[event]]\ncall = "machine.fly"\nfault = "wifi"', 2, ["call", "'machine.fly'", "i2c_scan"], {}),
        ('[[event]]\nat = 1\nfault = "tls"', 1, ["tls", "virtual time"], {}),
        (
            '[[event]]\nat = 1\nfault = "evict"',
            1,
            ["evict", "own gateway"],
            {"target": Target("http://h", "k")},
        ),
        (
            '[[event]]\npost = 1\nfault = "wifi"',
            1,
            ["post", "own gateway"],
            {"target": Target("http://h", "k")},
        ),
    ],
)
def test_what_cannot_be_played_names_file_and_line(tmp_path, toml, line, words, world):
    path = tmp_path / "s.toml"
    path.write_text(toml)
    made = World(**world)

    async def run():
        await made.start()
        made.direct(made.add_board(FIRMWARE, BOARD, "cpython"), load_scenario(path), 10)

    with pytest.raises(ScenarioError) as raised:
        made.kernel.run(run())
    message = str(raised.value)
    assert message.startswith(f"{path}:{line}: ") and all(word in message for word in words)
    made.kernel.run(_stop(made))
    made.kernel.loop.close()


async def _stop(world):
    await world.finish()


def test_a_sector_is_a_whole_number(tmp_path):
    path = tmp_path / "s.toml"
    path.write_text('[[event]]\nat = 1\nfault = "flash"\nsector = 1.5')
    with pytest.raises(ScenarioError, match=r"s\.toml:4: sector: must be a whole number"):
        load_scenario(path)


# in real time

REAL = (
    event("at = 0.6", 'fault = "transport"')
    + event("at = 0.7", 'fault = "transport"\naction = "stall"', 0.2)
    + event("at = 1", 'fault = "evict"')
    + event("at = 1.1", 'fault = "gateway_restart"', 0.3)
    + event("at = 1.2", 'fault = "gateway_restart"', 0.4)
    + event("at = 1.7", 'fault = "wifi"', 0.2)
    + event("at = 2.19", 'fault = "gateway_restart"', 0.01)
)


def test_in_real_time_too(tmp_path):
    path = tmp_path / "s.toml"
    path.write_text(REAL)
    world = World(1)
    wrong = []
    world.kernel.loop.set_exception_handler(lambda loop, context: wrong.append(context))

    async def run():
        await world.start()
        server = world.server
        placement = world.add_board(ROOT / "firmware", BOARD, "cpython", console=lambda text: None)
        director = world.direct(placement, load_scenario(path), 2.2)
        placement.board.power_on()
        await asyncio.sleep(1.45)
        assert not world.gateway_runs and world.server is server
        await asyncio.sleep(0.75)
        verdict = await world.finish()
        assert world.server is not server and world.server.port == server.port
        assert director.injected.total() == 7
        return verdict

    verdict = world.kernel.run(run())
    assert verdict.clean and verdict.accepted and not wrong
    assert not world._real.open and not world.placements[0].wires.open
    world.kernel.loop.close()


@pytest.mark.parametrize("turns", range(4))
def test_a_gateway_that_dies_while_it_starts_is_dead(turns):
    world = World(1)

    async def run():
        await world.start()
        for _ in range(2):
            world.stop_gateway()
            world.restart_gateway()
            for _ in range(turns):
                await asyncio.sleep(0)
        world.stop_gateway()
        await asyncio.sleep(0.02)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", world.server.port)
        world.restart_gateway()
        return await world.finish()

    world.kernel.run(run())
    world.kernel.loop.close()
