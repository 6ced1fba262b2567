"""A plain ESP32 (no PSRAM) on MicroPython's stock firmware, 1.22 or later: readings wait in files."""

# Pins: SDA and SCL of the default bus on most development boards.
I2C_ID = 0
I2C_SDA = 21
I2C_SCL = 22

# Stock firmware gives all of the flash to the filesystem, so the ring is 64 files in /plexus, a block of 4 KB each.
# Readings are committed within seconds while the gateway answers, else a page at a time, when it is full or five
# minutes old: a power cut costs at most that. A page fills its file, being as long as SECTOR_BYTES allows: a second one
# would have littlefs copy the first. What this survives, and what it costs: tools/board_check.py, docs/boards.md.
RING = "files"
RING_BYTES = 65536
SECTOR_BYTES = 1024
PAGE_BYTES = 828
COMMIT_MS = 300000
FRAME_BYTES = 2048

# The link works in slices from a soft timer: five looks a second cost little and keep a page live.
# Releases without virtual timers: use 0 to 3.
TICK_MS = 200
TIMER_ID = -1

# What the simulator makes of it: the firmware does not look at these.
MACHINE = "Generic ESP32 module with ESP32 (simulated)"
EPOCH_YEAR = 2000
VIRTUAL_TIMERS = True
