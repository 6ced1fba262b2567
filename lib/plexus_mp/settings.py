"""Where a setting comes from: argument, environment, `/plexus.json`, `plexus_board.py`, default."""

import json

from .ports import NAME, const, forget, load_boot

port = load_boot()
forget("ports.%s_boot" % NAME)  # it goes with this module
DEFAULTS = port.DEFAULTS
getenv = port.getenv
unique_id = port.unique_id

GATEWAY_URL = "https://gateway.plexus.company"
_SOURCE_ID_MAX = const(256)
_FIRST = "abcdefghijklmnopqrstuvwxyz0123456789"
_ALLOWED = _FIRST + "._-"
_HEX = "0123456789abcdef-"
_KEY_MAX = const(128)
_PLAIN = (
    "ring", "transport", "ca_file", "endpoint", "hostname", "wifi_country", "wifi_pm", "wifi_txpower",
)  # fmt: skip
_NUMBERS = (
    "page_bytes", "frame_bytes", "commit_ms", "ring_bytes", "sector_bytes", "program_bytes", "tick_ms", "timer_id",
    "stats_s", "linger_ms",
)  # fmt: skip


def gather(given, found):
    """Put all that a client is made of into the dict `found`, checked, and `flash`, which the ring names, open.

    `given(name)` is an argument. Raises `ValueError` or `TypeError` naming what is missing or does not fit.
    """
    settings = Settings()
    found["api_key"] = settings.api_key(given("api_key"))
    found["source_id"] = settings.source_id(given("source_id"))
    found["install_id"] = install_id()
    for name in _PLAIN:
        found[name] = settings.get(name, given(name))
    where = found["ring"]
    if not isinstance(where, str):
        raise ValueError("ring must be 'ram', 'files' or the name of a partition, not %r" % (where,))
    if where == "files":
        settings.defaults = port.FILES
    elif where == "ram":
        settings.defaults = {"linger_ms": 0}
    for name in _NUMBERS:
        found[name] = settings.integer(name, given(name))
    found["ram_bytes"] = DEFAULTS["ring_bytes"]
    if found["transport"] not in ("auto", "http", "ws"):
        raise ValueError("transport must be 'auto', 'http' or 'ws', not %r" % (found["transport"],))
    found["gateway"] = settings.gateway(given("gateway_url"))
    found["gateway_url"] = settings.get("gateway_url", given("gateway_url")) or GATEWAY_URL
    if found["endpoint"]:
        parse_url(found["endpoint"], "endpoint")
    found["networks"] = settings.networks()
    if where != "ram" and where != "files":
        found["flash"] = port.open_flash(where)


class Settings:
    """Looks a setting up: `get(name, argument)` returns the first that is given, else the port's default."""

    def __init__(self):
        self._file = _read_file("/plexus.json")
        try:
            import plexus_board
        except ImportError:
            plexus_board = None
        self._board = plexus_board
        self.place = ""  # of the setting that was looked up last
        self.defaults = {}  # before those of the port

    def get(self, name, argument=None):
        """The value; `place` tells where it was found."""
        self.place = name
        if argument is not None:
            return argument
        upper = name.upper()
        value = getenv("PLEXUS_" + upper)
        if value is not None:
            self.place = "PLEXUS_" + upper
            return value
        if name in self._file:
            self.place = name + " in /plexus.json"
            return self._file[name]
        if hasattr(self._board, upper):
            self.place = upper + " in plexus_board.py"
            return getattr(self._board, upper)
        return self.defaults.get(name, DEFAULTS.get(name))

    def integer(self, name, argument=None):
        value = self.get(name, argument)
        try:
            return int(value)
        except (TypeError, ValueError):
            raise ValueError("%s must be a whole number, not %r" % (self.place, value))

    def api_key(self, argument):
        key = self.get("api_key", argument)
        if key is None or key == "":
            raise ValueError(
                "no API key: pass api_key=, set PLEXUS_API_KEY, or put api_key into /plexus.json"
            )
        # It is a header's value: never shown, not even when it is wrong.
        if not isinstance(key, str) or not 0 < len(key) <= _KEY_MAX or min(key) < "!" or max(key) > "~":
            raise ValueError("%s must be a str of 1 to %d printable characters" % (self.place, _KEY_MAX))
        return key

    def source_id(self, argument):
        source = self.get("source_id", argument)
        if source is None or source == "":
            source = _own_name()
            if not source:
                raise ValueError("no source_id: this machine has no id of its own, pass source_id=")
        return check_source_id(source, self.place)

    def gateway(self, argument):
        url = self.get("gateway_url", argument) or GATEWAY_URL
        return parse_url(url, self.place)

    def networks(self):
        """Wi-Fi networks as (ssid, password), those first that come first: `wifi_ssid` and `wifi_password`,
        then `wifi`, an object with `ssid` and `password`, or a list of such."""
        more = self.get("wifi") or []
        place = self.place
        more = more if isinstance(more, list) else [more]
        ssid = self.get("wifi_ssid")
        found = [(ssid, self.get("wifi_password"))] if ssid else []
        for each in more:
            if not isinstance(each, dict):
                raise ValueError(place + " must be an object with ssid and password, or a list of such")
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


def install_id():
    """The chip's own number in the shape of a UUID; "" where there is none. The same after every boot."""
    chip = unique_id()
    chip = ("0" * 32 + chip)[-32:] if chip else ""
    return "-".join((chip[:8], chip[8:12], chip[12:16], chip[16:20], chip[20:])) if chip else ""


def check_source_id(source, place="source_id"):
    """The gateway's rule: a-z, 0-9 and . _ -, beginning with a letter or digit, 256 characters at most.

    And not the shape of a UUID: the app takes that for a number of its own (plexus-python 0.16.0). Names that
    plexus-python 0.7.0 takes too have 2 to 63 characters and no dot.
    """
    if not isinstance(source, str):
        raise TypeError("%s must be a str, not %s" % (place, type(source).__name__))
    if not 0 < len(source) <= _SOURCE_ID_MAX:
        raise ValueError("%s must have 1 to %d characters, not %d" % (place, _SOURCE_ID_MAX, len(source)))
    if source[0] not in _FIRST:
        raise ValueError("%s must begin with a-z or 0-9: %r" % (place, source))
    for character in source:
        if character not in _ALLOWED:
            raise ValueError("%s must hold only a-z, 0-9 and . _ -: %r" % (place, source))
    if [len(part) for part in source.split("-")] == [8, 4, 4, 4, 12] and not set(source) - set(_HEX):
        raise ValueError("%s must not look like a UUID: %r" % (place, source))
    return source


def parse_url(url, name="gateway_url"):
    """`http[s]://host[:port][/path]` as (whether TLS, host, port, path without a slash at its end)."""
    if not isinstance(url, str):
        raise TypeError("%s must be a str, not %s" % (name, type(url).__name__))
    tls = url.startswith("https://")
    if not tls and not url.startswith("http://"):
        raise ValueError("%s must begin with https:// or http://, not %r" % (name, url))
    rest = url[8 if tls else 7 :]
    slash = rest.find("/")
    path = "" if slash < 0 else rest[slash:].rstrip("/")
    host = rest if slash < 0 else rest[:slash]
    port = "443" if tls else "80"
    if ":" in host:
        host, port = host.rsplit(":", 1)
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError("%s needs a host, and a port from 1 to 65535: %r" % (name, url))
    return tls, host, int(port), path
