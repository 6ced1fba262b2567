"""`network` of MicroPython's ESP32 port: the station interface."""

from _board import call, operation

_isconnected = operation("wifi.isconnected")

STA_IF = 0
AP_IF = 1
STAT_IDLE = 1000
STAT_CONNECTING = 1001
STAT_GOT_IP = 1010
STAT_NO_AP_FOUND = 201
STAT_WRONG_PASSWORD = 202


class WLAN:
    IF_STA = STA_IF
    IF_AP = AP_IF

    def __init__(self, interface_id=STA_IF):
        self._station = interface_id == STA_IF

    def active(self, is_active=None):
        return call("wifi.active", is_active) if self._station else False

    def connect(self, ssid=None, key=None, bssid=None):
        call("wifi.connect", ssid, key)

    def disconnect(self):
        call("wifi.disconnect")

    def isconnected(self):
        return self._station and _isconnected()

    def status(self, param=None):
        return -60 if param == "rssi" else call("wifi.status")

    def ifconfig(self, settings=None):
        return (call("wifi.address"), "255.255.255.0", "192.168.4.1", "192.168.4.1")

    def config(self, *names, **settings):
        return b"\x24\x0a\xc4\x00\x00\x01" if names == ("mac",) else None


def hostname(name=None):
    return "esp32"


def country(code=None):
    return "XX"
