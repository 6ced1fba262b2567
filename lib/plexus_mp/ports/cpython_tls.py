"""TLS by the ssl module. Certificates are judged by the system's clock, which is left alone."""

import ssl
import time

from .cpython import Tcp

CA_FILE = None

# X509_V_ERR_… of OpenSSL (include/openssl/x509_vfy.h), and what is meant.
_FAULTS = {
    9: "certificate not yet valid",
    10: "certificate expired",
    18: "certificate not signed by the CA",
    19: "certificate not signed by the CA",
    20: "certificate not signed by the CA",
    21: "certificate not signed by the CA",
    62: "certificate is for another host",
    64: "certificate is for another host",
}
# OpenSSL's reasons for what is no TLS record; they differ from release to release.
_PLAIN = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST")


def make_context(ca, see):
    """A context that checks every server, by the system's authorities when `ca` is None."""
    if ca is None:
        return ssl.create_default_context()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=ca.decode() if b"-----BEGIN " in ca else ca)
    except ValueError:
        raise ValueError("ca_file: not a certificate in DER or PEM") from None
    except ssl.SSLError:
        raise ValueError("ca_file: not a certificate in DER or PEM") from None
    return context


def date(unix_s=None):
    """(year, month, day, hour, minute, second) in UTC of `unix_s`, by default now."""
    return tuple(time.gmtime(unix_s))[:6]


def set_clock(date):
    """The system keeps its own time."""


def explain(error):
    """What is wrong with the server, or None when `error` is not about TLS."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _FAULTS.get(error.verify_code) or error.verify_message
    if isinstance(error, ssl.SSLEOFError):
        return "the server closed the connection"
    if not isinstance(error, ssl.SSLError):
        return None
    if error.reason in _PLAIN:
        return "the server does not speak TLS"
    if error.reason and "ALERT" in error.reason:
        return "the server broke off the TLS handshake"
    return f"TLS {error.reason}"


class TlsTcp(Tcp):
    """One TLS connection over non-blocking TCP."""

    def __init__(self, host, port, context):
        self._context = context
        self._host = host
        self._tls = None
        super().__init__(host, port)

    def secured(self, seen):
        """True once the handshake is over."""
        if self._tls is None:
            if not self.connected():
                return False
            self._sock = self._tls = self._context.wrap_socket(
                self._sock, do_handshake_on_connect=False, server_hostname=self._host
            )
        try:
            self._tls.do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        return True

    def write(self, data):
        try:
            return self._tls.send(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return 0

    def readinto(self, buf):
        try:
            return self._tls.recv_into(buf)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
