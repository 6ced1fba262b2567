"""Firmware that sends over https: what it refuses loses nothing, and it goes on when all is well again."""

from __future__ import annotations

import asyncio
import calendar
import re

import pytest

from host_sim.authority import Authority
from host_sim.tls_server import PLAIN, STALL, TLS
from tests.e2e.simulation import program, simulate

URL = "https://gateway.test:8443"
_BAD_S = 60

SENDER = """
import time
from plexus_mp import Plexus

px = Plexus(source_id="secure", gateway_url="URL", ring_bytes=65536, sector_bytes=4096)
said = n = 0
while True:
    if n < COUNT:
        px.send("n", n)
    n += 1
    time.sleep(1)
    now = px._link.last_error, px._link.resyncs
    if said != now:
        said = now
        print(n, said[0], "resyncs", said[1])
"""


def _resyncs(outcome):
    """How often the board connected anew to hear the time, as it told at last."""
    return int(re.findall(r"resyncs (\d+)", outcome.console)[-1])


def run(vm, folder, count, seconds, disturb=None, prepare=None, url=URL):
    """The outcome, and the TLS server. `disturb(world, placement, server)` goes on while the board runs."""
    servers = []

    async def during(world, placement):
        servers.append(world.serve_tls())
        if disturb is not None:
            await disturb(world, placement, servers[0])

    def with_authority(placement):
        placement.board.files.write("/ca.der", Authority().der)
        if prepare is not None:
            prepare(placement)

    firmware = program(folder, SENDER.replace("COUNT", str(count)).replace("URL", url))
    outcome = simulate(firmware, vm, seconds, during, prepare=with_authority)
    return outcome, servers[0]


def _all_stored(outcome, count):
    verdict = outcome.verdict
    assert verdict.clean and verdict.pending == verdict.dropped == verdict.rejected == 0
    assert sorted(outcome.values("n")) == list(range(count))


def test_over_tls_each_reading_is_stored_once(vm, tmp_path):
    outcome, server = run(vm, tmp_path, 60, 70)
    _all_stored(outcome, 60)
    assert (server.handshakes, _resyncs(outcome)) == (1, 0)  # the connection is kept
    assert outcome.verdict.time_error_ms <= 2000


def _built(date):
    def prepare(placement):
        unix_ms = calendar.timegm((*date, 0, 0, 0)) * 1000
        build = f"DATE = {date}\nUNIX_MS = {unix_ms}\n"
        placement.board.files.write("/lib/plexus_mp/build.py", build.encode())

    return prepare


def test_firmware_built_400_days_before_the_certificate(vm, tmp_path):
    """And a clock in the year 2000: one refusal shows the certificate, then all goes its way."""
    outcome, server = run(vm, tmp_path, 60, 70, prepare=_built((2025, 11, 11)))
    _all_stored(outcome, 60)
    assert (server.failures, server.handshakes) == (1, 1)


def _spoil(world, server, kind):
    if kind in (PLAIN, STALL):
        server.mode = kind
    else:
        server.identity = getattr(world.identities, kind)


def _mend(world, server):
    server.mode, server.identity = TLS, world.identities.good


KINDS = {
    "expired": "certificate expired",
    "not_yet_valid": "certificate not yet valid",
    "wrong_host": "certificate is for another host",
    "other_ca": "certificate not signed by the CA",
    "self_signed": "certificate not signed by the CA",
    PLAIN: "the server does not speak TLS",
    STALL: "no answer",
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_turns_bad(vm, tmp_path, kind):
    """On a clock that the gateway has set by then, nothing passes."""
    served = []

    async def disturb(world, placement, server):
        await asyncio.sleep(30)
        _spoil(world, server, kind)
        placement.wires.reset_all()
        served.append(server.handshakes)
        await asyncio.sleep(_BAD_S)
        served.append(server.handshakes)
        assert placement.board.net.open_sockets <= 1
        _mend(world, server)

    outcome, _ = run(vm, tmp_path, 150, 300, disturb)
    _all_stored(outcome, 150)
    assert KINDS[kind] in outcome.console and served[0] == served[1]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("expired", "not_yet_valid")])
def test_a_server_that_is_bad_from_the_start(vm, tmp_path, kind):
    """On a clock that is a guess the dates may pass, nothing else does."""

    async def disturb(world, placement, server):
        _spoil(world, server, kind)
        await asyncio.sleep(_BAD_S)
        assert server.handshakes == 0
        _mend(world, server)

    outcome, _ = run(vm, tmp_path, 120, 300, disturb)
    _all_stored(outcome, 120)
    assert KINDS[kind] in outcome.console


def test_a_clock_that_the_program_spoils_is_set_again(vm, tmp_path):
    """By the time that the gateway told: a failed NTP may leave anything in the RTC (micropython#7137)."""

    async def disturb(world, placement, server):
        await asyncio.sleep(20)
        for year_s in (0, 40 * 365 * 86400):
            placement.board.clocks.set_rtc_us(placement.board.now_us(), year_s * 1_000_000)
            placement.wires.reset_all()
            await asyncio.sleep(20)

    outcome, server = run(vm, tmp_path, 80, 300, disturb)
    _all_stored(outcome, 80)
    assert server.handshakes == 3 + _resyncs(outcome) and "certificate" not in outcome.console


def test_plain_http_to_a_server_of_tls_does_not_hang(vm, tmp_path):
    """The other way round nothing is said of it, but the readings stay and the board goes on."""
    outcome, server = run(vm, tmp_path, 60, 70, url="http://gateway.test:8443")
    assert outcome.verdict.pending == 60 and outcome.verdict.lost == 0
    assert server.failures > 1 and "closed" in outcome.console


def _exhaust(board, what):
    """Memory for TLS, for sockets or for Python objects is there again (None), or is not."""
    board.net.tls_sockets_max = 0 if what == "tls" else 1
    board.exhausted = what if what in ("network", "python") else None


@pytest.mark.parametrize("what", ["tls", "network", "python"])
def test_no_memory(vm, tmp_path, what):
    """For a while, as on boards: keep everything, try later, leave nothing open."""

    async def disturb(world, placement, server):
        for _ in range(2):
            _exhaust(placement.board, what)
            placement.wires.reset_all()
            handshakes = server.handshakes
            await asyncio.sleep(60)
            assert placement.board.net.open_sockets == 0 and server.handshakes == handshakes
            _exhaust(placement.board, None)
            await asyncio.sleep(90)

    outcome, server = run(vm, tmp_path, 240, 400, disturb)
    _all_stored(outcome, 240)
    assert server.handshakes == 2 + _resyncs(outcome)


def test_the_wifi_goes_and_returns(vm, tmp_path):
    counts = []

    async def disturb(world, placement, server):
        for _ in range(5):
            await asyncio.sleep(20)
            counts.append(placement.board.net.open_sockets)
            placement.board.wifi.set_available(False)
            await asyncio.sleep(7)
            placement.board.wifi.set_available(True)

    outcome, server = run(vm, tmp_path, 150, 300, disturb)
    _all_stored(outcome, 150)
    assert server.handshakes == 6 + _resyncs(outcome) and max(counts) == 1
