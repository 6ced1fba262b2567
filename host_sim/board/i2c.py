"""The I2C bus of a virtual board: devices by address, and what can go wrong on two wires.

Errors carry the numbers that MicroPython raises on a board: 19 (ENODEV) where the ESP32's hardware controller
gets no acknowledge, 5 (EIO) where the software controller gets none, a timeout when a line is held low.
"""

from __future__ import annotations

import random
from typing import Final, Protocol, runtime_checkable

EIO: Final = 5
ENODEV: Final = 19
# ESP32 builds take ETIMEDOUT from newlib, where it is 116; ports with MicroPython's own table (ESP8266) say
# 110.
ETIMEDOUT_ESP32: Final = 116
ETIMEDOUT_INTERNAL: Final = 110

# 0x00-0x07 and 0x78-0x7F are reserved by the I2C specification (UM10204 §3.1.12)
FIRST_ADDRESS: Final = 0x08
LAST_ADDRESS: Final = 0x77
MAX_TRANSFER_BYTES: Final = 4096

NACK: Final = "nack"
STUCK: Final = "stuck"
GARBAGE: Final = "garbage"
FAULTS: Final = (NACK, STUCK, GARBAGE)


class Device(Protocol):
    """What an I2C peripheral does. Either call may raise OSError, as a chip that does not acknowledge."""

    def write(self, data: bytes) -> None:
        """Take one write transaction; its first byte is the register pointer on most chips."""

    def read(self, n: int) -> bytes:
        """Give `n` bytes from the register pointer on."""


@runtime_checkable
class Powered(Protocol):
    """A device that loses its registers with its supply."""

    def power_up(self) -> None:
        """Begin again as after a cold start."""


class _Fault:
    """One fault: its kind, the errno that it raises, the transactions that it still lasts (None: all)."""

    __slots__ = ("errno", "kind", "left")

    def __init__(self, kind: str, errno: int, left: int | None) -> None:
        self.kind = kind
        self.errno = errno
        self.left = left


