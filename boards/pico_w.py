"""A Raspberry Pi Pico W on MicroPython's stock firmware: readings wait in files and outlive resets and power cuts."""

# Pins: GP4 and GP5 are SDA and SCL of the default bus.
I2C_ID = 0
I2C_SDA = 4
I2C_SCL = 5

# All of the storage is the filesystem, so the ring is files, 16 of 8 KB in the 848 KB there are. littlefs programs 256
# bytes at a time here: few large commits wear it less than many small ones.
RING = "files"
RING_BYTES = 131072
SECTOR_BYTES = 8192
PAGE_BYTES = 2048
COMMIT_MS = 60000
FRAME_BYTES = 8192

# The link works in slices from a soft timer: five looks a second cost little and keep a page live.
TICK_MS = 200
TIMER_ID = -1

# What the simulator makes of it: the firmware does not look at these.
MACHINE = "Raspberry Pi Pico W with RP2040 (simulated)"
PORT = "rp2"
EPOCH_YEAR = 1970
VIRTUAL_TIMERS = True
