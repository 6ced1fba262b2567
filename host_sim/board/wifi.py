"""The board's station interface, and the air around it."""

from __future__ import annotations

from collections.abc import Callable

STAT_IDLE = 1000
STAT_CONNECTING = 1001
STAT_GOT_IP = 1010
STAT_NO_AP_FOUND = 201
STAT_WRONG_PASSWORD = 202


class Wifi:
    """WLAN(STA_IF) of an ESP32: `active`, `connect`, then an address after `connect_us`.

    `available` is the access point: while it is False an associated board loses its link.
    Status codes are those of MicroPython's ESP32 port (`network.STAT_*`).
    """

    def __init__(self, connect_us: int, now_us: Callable[[], int]) -> None:
        self._connect_us = connect_us
        self._now_us = now_us
        self.available = True
        self.on_lost: Callable[[], None] = lambda: None
        self.reset()

    def reset(self) -> None:
        self._active = False
        self._since_us: int | None = None

    def active(self, on: bool | None) -> bool:
        if on is not None:
            self._active = on
            if not on:
                self._since_us = None
        return self._active

    def connect(self, ssid: str) -> None:
        if not self._active:
            raise OSError(0x3002, "Wifi Not Started")  # ESP_ERR_WIFI_NOT_STARTED
        if self._since_us is not None and not self.is_connected():
            raise OSError(0x3007, "Wifi Internal Error")  # micropython#17661: a second connect()
        self._since_us = self._now_us()

    def disconnect(self) -> None:
        self._since_us = None

    def is_connected(self) -> bool:
        return self.status() == STAT_GOT_IP

    def status(self) -> int:
        if self._since_us is None:
            return STAT_IDLE
        if not self.available:
            return STAT_NO_AP_FOUND
        waited = self._now_us() - self._since_us >= self._connect_us
        return STAT_GOT_IP if waited else STAT_CONNECTING

    def set_available(self, on: bool) -> None:
        """The access point goes or comes back; the board associates again by itself, as an ESP32 does."""
        if self.available and not on:
            self.on_lost()
        self.available = on
        if on and self._since_us is not None:
            self._since_us = self._now_us()

    def address(self) -> str:
        return "192.168.4.2" if self.is_connected() else "0.0.0.0"
