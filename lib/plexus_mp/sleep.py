"""Deep sleep: what has to outlive it goes into RTC memory, and the boot after it goes on where this one ended.

Readings that wait are in flash or files; those of a ring in RAM are packed into RTC memory, some 300 of one metric
taken at an even pace. A page that is not committed is kept there too, so that sleeping every minute does not write
every minute; its age counts on, and `commit_ms` holds. Uptime goes on by the RTC, so readings before and
after it are of one boot. Where there is no RTC memory the page is committed, and the next boot is another one.
"""

import json
from struct import pack, unpack_from

from .crc import crc24
from .decoder import Decoder
from .errors import PlexusError
from .points import Encoder
from .ports import (
    collect,
    const,
    has_network,
    load_more,
    rtc_memory,
    rtc_ms,
    sleep_ms,
    ticks_add,
    ticks_diff,
    ticks_ms,
)
from .ring import PAYLOAD_AT

_port = load_more()

_MAGIC = b"PX\x01"
_HEAD = "<HHH"  # bytes of the state, of the page, points in it; behind a CRC of all that follows
_CRC_AT = const(3)
_HEAD_AT = const(6)
_HEAD_BYTES = const(12)
_DIGITS = const(10)  # by which the state may grow when readings are dropped
_FALSE = const(0x50)  # kinds of points.py
_TEXT = const(0x70)
MEMORY_MAX = const(2048)  # MICROPY_HW_RTC_USER_MEM_MAX of MicroPython's ESP32 port
# The slow clock of an ESP32 is an RC oscillator: off by up to 5 % (Espressif's "RTC Timer" notes).
_SLEEP_DRIFT = const(20)
# A board that sleeps asks a silent gateway at every second of its wakes, every fourth, …, but at least this often.
_WAIT_MAX_MS = const(900_000)
_CLOCK = (
    "_u",
    "_lo",
    "_hi",
    "_base_u",
    "_base_lo",
    "_base_hi",
    "_rate_lo",
    "_rate_hi",
    "_first",
    "_last",
    "_promise",
    "stored_ms",
    "source",
)


def _parts(memory):
    """(state, page, points in it) of what `suspend` wrote."""
    if len(memory) < _HEAD_BYTES or bytes(memory[_CRC_AT:_HEAD_AT]) != _crc(memory, _HEAD_AT):
        raise ValueError
    n, page, points = unpack_from(_HEAD, memory, _HEAD_AT)
    at = _HEAD_BYTES + n
    return json.loads(memory[_HEAD_BYTES:at]), memory[at : at + page], points


def ready(px):
    """Whether staying awake would not help: nothing waits, or what waits cannot be delivered now."""
    link, outbox = px._link, px._outbox
    outbox.lingering = False
    if not outbox.waiting:
        return not link.busy or link.hungry
    if link.waiting:
        return link.status != "online"
    if link.busy or has_network():
        return False
    return px._wifi is None or px._wifi.failures > 0


def suspend(px, ms, deliver_s):
    """Deliver for `deliver_s` at most, put away what waits, and sleep."""
    if px._recorder.ring.volatile and px._outbox.waiting and rtc_memory() is None:
        raise PlexusError("readings in RAM do not outlive a deep sleep: ring='files' or a partition")
    start = ticks_ms()
    while not ready(px) and ticks_diff(ticks_ms(), start) < deliver_s * 1000:
        if px._outbox.waiting and px._link.hungry:
            px._recorder.upkeep(True)
        if not px.tick():
            if px.feed is not None:
                px.feed()
            sleep_ms(5)
    px.halt()
    _put_away(px, ms)
    _port.deep_sleep(ms)


def _put_away(px, ms):
    recorder = px._recorder
    if rtc_memory() is None:
        recorder.upkeep(True)
        return
    state = _state(px, px._link, recorder, ms)
    room = MEMORY_MAX - _HEAD_BYTES - len(_text(state)) - _DIGITS
    if recorder.ring.volatile:
        page, points = recorder.apart(_pack, recorder, px._outbox, room) or (b"", 0)
    else:
        page, points = recorder.apart(_page, recorder) or (b"", 0)
        if len(page) > room:
            recorder.upkeep(True)
            page, points = b"", 0
    state[-1] = recorder.ring.dropped
    text = _text(state)
    kept = pack(_HEAD, len(text), len(page), points) + text + page
    rtc_memory(_MAGIC + _crc(kept, 0) + kept)


def _crc(buf, start):
    crc = crc24(0, buf, start, len(buf))
    return bytes((crc >> 16, crc >> 8 & 255, crc & 255))


def _text(state):
    return json.dumps(state, separators=(",", ":")).encode()


