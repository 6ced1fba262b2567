"""Uptime from ticks that wrap, and Unix time from uptime."""

from plexus_mp import build
from plexus_mp.clock import Clock, unix_ms
from plexus_mp.dates import unix_seconds
from plexus_mp.sync import hear

from . import fakes, gen

_DAY_MS = 86_400_000
_MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")


def _hear(clock, at_ms, ticks, sent_ms=-1, spread=0):
    now = ticks.ms()
    return hear(clock, {}, at_ms, at_ms + spread, now, now, sent_ms, "test")


def _uptime_ms(clock):
    assert 0 <= clock.ms < 1000
    return clock.s * 1000 + clock.ms


def _follow(g, period, step_max):
    with fakes.Ticks(period - 1 - g.below(5000), period) as ticks:
        clock = Clock(fakes.FLOOR_MS)
        for _ in range(200):
            ticks.advance(g.below(step_max) if g.chance(4) else g.below(2000))
            clock.at(ticks.ms())
            assert _uptime_ms(clock) == ticks.total


def test_ticks_wrap():
    """MicroPython's wrap after 12.4 days, CircuitPython's after 6.2; half of that may pass between two calls."""
    for period in (1 << 30, 1 << 29):
        gen.for_seeds(5, _follow, period, 2000)
        gen.for_seeds(5, _follow, period, _DAY_MS)
        gen.for_seeds(5, _follow, period, (period >> 1) - (1 << 20))


def test_six_days_without_a_call_are_the_limit():
    with fakes.Ticks() as ticks:
        clock = Clock(fakes.FLOOR_MS)
        ticks.advance(6 * _DAY_MS)
        clock.at(ticks.ms())
        assert _uptime_ms(clock) == 6 * _DAY_MS
        ticks.advance(7 * _DAY_MS)
        clock.at(ticks.ms())
        assert _uptime_ms(clock) != 13 * _DAY_MS


def test_ticks_from_before_the_last_call():
    """A nested send() is recorded after the one it interrupted, with its own earlier or later ticks."""

    def check(g):
        with fakes.Ticks((1 << 30) - g.below(100_000)) as ticks:
            clock = Clock(fakes.FLOOR_MS)
            for _ in range(50):
                ticks.advance(g.below(2 * _DAY_MS) + 3000)
                early = ticks.ms()
                at = ticks.total
                ticks.advance(g.below(3000))
                clock.at(ticks.ms())
                clock.at(early)
                assert _uptime_ms(clock) == at

    gen.for_seeds(5, check)


def test_unix_time_before_and_after_the_sync():
    def check(g):
        with fakes.Ticks(g.below(1 << 30)) as ticks:
            clock = Clock(fakes.FLOOR_MS)
            boot_ms = fakes.UNIX_MS + g.below(1 << 40)
            taken = []
            assert not clock.synced
            for i in range(20):
                ticks.advance(g.below(_DAY_MS))
                clock.at(ticks.ms())
                taken.append((clock.s, clock.ms, boot_ms + ticks.total))
                if i == 10:
                    assert _hear(clock, boot_ms + ticks.total, ticks)
                    assert clock.synced
            for s, ms, when_ms in taken:
                assert unix_ms(clock.segments, s * 1000 + ms) == when_ms

    gen.for_seeds(10, check)


def test_what_was_sent_keeps_its_time():
    """Later answers move what comes behind the readings that were sent, without a jump."""
    with fakes.Ticks() as ticks:
        clock = Clock(fakes.FLOOR_MS)
        assert _hear(clock, fakes.UNIX_MS, ticks, spread=400)
        before = [unix_ms(clock.segments, at) for at in range(0, 60_001, 1000)]
        ticks.advance(120_000)
        assert _hear(clock, fakes.UNIX_MS + 120_150, ticks, 60_000, spread=2)
        assert [unix_ms(clock.segments, at) for at in range(0, 60_001, 1000)] == before
        assert abs(unix_ms(clock.segments, 120_000) - fakes.UNIX_MS - 120_151) <= 1
        times = [unix_ms(clock.segments, at) for at in range(60_000, 120_001, 1000)]
        assert all([900 < b - a < 1100 for a, b in zip(times, times[1:])])
        assert clock.syncs == 2 and not clock.outliers and clock.error_ms <= 2


def test_mappings_that_are_needed_are_not_let_go():
    with fakes.Ticks() as ticks:
        clock = Clock(fakes.FLOOR_MS)
        known = {}
        sent = 0
        for i in range(40):
            ticks.advance(3_600_000)
            _hear(clock, fakes.UNIX_MS + ticks.total + i % 7 * 15, ticks, sent, spread=100 + i % 5 * 10)
            assert len(clock.segments) <= 3
            sent = ticks.total
            known[sent] = unix_ms(clock.segments, sent)
            if i % 10 == 9:
                clock.stored_ms = sent
            for at in known:
                assert at <= clock.stored_ms or unix_ms(clock.segments, at) == known[at], i


