"""A greenhouse: the temperature every ten seconds, and a vent that opens when it is warm."""

import time

from bme280 import BME280
from machine import I2C, Pin
from plexus_board import CLOSE_C, I2C_SCL, I2C_SDA, OPEN_C, VENT_PIN
from plexus_mp import Plexus

px = Plexus(source_id="greenhouse")
sensor = BME280(I2C(0, scl=Pin(I2C_SCL), sda=Pin(I2C_SDA)))
vent = Pin(VENT_PIN, Pin.OUT, value=0)

while True:
    temperature = sensor.read()[0]
    px.send("temperature", temperature)
    if temperature > OPEN_C and not vent.value():
        vent.on()
        px.send("vent", 1)
    elif temperature < CLOSE_C and vent.value():
        vent.off()
        px.send("vent", 0)
    time.sleep(10)
