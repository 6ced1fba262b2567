"""CRC-24 of OpenPGP (RFC 4880 §6.1, polynomial 0x864CFB), stored behind what it is of: `binascii.crc32` allocates."""

from array import array

from .ports import const

CRC_BYTES = const(3)


# What a byte does to the CRC. Made here and not in a function, which would stay in memory.
_TABLE = array("i", bytes(1024))
for _byte in range(256):
    _crc = _byte << 16
    for _ in range(8):
        _crc = (_crc << 1) ^ 0x1864CFB if _crc & 0x800000 else _crc << 1
    _TABLE[_byte] = _crc


def crc24(crc, buf, start, end):
    """CRC-24 of `buf[start:end]`, going on from `crc`. Small integers only, on 32-bit boards too."""
    table = _TABLE
    for i in range(start, end):
        crc = (crc & 0xFFFF) << 8 ^ table[crc >> 16 ^ buf[i]]
    return crc


def seal(crc, buf, start, end):
    """Write the CRC of `buf[start:end]` behind it; where that ends."""
    crc = crc24(crc, buf, start, end)
    buf[end] = crc >> 16
    buf[end + 1] = crc >> 8 & 0xFF
    buf[end + 2] = crc & 0xFF
    return end + CRC_BYTES


def sealed(crc, buf, start, end):
    """Whether the CRC behind `buf[start:end]` is right."""
    return crc24(crc, buf, start, end) == buf[end] << 16 | buf[end + 1] << 8 | buf[end + 2]
