"""A board among TLS servers of every kind, for tests: one port for each, and firmware that talks to them."""

from __future__ import annotations

from functools import lru_cache

from host_sim.authority import Authority, Identities, make_identities
from host_sim.tls_server import PLAIN, STALL, tls_factory
from host_sim.world import VIRTUAL_EPOCH_MS, VIRTUAL_GATEWAY
from tests.e2e.simulation import program, simulate

HOST = "gateway.test"
ADDRESS = VIRTUAL_GATEWAY[0]
NOW_S = VIRTUAL_EPOCH_MS // 1000
KINDS = (
    "good",
    "expired",
    "not_yet_valid",
    "wrong_host",
    "other_ca",
    "self_signed",
    PLAIN,
    STALL,
    "by_address",
)
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
