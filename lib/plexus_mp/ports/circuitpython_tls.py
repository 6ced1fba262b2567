"""TLS by the ssl module of CircuitPython 9 and later, whose mbedtls is built in."""

import time
from binascii import b2a_base64

from .circuitpython import AGAIN, Tcp

CA_FILE = None  # the firmware brings the authorities that most servers use

_PEM = b"-----BEGIN CERTIFICATE-----\n"
# What mbedtls says in words where it is built with them (x509_crt_verify_info), and what is meant.
_FAULTS = (
    ("expired", "certificate expired"),
    ("does not match", "certificate is for another host"),
    ("not correctly signed", "certificate not signed by the CA"),
    ("starts in the future", "certificate not yet valid"),
)
# Of include/mbedtls/ssl.h and x509.h: INVALID_RECORD, CONN_EOF, FATAL_ALERT_MESSAGE, CERT_VERIFY_FAILED, the last of
# which says which check failed only in a handshake that blocks.
_ERRORS = {
    -0x7200: "the server does not speak TLS",
    -0x7280: "the server closed the connection",
    -0x7780: "the server broke off the TLS handshake",
    -0x2700: "certificate not signed by the CA, or for another host, or of another time",
}
# WANT_READ and WANT_WRITE: nothing to be done now.
_WAITING = (AGAIN, -0x6900, -0x6880)


def make_context(ca, see):
    """A context that checks every server, by the firmware's authorities when `ca` is None."""
    import ssl  # the unix port has none

    context = ssl.create_default_context()
    if ca is not None:
        if not ca.startswith(b"-----BEGIN "):  # DER
            ca = _PEM + b2a_base64(ca) + b"-----END CERTIFICATE-----\n"
        try:
            context.load_verify_locations(cadata=ca.decode())
        except ValueError:
            raise ValueError("ca_file: not a certificate in DER or PEM")
    return context


def date(unix_s=None):
    """(year, month, day, hour, minute, second) in UTC of `unix_s`, by default what the board's clock says."""
    return tuple(time.localtime() if unix_s is None else time.localtime(unix_s))[:6]


def set_clock(date):
    """Set the board's clock, where it has one."""
    try:
        import rtc
    except ImportError:
        return
    rtc.RTC().datetime = time.struct_time(date + (0, -1, -1))


def explain(error):
    """What is wrong with the server, or None when `error` is not about TLS."""
    found = [meant for words, meant in _FAULTS if words in str(error)]
    if found:
        return ", ".join(found)
    code = error.args[0] if error.args else 0
    if not isinstance(code, int) or code >= 0:
        return None
    return _ERRORS.get(code) or "TLS %s" % error


class TlsTcp(Tcp):
    """One TLS connection over non-blocking TCP. What is written or read first goes on with the handshake."""

    def __init__(self, host, port, context):
        self._context = context
        self._host = host
        self._tls = None
        super().__init__(host, port)

    def secured(self, seen):
        """True once the handshake may begin. Nothing tells when it is over; until then `write` takes nothing."""
        if not self.connected():
            return False
        self._tls = self._context.wrap_socket(self._sock, server_hostname=self._host)
        return True

    def write(self, data):
        try:
            return self._tls.send(data)
        except OSError as e:
            if e.errno not in _WAITING:
                raise
        return 0

    def readinto(self, buf):
        try:
            return self._tls.recv_into(buf)
        except OSError as e:
            if e.errno not in _WAITING:
                raise

    def close(self):
        """Both layers; closing a socket twice does nothing."""
        if self._tls is not None:
            self._tls.close()
            self._tls = None
        super().close()
