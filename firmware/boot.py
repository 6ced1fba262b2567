"""Starts the Wi-Fi and does not wait for it: sampling begins at once, delivery when there is a network."""

import json

import network


def _credentials():
    try:
        with open("/plexus.json") as f:
            wifi = json.load(f).get("wifi", {})
    except (OSError, ValueError) as e:
        print("boot: no Wi-Fi, /plexus.json cannot be read:", e)
        return None, None
    return wifi.get("ssid"), wifi.get("password")


def _connect():
    ssid, password = _credentials()
    if not ssid:
        print("boot: no Wi-Fi, /plexus.json has no wifi.ssid")
        return
    wlan = network.WLAN(network.STA_IF)
    wlan.active(True)
    if not wlan.isconnected():
        wlan.connect(ssid, password)


_connect()
