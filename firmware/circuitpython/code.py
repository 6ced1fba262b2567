"""Sends the chip's temperature every two seconds: for any CircuitPython board with Wi-Fi built in.

The network, the key and the gateway are in settings.toml: docs/circuitpython.md.
"""

import microcontroller
from plexus_mp import Plexus

PERIOD_S = 2

px = Plexus()
while True:
    px.send("cpu.temperature", microcontroller.cpu.temperature)
    px.sleep(PERIOD_S)  # delivers meanwhile
