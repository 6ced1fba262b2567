"""TLS by mbedtls, on MicroPython 1.22 and later."""

import time

from .micropython import Tcp, machine

CA_FILE = "/ca.der"
# time.time() counts from 1970 or from 2000.
_EPOCH_S = 946684800 if time.gmtime(0)[0] == 2000 else 0

# What mbedtls_x509_crt_verify_info writes, and what is meant.
_FAULTS = (
    ("expired", "certificate expired"),
    ("does not match", "certificate is for another host"),
    ("not correctly signed", "certificate not signed by the CA"),
    ("starts in the future", "certificate not yet valid"),
)
# Of include/mbedtls/ssl.h: INVALID_RECORD, CONN_EOF, FATAL_ALERT_MESSAGE.
_ERRORS = {
    -0x7200: "the server does not speak TLS",
    -0x7280: "the server closed the connection",
    -0x7780: "the server broke off the TLS handshake",
}


def make_context(ca, see):
    """A context that checks every server; `see(certificate, depth)` is shown what it checks, from 1.23 on."""
    try:
        import tls  # type: ignore[import-not-found]
    except ImportError:  # before 1.23
        import ssl as tls
    try:
        context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
        context.verify_mode = tls.CERT_REQUIRED
    except AttributeError:
        raise ValueError("gateway_url: this port cannot check certificates, use http://")
    try:
        if hasattr(context, "verify_callback"):
            context.verify_callback = see
            context.load_verify_locations(ca)
        else:
            context.load_verify_locations(cadata=ca)
    except ValueError:
        raise ValueError("ca_file: not a certificate in DER")
    return context


def date(unix_s=None):
    """(year, month, day, hour, minute, second) in UTC of `unix_s`, by default what the board's clock says."""
    return tuple(time.gmtime() if unix_s is None else time.gmtime(unix_s - _EPOCH_S))[:6]


def set_clock(date):
    """Set the board's clock. Where there is none to be set the system has the time."""
    if hasattr(machine, "RTC"):
        weekday = time.gmtime(time.mktime(date + (0, 0)))[6]
        machine.RTC().datetime(date[:3] + (weekday,) + date[3:] + (0,))


def explain(error):
    """What is wrong with the server, or None when `error` is not about TLS."""
    text = str(error)
    if isinstance(error, ValueError):  # what modtls raises for a refused certificate
        found = [meant for words, meant in _FAULTS if words in text]
        return ", ".join(found) or text.strip()
    if error.errno is None or error.errno > 0:
        return None
    return _ERRORS.get(error.errno) or "TLS " + text


class TlsTcp(Tcp):
    """One TLS connection over non-blocking TCP."""

    def __init__(self, host, port, context):
        self._context = context
        self._host = host
        self._tls = None
        super().__init__(host, port)

    def secured(self, seen):
        """True once `seen.shown`: the server's certificate came, and was not refused.

        Nothing tells when the rest of the handshake is over: `getpeercert` is not on every port, `cipher`
        crashes before. Until then `write` takes nothing, and goes on with it.
        """
        if self._tls is None:
            if not self.connected():
                return False
            self._tls = self._context.wrap_socket(
                self._sock, do_handshake_on_connect=False, server_hostname=self._host
            )
            if not hasattr(self._context, "verify_callback"):
                return True
        if self._tls.readinto(bytearray(1)) is not None:
            raise OSError(71, "the server spoke out of turn")
        return seen.shown

    def write(self, data):
        return self._tls.write(data) or 0

    def readinto(self, buf):
        return self._tls.readinto(buf)

    def close(self):
        """Both layers: after a failed handshake the TLS one leaves the socket open."""
        if self._tls is not None:
            self._tls.close()
            self._tls = None
        super().close()
