"""Keeps the Wi-Fi connected and waits for nothing: sampling begins at once, delivery when there is a network."""

from plexus_mp.wifi import supervise

if supervise(tick_ms=500) is None:
    print("boot: no Wi-Fi, /plexus.json has no wifi with ssid and password")
