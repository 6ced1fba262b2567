"""Deep sleep: what has to outlive it goes into RTC memory, and the boot after it goes on where this one ended.

Readings that wait are in flash, in files, or, with `ring="rtc"`, in RTC memory itself. A page that is not committed is
kept in RTC memory too, so that sleeping every minute does not write every minute; its age counts on, and `commit_ms`
holds. Uptime goes on across the sleep by the RTC, so readings before and after it are of one boot. Where there is no
RTC memory the page is committed, and the next boot is another one.
"""

import json
from struct import pack, unpack_from

from .blocks import RamBlocks
from .ports import (
    collect,
    const,
    deep_sleep,
    has_network,
    rtc_memory,
    rtc_ms,
    sleep_ms,
    ticks_add,
    ticks_diff,
    ticks_ms,
)
from .ring import PAYLOAD_AT

_MAGIC = b"PX\x01"
_HEAD = "<HHH"  # bytes of the state, of the page, points in it
_HEAD_BYTES = const(9)
MEMORY_MAX = const(2048)  # MICROPY_HW_RTC_USER_MEM_MAX of MicroPython's ESP32 port
# A ring in RTC memory leaves this much for the rest. Four sectors are the fewest that outlive a reset (ring.py).
RTC_RING = {"ring_bytes": 1728, "sector_bytes": 432, "page_bytes": 256, "commit_ms": 0}
# The slow clock of an ESP32 is an RC oscillator: off by up to 5 % (Espressif's "RTC Timer" notes).
_SLEEP_DRIFT = const(20)
_CLOCK = (
    "_u",
    "_lo",
    "_hi",
    "_base_u",
    "_base_lo",
    "_base_hi",
    "_rate_lo",
    "_rate_hi",
    "stored_ms",
    "source",
)


class RtcBlocks(RamBlocks):
    """A block device that `suspend` takes over a deep sleep."""

    volatile = False

    def __init__(self, size, block_bytes):
        super().__init__(size, block_bytes)
        for n in range(self._count):
            self.ioctl(6, n)
        memory = rtc_memory()
        if memory and memory[:3] == _MAGIC:
            kept = _parts(memory)[2]
            if len(kept) == size:
                self._mem[:] = kept


def _parts(memory):
    """(state, page, ring, points in the page) of what `suspend` wrote."""
    n, page, points = unpack_from(_HEAD, memory, 3)
    at = _HEAD_BYTES + n
    return json.loads(memory[_HEAD_BYTES:at]), memory[at : at + page], memory[at + page :], points


def ready(px):
    """Whether staying awake would not help: nothing waits, or what waits cannot be delivered now."""
    link, outbox = px._link, px._outbox
    if not outbox.waiting:
        return not link.busy or link.hungry
    if link.waiting:
        return link.status != "online"
    if link.busy or has_network():
        return False
    return px._wifi is None or px._wifi.failures > 0


def suspend(px, ms, deliver_s):
    """Deliver for `deliver_s` at most, put away what waits, and sleep."""
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
    deep_sleep(ms)


def _put_away(px, ms):
    recorder, link = px._recorder, px._link
    blocks = recorder.ring._dev
    kept = bytes(blocks._mem) if isinstance(blocks, RtcBlocks) else b""
    if rtc_memory() is None:
        recorder.upkeep(True)
        return
    page, points = recorder.apart(_page, recorder) or (b"", 0)
    state = json.dumps(_state(px, link, recorder, ms), separators=(",", ":")).encode()
    if _HEAD_BYTES + len(state) + len(page) + len(kept) > MEMORY_MAX:
        recorder.upkeep(True)
        page, points = b"", 0
    memory = _MAGIC + pack(_HEAD, len(state), len(page), points) + state + page + kept
    rtc_memory(memory)


def _page(recorder):
    """(its records, how many points they hold)."""
    encoder = recorder._encoder
    if not recorder._commit_ms or not encoder.points:
        return b"", 0
    return bytes(recorder.ring.page[PAYLOAD_AT : PAYLOAD_AT + encoder.size]), encoder.points


def _state(px, link, recorder, ms):
    clock = recorder.clock
    now = ticks_ms()
    left_ms = link._wait_ms - ticks_diff(now, link._since) if link.waiting else 0
    found = {
        "boot": recorder.ring.boot, "up": clock.uptime_ms(now), "rtc": rtc_ms(), "ms": ms, "wait": left_ms,
        "tries": link._tries, "sent": px._outbox.sent_ms, "age": ticks_diff(now, recorder._since),
    }  # fmt: skip
    if clock.synced:
        found["clock"] = [getattr(clock, name) for name in _CLOCK]
    return found


def resume(recorder, outbox, link):
    """Take up what `suspend` put away. How long the link had better wait, in ms."""
    memory = rtc_memory()
    try:
        state, page, _, points = _parts(memory)
    except (ValueError, IndexError):
        return 0
    rtc_memory(b"")  # it is used once
    slept_ms = rtc_ms() - state["rtc"]
    if not state["ms"] * 3 // 4 <= slept_ms <= state["ms"] * 5 // 4 + 60_000:
        slept_ms = state["ms"]  # somebody set the RTC
    ring = recorder.ring
    if ring.boot == state["boot"] + 1:
        _go_on(recorder, outbox, state, slept_ms)
    if page:
        _take_page(recorder, page, points)
        recorder._since = ticks_add(ticks_ms(), -min(state["age"] + slept_ms, recorder._commit_ms))
    collect()
    left_ms = max(0, state["wait"] - slept_ms)
    link._tries = state["tries"]
    link._wait_ms = left_ms
    return left_ms


def _go_on(recorder, outbox, state, slept_ms):
    """This boot is the one before: its number, its uptime, and what it knew of the time."""
    ring, clock = recorder.ring, recorder.clock
    ring.times.pop(ring.boot, None)
    ring.boot = recorder._encoder.boot = state["boot"]
    segments = ring.times.get(ring.boot, [])
    known = state.get("clock")
    if known and segments:
        clock.segments[:] = segments
        for name, value in zip(_CLOCK, known):
            setattr(clock, name, value)
        clock._lo -= slept_ms // _SLEEP_DRIFT
        clock._hi += slept_ms // _SLEEP_DRIFT
    ring.times[ring.boot] = clock.segments
    up_ms = state["up"] + slept_ms
    clock._anchors[clock._side][:] = [ticks_ms(), up_ms // 1000, up_ms % 1000]
    outbox.sent_ms = state["sent"]


def _take_page(recorder, page, points):
    """The page as it was; the next record begins anew behind it."""
    encoder, n = recorder._encoder, len(page)
    recorder._open_page()
    at = PAYLOAD_AT + n
    if at > encoder._end:  # what is left of the sector is too small
        encoder.open(recorder._page_bytes)
    recorder.ring.page[PAYLOAD_AT:at] = page
    encoder._record = at << 1
    encoder._next_at = at
    encoder.points = encoder._count = encoder._next_count = points
