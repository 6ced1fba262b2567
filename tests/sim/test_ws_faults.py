"""Faults of the gateway's device WebSocket, as a board meets them that speaks it byte by byte, in virtual time."""

import pytest

from tests.sim.fault_bench import Play, event

# From its fourth second on it sends a frame each second and says what it heard; it connects when it must.
SPEAKS = r"""
import json, network, socket, time
KEY = json.load(open("/plexus.json"))["api_key"]
HELLO = dict(type="device_auth", api_key=KEY, source_id="rig-01", protocol=1, hears_goodbye=True, acks=True)
wlan = network.WLAN(network.STA_IF)
wlan.active(True)
wlan.connect("simulated", "simulated")
while not wlan.isconnected(): time.sleep_ms(100)

def connect():
    s = socket.socket()
    s.settimeout(0.8)
    s.connect(("192.168.4.1", 8765))
    s.send(b"GET /ws/device HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
           b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n")
    head = b""
    while b"\r\n\r\n" not in head:
        head += exactly(s, 1)
    if head[9:12] != b"101":
        raise ValueError("http " + head[9:12].decode())
    say(s, HELLO)
    return s

def say(s, message):
    text = json.dumps(message).encode()
    size = bytes([128 + len(text)]) if len(text) < 126 else b"\xfe" + len(text).to_bytes(2, "big")
    s.send(b"\x81" + size + b"\0\0\0\0" + text)

def exactly(s, n):
    data = b""
    while len(data) < n:
        more = s.recv(n - len(data))
        if not more:
            raise ValueError("end")
        data += more
    return data

def hear(s):
    first, size = exactly(s, 2)
    if size == 126:
        size = int.from_bytes(exactly(s, 2), "big")
    data = exactly(s, size)
    if first == 0x89:
        return "ping"
    if first == 0x88:
        raise ValueError("close %d" % int.from_bytes(data[:2], "big"))
    message = json.loads(data)
    kind = message["type"]
    if kind == "authenticated":
        print(0, message["server_time_ms"], sep=": ")
        return "acks" if message.get("acks") else "no acks"
    if kind == "telemetry_ack":
        return "ack %d" % message["seq"]
    return "%s %s" % (message.get("code") or message["message"], message.get("seq", "-"))

def told(text):
    print(time.ticks_ms() // 1000, text, sep=": ")

s, seq = None, 0
while True:
    time.sleep_ms(1000 - time.ticks_ms() % 1000)
    if time.ticks_ms() < 4000:
        continue
    try:
        if s is None:
            seq = 0
            s = connect()
            told(hear(s))
        seq += 1
        say(s, dict(type="telemetry", seq=seq, points=[dict(metric="m", value=time.ticks_ms())]))
        while True:
            told(hear(s))
    except OSError as e:
        if e.errno == 116:
            continue
        told("E%d" % e.errno)
        s = s and s.close()
    except ValueError as e:
        told(e)
        s = s and s.close()
"""


def heard(tmp_path, toml, seconds=12, **more):
    """What the board heard, by second of its life."""
    play = Play(tmp_path, toml, SPEAKS, seconds, **more)
    found = {}
    for line in play.console.splitlines():
        second, what = line.split(": ", 1)
        found.setdefault(int(second), []).append(what)
    return found, play


def knows_its_name(world, placement):
    placement.witness.source_ids.add("rig-01")


def count_devices(world, placement):
    return len(world.gateway.devices)


def test_without_faults(tmp_path):
    found, play = heard(tmp_path, "", 40)
    assert found[4] == ["acks", "ack 1"] and found[5] == ["ack 2"]
    assert sorted(found[34]) == ["ack 31", "ping"]
    assert play.world.store.count() == 36


CONNECTING = {
    "invalid_key": ["Invalid API key -", "close 1008"],
    "streaming_requires_plan": ["streaming_requires_plan -", "close 1008"],
    "status": ["http 503"],
    "reset": ["E104"],
}


@pytest.mark.parametrize("answer", CONNECTING)
def test_connecting(tmp_path, answer):
    found, _ = heard(tmp_path, event("at = 1", f'fault = "ws_connect"\nanswer = "{answer}"', 4.5))
    refused = CONNECTING[answer]
    assert (found[4], found[5], found[6]) == (refused, refused, ["acks", "ack 1"])