def _pack(recorder, outbox, room):
    """(what waits in a ring in RAM, as one page; how many points). The oldest stay behind if they do not fit."""
    ring = recorder.ring
    room = min(room, recorder._page_bytes)
    page = bytearray(room)
    encoder = Encoder(page, 0, room, 1 << 14, b"", True)
    encoder.boot = ring.boot
    waiting = ring.left
    skip = outbox._start[3]
    while True:
        encoder.open(room)
        if _put_points(ring, encoder, outbox._start[0], skip):
            return bytes(page[: encoder.size]), encoder.points
        lost = max(1, (waiting - encoder.points) // 2)
        skip += lost
        waiting -= lost
        ring.dropped += lost


def _put_points(ring, encoder, first, skip):
    """Put the points from number `skip` of sector `first` on into one page; False when it is full."""
    decoder = Decoder()
    for seq in range(max(first, ring.tail_seq), ring.head_seq + 1):
        decoder.reset()
        ring.next_off = ring.first
        while True:
            n = ring.read(seq, ring.next_off)
            if not n:
                break
            decoder.load(ring.buf, ring.at, n, False)
            while decoder.more:
                if skip:
                    skip -= 1
                elif not _put_point(encoder, decoder):
                    return False
                decoder.advance()
    return True


def _put_point(encoder, decoder):
    ms = decoder.uptime_ms
    cls, metric, tags = _names(decoder._now)
    if not encoder.begin(ms // 1000, ms % 1000, ms & 0x1FFFFFFF):
        return False
    if not encoder.put(cls, metric, _value(decoder), tags, decoder._stamp):
        encoder.cancel()
        return False
    encoder.finish()
    return True


def _names(series):
    """(class, metric, tags) out of the JSON that a series is."""
    head = json.loads(series.head + b"0}")
    tail = series.tail[8:-1]
    return (
        ("metric", "event", "call").index(head["class"]),
        head["metric"],
        json.loads(tail) if tail else None,
    )


def _value(decoder):
    """As it was recorded."""
    kind = decoder._kind
    if kind < _FALSE:
        return decoder._number()
    if kind != _TEXT:
        return kind != _FALSE
    at = decoder._value_at + 2
    return json.loads(bytes(decoder._buf[at : at + unpack_from("<H", decoder._buf, at - 2)[0]]))


def _page(recorder):
    """(its records, how many points they hold)."""
    encoder = recorder._encoder
    if not recorder._commit_ms or not encoder.points:
        return b"", 0
    return bytes(recorder.ring.page[PAYLOAD_AT : PAYLOAD_AT + encoder.size]), encoder.points


def _state(px, link, recorder, ms):
    clock = recorder.clock
    now = ticks_ms()
    left_ms = 0
    if link.waiting:
        left_ms = link._wait_ms - ticks_diff(now, link._since)
    if link.failures:
        left_ms = max(left_ms, min(ms << min(link._tries, 4), _WAIT_MAX_MS))
    ring = recorder.ring
    known = [getattr(clock, name) for name in _CLOCK] if clock.synced else []
    return [
        ring.boot, clock.uptime_ms(now), rtc_ms(), ms, left_ms, link._tries, px._outbox.sent_ms,
        ticks_diff(now, recorder._since), ring._erased, ring.settled_seq, ring.settled_off, ring.settled_points, known,
        clock.segments, ring.dropped,
    ]  # fmt: skip


def resume(recorder, outbox, link):
    """Take up what `suspend` put away. How long the link had better wait, in ms."""
    memory = rtc_memory()
    try:
        state, page, points = _parts(memory)
    except ValueError:  # not what we wrote
        return 0
    rtc_memory(b"")  # it is used once
    (
        boot, up_ms, then_ms, ms, wait_ms, tries, sent_ms, age_ms, erased, seq, off, done, known, told, dropped,
    ) = state  # fmt: skip
    slept_ms = rtc_ms() - then_ms
    if not ms * 3 // 4 <= slept_ms <= ms * 5 // 4 + 60_000:
        slept_ms = ms  # somebody set the RTC
    ring = recorder.ring
    if ring.volatile:
        ring.dropped = dropped
        outbox.sent_ms = sent_ms
        _go_on(recorder, boot, up_ms + slept_ms, slept_ms, known, told)
    elif ring.boot <= boot + 1:  # less when nothing of it is in the ring yet
        ring._erased = erased
        if ring.write_once and (seq, off) != (ring.settled_seq, ring.settled_off):  # which has no marks
            ring.settle(seq, off, 0, 0, done)
            outbox.start_over()
        outbox.sent_ms = sent_ms
        _go_on(recorder, boot, up_ms + slept_ms, slept_ms, known, told)
    if page:
        _take_page(recorder, page, points)
        recorder._since = ticks_add(ticks_ms(), -min(age_ms + slept_ms, recorder._commit_ms))
    collect()
    link._tries = tries
    link._wait_ms = max(0, wait_ms - slept_ms)
    return link._wait_ms


def _go_on(recorder, boot, up_ms, slept_ms, known, told):
    """This boot is the one before: its number, its uptime, and what it knew of the time."""
    ring, clock = recorder.ring, recorder.clock
    if boot != ring.boot:
        ring.times.pop(ring.boot)
        ring.rtc.pop(ring.boot, None)
    recorder._begun_ms = -1  # it began earlier
    ring.boot = recorder._encoder.boot = boot
    segments = ring.times.get(boot, [])
    if not segments and told:  # nothing was committed since they were heard
        segments = [tuple(segment) for segment in told]
        ring.untold = not ring.volatile
    if known and segments:
        clock.segments[:] = segments
        for name, value in zip(_CLOCK, known):
            setattr(clock, name, value)
        clock._lo -= slept_ms // _SLEEP_DRIFT
        clock._hi += slept_ms // _SLEEP_DRIFT
    ring.times[boot] = clock.segments
    clock._anchors[clock._side][:] = [ticks_ms(), up_ms // 1000, up_ms % 1000]


def _take_page(recorder, page, points):
    """The page as it was; the next record begins anew behind it."""
    encoder, n = recorder._encoder, len(page)
    if recorder.ring.volatile:
        recorder.ring.turn()
        recorder.ring.page[PAYLOAD_AT : PAYLOAD_AT + n] = page
        recorder.ring.append(n, points)
        return
    recorder._open_page()
    at = PAYLOAD_AT + n
    if at > encoder._end:  # what is left of the sector is too small
        encoder.open(recorder._page_bytes)
    recorder.ring.page[PAYLOAD_AT:at] = page
    encoder._record = at << 1
    encoder._next_at = at
    encoder.points = encoder._count = encoder._next_count = points
