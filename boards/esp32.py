"""A plain ESP32 (no PSRAM) on MicroPython's stock firmware, 1.22 or later: readings wait in files."""

# Pins: SDA and SCL of the default bus on most development boards.
I2C_ID = 0
I2C_SDA = 21
I2C_SCL = 22

# Stock firmware gives all of the flash to the filesystem, so the ring is 32 files of 4 KB in /plexus. Readings are
# committed at once while the gateway answers, else a page at a time, when it is full or a minute old: a power cut
# costs at most that. What this survives, and what it costs the flash: tools/board_check.py, docs/boards.md.
RING = "files"
RING_BYTES = 131072
SECTOR_BYTES = 4096
PAGE_BYTES = 1024
COMMIT_MS = 60000
FRAME_BYTES = 2048

# The link works in slices from a soft timer: five looks a second cost little and keep a page live.
# Releases without virtual timers: use 0 to 3.
TICK_MS = 200
TIMER_ID = -1

# What the simulator makes of it: the firmware does not look at these.
MACHINE = "Generic ESP32 module with ESP32 (simulated)"
EPOCH_YEAR = 2000
VIRTUAL_TIMERS = True
