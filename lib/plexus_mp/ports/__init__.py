"""The ground: all that differs between the Pythons this library runs on.

Every other file imports from here and tests no platform itself. A port gives:

`ticks_ms()`, `ticks_add(a, ms)`, `ticks_diff(a, b)`  milliseconds that wrap
`rtc_ms()`                         the real-time clock, which runs on in deep sleep
`Tcp`                              one non-blocking TCP connection
`load_tls()`                       the module `ports/*_tls.py` of the port
`Guard`, `forget(module)`           where those below do not do
`start_ticker(callback, period_ms, timer_id)`  something that calls back, or None
`pace_ticker(ticker, callback, period_ms)`  from now on as often as that
`randomize(buf, at, n)`            `n` unpredictable bytes
`sha1(data)`                       a digest, or None where Python has no SHA-1
`sleep_ms(n)`, `random_bits(n)`, `collect()`, `const`
`STATE_FILE`                       where state.py keeps what is no reading, None: nowhere
`rtc_ms()`                         a clock that goes on in a deep sleep
`rtc_memory(data)`                 what outlives a deep sleep, or None
`load_more()`                      the module `ports/*_more.py` of the port: `free_bytes()` of the heap,
                                   `sleep_async(ms)` for asyncio, `deep_sleep(ms)`
`load_boot()`                      a module that only the making of a client needs:
  `unique_id()`, `getenv(name)`
  `open_flash(label)`              a block device of flash
  `station(hostname, country)`     the Wi-Fi interface, or None
  `DEFAULTS`, `FILES`              sizes that suit the memory of the machine; where they differ for a ring in files
"""

import sys


def forget(module):
    """Let go of a module of this package that is not needed again: a collection frees its code."""
    package, module = ("plexus_mp." + module).rsplit(".", 1)
    sys.modules.pop(package + "." + module, None)
    package = sys.modules.get(package)
    if hasattr(package, module):
        delattr(package, module)


class Guard:
    """Held while ring and records are being changed.

    A timer callback runs between the bytecodes of what it interrupts and to its end before that goes
    on, so a flag is enough: the inner caller sees it and keeps away.
    """

    def __init__(self):
        self._call = 0

    def take(self, wait, call):
        """True when `call`, a number above 0, may go on; False inside an interrupted holder. Never blocks."""
        if self._call:
            return False
        self._call = call
        return True

    def drop(self, call):
        """Let go, if it was `call` that took it."""
        if self._call == call:
            self._call = 0


if sys.implementation.name == "micropython":
    from .micropython import *
elif sys.implementation.name == "circuitpython":
    from .circuitpython import *  # type: ignore[assignment]
else:
    from .cpython import *  # type: ignore[assignment]