def test_one_answer_that_contradicts_is_not_followed():
    with fakes.Ticks() as ticks:
        clock = Clock(fakes.FLOOR_MS)
        assert _hear(clock, fakes.UNIX_MS, ticks)
        for count in range(1, 31):
            ticks.advance(10_000)
            assert not _hear(clock, fakes.UNIX_MS + 3_600_000 + ticks.total, ticks, 500)
            assert clock.outliers == count and clock.offset_ms == fakes.UNIX_MS
        ticks.advance(10_000)
        assert _hear(clock, fakes.UNIX_MS + 3_600_000 + ticks.total, ticks, 500)
        assert unix_ms(clock.segments, 500) == fakes.UNIX_MS + 500
        assert clock.offset_ms == fakes.UNIX_MS + 3_600_000


def test_drift_is_learned():
    with fakes.Ticks() as ticks:
        clock = Clock(fakes.FLOOR_MS)
        for i in range(48):
            true_ms = fakes.UNIX_MS + ticks.total + ticks.total * 50 // 1_000_000
            _hear(clock, true_ms - 20, ticks, ticks.total - 1, spread=40)
            clock.stored_ms = ticks.total - 1
            ticks.advance(1_800_000)
        assert abs(clock.drift_ppb - 50_000) < 2_000
        assert abs(clock.offset_ms - fakes.UNIX_MS - ticks.total * 50 // 1_000_000) <= clock.error_ms <= 40


def test_absurd_times_are_refused():
    with fakes.Ticks() as ticks:
        clock = Clock(fakes.FLOOR_MS)
        absurd = (-1, 0, 1, 1_000_000_000_000, fakes.FLOOR_MS - 1, 4_102_444_800_000, 1 << 62)
        for at_ms in absurd:
            assert not _hear(clock, at_ms, ticks)
        assert clock.refused == len(absurd) and not clock.synced
        assert clock.offset_ms is None and clock.error_ms is None and clock.stale
        assert _hear(clock, fakes.FLOOR_MS, ticks)
        assert clock.synced


def test_the_floor_is_the_day_of_the_build():
    year, month, day = build.DATE
    assert (
        unix_seconds(b"Xxx, %02d %s %d 00:00:00 GMT" % (day, _MONTHS[month - 1], year)) * 1000
        == build.UNIX_MS
    )


def test_the_drift_of_an_earlier_boot_is_a_start():
    """It moves the estimate, not the bound: the crystal may have another temperature now."""
    with fakes.Ticks() as ticks:
        plain, told = Clock(fakes.FLOOR_MS), Clock(fakes.FLOOR_MS, 50_000)
        for clock in (plain, told):
            assert _hear(clock, fakes.UNIX_MS, ticks, spread=40)
        ticks.advance(3_600_000)
        true_ms = fakes.UNIX_MS + 3_600_000 + 180
        assert plain.drift_ppb == 0 and told.drift_ppb == 50_000
        now = told.uptime_ms(ticks.ms())
        assert abs(unix_ms(told.segments, now) - true_ms - 20) <= 1
        assert unix_ms(plain.segments, now) - true_ms == 20 - 180
        for clock in (plain, told):
            assert abs(unix_ms(clock.segments, now) - true_ms) <= clock.error_ms
        assert told.error_ms >= 720 and plain.error_ms >= 720
        assert not _hear(told, true_ms, ticks, spread=40)  # it was that good already
        assert abs(told.drift_ppb - 50_000) <= 12_000


def test_no_later_answer_dates_a_reading_worse_than_was_promised():
    """Whatever the ways to the gateway, the drift, and what was sent meanwhile: until then a mapping may change."""

    def check(g):
        ppm = g.between(-50, 50)
        with fakes.Ticks() as ticks:
            clock = Clock(fakes.FLOOR_MS)
            promised, sent_ms = [], -1
            for _ in range(g.between(3, 12)):
                ticks.advance(g.pick((500, 5_000, 60_000, 300_000, 1_800_000)) * g.between(1, 4))
                asked, round_trip_ms = ticks.ms(), g.pick((20, 100, 600, 1300)) * g.between(1, 2)
                at = ticks.total + g.below(round_trip_ms + 1)
                at_ms = fakes.UNIX_MS + at + at * ppm // 1_000_000
                ticks.advance(round_trip_ms)
                hear(clock, {}, at_ms, at_ms + 1, asked, ticks.ms(), sent_ms, "test")
                for taken, error_ms in promised:
                    true_ms = fakes.UNIX_MS + taken + taken * ppm // 1_000_000
                    if taken > sent_ms:
                        off_ms = abs(unix_ms(clock.segments, taken) - true_ms)
                        assert off_ms <= error_ms + 1, (taken, off_ms, error_ms)
                for _ in range(g.below(3)):
                    ticks.advance(g.between(1_000, 600_000))
                    promised.append((ticks.total, clock.error_ms))
                if promised and g.chance(3):
                    sent_ms = max(sent_ms, g.pick(promised)[0])

    gen.for_seeds(60, check)
