"""A Raspberry Pi Pico W on MicroPython's stock firmware: readings wait in files and outlive resets and power cuts."""

# Pins: GP4 and GP5 are SDA and SCL of the default bus.
I2C_ID = 0
I2C_SDA = 4
I2C_SCL = 5

# All of the storage is the filesystem, so the ring is 64 files, each in a block of 4 KB of the 848 KB there are.
# littlefs programs 256 bytes at a time here: for a file of 1 KB it writes up to three quarters as much again, for one
# of 2 KB less than half; one of 4 KB would take ten minutes of a BME280 to fill, and a power cut costs a page. A page
# fills its file, being as long as SECTOR_BYTES allows: a second one would have littlefs copy the first.
RING = "files"
RING_BYTES = 131072
SECTOR_BYTES = 2048
PAGE_BYTES = 1852
COMMIT_MS = 300000
FRAME_BYTES = 8192

# The link works in slices from a soft timer: five looks a second cost little and keep a page live.
TICK_MS = 200
TIMER_ID = -1

# What the simulator makes of it: the firmware does not look at these.
MACHINE = "Raspberry Pi Pico W with RP2040 (simulated)"
PORT = "rp2"
EPOCH_YEAR = 1970
VIRTUAL_TIMERS = True
