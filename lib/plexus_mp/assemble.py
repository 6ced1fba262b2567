"""Builds what stands behind a `Plexus` out of settings. Needed once: its memory is given back."""

import json

from . import ports
from .ports import NAME, collect, const, forget

_FILES = "/plexus"
# An answer with a source_id of 256 bytes, of which HTTP leaves some for headers.
_RECEIVE_BYTES = 640
# EROFS: CircuitPython, while a computer has the drive (circuitpython#9528).
_READ_ONLY = const(30)


class _Found(dict):
    """All settings as they are used; what read them is given back before anything is built."""

    def networks(self):
        return self["networks"]

    def integer(self, name):
        return self[name]


def _read(given):
    from .identity import kept_name
    from .settings import gather

    found = _Found(session=given["session"])
    gather(given.get, found)
    found["source_id"] = kept_name(found["source_id"])
    given.clear()
    return found


def assemble(version, given, px):
    """(recorder, outbox, link, Wi-Fi supervisor or None, period of the timer in ms, its id, that of `stats` in s).

    Raises `ValueError` naming the setting that is missing or does not fit.
    """
    found = _read(given)
    for module in ("settings", "state", "identity"):
        forget(module)
    collect()
    from .outbox import Outbox

    source = json.dumps(found["source_id"]).encode()
    page, frame = found["page_bytes"], found["frame_bytes"]
    json_max = Outbox.json_max(source, frame)
    if json_max < 256:
        raise ValueError("frame_bytes must be at least %d" % (256 + frame - json_max))
    _take_over(found["ring"], px)
    collect()
    ring, commit_ms = make_ring(found)
    collect()
    from .recorder import Recorder

    recorder = Recorder(ring, page, json_max, b"" if ring.volatile else source, commit_ms, ports.rtc_ms)
    # Nobody looks at the page while readings wait for company: that is not longer than a page may wait.
    linger_ms = found["linger_ms"]
    outbox = Outbox(recorder, source, frame, min(linger_ms, commit_ms) if commit_ms else linger_ms)
    collect()
    link = make_link(outbox, recorder, found, source, version)
    wait_ms = 0
    if (ports.rtc_memory() or b"")[:3] == b"PX\x01":  # suspend() was here
        from .sleep import resume

        wait_ms = resume(recorder, outbox, link)
    wifi = None
    if found["networks"]:
        from .wifi import supervise

        wifi = supervise(found, 0, wait_ms)
    return recorder, outbox, link, wifi, found["tick_ms"], found["timer_id"], found["stats_s"]


def _take_over(where, px):
    """`px` has the ring now: two clients would write over each other's readings."""
    if where != "ram":
        earlier = px._owners.get(where)
        if earlier is not None and not earlier._closed:
            earlier._recorder.upkeep(True)
            earlier.halt()
        px._owners[where] = px


def make_link(outbox, recorder, found, source, version):
    """The link over HTTP, and over a WebSocket unless the setting `transport` is "http".

    "ws" takes the WebSocket also where nothing is acknowledged there.
    """
    from .link import Link

    tls, host, port, path = found["gateway"]
    key, transport = found["api_key"], found["transport"]
    connect: object = ports.Tcp
    if tls:
        from .tls import Connector

        connect = Connector(found["ca_file"], recorder.now_ms)
    agent = "plexus-mp/%s (%s)" % (version, NAME)
    buf = bytearray(_RECEIVE_BYTES)
    requests = found["session"]
    if requests is None:
        from .http import Http

        http: object = Http(connect, host, port, path + "/ingest", key, agent, buf)
    else:
        from .requests_http import RequestsHttp

        http = RequestsHttp(requests, found["gateway_url"], key, agent)
        transport = "http"
    link = Link(outbox, http, recorder)
    link.endpoint = found["endpoint"] or None
    if transport != "http":
        collect()
        from .session import Session

        collect()
        from .ws import Ws

        collect()

        about = '"source_id":%s,"agent_version":"%s"' % (source.decode(), version)
        hello = '{"type":"device_auth","api_key":%s,"platform":"%s",%s,"protocol":1,"hears_goodbye":true,"acks":true}'
        install = found["install_id"]
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


def make_ring(found):
    """(the ring that the settings name, its commit_ms): "ram", "files", a flash partition or "rp2:START:LENGTH"."""
    from .ring import Ring

    where, commit_ms, page_bytes = found["ring"], found["commit_ms"], found["page_bytes"]
    size, sector = found["ring_bytes"], found["sector_bytes"]
    if where == "ram":
        return _ram_ring(size, sector, page_bytes), 0
    if where == "files":
        if not commit_ms:
            raise ValueError("commit_ms must be above 0 with ring files: each commit is a file")
        from .fileblocks import FileBlocks

        try:
            ring = Ring(FileBlocks(_FILES, size, sector), page_bytes)
        except OSError as e:
            if e.errno != _READ_ONLY:
                raise
            print("plexus: the filesystem is read-only for programs, so the ring is in RAM")
            return _ram_ring(max(found["ram_bytes"], 4 * sector), sector, page_bytes), 0
    else:
        blocks, align, noise = found["flash"]
        align = found["program_bytes"] or align
        if align < 1 or align & align - 1 or align > 256:
            raise ValueError("program_bytes must be a power of two up to 256, not %d" % align)
        ring = Ring(blocks, page_bytes, align, noise)
    from .mount import mount

    mount(ring)
    for module in ("mount", "times"):
        forget(module)
    if commit_ms:
        told = (ring.sectors * ring.sector_bytes // 1024, where, (commit_ms + 999) // 1000)
        print("plexus: ring of %d KB in %s, a power cut costs at most %d s" % told)
    return ring, commit_ms


def _ram_ring(size, sector, page_bytes):
    from .blocks import RamBlocks
    from .ring import Ring

    return Ring(RamBlocks(size, sector), page_bytes)
