"""`time` of MicroPython's ESP32 port, on the board's own clocks."""

from _board import call, operation

_PERIOD = call("setup.ticks_period_ms")
_HALF = _PERIOD >> 1
_epoch_year = call("setup.epoch_year")


_sleep = operation("time.sleep")
ticks_ms = operation("time.ticks_ms")
ticks_us = ticks_cpu = operation("time.ticks_us")


def ticks_add(ticks, delta):
    return (ticks + delta) % _PERIOD


def ticks_diff(end, start):
    return (end - start + _HALF) % _PERIOD - _HALF


def sleep(seconds):
    sleep_us(int(seconds * 1000000))


def sleep_ms(ms):
    sleep_us(ms * 1000)


def sleep_us(us):
    if us > 0:
        end, over = _sleep(us, None)
        while not over:
            end, over = _sleep(0, end)


def time():
    return call("time.rtc_us") // 1000000


def time_ns():
    return call("time.rtc_us") * 1000


def _days(year, month, day):
    """Days of the civil calendar since year 0, with years that begin in March."""
    if month < 3:
        year -= 1
    return year * 365 + year // 4 - year // 100 + year // 400 + ((month + 9) % 12 * 306 + 5) // 10 + day - 1


def gmtime(seconds=None):
    if seconds is None:
        seconds = time()
    days, rest = divmod(int(seconds), 86400)
    days += _days(_epoch_year, 1, 1)
    year = days * 10000 // 3652425 + 1
    while _days(year, 3, 1) > days:
        year -= 1
    day = days - _days(year, 3, 1)
    month = (day * 5 + 2) // 153
    day -= (month * 306 + 5) // 10 - 1
    month = month + 3 if month < 10 else month - 9
    if month < 3:
        year += 1
    yearday = _days(year, month, day) - _days(year, 1, 1) + 1
    return (year, month, day, rest // 3600, rest // 60 % 60, rest % 60, (days + 2) % 7, yearday)


localtime = gmtime


def mktime(when):
    days = _days(when[0], when[1], when[2]) - _days(_epoch_year, 1, 1)
    return days * 86400 + when[3] * 3600 + when[4] * 60 + when[5]
