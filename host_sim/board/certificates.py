"""What mbedtls finds wrong with a server's certificates, and the words in which MicroPython says it.

The signatures and dates are OpenSSL's work, by a clock that it is given; here are its findings as mbedtls's
flags, and the name check.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterable

from cryptography import x509
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto

CERT_NONE = 0
CERT_OPTIONAL = 1
CERT_REQUIRED = 2

CA_CHAIN_REQUIRED = (-0x7680, "MBEDTLS_ERR_SSL_CA_CHAIN_REQUIRED")

EXPIRED = "The certificate validity has expired"
CN_MISMATCH = "The certificate Common Name (CN) does not match with the expected CN"
NOT_TRUSTED = "The certificate is not correctly signed by the trusted CA"
FUTURE = "The certificate validity starts in the future"
EXT_KEY_USAGE = "Usage does not match the extendedKeyUsage extension"

# In the order of mbedtls's MBEDTLS_X509_CRT_ERROR_INFO_LIST (include/mbedtls/x509_crt.h).
_ORDER = (EXPIRED, CN_MISMATCH, NOT_TRUSTED, FUTURE, EXT_KEY_USAGE)

# X509_V_ERR_… of OpenSSL (include/openssl/x509_vfy.h); whatever else it finds is want of trust.
_FINDINGS = {9: FUTURE, 10: EXPIRED, 26: EXT_KEY_USAGE}


def finding(openssl_error: int) -> str:
    """mbedtls's words for a certificate error of OpenSSL."""
    return _FINDINGS.get(openssl_error, NOT_TRUSTED)


def verify_info(findings: Iterable[str]) -> str:
    """As `mbedtls_x509_crt_verify_info` writes it for MicroPython: each finding between newlines."""
    found = set(findings)
    return "".join(f"\n{text}\n" for text in _ORDER if text in found)


def load_authorities(data: bytes) -> list[x509.Certificate]:
    """The certificates in `data`, DER or PEM, as `mbedtls_x509_crt_parse` tells them apart.

    Raises `ValueError("invalid cert")`, as MicroPython does.
    """
    try:
        if b"-----BEGIN " in data:
            return x509.load_pem_x509_certificates(data)
        return [x509.load_der_x509_certificate(data)]
    except ValueError:
        raise ValueError("invalid cert") from None


def matches_host(certificate: x509.Certificate, host: str) -> bool:
    """Whether `certificate` is for `host`: by its alternative names, or by its CN when it has none of those."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        attributes = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return any(_matches(str(attribute.value), host) for attribute in attributes)
    if any(_matches(name, host) for name in names.get_values_for_type(x509.DNSName)):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address in names.get_values_for_type(x509.IPAddress)


def _matches(pattern: str, host: str) -> bool:
    """Equal but for case, or a `*.` for the first label (mbedtls: x509_check_wildcard)."""
    pattern, host = pattern.lower(), host.lower()
    if pattern.startswith("*."):
        return host.partition(".")[2] == pattern[2:]
    return pattern == host


class Verifier:
    """The check of one server's certificates by `mode`, `host` and `authorities` (each DER or PEM)."""

    def __init__(self, mode: int, host: str | None, authorities: Iterable[bytes]) -> None:
        self._host = host
        self._findings: set[str] = set()
        self._authorities = [one for data in authorities for one in load_authorities(data)]
        self.mode = mode
        self.chain: dict[int, x509.Certificate] = {}  # by depth, the server's own at 0

    def prepare(self, context: SSL.Context) -> None:
        store = context.get_cert_store()
        assert store is not None
        for certificate in self._authorities:
            store.add_cert(crypto.X509.from_cryptography(certificate))
        # mbedtls ends a chain at any certificate that it was given, not only at a self-signed one.
        store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
        self._store = store
        context.set_verify(SSL.VERIFY_PEER, self._check)

    def set_time(self, now: datetime.datetime) -> None:
        self._store.set_time(now)

    def _check(self, connection: SSL.Connection, found: crypto.X509, error: int, depth: int, ok: int) -> bool:
        """OpenSSL's callback: once for each error, and, from the root down, once for each certificate."""
        certificate = self.chain[depth] = found.to_cryptography()
        if error:
            self._findings.add(finding(error))
        if depth or not ok:
            return True
        if self._host is not None and not matches_host(certificate, self._host):
            self._findings.add(CN_MISMATCH)
        if not self._authorities:
            self._findings.add(NOT_TRUSTED)
        return self.refusal() is None

    def refusal(self) -> Exception | None:
        """What MicroPython raises, when it does."""
        if self.mode != CERT_REQUIRED:
            return None
        if not self._authorities:
            return OSError(*CA_CHAIN_REQUIRED)
        return ValueError(verify_info(self._findings)) if self._findings else None
