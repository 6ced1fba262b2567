"""TLS as a board's firmware meets it: every refusal in its words, the board's own clock, memory for one."""

from __future__ import annotations

import asyncio
from functools import lru_cache

import pytest

from host_sim.authority import Authority, Identities, make_identities
from host_sim.tls_server import PLAIN, STALL, tls_factory
from host_sim.world import VIRTUAL_EPOCH_MS, VIRTUAL_GATEWAY
from tests.e2e.simulation import VMS, program, simulate

HOST = "gateway.test"
ADDRESS = VIRTUAL_GATEWAY[0]
NOW_S = VIRTUAL_EPOCH_MS // 1000
KINDS = ("good", "expired", "not_yet_valid", "wrong_host", "other_ca", "self_signed", PLAIN, STALL, "by_address")
PORTS = {kind: 8441 + i for i, kind in enumerate(KINDS)}

PRELUDE = f"""
import machine, network, select, socket, ssl, tls, time

HOST = "{HOST}"
KINDS = {KINDS!r}
PORTS = {PORTS!r}
REQUEST = b"GET /health HTTP/1.1\\r\\nHost: gateway.test\\r\\nConnection: close\\r\\n\\r\\n"

def set_clock(year=2027):
    machine.RTC().datetime((year, 1, 15, 0, 8, 0, 0, 0))

def connect(kind="good", timeout=None):
    s = socket.socket()
    s.settimeout(timeout)
    s.connect(socket.getaddrinfo(HOST, PORTS[kind])[0][-1])
    return s

def context(mode=ssl.CERT_REQUIRED, ca="/ca.der"):
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    c.verify_mode = mode
    if ca:
        c.load_verify_locations(cafile=ca)
    return c

def said(e):
    name = "OSError" if isinstance(e, OSError) else "ValueError"
    return "%s %r" % (name, e.args if len(e.args) > 1 and e.args[0] < 0 else e.args[:1])

def attempt(kind="good", host=HOST, timeout=None, **settings):
    s = connect(kind, timeout)
    try:
        t = context(**settings).wrap_socket(s, server_hostname=host)
    except (OSError, ValueError) as e:
        s.close()
        return said(e)
    t.close()
    return "connected"

while not network.WLAN(network.STA_IF).isconnected():
    time.sleep_ms(50)
"""


@pytest.fixture(params=VMS)
def vm(request):
    return request.param


@lru_cache
def authority() -> Authority:
    return Authority()


@lru_cache
def identities() -> Identities:
    return make_identities(authority(), HOST, NOW_S)


class Bench:
    """Runs a firmware against one TLS listener for each kind of server."""

    def __init__(self, vm, folder):
        self.vm = vm
        self.folder = folder
        self.ports = {}

    def run(self, source, seconds=60.0, during=None, prepare=None):
        """What it printed, line by line."""

        async def serve(world, placement):
            self._listen(world)
            if during:
                await during(world, placement)

        def copy(placement):
            self.placement = placement
            placement.board.files.write("/ca.der", authority().der)
            placement.board.files.write("/ca.pem", authority().pem)
            if prepare:
                prepare(placement)

        firmware = program(self.folder, PRELUDE + source)
        self.outcome = simulate(firmware, self.vm, seconds, serve, prepare=copy)
        return self.outcome.console.splitlines()

    def _listen(self, world):
        world._net.names[HOST] = ADDRESS
        for kind, port in PORTS.items():
            identity = getattr(identities(), kind, identities().good)
            if kind == "by_address":
                identity = authority().issue(ADDRESS, NOW_S - 86400, NOW_S + 86400)
            mode = kind if kind in (PLAIN, STALL) else "tls"
            self.ports[kind] = tls_factory(world._factory, identity, mode)
            world._net.listen(ADDRESS, port, self.ports[kind])


@pytest.fixture
def bench(vm, tmp_path):
    return Bench(vm, tmp_path)


BLOCKING = """
set_clock()
t = context().wrap_socket(connect(), server_hostname=HOST)
print(t.write(REQUEST) == len(REQUEST))
print(t.readline())
rest = t.read()
print(b"200" in rest or b"{" in rest, t.read(10))
print(t.cipher())
print(t.getpeercert(True)[:2])
t.close()
t.close()
"""


def test_a_blocking_request(bench):
    lines = bench.run(BLOCKING)
    assert lines[0] == "True"
    assert lines[1] == r"b'HTTP/1.1 200 OK\r\n'"
    assert lines[2] == "True b''"
    assert lines[3] == "('TLS-ECDHE-RSA-WITH-AES-256-GCM-SHA384', 'TLSv1.2')"
    assert lines[4] == r"b'0\x82'"
    assert len(lines) == 5


