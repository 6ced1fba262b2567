"""Boots that never met a gateway are dated by the real-time clock, as far as that ran on."""

from . import fakes, gen

_YEAR_MS = 365 * 86_400_000


class _Board:
    """A board that sleeps deeply; its real-time clock goes `ppm` too fast meanwhile."""

    def __init__(self, ticks, align=1, size=24 * 2048, commit_ms=0):
        self.ticks = ticks
        self.blocks = fakes.NorBlocks(size, 2048)
        self.align = align
        self.commit_ms = commit_ms
        self.rtc = 0
        self.seen = 0
        self.number = 0
        self.truth = {}

    def rtc_ms(self):
        self.rtc += self.ticks.total - self.seen
        self.seen = self.ticks.total
        return self.rtc

    def wake(self, synced=False, readings=2):
        device = fakes.Device(
            self.ticks, 0, 0, 128, 1024, self.blocks, self.align, self.commit_ms, False, rtc_ms=self.rtc_ms
        )
        self.ticks.advance(300)
        if synced:
            device.sync()
        for _ in range(readings):
            self.ticks.advance(700)
            self.truth[self.number] = device.unix_ms()
            assert device.send("n", self.number)
            self.number += 1
        device.recorder.upkeep(True)
        return device

    def sleep(self, ms, ppm=0):
        self.rtc_ms()
        self.ticks.total += ms
        self.seen = self.ticks.total
        self.rtc += ms + ms * ppm // 1_000_000

    def lose_power(self, ms):
        self.ticks.total += ms
        self.seen = self.ticks.total
        self.rtc = 0

    def errors(self, device, guessed):
        """By how much each reading was dated wrong; numbers from `guessed[0]` to `guessed[1]` say so."""
        found = device.drain()
        stamps = [point["timestamp"] for point in found]
        assert stamps == sorted(stamps) and len(set(stamps)) == len(stamps)
        for point in found:
            says = point.get("tags") == {"clock": "estimated"}
            assert says == (guessed[0] <= point["value"] < guessed[1]), point
        return [abs(point["timestamp"] - self.truth[point["value"]]) for point in found]


def _between_syncs(g, align, commit_ms, size, wakes):
    """The error of wakes between two that met a gateway, and the bound: a tenth of what lies on the shorter side."""
    with fakes.Ticks(g.below(1 << 30)) as ticks:
        board = _Board(ticks, align, size, commit_ms)
        device = board.wake(True)
        device.drain()
        start, last = board.number, ticks.total
        for _ in range(wakes):
            board.sleep(g.between(60_000, 900_000), g.below(100_001) - 50_000)
            board.wake()
        end = board.number
        board.sleep(300_000, g.below(100_001) - 50_000)
        device = board.wake(True)
        since, total = {}, ticks.total - last
        for number in range(start, end):
            since[number] = board.truth[number] - fakes.UNIX_MS - last
        errors = board.errors(device, (start, end))
        for number in range(start, end):
            before = since[number]
            bound = 110 * before * (total - before) // total // 1000 + 2000
            assert errors[number - start] <= bound, (number, errors[number - start], bound)
        assert max(errors[end - start :]) <= 2


def test_between_two_syncs_by_interpolation():
    for align, commit_ms in ((1, 0), (16, 0), (1, 5000), (256, 5000)):
        gen.for_seeds(3, _between_syncs, align, commit_ms, 24 * 2048, 9)


def test_more_boots_than_are_dated_at_a_time():
    gen.for_seeds(1, _between_syncs, 1, 0, 48 * 2048, 90)


def test_a_steady_sleep_clock_is_known_afterwards():
    for ppm in (-50_000, 20_000, 50_000):
        with fakes.Ticks() as ticks:
            board = _Board(ticks)
            board.wake(True).drain()
            for _ in range(6):
                board.sleep(600_000, ppm)
                board.wake()
            board.sleep(600_000, ppm)
            device = board.wake(True)
            assert max(board.errors(device, (2, 14))) < 1000


def test_before_the_first_sync_the_clock_is_taken_as_right():
    with fakes.Ticks() as ticks:
        board = _Board(ticks)
        for _ in range(3):
            board.wake()
            board.sleep(600_000, 50_000)
        device = board.wake(True)
        errors = board.errors(device, (0, 6))
        assert 60_000 < errors[0] < 100_000 and 25_000 < errors[4] < 35_000


def test_a_power_cut_stops_it():
    """Whatever lies before it ends where the next boot begins; what lies behind is dated by the clock."""
    with fakes.Ticks() as ticks:
        board = _Board(ticks)
        board.wake(True).drain()
        board.sleep(600_000)
        board.wake()
        board.lose_power(3_600_000)
        start = ticks.total
        board.wake()
        board.sleep(600_000)
        device = board.wake(True)
        errors = board.errors(device, (2, 6))
        assert max(errors[2:]) < 3 and errors[0] > 3_500_000, errors
        assert ticks.total - start < 700_000


def test_a_clock_that_somebody_sets_is_not_believed():
    for jump in (_YEAR_MS, -_YEAR_MS, 7_200_000):
        with fakes.Ticks() as ticks:
            board = _Board(ticks)
            board.rtc = 3 * _YEAR_MS
            board.wake(True).drain()
            board.sleep(600_000)
            board.wake()
            board.rtc += jump
            board.sleep(600_000)
            device = board.wake(True)
            errors = board.errors(device, (2, 4))
            assert 590_000 < errors[0] < 610_000, (jump, errors)
            assert max(errors[2:]) <= 2


def test_wakes_share_a_file():
    """What each tells of its clock does not take a file of its own."""
    with fakes.Ticks() as ticks:
        board = _Board(ticks, commit_ms=60_000)
        board.blocks.write_once = True
        for _ in range(6):
            device = board.wake()
            board.sleep(600_000)
        assert device.ring.head_seq == 1 and sorted(device.ring.rtc) == [1, 2, 3, 4, 5, 6]


def test_a_real_time_clock_before_its_epoch_is_kept_as_it_is_and_not_believed():
    """It may be set to anything: 48 bits of it are stored."""
    with fakes.Ticks() as ticks:
        board = _Board(ticks)
        for rtc in (-3_600_000, 1 << 50, 0):
            board.rtc = rtc
            board.wake(synced=rtc != 0)
            board.sleep(60_000)
        board.rtc = -5
        device = board.wake(synced=True)
        board.errors(device, (4, 6))
