"""A plain ESP32 (no PSRAM) whose readings wait in RAM: the flash is never written, a reset costs all that waits."""

# Pins: SDA and SCL of the default bus on most development boards.
I2C_ID = 0
I2C_SDA = 21
I2C_SCL = 22

# About 2,300 readings of a BME280: 25 minutes of three every two seconds, 16 hours of one every half a minute.
RING = "ram"
RING_BYTES = 12288
SECTOR_BYTES = 1024
PAGE_BYTES = 512
FRAME_BYTES = 2048

# The link works in slices from a soft timer: five looks a second cost little and keep a page live.
# Releases without virtual timers: use 0 to 3.
TICK_MS = 200
TIMER_ID = -1

# What the simulator makes of it: the firmware does not look at these.
MACHINE = "Generic ESP32 module with ESP32 (simulated)"
EPOCH_YEAR = 2000
VIRTUAL_TIMERS = True
