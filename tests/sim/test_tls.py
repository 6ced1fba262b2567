"""TLS as a board's firmware meets it: every refusal in its words, the board's own clock, memory for one."""

from __future__ import annotations

import asyncio

import pytest

from tests.sim.tls_bench import ADDRESS, Bench


@pytest.fixture
def bench(vm, tmp_path):
    return Bench(vm, tmp_path)


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


def test_a_run_repeats_above_tls_and_in_the_length_of_what_passes_below(bench):
    """So that a connection that is reset at byte N is reset at the same message."""
    runs = []
    for _ in range(2):
        wires = []

        def keep(placement, wires=wires):
            dial = placement.wires.dial
            placement.board.net._dialer.dial = lambda *way: wires.append(dial(*way)) or wires[-1]

        again = Bench(bench.vm, bench.folder)
        again.run(REFUSALS, prepare=keep)
        passed = [[line.passed for line in wire._lines] for wire in wires]
        runs.append((again.outcome.console, again.placement.board.net.digest(), passed))
    assert runs[0] == runs[1]
    assert len(passed) > 10 and sum(map(sum, passed)) > 10_000
