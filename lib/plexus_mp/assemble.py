"""Builds what stands behind a `Plexus` out of settings. Needed once: its memory is given back."""

import json

from . import ports
from .blocks import RamBlocks
from .http import Http
from .link import Link
from .outbox import Outbox
from .ports import NAME
from .recorder import Recorder
from .ring import Ring
from .settings import Settings, port

open_flash = port.open_flash
_FILES = "/plexus"
# An answer with a source_id of 256 bytes, of which HTTP leaves some for headers.
_RECEIVE_BYTES = 640


def assemble(version, arguments):
    """(source_id, recorder, outbox, link, Wi-Fi supervisor or None, period of the timer in ms, its id).

    Raises `ValueError` naming the setting that is missing or does not fit.
    """
    settings = Settings()
    given = arguments.get
    key = settings.api_key(given("api_key"))
    source_id = settings.source_id(given("source_id"))
    source = json.dumps(source_id).encode()
    if settings.get("ring", given("ring")) == "files":
        settings.defaults = port.FILES
    page = settings.integer("page_bytes", given("page_bytes"))
    frame = settings.integer("frame_bytes", given("frame_bytes"))
    json_max = Outbox.json_max(source, frame)
    if json_max < 256:
        raise ValueError("frame_bytes must be at least %d" % (256 + frame - json_max))
    ring, commit_ms = make_ring(settings, given, page)
    recorder = Recorder(ring, page, json_max, b"" if ring.volatile else source, commit_ms)
    outbox = Outbox(recorder, source, frame)
    link = make_link(outbox, recorder, settings, given, key, source, version)
    wifi = None
    if settings.networks():
        from .wifi import supervise

        wifi = supervise(settings)
    tick_ms = settings.integer("tick_ms", given("tick_ms"))
    return source_id, recorder, outbox, link, wifi, tick_ms, settings.integer("timer_id")


def make_link(outbox, recorder, settings, given, key, source, version):
    """The link over HTTP, and over a WebSocket unless the setting `transport` is "http"."""
    transport = settings.get("transport", given("transport"))
    if transport not in ("auto", "http"):
        raise ValueError("transport must be 'auto' or 'http', not %r" % (transport,))
    tls, host, port, path = settings.gateway(given("gateway_url"))
    connect: object = ports.Tcp
    if tls:
        from .tls import Connector

        connect = Connector(settings.get("ca_file", given("ca_file")), recorder.now_ms)
    agent = "plexus-mp/%s (%s)" % (version, NAME)
    buf = bytearray(_RECEIVE_BYTES)
    http = Http(connect, host, port, path + "/ingest", key, agent, buf)
    link = Link(outbox, http, recorder)
    if transport == "auto":
        from .session import Session
        from .ws import Ws

        about = '"source_id":%s,"agent_version":"%s"' % (source.decode(), version)
        hello = '{"type":"device_auth","api_key":%s,"platform":"%s",%s,"protocol":1,"hears_goodbye":true,"acks":true}'
        hello = hello % (json.dumps(key), NAME, about)
        beat = '{"type":"heartbeat",%s}' % about
        ws = Ws(connect, host, port, path + "/ws/device", agent, buf)
        link.session = Session(ws, buf, outbox, link, hello.encode(), beat.encode())
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
        from .fileblocks import FileBlocks

        if not commit_ms:
            raise ValueError("commit_ms must be above 0 with ring files: each commit is a file")
        # In units of 32 a commit is one write, and so one file: an append would copy it.
        ring = Ring(FileBlocks(_FILES, size, sector), page_bytes, 32)
    else:
        blocks, align, noise = open_flash(where)
        align = settings.integer("program_bytes", given("program_bytes")) or align
        if align < 1 or align & align - 1 or align > 256:
            raise ValueError("program_bytes must be a power of two up to 256, not %d" % align)
        ring = Ring(blocks, page_bytes, align, noise)
    from .mount import mount

    mount(ring)
    if commit_ms:
        told = (ring._count * ring._size // 1024, where, (commit_ms + 999) // 1000)
        print("plexus: ring of %d KB in %s, a power cut costs at most %d s" % told)
    return ring, commit_ms