NON_BLOCKING = """
set_clock()
s = connect()
s.setblocking(False)
t = ssl.wrap_socket(s, cert_reqs=ssl.CERT_REQUIRED, cadata=open("/ca.pem", "rb").read(),
                    server_hostname=HOST, do_handshake=False)
poller = select.poll()
poller.register(t, select.POLLOUT)
print(t.getpeercert(True), t.write(REQUEST))
calls = 0
todo = REQUEST
while todo:
    assert poller.poll(5000)
    n = t.write(todo)
    calls += 1
    todo = todo[n or 0:]
print(1 < calls < 20)
poller.register(t, select.POLLIN)
print(t.read(10))
buf = bytearray(64)
n = None
while n is None:
    assert poller.poll(5000)
    n = t.readinto(buf)
print(buf[:15])
while True:
    assert poller.poll(5000)
    data = t.read(100)
    if data == b"":
        break
t.close()
"""


def test_a_non_blocking_request(bench):
    lines = bench.run(NON_BLOCKING)
    assert lines == ["None None", "True", "None", "bytearray(b'HTTP/1.1 200 OK')"]
    assert bench.placement.board.net.open_sockets == 0


REFUSALS = """
print(attempt())
set_clock()
for kind in KINDS[:7]:
    print(attempt(kind))
print(attempt(ca=None))
print(attempt("other_ca", mode=ssl.CERT_NONE, ca=None))
print(attempt("other_ca", mode=ssl.CERT_OPTIONAL))
print(attempt(host=None))
print(attempt(ca="/ca.pem"), attempt("by_address", host=PLACE), attempt("by_address"))
print(attempt("expired", host="other.test"))
print(attempt("stall", timeout=5))
set_clock(2031)
print(attempt())
set_clock(2100)
print(attempt())
""".replace("PLACE", repr(ADDRESS))

FUTURE = r"ValueError ('\nThe certificate validity starts in the future\n',)"
EXPIRED = r"ValueError ('\nThe certificate validity has expired\n',)"
NAME_TEXT = r"\nThe certificate Common Name (CN) does not match with the expected CN\n"
MISMATCH = f"ValueError ('{NAME_TEXT}',)"
UNTRUSTED = r"ValueError ('\nThe certificate is not correctly signed by the trusted CA\n',)"


def test_every_refusal_has_its_words(bench):
    # A board that was never told the time is in the year 2000, where even the authority is of the future.
    expected = [
        FUTURE,
        "connected",
        EXPIRED,
        FUTURE,
        MISMATCH,
        UNTRUSTED,
        UNTRUSTED,
        "OSError (-29184, 'MBEDTLS_ERR_SSL_INVALID_RECORD')",
        "OSError (-30336, 'MBEDTLS_ERR_SSL_CA_CHAIN_REQUIRED')",
        "connected",
        "connected",
        "ValueError ('CERT_REQUIRED requires server_hostname',)",
        f"connected connected {MISMATCH}",
        rf"ValueError ('\nThe certificate validity has expired\n{NAME_TEXT}',)",
        "OSError (116,)",
        EXPIRED,
        EXPIRED,
    ]
    assert bench.run(REFUSALS) == expected
    assert bench.placement.board.net.open_sockets == 0
    assert bench.ports["expired"].failures == 2
    assert bench.ports["good"].handshakes == 2


SECOND = """
set_clock()
one = context().wrap_socket(connect(), server_hostname=HOST)
other = connect()
try:
    context().wrap_socket(other, server_hostname=HOST)
except OSError as e:
    print(said(e))
other.close()
one.close()
print(attempt())
dropped = connect()
context().wrap_socket(dropped, server_hostname=HOST, do_handshake_on_connect=False)
dropped.close()
print(attempt())
"""


def test_memory_for_one_tls_socket(bench):
    assert bench.run(SECOND) == ["OSError (12,)", "connected", "connected"]
    assert bench.placement.board.net.open_sockets == 0


def test_a_board_with_room_for_two(bench):
    def prepare(placement):
        placement.board.net.tls_sockets_max = 2

    source = SECOND.replace("print(said(e))", "print(said(e))\nelse:\n    print('two')")
    assert bench.run(source, prepare=prepare)[0] == "two"


LATER_FAILURES = """
set_clock()
s = connect("wrong_host")
s.setblocking(False)
t = context().wrap_socket(s, server_hostname=HOST, do_handshake_on_connect=False)
poller = select.poll()
poller.register(t)
for _ in range(3):
    try:
        while t.read(10) is None:
            time.sleep_ms(10)
    except (OSError, ValueError) as e:
        print(said(e))
print([event for _, event in poller.poll(0)], t.getpeercert(True))
t.close()
print(s.write(b"x"))
s.close()
try:
    context().load_verify_locations(cadata=b"no certificate")
except ValueError as e:
    print(said(e))
"""


def test_after_a_refused_handshake_the_socket_is_still_to_be_closed(bench):
    failed = "OSError (-9984, 'MBEDTLS_ERR_X509_CERT_VERIFY_FAILED')"
    expected = [MISMATCH, failed, failed, "[32] None", "1", "ValueError ('invalid cert',)"]
    assert bench.run(LATER_FAILURES) == expected
    assert bench.placement.board.net.open_sockets == 0


