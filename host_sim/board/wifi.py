"""The board's station interface, and the air around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

STAT_IDLE = 1000
STAT_CONNECTING = 1001
STAT_GOT_IP = 1010
STAT_NO_AP_FOUND = 201
STAT_WRONG_PASSWORD = 202

# esp_err_t, and the words of MicroPython's ports/esp32/network_common.c.
_NOT_STARTED = (0x3002, "Wifi Not Started")
_INTERNAL_ERROR = (0x3007, "Wifi Internal Error")


class Wifi:
    """WLAN(STA_IF) of an ESP32: `active`, `connect`, then an address after `connect_us`.

    `available` is the access point: while it is False an associated board loses its link. Status codes are
    those of MicroPython's ESP32 port (`network.STAT_*`), and as there they tell the reason of the last
    disconnection until an address is there: IDLE in the midst of connecting after `disconnect()`.

    What real boards meet, off by default: `networks` (SSID to password) are all there are; `has_dhcp` False
    gives no address; an attempt for which `fails()` is true never ends; one begun less than `settle_us` after
    `disconnect()` ends as a wrong password (micropython-mqtt#132); while `stuck` none succeeds before the
    interface was switched off.
    """

    def __init__(self, connect_us: int, now_us: Callable[[], int]) -> None:
        self._connect_us = connect_us
        self._now_us = now_us
        self.available = True
        self.networks: Mapping[str, str] | None = None  # None: whatever is asked for
        self.has_dhcp = True
        self.fails: Callable[[], bool] = lambda: False
        self.settle_us = 0
        self.stuck = False
        self.attempts: list[int] = []  # when the firmware called connect()
        self.on_lost: Callable[[], None] = lambda: None
        self.reset()

    def reset(self) -> None:
        self._active = False
        self._since_us: int | None = None  # of the attempt; None: nobody asked for one
        self._outcome: int | None = STAT_GOT_IP  # that it ends with, None for never
        self._left_us: int | None = None
        self._reason = 0  # of the last disconnection
        self._ssid = ""
        self._key = ""

    def active(self, on: bool | None) -> bool:
        if on is not None:
            if self._active and not on:
                self.stuck = False
                self._leave()
                self._reason = 0
            self._active = on
        return self._active

    def connect(self, ssid: str | None, key: str | None = None) -> None:
        if not self._active:
            raise OSError(*_NOT_STARTED)
        self.attempts.append(self._now_us())
        if self._since_us is not None and not self.is_connected():
            raise OSError(*_INTERNAL_ERROR)  # micropython#17661: a second connect()
        self._ssid, self._key = ssid or "", key or ""
        self._begin()

    def _begin(self) -> None:
        self._since_us = self._now_us()
        self._outcome = self._judge()

    def _judge(self) -> int | None:
        if self._left_us is not None and self._now_us() - self._left_us < self.settle_us:
            return STAT_WRONG_PASSWORD
        if self.networks is not None:
            key = self.networks.get(self._ssid)
            if key != self._key:
                return STAT_NO_AP_FOUND if key is None else STAT_WRONG_PASSWORD
        return None if self.stuck or self.fails() else STAT_GOT_IP

    def disconnect(self) -> None:
        if not self._active:
            raise OSError(*_NOT_STARTED)
        self._leave()

    def _leave(self) -> None:
        if self.is_connected():
            self.on_lost()
        self._since_us = None
        self._left_us = self._now_us()
        self._reason = STAT_IDLE  # WIFI_REASON_ASSOC_LEAVE

    def is_connected(self) -> bool:
        return self.available and self.has_dhcp and self._ended() == STAT_GOT_IP

    def _ended(self) -> int | None:
        """What the attempt came to, None while it goes on or when there is none."""
        if self._since_us is None or self._now_us() - self._since_us < self._connect_us:
            return None
        return self._outcome

    def status(self) -> int:
        if self.is_connected():
            self._reason = 0
            return STAT_GOT_IP
        if self._since_us is not None and not self.available:
            self._reason = STAT_NO_AP_FOUND
        elif self._ended() in (STAT_NO_AP_FOUND, STAT_WRONG_PASSWORD):
            self._reason = self._outcome or 0
        return self._reason or (STAT_IDLE if self._since_us is None else STAT_CONNECTING)

    def set_available(self, on: bool) -> None:
        """The access point goes or comes back; the board associates again by itself, as an ESP32 does."""
        if self.available and not on:
            self.on_lost()
        self.available = on
        if on and self._since_us is not None:
            self._begin()

    def address(self) -> str:
        return "192.168.4.2" if self.is_connected() else "0.0.0.0"