def test_welcomed_late(tmp_path):
    toml = event("at = 1", 'fault = "ws_connect"\nanswer = "slow"\ndelay_ms = 500\ncount = 1')
    found, play = heard(tmp_path, toml, at={4.4: count_devices, 4.9: count_devices})
    assert found[4] == ["acks", "ack 1"] and play.looks == [0, 1]


FRAMES = {
    "rate_limited": (["RATE_LIMITED 3"], ["ack 4"]),
    "source_limit": (["SOURCE_LIMIT 3"], ["ack 4"]),
    "device_limit": (["DEVICE_LIMIT 3"], ["ack 4"]),
    "redis_unavailable": (["REDIS_UNAVAILABLE -", "close 1013"], ["acks", "ack 1"]),
    "reset": (["E104"], ["acks", "ack 1"]),
    "lost": (["E104"], ["acks", "ack 1"]),
    "unacknowledged": (None, ["ack 4"]),
    "late": (None, ["ack 3", "ack 4"]),
    "gathered": (None, ["ack 4"]),
    "slow": (None, ["ack 3", "ack 4"]),
    "hang": (None, None),
}


@pytest.mark.parametrize("answer", FRAMES)
def test_one_frame(tmp_path, answer):
    fault = f'fault = "ws_frame"\nanswer = "{answer}"\n'
    fault += "delay_ms = 1500" if answer == "gathered" else "count = 1"
    found, play = heard(tmp_path, event("at = 5.5", fault, 2))
    assert (found.get(6), found.get(7)) == FRAMES[answer]
    lost = {"rate_limited", "source_limit", "device_limit", "redis_unavailable", "reset", "hang"}
    # A gathered acknowledgement keeps the board listening while it should send.
    expected = {"hang": 2, "gathered": 7}.get(answer, 8 - (answer in lost))
    assert play.world.store.count() == expected


def test_goodbye(tmp_path):
    found, play = heard(tmp_path, event("at = 6.5", 'fault = "ws_goodbye"'))
    assert (found[6], found[7], found[8]) == (["ack 3", "close 1001"], ["acks", "ack 1"], ["ack 2"])
    assert play.world.store.count() == 8


def test_a_goodbye_that_leaves_the_socket_open_swallows_what_is_still_said(tmp_path):
    toml = event("at = 6.9", 'fault = "ws_goodbye"\nsocket = "left_open"', 30)
    found, play = heard(tmp_path, toml)
    assert (found[7], found[8]) == (["close 1001"], ["acks", "ack 1"])
    assert play.world.store.count() == 7  # what was said in second 7 is gone


def test_a_second_device(tmp_path):
    found, _ = heard(tmp_path, event("at = 6.5", 'fault = "ws_second_device"'), before=knows_its_name)
    assert (found[6], found[7]) == (["ack 3", "E104"], ["acks", "ack 1"])


def test_another_generation_also_after_a_restart(tmp_path, caplog):
    toml = event("at = 6.5", 'fault = "generation"', 4) + event("at = 8.5", 'fault = "gateway_restart"', 0.1)
    found, _ = heard(tmp_path, toml, 14)
    assert found[6] == ["ack 3", "close 1001"]
    assert found[7] == ["no acks"] and found[9] == ["no acks"]
    assert found[11] == ["acks", "ack 1"]
    assert not caplog.records


def test_the_gateway_s_clock(tmp_path):
    toml = event("at = 1", 'fault = "gateway_clock"\njump_s = 3600', 60)
    found, play = heard(tmp_path, toml, 6)
    [row, *_] = play.world.store.rows()
    welcomed_ms = int(found[0][0]) - play.world.kernel.epoch_ms
    assert welcomed_ms == pytest.approx(3_604_000, abs=1_000)
    assert row.received_ms - play.world.kernel.epoch_ms == pytest.approx(welcomed_ms, abs=1_000)


def test_a_board_without_power_is_given_up(tmp_path):
    def off(world, placement):
        placement.board.power_off()
        return len(world.gateway.devices)

    _, play = heard(tmp_path, "", 200, at={6.5: off, 90: count_devices, 130: count_devices})
    assert play.looks == [1, 1, 0]


def test_the_same_run_again(tmp_path):
    toml = event("times = 4", 'fault = "ws_frame"\nanswer = "lost"\ncount = 1')
    toml += event("at = 8", 'fault = "ws_goodbye"')
    first, second = (heard(tmp_path, toml, 20)[1].world.digests() for _ in range(2))
    assert first == second