CALLBACK = """
c = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
print(c.verify_mode == tls.CERT_REQUIRED, context(ca=None).verify_mode == ssl.CERT_REQUIRED)
c.load_verify_locations(open("/ca.der", "rb").read())
seen = []
c.verify_callback = lambda certificate, depth: seen.append((depth, bytes(certificate))) or 0
s = connect()
try:
    c.wrap_socket(s, server_hostname=HOST)
except ValueError as e:
    print(said(e))
s.close()
print([depth for depth, _ in seen], seen[0][1] == open("/ca.der", "rb").read())
i = seen[-1][1].find(b"\\x17\\x0d")
print(seen[-1][1][i + 2:i + 15])
c.verify_callback = lambda certificate, depth: 1
set_clock()
s = connect()
try:
    c.wrap_socket(s, server_hostname=HOST)
except OSError as e:
    print(said(e))
s.close()
print(attempt())
"""


def test_the_callback_sees_what_is_refused(bench):
    """The way to notBefore on a board that does not know the date: getpeercert is None after a refusal."""
    lines = bench.run(CALLBACK)
    assert lines == [
        "True True",
        FUTURE,
        "[1, 0] True",
        "b'261216080000Z'",
        "OSError (1,)",
        "connected",
    ]


ONE = """
set_clock()
print(attempt())
print(attempt())
"""


@pytest.mark.parametrize("size", [100, 700, 1400])
def test_a_reset_in_mid_handshake(bench, size):
    def prepare(placement):
        placement.wires.reset_after(size)

    assert bench.run(ONE, prepare=prepare) == ["OSError (104,)", "connected"]
    assert bench.placement.board.net.open_sockets == 0
    assert bench.ports["good"].handshakes == 1


def test_the_wifi_goes_in_mid_handshake(bench):
    async def drop(world, placement):
        while not bench.placement.board.net.layers:
            await asyncio.sleep(0.01)
        placement.board.wifi.set_available(False)

    source = "set_clock()\nprint(attempt('stall'))\n"
    assert bench.run(source, during=drop) == ["OSError (113,)"]
    assert bench.placement.board.net.open_sockets == 0


def test_a_power_cut_in_mid_handshake(bench):
    async def cut(world, placement):
        while not bench.placement.board.net.layers:
            await asyncio.sleep(0.01)
        placement.board.power_off()
        assert not placement.board.net.layers
        placement.board.power_on()
        await asyncio.sleep(5)

    assert bench.run(ONE, during=cut) == ["connected", "connected"]


TIMED = """
set_clock()
ticks = []
machine.Timer(-1).init(period=100, callback=lambda _: ticks.append(time.ticks_ms()))
s = connect()
start = time.ticks_ms()
t = context().wrap_socket(s, server_hostname=HOST)
print(time.ticks_diff(time.ticks_ms(), start))
print(max(time.ticks_diff(ticks[i + 1], ticks[i]) for i in range(len(ticks) - 1)) if len(ticks) > 1 else 0)
t.close()
"""


def test_the_key_exchange_takes_the_board_s_time(bench):
    took_ms = int(bench.run(TIMED)[0])
    assert 900 <= took_ms <= 950
    other = Bench(bench.vm, bench.folder)

    def fast(placement):
        placement.board.net.tls_handshake_us = 100_000

    assert 100 <= int(other.run(TIMED, prepare=fast)[0]) <= 150


WEBSOCKET = """
import binascii
set_clock()
t = context().wrap_socket(connect(), server_hostname=HOST)
key = binascii.b2a_base64(b"0123456789abcdef").strip()
t.write(b"GET /ws/browser HTTP/1.1\\r\\nHost: gateway.test\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n"
        b"Sec-WebSocket-Version: 13\\r\\nSec-WebSocket-Key: " + key + b"\\r\\n\\r\\n")
print(t.readline())
while t.readline() != b"\\r\\n":
    pass
t.write(b"\\x81\\x82" + bytes(4) + b"{}")  # a text that the gateway refuses: it answers, then closes
print(t.read(1))
print(b"error" in t.read())
t.close()
"""


def test_a_websocket_inside(bench):
    """The protocol inside changes; what was under way in TLS must not be lost."""
    assert bench.run(WEBSOCKET) == [r"b'HTTP/1.1 101 \r\n'", r"b'\x81'", "True"]


def test_a_run_repeats_above_tls_and_in_the_length_of_what_passes_below(bench):
    """So that a connection that is reset at byte N is reset at the same message."""
    runs = []
    for _ in range(2):
        wires = []

        def keep(placement, wires=wires):
            dial = placement.wires.dial
            placement.board.net._dialer.dial = lambda *way: wires.append(dial(*way)) or wires[-1]

        again = Bench(bench.vm, bench.folder)
        again.run(BLOCKING + REFUSALS, prepare=keep)
        passed = [[line.passed for line in wire._lines] for wire in wires]
        runs.append((again.outcome.console, again.placement.board.net.digest(), passed))
    assert runs[0] == runs[1]
    assert len(passed) > 10 and sum(map(sum, passed)) > 10_000
