"""TLS streams whose server is always checked, on boards that may not know the date.

Loaded only for https. What differs between the Pythons is in `ports/*_tls.py`.
"""

from .build import DATE
from .ports import load_tls

_port = load_tls()
_NOT_YET = "certificate not yet valid"
_CEILING = (DATE[0] + 25,)  # no gateway is believed so late either (sync.py): a clock that was set wrong


class Connector:
    """Makes TLS streams to servers that `ca` vouches for: `connector(host, port)`.

    `ca` is the name of a file with a certificate in DER (PEM where the port reads it), or its bytes; by
    default /ca.der on boards, the system's authorities on CPython. `now_ms()` gives Unix milliseconds, or
    None as long as the time is not known. Raises `ValueError` when `ca` is no certificate or is not there.

    There is memory for one TLS connection on a plain ESP32: a new stream closes the one before.
    """

    def __init__(self, ca, now_ms):
        self._now_ms = now_ms
        self._floor = DATE + (0, 0, 0)
        self._stream = None
        self.shown = False  # the server's certificates were checked; what came of it is another matter
        self._latest = None  # the last notBefore among them
        self.unread = 0
        self.context = _port.make_context(_load(ca or _port.CA_FILE), self._see)

    def __call__(self, host, port):
        if self._stream is not None:
            self._stream.close()
        self._stream = Stream(self, host, port)
        return self._stream

    def set_clock(self):
        """Have the board's clock say the time, or, while that is not known, nothing that cannot be."""
        self.shown = False
        self._latest = None
        now_ms = self._now_ms()
        if now_ms is not None:
            _port.set_clock(_port.date(now_ms // 1000))
        elif not self._floor <= _port.date() < _CEILING:
            _port.set_clock(self._floor)

    def raise_floor(self):
        """After nothing but "not yet valid": True when the clock was a guess, and the next one is better.

        The certificates are signed by the authority, so it is at least as late as they say. The floor only
        rises, so that this ends also where no clock can be set.
        """
        if self._now_ms() is not None or self._latest is None or self._latest <= self._floor:
            return False
        self._floor = self._latest
        return True

    def _see(self, certificate, depth):
        """mbedtls shows each certificate before it refuses any; nothing may be raised through it."""
        self.shown = True
        try:
            when = not_before(certificate)
            if self._latest is None or when > self._latest:
                self._latest = when
        except (ValueError, IndexError, MemoryError):
            self.unread += 1  # the clock stays as it is, and mbedtls judges by that
        return 0


class Stream:
    """One TLS connection: `connected()` until True, then `write`, `readinto`, and at the end `close`.

    Errors are `OSError`, with a text that says which check failed; after one in `connected` it is closed.
    When `write` took less than it was given, the next one must begin with the bytes that were left.
    """

    def __init__(self, connector, host, port):
        self._connector = connector
        self._host = host
        self._port = port
        self._tcp = None
        self._dial()

    def _dial(self):
        """Blocks for the name resolution."""
        self._connector.set_clock()
        self._tcp = _port.TlsTcp(self._host, self._port, self._connector.context)

    def connected(self):
        """One slice of connecting; True once the server is verified.

        Longest block: the key exchange when the certificate arrives, 0.9 to 1.2 s on an ESP32; it cannot be
        sliced. A clock that is only a guess costs a second connection, and a second exchange.
        """
        self._check()
        good = False
        try:
            found = self._tcp.secured(self._connector)
            good = True
            return found
        except (OSError, ValueError) as e:
            error = _explained(e)
        finally:
            if not good:
                self.close()
        if error.args[-1] == _NOT_YET and self._connector.raise_floor():
            self._dial()
            return False
        raise error

    def write(self, data):
        """Bytes taken, 0 when there is no room now. Blocks for the encryption."""
        self._check()
        try:
            return self._tcp.write(data)
        except (OSError, ValueError) as e:
            raise _explained(e)

    def readinto(self, buf):
        """Bytes read, 0 at the end of the stream, None when there is nothing yet."""
        self._check()
        try:
            return self._tcp.readinto(buf)
        except (OSError, ValueError) as e:
            raise _explained(e)

    def _check(self):
        if self._tcp is None:
            raise OSError(9, "closed: there is memory for one TLS connection")  # EBADF

    def close(self):
        """Let go of both layers; closing again does nothing."""
        if self._tcp is not None:
            self._tcp.close()
            self._tcp = None


def _load(ca):
    """Bytes of `ca`, which may be the name of a file; None stays None."""
    if not isinstance(ca, str):
        return ca
    try:
        with open(ca, "rb") as f:
            return f.read()
    except OSError:
        raise ValueError("ca_file: %s is not there; https needs the authority's certificate" % ca)


def _explained(error):
    """`error` with a text for a person, as far as the port knows one."""
    text = _port.explain(error)
    return error if text is None else OSError(71, text)  # EPROTO


def _element(der, at):
    """Where the contents of the DER element at `at` begin and end (X.690 §8.1)."""
    size = der[at + 1]
    at += 2
    if size > 0x82:  # no certificate has 64 KB
        raise ValueError
    if size >= 0x80:
        end = at + size - 0x80
        size = 0
        while at < end:
            size = size << 8 | der[at]
            at += 1
    if at + size > len(der):
        raise ValueError
    return at, at + size


def not_before(der):
    """(year, month, day, hour, minute, second) from which a certificate is valid (RFC 5280 §4.1).

    Raises `ValueError` or `IndexError` for what is not a certificate.
    """
    at = _element(der, _element(der, 0)[0])[0]  # Certificate, TBSCertificate
    # [0] version, which may be left out, serialNumber, signature, issuer.
    for _ in range(4 if der[at] == 0xA0 else 3):
        at = _element(der, at)[1]
    at = _element(der, at)[0]  # validity
    start, end = _element(der, at)
    text = bytes(der[start:end]).decode()
    if der[at] == 0x17:  # UTCTime: 50 stands for 1950
        text = ("20" if text < "5" else "19") + text
    if len(text) != 15:
        raise ValueError
    return (int(text[:4]),) + tuple([int(text[i : i + 2]) for i in range(4, 14, 2)])
