"""Faults of a scenario: how each begins, what it does, and how it ends."""

from contextlib import suppress

import pytest

from host_sim.faults import FAULTS
from host_sim.world import VIRTUAL_GATEWAY, VIRTUAL_TLS_PORT
from tests.sim.fault_bench import Play, event


def _listens(world, placement):
    listeners = world._net._listeners
    return VIRTUAL_GATEWAY in listeners and world.gateway_runs


def _bus(world, placement):
    with suppress(OSError):
        return placement.board.i2c.readfrom_mem(0x76, 0xD0, 1) == b"\x60"
    return False


def _tls(world, placement):
    tls = world._tls
    return tls is None or (tls.identity is world.identities.good and tls.mode == "tls")


# What each fault that has an end holds: the fault, and what is True without it.
HELD = {
    "wifi": ('fault = "wifi"', lambda w, p: p.board.wifi.available),
    "no_internet": (
        'fault = "wifi"\nstate = "no_internet"',
        lambda w, p: p.wires.path.dns == "ok" and not p.wires.path.swallow,
    ),
    "dns_hang": ('fault = "dns"', lambda w, p: p.wires.path.dns == "ok"),
    "dns_fail": ('fault = "dns"\nmode = "fail"', lambda w, p: p.wires.path.dns == "ok"),
    "stall": ('fault = "transport"\naction = "stall"', lambda w, p: not p.wires.path.stalled),
    "black_hole": ('fault = "transport"\naction = "black_hole"', lambda w, p: not p.wires.path.swallow),
    "refuse": ('fault = "transport"\naction = "refuse"', lambda w, p: not p.wires.path.refuse),
    "latency": ('fault = "latency"\nup_ms = 3', lambda w, p: p.wires.path.up_us == 0),
    "gateway": ('fault = "gateway"', lambda w, p: not w.answers._rules),
    "ws_connect": ('fault = "ws_connect"', lambda w, p: not w.answers._rules),
    "ws_frame": ('fault = "ws_frame"\nanswer = "lost"', lambda w, p: not w.answers._rules),
    "generation": ('fault = "generation"', lambda w, p: w.gateway.generation == "oct"),
    "gateway_restart": ('fault = "gateway_restart"', _listens),
    "gateway_clock": ('fault = "gateway_clock"\njump_s = 60', lambda w, p: w.gateway_skew_ms == 0),
    "tls": ('fault = "tls"\ncertificate = "expired"', _tls),
    "tls_stall": ('fault = "tls"\nmode = "stall"', _tls),
    "power": ('fault = "power"', lambda w, p: p.board.powered),
    "bad_sector": (
        'fault = "flash"\naction = "bad_sector"\nsector = 3',
        lambda w, p: 3 not in p.board.flash._bad,
    ),
    "unplugged": ('fault = "sensor"', _bus),
    "hung": ('fault = "sensor"\nstate = "hung"', lambda w, p: not p.sensor.hung),
    "nack": ('fault = "sensor"\nstate = "nack"', _bus),
    "stuck": ('fault = "sensor"\nstate = "stuck"', _bus),
    "garbage": ('fault = "sensor"\nstate = "garbage"', _bus),
    "heap": ('fault = "heap"', lambda w, p: p.board.exhausted is None),
    "heap_python": ('fault = "heap"\nkind = "python"', lambda w, p: p.board.exhausted is None),
}
# What has no end, or ends at once; each has a test of its own.
MOMENTS = {
    "transport": 'fault = "transport"',
    "reset_after": 'fault = "transport"\naction = "reset_after"',
    "half_close": 'fault = "transport"\naction = "half_close"',
    "evict": 'fault = "evict"',
    "ws_goodbye": 'fault = "ws_goodbye"',
    "ws_second_device": 'fault = "ws_second_device"',
    "brown_out": 'fault = "power"\naction = "brown_out"\ncount = 2',
    "reset": 'fault = "power"\naction = "reset"',
    "rot": 'fault = "flash"',
    "error": 'fault = "flash"\naction = "error"',
    "flash_cut": 'fault = "flash"\naction = "cut"',
    "clock": 'fault = "clock"\nrtc_jump_s = 5',
}
ALL = {**{name: fault for name, (fault, _) in HELD.items()}, **MOMENTS}
held = pytest.mark.parametrize("name", HELD)