class I2CBus:
    """One I2C bus. Its transfers take no time: what a transfer costs is for the board's clock to say.

    `rng` feeds the GARBAGE fault only, so a run without that fault draws nothing from it.
    """

    def __init__(self, rng: random.Random | None = None) -> None:
        self._rng = rng if rng is not None else random.Random(0)
        self._devices: dict[int, Device] = {}
        self._unplugged: dict[int, Device] = {}
        self._faults: dict[int | None, _Fault] = {}

    # Wiring

    def attach(self, address: int, device: Device) -> None:
        """Put `device` at `address`. ValueError for an address that is reserved or taken."""
        if not FIRST_ADDRESS <= address <= LAST_ADDRESS:
            raise ValueError(f"I2C address {address:#04x} is outside 0x08..0x77")
        if address in self._devices:
            raise ValueError(f"I2C address {address:#04x} is taken")
        self._unplugged.pop(address, None)
        self._devices[address] = device

    def detach(self, address: int) -> None:
        """Take the device at `address` away for good. KeyError when there is none, plugged or unplugged."""
        if self._devices.pop(address, None) is None:
            del self._unplugged[address]

    def unplug(self, address: int) -> None:
        """Pull the device's wires until `replug`. KeyError when there is none."""
        self._unplugged[address] = self._devices.pop(address)

    def replug(self, address: int) -> None:
        """Plug an unplugged device in again; it starts cold. KeyError when none was unplugged there."""
        device = self._devices[address] = self._unplugged.pop(address)
        if isinstance(device, Powered):
            device.power_up()

    def power_cycle(self) -> None:
        """Cut and restore the supply of every device on the bus."""
        for device in self._devices.values():
            if isinstance(device, Powered):
                device.power_up()

    # Faults

    def set_fault(
        self, kind: str, address: int | None = None, count: int | None = None, errno: int | None = None
    ) -> None:
        """Make transfers fail from now on.

        `kind` is NACK (errno ENODEV unless given: EIO is what the software controller raises), STUCK (errno
        116 unless given) or GARBAGE (reads give random bytes). `address` limits it to one device, `count` to
        that many transactions. A second fault at the same address replaces the first. ValueError for another
        kind or a count below 1.
        """
        if kind not in FAULTS:
            raise ValueError(f"I2C fault {kind!r} is none of {', '.join(FAULTS)}")
        if count is not None and count < 1:
            raise ValueError(f"I2C fault count {count} is below 1")
        default = ETIMEDOUT_ESP32 if kind == STUCK else ENODEV
        self._faults[address] = _Fault(kind, default if errno is None else errno, count)

    def clear_faults(self) -> None:
        """Let every transfer work again."""
        self._faults.clear()

    # Transfers, named and shaped as machine.I2C has them. Each raises the OSErrors of the module's text, and
    # ValueError for more than MAX_TRANSFER_BYTES.

    def scan(self) -> list[int]:
        """Addresses that acknowledge, ascending; a bus that is stuck shows none, as on a board."""
        return [address for address in sorted(self._devices) if self._answers(address)]

    def writeto(self, addr: int, data: bytes) -> int:
        """Write `data` in one transaction; gives the number of bytes acknowledged."""
        self._begin(addr, len(data)).write(bytes(data))
        return len(data)

    def readfrom(self, addr: int, n: int) -> bytes:
        """Read `n` bytes from the device's register pointer on."""
        return self._read(addr, self._begin(addr, n), n)

    def readfrom_into(self, addr: int, buf: bytearray | memoryview) -> None:
        """`readfrom` into a buffer."""
        buf[:] = self.readfrom(addr, len(buf))

    def readfrom_mem(self, addr: int, reg: int, n: int) -> bytes:
        """Read `n` bytes from register `reg` on: write, repeated start, read."""
        device = self._begin(addr, n)
        device.write(bytes((reg,)))
        return self._read(addr, device, n)

    def readfrom_mem_into(self, addr: int, reg: int, buf: bytearray | memoryview) -> None:
        """`readfrom_mem` into a buffer."""
        buf[:] = self.readfrom_mem(addr, reg, len(buf))

    def writeto_mem(self, addr: int, reg: int, data: bytes) -> None:
        """Write `data` after register number `reg`, in one transaction."""
        self._begin(addr, len(data)).write(bytes((reg,)) + bytes(data))

    # Inside

    def _begin(self, address: int, size: int) -> Device:
        """The device that acknowledges `address`, after whatever fault is set had its turn."""
        if not 0 <= size <= MAX_TRANSFER_BYTES:
            raise ValueError(f"I2C transfer of {size} bytes; the limit is {MAX_TRANSFER_BYTES}")
        if self._faults:
            self._meet_fault(address)
        device = self._devices.get(address)
        if device is None:
            raise OSError(ENODEV, "ENODEV")
        return device

    def _fault_at(self, address: int) -> _Fault | None:
        return self._faults.get(address) or self._faults.get(None)

    def _meet_fault(self, address: int) -> None:
        fault = self._fault_at(address)
        if fault is not None and fault.kind != GARBAGE:
            self._spend(fault)
            raise OSError(fault.errno, fault.kind)

    def _read(self, address: int, device: Device, n: int) -> bytes:
        data = device.read(n)
        if self._faults:
            fault = self._fault_at(address)
            if fault is not None and fault.kind == GARBAGE:
                self._spend(fault)
                return self._rng.randbytes(n)
        return data

    def _spend(self, fault: _Fault) -> None:
        if fault.left is None:
            return
        fault.left -= 1
        if fault.left == 0:
            self._faults = {where: other for where, other in self._faults.items() if other is not fault}

    def _answers(self, address: int) -> bool:
        try:
            self.writeto(address, b"")
        except OSError:
            return False
        return True
