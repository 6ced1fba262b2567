"""A plain ESP32 whose partition table has a data partition "plexus": readings outlive resets and power cuts."""

# Pins: SDA and SCL of the default bus on most development boards.
I2C_ID = 0
I2C_SDA = 21
I2C_SCL = 22

# Readings wait in flash, and what send() has accepted is there when it returns. tools/board_check.py: 256 KB hold
# eleven hours of three readings every two seconds (4.5 bytes each, single precision), and last for 70 years of that.
RING = "plexus"
COMMIT_MS = 0
PAGE_BYTES = 512
FRAME_BYTES = 2048

# The link works in slices from a soft timer: five looks a second cost little and keep a page live.
TICK_MS = 200
TIMER_ID = -1

# What the simulator makes of it: the firmware does not look at these. The files' partition gives up 256 KiB.
MACHINE = "Generic ESP32 module with ESP32 (simulated)"
EPOCH_YEAR = 2000
VIRTUAL_TIMERS = True
PARTITIONS = [
    ("nvs", 1, 2, 0x9000, 0x6000, False),
    ("phy_init", 1, 1, 0xF000, 0x1000, False),
    ("factory", 0, 0, 0x10000, 0x1F0000, False),
    ("vfs", 1, 0x81, 0x200000, 0x1C0000, False),
    ("plexus", 1, 0x40, 0x3C0000, 0x40000, False),
]
