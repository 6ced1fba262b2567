"""After a cut nothing of the firmware runs: no except, no finally, no exit, no close, on either VM."""

import asyncio

import pytest

from tests.e2e.simulation import program, simulate

CLEAN_UP = """
import time

def leave(what):
    print("cleaned up:", what)
    open("/evidence", "w").close()

class Exit:
    def __enter__(self):
        return self
    def __exit__(self, *exc):
        leave("with")

def generate():
    try:
        yield 1
        yield 2
    finally:
        leave("generator")

async def task():
    try:
        import asyncio
        await asyncio.sleep(1000)
    finally:
        leave("task")

def run():
    g = generate()
    next(g)
    try:
        with Exit():
            print("waiting")
            %s
    except BaseException as e:
        leave("except " + repr(e))
        raise
    finally:
        leave("finally")

run()
"""

WAITS = {
    "sleep": "time.sleep(1000)",
    "busy": "\n            while True: time.ticks_ms()",
    "socket": (
        "\n            import socket\n            time.sleep(2)"
        "\n            s = socket.socket(); s.connect(('192.168.4.1', 8765)); s.recv(1)"
    ),
    "asyncio": "\n            import asyncio\n            asyncio.run(task())",
}


@pytest.mark.parametrize("wait", WAITS)
def test_no_clean_up_after_a_cut(vm, wait, tmp_path):
    async def cut(world, placement):
        await asyncio.sleep(2 if wait == "busy" else 5)  # one of those turns takes some µs of board time
        placement.board.power_off()
        await asyncio.sleep(5)

    outcome = simulate(program(tmp_path, CLEAN_UP % WAITS[wait]), vm, 20, cut)
    assert outcome.console.strip() == "waiting"
    names = [name for name, _, _ in outcome.world.placements[0].board.files.listdir("/")]
    assert "evidence" not in names


CUT_IN_A_CALL = """
import machine
try:
    with open("/kept", "w") as f:
        f.write("x")
        machine.I2C(0).scan()
finally:
    print("never")
"""


def test_a_cut_inside_a_call_does_not_return(vm, tmp_path):
    def prepare(placement):
        placement.board.watch_call("machine.i2c_scan", 1, placement.board.power_off)

    outcome = simulate(program(tmp_path, CUT_IN_A_CALL), vm, 5, prepare=prepare)
    assert outcome.console == ""
    assert outcome.world.placements[0].board.files.read("/kept") == b""


CAUSES = """
import machine, time
n = 0
try:
    n = int(open("/n").read())
except OSError:
    pass
print(n, machine.reset_cause(), machine.RTC().memory() if n else "")
with open("/n", "w") as f:
    f.write(str(n + 1))
if n == 0:
    machine.RTC().memory(b"kept")
    machine.reset()
if n == 1:
    machine.deepsleep(5000)
if n == 2:
    wdt = machine.WDT(timeout=3000)
    for i in range(5):
        time.sleep(2)
        wdt.feed()
    time.sleep(10)
time.sleep(1000)
"""


def test_reset_causes_and_rtc_memory(vm, tmp_path):
    async def cut(world, placement):
        await asyncio.sleep(40)
        placement.board.brown_out(50_000)
        await asyncio.sleep(5)
        placement.board.power_off()
        await asyncio.sleep(5)
        placement.board.power_on()
        await asyncio.sleep(1)

    outcome = simulate(program(tmp_path, CAUSES), vm, 60, cut)
    assert outcome.console.splitlines() == [
        "0 1 ",
        "1 5 b'kept'",
        "2 4 b'kept'",
        "3 3 b'kept'",
        "4 3 b'kept'",
        "5 1 b''",
    ]


BROWN_OUTS = """
import machine
print(machine.reset_cause())
machine.RTC().memory(b"" + bytes([1]))
"""


def test_a_brown_out_loop_ends(vm, tmp_path):
    async def sag(world, placement):
        for _ in range(4):
            await asyncio.sleep(0.1)
            placement.board.brown_out(50_000)
        await asyncio.sleep(2)

    outcome = simulate(program(tmp_path, BROWN_OUTS), vm, 10, sag)
    assert outcome.console.splitlines()[-1] == "3" and outcome.world.placements[0].board.boots == 5


@pytest.mark.parametrize(
    "source", ["while True: pass", "try:\n    while True: pass\nfinally:\n    print('never')"]
)
def test_firmware_that_never_calls_is_stopped(vm, source, tmp_path, monkeypatch, capsys):
    from host_sim import guard
    from host_sim.vms import pipe
    from host_sim.world import ROOT, World

    monkeypatch.setattr(guard, "WALL_GUARD_S", 1.0)
    monkeypatch.setattr(pipe, "WALL_GUARD_S", 1.0)
    world = World(1, virtual=True)
    console = []

    async def run():
        await world.start()
        folder = program(tmp_path, source)
        placement = world.add_board(folder, ROOT / "boards/esp32.py", vm, console=console.append)
        placement.board.power_on()
        await asyncio.sleep(5)
        return placement.board

    board = world.kernel.run(run())
    assert isinstance(board.error, guard.FirmwareHangs)
    assert "called nothing" in capsys.readouterr().err and console == []
    board.power_off()
