"""The greenhouse's ESP32. Sizes of the ring as in boards/esp32.py of plexus_mp, where they are explained."""

I2C_SDA = 21
I2C_SCL = 22
VENT_PIN = 5

# Between the two the vent stays as it is, so that it does not flutter.
OPEN_C = 26
CLOSE_C = 24

RING = "files"
RING_BYTES = 65536
SECTOR_BYTES = 1024
PAGE_BYTES = 828
COMMIT_MS = 300000
FRAME_BYTES = 2048
TICK_MS = 200
TIMER_ID = -1
