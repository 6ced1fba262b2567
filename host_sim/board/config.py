"""What a board is made of: the part of a `boards/*.py` file that the simulator reads, and what it invents."""

from __future__ import annotations

import runpy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .flash_cells import FLASH_BYTES, FLASH_BYTES_MAX, SECTOR_BYTES
from .partitions import DEFAULT_PARTITIONS, Partition, parse_partitions

ESP32 = "esp32"
RP2 = "rp2"
PORTS = (ESP32, RP2)  # each has a module of its own of that name
# Raspberry Pi Pico W: PICO_FLASH_SIZE_BYTES of the pico-sdk's board header, and MICROPY_HW_FLASH_STORAGE_BYTES of
# MicroPython's ports/rp2/boards/RPI_PICO_W: what `rp2.Flash()` covers, at the flash's end.
RP2_FLASH_BYTES = 2 << 20
RP2_STORAGE_BYTES = 848 << 10
RP2_PAGE_BYTES = 256
HEAP_MIN_BYTES = 8 << 10
HEAP_MAX_BYTES = 64 << 20


@dataclass
class BoardConfig:
    """One board. Times in microseconds or ppm, sizes in bytes; defaults are those of a plain ESP32.

    `ticks_start_ms` is where `ticks_ms` stands at a power-on, `drift_ppm` how much too fast its crystal runs,
    `sleep_drift_ppm` how much the clock that is left to it in deep sleep.
    `call_us` is what each call into the hardware costs in virtual time, so that a busy loop ends.
    """

    name: str = "esp32"
    machine: str = "ESP32 module (simulated) with ESP32"
    unique_id: bytes = b"\x24\x0a\xc4\x00\x00\x01"
    epoch_year: int = 2000
    ticks_period_ms: int = 1 << 30
    ticks_start_ms: int = 0
    drift_ppm: float = 0.0
    sleep_drift_ppm: float = 0.0
    heap_bytes: int = 4 << 20
    call_us: int = 20
    i2c: dict[int, dict[str, int]] = field(default_factory=dict)
    virtual_timers: bool = True
    wifi_connect_ms: int = 1200
    flash_bytes: int = FLASH_BYTES
    partitions: tuple[Partition, ...] = DEFAULT_PARTITIONS
    port: str = ESP32
    storage_bytes: int = 0  # of an RP2, at the flash's end
    files_bytes: int = next(p.size for p in DEFAULT_PARTITIONS if p.label == "vfs")

    @property
    def page_bytes(self) -> int:
        """What the flash is programmed in multiples of."""
        return RP2_PAGE_BYTES if self.port == RP2 else 1


def load_board(path: Path) -> tuple[BoardConfig, str]:
    """Read `boards/X.py`: its hardware, and its source, which the board gets as `plexus_board.py`.

    Raises `ValueError` naming file and setting when something in it does not fit.
    """
    source = path.read_text()
    try:
        constants = runpy.run_path(str(path))
    except Exception as e:
        raise ValueError(f"{path}: {type(e).__name__}: {e}") from e
    config = BoardConfig(name=path.stem)
    if "MACHINE" in constants:
        config.machine = _typed(path, constants, "MACHINE", str)
    config.heap_bytes = _typed(path, constants, "HEAP_BYTES", int, config.heap_bytes)
    if not HEAP_MIN_BYTES <= config.heap_bytes <= HEAP_MAX_BYTES:
        raise ValueError(f"{path}: HEAP_BYTES must be from {HEAP_MIN_BYTES} to {HEAP_MAX_BYTES}")
    config.epoch_year = _typed(path, constants, "EPOCH_YEAR", int, config.epoch_year)
    config.ticks_start_ms = _typed(path, constants, "TICKS_START_MS", int, config.ticks_start_ms)
    config.virtual_timers = _typed(path, constants, "VIRTUAL_TIMERS", bool, config.virtual_timers)
    config.port = _typed(path, constants, "PORT", str, RP2 if "Pico" in config.machine else ESP32)
    if config.port == RP2:
        _read_storage(path, constants, config)
    elif config.port == ESP32:
        _read_flash(path, constants, config)
        config.files_bytes = sum(p.size for p in config.partitions if p.label == "vfs")
    else:
        raise ValueError(f"{path}: PORT must be one of {PORTS}, not {config.port!r}")
    return config, source


def _read_storage(path: Path, constants: dict[str, Any], config: BoardConfig) -> None:
    """FLASH_BYTES, STORAGE_BYTES of it for `rp2.Flash`, FILES_BYTES of those for the filesystem, by default all."""
    config.partitions = ()
    config.flash_bytes = _flash_bytes(path, constants, RP2_FLASH_BYTES)
    config.storage_bytes = _typed(path, constants, "STORAGE_BYTES", int, RP2_STORAGE_BYTES)
    config.files_bytes = _typed(path, constants, "FILES_BYTES", int, config.storage_bytes)
    for name, value, most in (
        ("STORAGE_BYTES", config.storage_bytes, config.flash_bytes),
        ("FILES_BYTES", config.files_bytes, config.storage_bytes),
    ):
        if not 0 < value <= most or value % SECTOR_BYTES:
            raise ValueError(f"{path}: {name} must be whole sectors, at most {most}")


def _flash_bytes(path: Path, constants: dict[str, Any], default: int) -> int:
    flash_bytes: int = _typed(path, constants, "FLASH_BYTES", int, default)
    if not 0 < flash_bytes <= FLASH_BYTES_MAX or flash_bytes % SECTOR_BYTES:
        raise ValueError(f"{path}: FLASH_BYTES must be whole sectors, at most {FLASH_BYTES_MAX}")
    return flash_bytes


def _read_flash(path: Path, constants: dict[str, Any], config: BoardConfig) -> None:
    """FLASH_BYTES and PARTITIONS; without them 4 MiB with MicroPython's table."""
    config.flash_bytes = _flash_bytes(path, constants, config.flash_bytes)
    if "PARTITIONS" in constants:
        try:
            config.partitions = parse_partitions(constants["PARTITIONS"], config.flash_bytes)
        except ValueError as e:
            raise ValueError(f"{path}: {e}") from None
    elif config.flash_bytes < DEFAULT_PARTITIONS[-1].end:
        raise ValueError(
            f"{path}: FLASH_BYTES {config.flash_bytes} needs PARTITIONS: the usual table has 4 MiB"
        )


def _typed(path: Path, constants: dict[str, Any], name: str, kind: type, default: Any = None) -> Any:
    value = constants.get(name, default)
    if not isinstance(value, kind):
        raise ValueError(f"{path}: {name} must be {kind.__name__}, not {value!r}")
    return value