def looks(tmp_path, name, spans, moments):
    """What is seen at each of `moments` while the fault holds during the `spans` (at, for)."""
    fault, is_well = HELD[name]
    toml = "".join(event(f"at = {at}", fault, seconds) for at, seconds in spans)
    return Play(tmp_path, toml, at=dict.fromkeys(moments, is_well)).looks


def test_every_kind_of_fault_is_here():
    assert {fault.split('"')[1] for fault in ALL.values()} == set(FAULTS)


@held
def test_it_begins_and_ends(tmp_path, name):
    assert looks(tmp_path, name, [(5, 5)], [4.9, 5.1, 9.9, 10.1]) == [True, False, False, True]


@held
def test_the_end_of_one_is_not_the_end_of_another(tmp_path, name):
    moments = [1.9, 5, 8.5, 11.9, 12.1]
    assert looks(tmp_path, name, [(2, 6), (4, 8)], moments) == [True, False, False, False, True]
    assert looks(tmp_path, name, [(2, 10), (4, 4)], moments) == [True, False, False, False, True]


@pytest.mark.parametrize("name", ALL)
def test_on_a_board_without_power(tmp_path, name):
    def off(world, placement):
        placement.board.power_off()

    toml = event("at = 2", ALL[name], 3 if name in HELD else None)
    play = Play(tmp_path, toml, before=off, at={9: lambda w, p: p.board.powered})
    assert play.looks == [False] and play.director.injected.total() == 1


@pytest.mark.parametrize("name", ALL)
def test_an_end_after_the_run_is_no_end(tmp_path, name):
    toml = event("at = 19.95", ALL[name], 0.1 if name in HELD else None) + event("at = 20.01", ALL[name])
    toml += event("every = 9", ALL[name])
    play = Play(tmp_path, toml, at={20.09: lambda w, p: p.board.powered})
    assert play.looks == [False] and play.director.injected.total() == 3


# overlaps of different settings


def test_the_newest_latency_shows_and_the_older_returns(tmp_path):
    toml = event("at = 2", 'fault = "latency"\nup_ms = 10', 10) + event(
        "at = 4", 'fault = "latency"\nup_ms = 40\njitter_ms = 1', 4
    )

    def look(world, placement):
        path = placement.wires.path
        return path.up_us, path.jitter_us

    play = Play(tmp_path, toml, at=dict.fromkeys([3, 5, 9, 13], look))
    assert play.looks == [(10_000, 0), (40_000, 1_000), (10_000, 0), (0, 0)]


def test_no_internet_within_a_dns_fault(tmp_path):
    toml = event("at = 2", 'fault = "dns"', 10) + event("at = 4", 'fault = "wifi"\nstate = "no_internet"', 4)
    play = Play(tmp_path, toml, at=dict.fromkeys([3, 5, 9, 13], lambda w, p: p.wires.path.dns))
    assert play.looks == ["hang", "fail", "hang", "ok"]


def test_jumps_of_the_gateway_s_clock_add_up(tmp_path):
    fault = 'fault = "gateway_clock"\njump_s = '
    toml = event("at = 2", fault + "60", 6) + event("at = 4", fault + "-5", 8)
    play = Play(tmp_path, toml, at=dict.fromkeys([3, 5, 9, 13], lambda w, p: w.gateway_skew_ms))
    assert play.looks == [60_000, 55_000, -5_000, 0]


def test_a_reset_during_an_outage_brings_no_power(tmp_path):
    toml = event("at = 2", 'fault = "power"', 4)
    toml += event("at = 2", 'fault = "power"\naction = "reset"')
    toml += event("at = 3", 'fault = "power"\naction = "reset"')
    toml += event("at = 3.5", 'fault = "power"\naction = "brown_out"\ncount = 1')
    play = Play(tmp_path, toml, at=dict.fromkeys([2.5, 3.1, 3.9, 6.1], lambda w, p: p.board.powered))
    assert play.looks == [False, False, False, True] and play.placement.board.boots == 2


def test_tls_that_first_comes_during_a_restart_is_not_served_before_its_end(tmp_path):
    toml = event("at = 2", 'fault = "gateway_restart"', 5) + event("at = 3", 'fault = "tls"', 10)

    def look(world, placement):
        return (VIRTUAL_GATEWAY[0], VIRTUAL_TLS_PORT) in world._net._listeners

    assert Play(tmp_path, toml, at=dict.fromkeys([4, 8], look)).looks == [False, True]


# what firmware meets

