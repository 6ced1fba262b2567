"""A BME280 every two seconds: temperature in °C, humidity in %, pressure in hPa."""

import time

import plexus_board
from bme280 import BME280
from machine import I2C, Pin
from plexus_mp import Plexus

PERIOD_MS = 2000


def sample(i2c, sensor):
    """Send one reading of `sensor`, which is looked for when None; the sensor. Raises OSError, ValueError."""
    if sensor is None:
        sensor = BME280(i2c)
    temperature, humidity, pressure = sensor.read()
    px.send_batch([("temperature", temperature), ("humidity", humidity), ("pressure", pressure)])
    return sensor


def report(error):
    """One line and one event when the trouble begins, not one for each sample it costs."""
    # The driver's own words come last, behind an error number that each Python spells in its way.
    words = str(error.args[-1]) if error.args else type(error).__name__
    print("sensor:", words)
    px.event("sensor_error", words)


def sleep_until(next_ms):
    left_ms = time.ticks_diff(next_ms, time.ticks_ms())
    if left_ms > 0:
        time.sleep_ms(left_ms)


px = Plexus(source_id="esp32-bme280")
i2c = I2C(plexus_board.I2C_ID, scl=Pin(plexus_board.I2C_SCL), sda=Pin(plexus_board.I2C_SDA))
sensor = None
in_trouble = False
next_ms = time.ticks_ms()
while True:
    try:
        sensor = sample(i2c, sensor)
        in_trouble = False
    except (OSError, ValueError, MemoryError) as e:
        sensor = None
        if not in_trouble:
            report(e)
        in_trouble = True
    next_ms = time.ticks_add(next_ms, PERIOD_MS)
    sleep_until(next_ms)
