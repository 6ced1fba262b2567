"""What the making of a client needs of CircuitPython, and nothing else: its memory is given back."""

import os

# Bytes. Boards with Wi-Fi have 100 KB of heap and more.
DEFAULTS = {
    "ring_bytes": 16384,
    "sector_bytes": 1024,
    "page_bytes": 512,
    "frame_bytes": 2048,
    "ring": "ram",
    "commit_ms": 0,
    "program_bytes": 0,
    "transport": "auto",
    "tick_ms": 100,
    "timer_id": -1,
    "runs_file": "",
    "stats_s": 0,
    "linger_ms": 6000,  # in flash, where each frame costs a mark or an erase
}
# A ring in files: few of them and rarely written, since FAT rewrites 4 KB of flash for each 512 bytes, its table too.
# 32 of 4 KB; each holds one page (4,096 bytes less headers, times, length and CRC).
FILES = {"ring_bytes": 131072, "sector_bytes": 4096, "page_bytes": 3900, "commit_ms": 600000}


def getenv(name):
    """What settings.toml says."""
    return os.getenv(name)


def unique_id():
    """The chip's own id as lower-case hexadecimal, or '' where there is none."""
    try:
        import microcontroller
    except ImportError:  # the unix port
        return ""
    return "".join(["%02x" % byte for byte in microcontroller.cpu.uid])


def open_flash(where):
    raise ValueError("ring: this port has no flash partitions, only 'ram' and 'files'")


def station(hostname, country):
    """None: the firmware itself joins the network of settings.toml; the board's name is all there is to set."""
    if hostname:
        import wifi

        wifi.radio.hostname = hostname
