"""Where a setting comes from: argument, environment, `/plexus.json`, `plexus_board.py`, default."""

import json

from .ports import const, load_boot

port = load_boot()
DEFAULTS = port.DEFAULTS
getenv = port.getenv
unique_id = port.unique_id

GATEWAY_URL = "https://gateway.plexus.company"
_SOURCE_ID_MAX = const(256)
_FIRST = "abcdefghijklmnopqrstuvwxyz0123456789"
_ALLOWED = _FIRST + "._-"


class Settings:
    """Looks a setting up: `get(name, argument)` returns the first that is given, else the port's default."""

    def __init__(self):
        self._file = _read_file("/plexus.json")
        try:
            import plexus_board
        except ImportError:
            plexus_board = None
        self._board = plexus_board
        self.defaults = {}  # before those of the port

    def get(self, name, argument=None):
        if argument is not None:
            return argument
        value = getenv("PLEXUS_" + name.upper())
        if value is not None:
            return value
        if name in self._file:
            return self._file[name]
        return getattr(self._board, name.upper(), self.defaults.get(name, DEFAULTS.get(name)))

    def integer(self, name, argument=None):
        value = self.get(name, argument)
        try:
            return int(value)
        except (TypeError, ValueError):
            raise ValueError("%s must be a whole number, not %r" % (name, value))

    def api_key(self, argument):
        key = self.get("api_key", argument)
        if not isinstance(key, str) or not key or "\r" in key or "\n" in key:
            raise ValueError(
                "no API key: pass api_key=, set PLEXUS_API_KEY, or put api_key into /plexus.json"
            )
        return key

    def source_id(self, argument):
        source = self.get("source_id", argument) or _own_name()
        if not source:
            raise ValueError("no source_id: this machine has no id of its own, pass source_id=")
        return check_source_id(source)

    def gateway(self, argument):
        return parse_url(self.get("gateway_url", argument) or GATEWAY_URL)

    def networks(self):
        """Wi-Fi networks as (ssid, password), those first that come first: `wifi_ssid` and `wifi_password`,
        then `wifi`, an object with `ssid` and `password`, or a list of such."""
        more = self.get("wifi") or []
        more = [more] if isinstance(more, dict) else more
        ssid = self.get("wifi_ssid")
        found = [(ssid, self.get("wifi_password"))] if ssid else []
        for each in more:
            if not isinstance(each, dict):
                raise ValueError("wifi must be an object with ssid and password, or a list of such")
            found.append((each.get("ssid"), each.get("password")))
        for ssid, password in found:
            if not isinstance(ssid, str) or not 0 < len(ssid.encode()) <= 32:
                raise ValueError("wifi_ssid must be a text of 1 to 32 bytes, not %r" % (ssid,))
            # Open, a passphrase, or a key of 64 digits (IEEE 802.11 annex J).
            if password and (not isinstance(password, str) or not 8 <= len(password) <= 64):
                raise ValueError("wifi_password of %r must have 8 to 64 characters" % ssid)
        return found


def _read_file(path):
    try:
        f = open(path)
    except OSError:
        return {}
    with f:
        try:
            found = json.load(f)
        except ValueError:
            raise ValueError(path + " is not JSON")
    if not isinstance(found, dict):
        raise ValueError(path + " must hold an object")
    return found


def _own_name():
    chip = unique_id()
    return "board-" + chip if chip else ""


def check_source_id(source):
    """The gateway's rule: a-z, 0-9 and . _ -, beginning with a letter or digit, 256 bytes at most."""
    if not isinstance(source, str):
        raise TypeError("source_id must be a str, not %s" % type(source).__name__)
    if not 0 < len(source) <= _SOURCE_ID_MAX or source[0] not in _FIRST:
        raise ValueError("source_id must begin with a-z or 0-9 and have at most 256 characters: %r" % source)
    for character in source:
        if character not in _ALLOWED:
            raise ValueError("source_id must hold only a-z, 0-9 and . _ -: %r" % source)
    return source


def parse_url(url):
    """`http[s]://host[:port][/path]` as (whether TLS, host, port, path without a slash at its end)."""
    if not isinstance(url, str):
        raise TypeError("gateway_url must be a str, not %s" % type(url).__name__)
    tls = url.startswith("https://")
    if not tls and not url.startswith("http://"):
        raise ValueError("gateway_url must begin with https:// or http://, not %r" % url)
    rest = url[8 if tls else 7 :]
    slash = rest.find("/")
    path = "" if slash < 0 else rest[slash:].rstrip("/")
    host = rest if slash < 0 else rest[:slash]
    port = "443" if tls else "80"
    if ":" in host:
        host, port = host.rsplit(":", 1)
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError("gateway_url needs a host, and a port from 1 to 65535: %r" % url)
    return tls, host, int(port), path
