"""Builds what stands behind a `Plexus` out of settings. Needed once: its memory is given back."""

import json

from . import ports
from .blocks import RamBlocks
from .http import Http
from .identity import kept_name
from .link import Link
from .outbox import Outbox
from .ports import NAME, const
from .recorder import Recorder
from .ring import Ring
from .settings import DEFAULTS, GATEWAY_URL, Settings, install_id, parse_url, port

open_flash = port.open_flash
_FILES = "/plexus"
# An answer with a source_id of 256 bytes, of which HTTP leaves some for headers.
_RECEIVE_BYTES = 640
# EROFS: CircuitPython, while a computer has the drive (circuitpython#9528).
_READ_ONLY = const(30)


def assemble(version, arguments, px):
    """(recorder, outbox, link, Wi-Fi supervisor or None, period of the timer in ms, its id, that of `stats` in s).

    Raises `ValueError` naming the setting that is missing or does not fit.
    """
    settings = Settings()
    given = arguments.get
    key = settings.api_key(given("api_key"))
    source_id = kept_name(settings.source_id(given("source_id")))
    source = json.dumps(source_id).encode()
    if settings.get("ring", given("ring")) == "files":
        settings.defaults = port.FILES
    page = settings.integer("page_bytes", given("page_bytes"))
    frame = settings.integer("frame_bytes", given("frame_bytes"))
    json_max = Outbox.json_max(source, frame)
    if json_max < 256:
        raise ValueError("frame_bytes must be at least %d" % (256 + frame - json_max))
    _take_over(settings.get("ring", given("ring")), px)
    ring, commit_ms = make_ring(settings, given, page)
    recorder = Recorder(ring, page, json_max, b"" if ring.volatile else source, commit_ms, ports.rtc_ms)
    outbox = Outbox(recorder, source, frame)
    link = make_link(outbox, recorder, settings, given, key, source, version)
    wait_ms = 0
    if (ports.rtc_memory() or b"")[:3] == b"PX\x01":  # suspend() was here
        from .sleep import resume

        wait_ms = resume(recorder, outbox, link)
    wifi = None
    if settings.networks():
        from .wifi import supervise

        wifi = supervise(settings, 0, wait_ms)
    tick_ms = settings.integer("tick_ms", given("tick_ms"))
    return (
        recorder,
        outbox,
        link,
        wifi,
        tick_ms,
        settings.integer("timer_id"),
        settings.integer("stats_s", given("stats_s")),
    )


def _take_over(where, px):
    """`px` has the ring now: two clients would write over each other's readings."""
    if where != "ram":
        earlier = px._owners.get(where)
        if earlier is not None and not earlier._closed:
            earlier._recorder.upkeep(True)
            earlier.halt()
        px._owners[where] = px


def make_link(outbox, recorder, settings, given, key, source, version):
    """The link over HTTP, and over a WebSocket unless the setting `transport` is "http".

    "ws" takes the WebSocket also where nothing is acknowledged there.
    """
    transport = settings.get("transport", given("transport"))
    if transport not in ("auto", "http", "ws"):
        raise ValueError("transport must be 'auto', 'http' or 'ws', not %r" % (transport,))
    tls, host, port, path = settings.gateway(given("gateway_url"))
    connect: object = ports.Tcp
    if tls:
        from .tls import Connector

        connect = Connector(settings.get("ca_file", given("ca_file")), recorder.now_ms)
    agent = "plexus-mp/%s (%s)" % (version, NAME)
    buf = bytearray(_RECEIVE_BYTES)
    requests = given("session")
    if requests is None:
        http: object = Http(connect, host, port, path + "/ingest", key, agent, buf)
    else:
        from .requests_http import RequestsHttp

        http = RequestsHttp(
            requests, settings.get("gateway_url", given("gateway_url")) or GATEWAY_URL, key, agent
        )
        transport = "http"
    link = Link(outbox, http, recorder)
    endpoint = settings.get("endpoint", given("endpoint"))
    if endpoint:
        parse_url(endpoint, "endpoint")
        link.endpoint = endpoint
    if transport != "http":
        from .session import Session
        from .ws import Ws

        about = '"source_id":%s,"agent_version":"%s"' % (source.decode(), version)
        hello = '{"type":"device_auth","api_key":%s,"platform":"%s",%s,"protocol":1,"hears_goodbye":true,"acks":true}'
        install = install_id()
        if install:  # by which gateways of 0.4.0 to 0.7.0 tell two boards with one name apart; others skip it
            about_it = about + ',"install_id":"%s"' % install
        else:
            about_it = about
        hello = hello % (json.dumps(key), NAME, about_it)
        beat = '{"type":"heartbeat",%s}' % about
        ws = Ws(connect, host, port, path + "/ws/device", agent, buf)
        link.session = Session(ws, outbox, link, hello.encode(), beat.encode())
        link.session.trusting = transport == "ws"
    return link


def make_ring(settings, given, page_bytes):
    """(the ring that the settings name, its commit_ms): "ram", "files", a flash partition or "rp2:START:LENGTH"."""
    where = settings.get("ring", given("ring"))
    commit_ms = settings.integer("commit_ms", given("commit_ms"))
    if where == "ram" or where == "files":
        size = settings.integer("ring_bytes", given("ring_bytes"))
        sector = settings.integer("sector_bytes", given("sector_bytes"))
        if where == "ram":
            return Ring(RamBlocks(size, sector), page_bytes), 0
        if not commit_ms:
            raise ValueError("commit_ms must be above 0 with ring files: each commit is a file")
        from .fileblocks import FileBlocks

        try:
            ring = Ring(FileBlocks(_FILES, size, sector), page_bytes)
        except OSError as e:
            if e.errno != _READ_ONLY:
                raise
            print("plexus: the filesystem is read-only for programs, so the ring is in RAM")
            return Ring(RamBlocks(max(DEFAULTS["ring_bytes"], 4 * sector), sector), page_bytes), 0
    else:
        blocks, align, noise = open_flash(where)
        align = settings.integer("program_bytes", given("program_bytes")) or align
        if align < 1 or align & align - 1 or align > 256:
            raise ValueError("program_bytes must be a power of two up to 256, not %d" % align)
        ring = Ring(blocks, page_bytes, align, noise)
    from .mount import mount

    mount(ring)
    if commit_ms:
        told = (ring.sectors * ring.sector_bytes // 1024, where, (commit_ms + 999) // 1000)
        print("plexus: ring of %d KB in %s, a power cut costs at most %d s" % told)
    return ring, commit_ms
