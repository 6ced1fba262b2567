"""Uptime from ticks that wrap, and Unix time from uptime."""

from plexus_mp.clock import Clock

from . import fakes, gen

_DAY_MS = 86_400_000


def _uptime_ms(clock):
    assert 0 <= clock.ms < 1000
    return clock.s * 1000 + clock.ms


def _follow(g, period, step_max):
    with fakes.Ticks(period - 1 - g.below(5000), period) as ticks:
        clock = Clock()
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
        clock = Clock()
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
            clock = Clock()
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
            clock = Clock()
            boot_ms = fakes.UNIX_MS + g.below(1 << 40)
            taken = []
            assert not clock.synced
            for i in range(20):
                ticks.advance(g.below(_DAY_MS))
                clock.at(ticks.ms())
                taken.append((clock.s, clock.ms, boot_ms + ticks.total))
                if i == 10:
                    clock.sync(boot_ms + ticks.total, ticks.ms())
                    assert clock.synced
            for s, ms, unix_ms in taken:
                assert clock.zero_ms + s * 1000 + ms == unix_ms

    gen.for_seeds(10, check)


def test_the_first_sync_counts():
    with fakes.Ticks() as ticks:
        clock = Clock()
        clock.sync(fakes.UNIX_MS, ticks.ms())
        clock.sync(fakes.UNIX_MS + 5000, ticks.ms())
        assert clock.zero_ms == fakes.UNIX_MS


def test_absurd_times_are_refused():
    with fakes.Ticks() as ticks:
        clock = Clock()
        absurd = (-1, 0, 1, 1_000_000_000_000, 1_735_689_600_000, 4_102_444_800_000, 1 << 62)
        for unix_ms in absurd:
            clock.sync(unix_ms, ticks.ms())
        assert clock.refused == len(absurd) and not clock.synced
        clock.sync(1_735_689_600_001, ticks.ms())
        assert clock.synced
