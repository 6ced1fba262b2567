"""The ground: all that differs between the Pythons this library runs on.

Every other file imports from here and tests no platform itself. A port gives:

`ticks_ms()`, `ticks_add(a, ms)`, `ticks_diff(a, b)`  milliseconds that wrap
`Tcp`                              one non-blocking TCP connection
`load_tls()`                       the module `ports/*_tls.py` of the port
`station(hostname, country)`       the Wi-Fi interface, or None
`Guard`                            mutual exclusion between `send()` and `tick()`
`start_ticker(callback, period_ms, timer_id)`  something that calls back, or None
`sleep_ms(n)`, `random_bits(n)`, `collect()`, `const`
`forget(module)`                   gives the memory of a module back
`load_boot()`                      a module that only the making of a client needs:
  `unique_id()`, `getenv(name)`
  `open_flash(label)`              a block device of flash
  `DEFAULTS`, `FILES`              sizes that suit the memory of the machine; where they differ for a ring in files
"""

import sys

if sys.implementation.name == "micropython":
    from .micropython import *
else:
    from .cpython import *  # type: ignore[assignment]
