"""`esp32` of MicroPython: what the virtual board has of it."""

HEAP_DATA = 4
HEAP_EXEC = 1


def idf_heap_info(capabilities):
    """One region of (total, free, largest free block, minimum free ever), in bytes."""
    return [(200000, 120000, 65536, 100000)]