CAUSE = """
import machine, time
print(machine.reset_cause(), time.ticks_ms() // 1000)
while True: time.sleep(1)
"""


def test_cut_during_deep_sleep(tmp_path):
    source = "import machine\nprint(machine.reset_cause())\nmachine.deepsleep(10_000)\n"
    play = Play(tmp_path, event("at = 5", 'fault = "power"', 2), source, 16)
    assert play.console.split() == ["1", "1"]  # it sleeps ten seconds again: nothing woke it at 10
    assert Play(tmp_path, event("at = 5", 'fault = "power"', 2), source, 18).console.split() == [
        "1",
        "1",
        "4",
    ]


@pytest.mark.parametrize(
    ("name", "causes"), [("reset", ["1", "1"]), ("brown_out", ["1", "3", "3"]), ("power", ["1", "1"])]
)
def test_causes_of_resets(tmp_path, name, causes):
    play = Play(tmp_path, event("at = 5", ALL[name], 1), CAUSE)
    assert play.console.split()[::2] == causes


WRITES = """
import esp32, time
part = esp32.Partition.find(esp32.Partition.TYPE_DATA, label="vfs")[0]
def attempt():
    try:
        part.ioctl(6, 0)
        part.writeblocks(0, b"a" * 4096)
        buf = bytearray(4096)
        part.readblocks(0, buf)
        return buf == b"a" * 4096
    except OSError as e:
        return e.errno
for i in range(6):
    print(attempt())
    time.sleep(2)
"""


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ('fault = "flash"\naction = "error"', "True True 5 True True True"),
        ('fault = "flash"\naction = "cut"', "True True True True True True True True"),
    ],
)
def test_flash(tmp_path, fault, said):
    play = Play(tmp_path, event("at = 3", fault, 1 if "cut" in fault else None), WRITES)
    assert play.console.split() == said.split()
    assert play.placement.board.boots == (2 if "cut" in fault else 1)


def test_rot(tmp_path):
    def digest(world, placement):
        return placement.board.flash.digest()

    before, after = Play(
        tmp_path, event("at = 13", 'fault = "flash"'), WRITES, at={12.9: digest, 14: digest}
    ).looks
    assert before != after


def test_clock(tmp_path):
    source = "import time\nwhile time.ticks_ms() < 9000:\n    print(time.time()); time.sleep(4)\n"
    play = Play(tmp_path, event("at = 3", 'fault = "clock"\nrtc_jump_s = 1000'), source)
    first, second, _ = map(int, play.console.split())
    assert second - first in (1004, 1005)


TALKS = """
import network, socket, time
wlan = network.WLAN(network.STA_IF)
wlan.active(True)
wlan.connect("simulated", "simulated")
while not wlan.isconnected(): time.sleep_ms(100)
def attempt():
    try:
        s = socket.socket()
        s.settimeout(3)
        s.connect(("192.168.4.1", 8765))
        s.send(b"GET /health HTTP/1.1\\r\\n")
        time.sleep(2)
        s.send(b"Host: x\\r\\nConnection: close\\r\\n\\r\\n")
        return s.recv(12).decode()[9:] or "end"
    except (OSError, MemoryError) as e:
        return e.errno if isinstance(e, OSError) else "memory"
    finally:
        try:
            s.close()
        except MemoryError:
            pass
while time.ticks_ms() < 4000: time.sleep_ms(10)
print(attempt())
"""


@pytest.mark.parametrize(
    ("fault", "seconds", "said"),
    [
        ('fault = "transport"', None, "104"),
        ('fault = "transport"\naction = "reset_after"\nbytes = 4', None, "104"),
        ('fault = "transport"\naction = "half_close"', None, "end"),
        ('fault = "transport"\naction = "stall"', 2, "200"),
        ('fault = "transport"\naction = "black_hole"', 2, "116"),
        ('fault = "evict"', None, "104"),
        ('fault = "wifi"', 1, "113"),
        ('fault = "latency"\nup_ms = 2000\ndown_ms = 1500', 9, "116"),
        ('fault = "gateway_restart"', 1, "104"),
        ('fault = "heap"', 9, "12"),
        ('fault = "heap"\nkind = "python"', 9, "memory"),
    ],
)
def test_what_a_talking_board_meets(tmp_path, fault, seconds, said):
    assert Play(tmp_path, event("at = 5", fault, seconds), TALKS).console.strip() == said
