"""`machine` of MicroPython's ESP32 port, on the virtual board."""

from _board import call, on_timer, operation

PWRON_RESET = 1
HARD_RESET = 2
WDT_RESET = 3
DEEPSLEEP_RESET = 4
SOFT_RESET = 5

_TIMERS = 4  # hardware timers of a plain ESP32
_virtual_ids = 0

_read_mem = operation("machine.i2c_read_mem")
_write_mem = operation("machine.i2c_write_mem")
_timer_start = operation("machine.timer_start")


def unique_id():
    return call("machine.unique_id")


def reset_cause():
    return call("machine.reset_cause")


def reset():
    call("machine.reset")


def freq(hz=None):
    return 160000000


def idle():
    call("time.sleep", 1000, None)


def deepsleep(time_ms=None):
    call("machine.deep_sleep", None if time_ms is None else time_ms * 1000)


def lightsleep(ms=0):
    import time

    time.sleep_ms(ms)


class Pin:
    IN = 1
    OUT = 3
    OPEN_DRAIN = 7
    PULL_UP = 2
    PULL_DOWN = 1

    _levels = {}  # of all pins: nothing is connected to them

    def __init__(self, id, mode=-1, pull=-1, value=None):
        self._id = id
        self.init(mode, pull, value)

    def init(self, mode=-1, pull=-1, value=None):
        if value is not None:
            self.value(value)
        elif mode == Pin.IN:
            Pin._levels[self._id] = 1 if pull == Pin.PULL_UP else 0

    def value(self, x=None):
        if x is None:
            return Pin._levels.get(self._id, 0)
        Pin._levels[self._id] = 1 if x else 0

    __call__ = value

    def on(self):
        self.value(1)

    def off(self):
        self.value(0)


class I2C:
    """A bus controller; every bus of the virtual board has the same devices."""

    def __init__(self, id=0, scl=None, sda=None, freq=400000, timeout=50000):
        self._freq = freq

    def scan(self):
        return call("machine.i2c_scan")

    def writeto(self, addr, buf, stop=True):
        call("machine.i2c_write", addr, bytes(buf))
        return len(buf)

    def readfrom(self, addr, nbytes, stop=True):
        return call("machine.i2c_read", addr, nbytes)

    def readfrom_into(self, addr, buf, stop=True):
        buf[:] = call("machine.i2c_read", addr, len(buf))

    def readfrom_mem(self, addr, memaddr, nbytes, addrsize=8):
        return _read_mem(addr, memaddr, nbytes)

    def readfrom_mem_into(self, addr, memaddr, buf, addrsize=8):
        buf[:] = _read_mem(addr, memaddr, len(buf))

    def writeto_mem(self, addr, memaddr, buf, addrsize=8):
        _write_mem(addr, memaddr, bytes(buf))


class SoftI2C(I2C):
    def __init__(self, scl, sda, freq=400000, timeout=50000):
        I2C.__init__(self, -1, scl, sda, freq, timeout)


class Timer:
    """Soft timers. `Timer(-1)` is a virtual one, where the board's release has them."""

    ONE_SHOT = 0
    PERIODIC = 1

    def __init__(self, id=-1, **settings):
        global _virtual_ids
        if id >= _TIMERS:
            raise ValueError("invalid Timer number")
        if id < 0:
            _virtual_ids -= 1
            id = _virtual_ids
        self._id = id
        if settings:
            self.init(**settings)

    def init(self, mode=PERIODIC, freq=-1, period=-1, callback=None, hard=False, tick_hz=1000):
        period_ms = int(1000 / freq) if freq > 0 else int(period * 1000 // tick_hz)
        on_timer(self._id, callback, self)
        _timer_start(self._id, period_ms, mode == Timer.PERIODIC)

    def deinit(self):
        on_timer(self._id, None)
        call("machine.timer_stop", self._id)


class RTC:
    """The real-time clock: counts from its epoch's first second after a power-on."""

    def datetime(self, when=None):
        import time

        if when is None:
            y, mo, d, h, mi, s, wd, _ = time.gmtime()
            return (y, mo, d, wd, h, mi, s, call("time.rtc_us") % 1000000)
        y, mo, d, _, h, mi, s, us = when
        call("time.set_rtc_us", time.mktime((y, mo, d, h, mi, s, 0, 0)) * 1000000 + us)

    def init(self, when):
        self.datetime(when)

    def memory(self, data=None):
        """2,048 bytes that outlast every reset but a power-on."""
        return call("machine.rtc_memory", None if data is None else bytes(data))


class WDT:
    """Once started it cannot be stopped."""

    def __init__(self, id=0, timeout=5000):
        if id:
            raise ValueError
        if timeout <= 0:
            raise ValueError("WDT timeout too short")
        self._timeout_ms = timeout
        self.feed()

    def feed(self):
        call("machine.watchdog", self._timeout_ms)
