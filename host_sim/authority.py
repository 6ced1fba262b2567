"""A certificate authority for simulated networks: good certificates, and all the bad ones a board must refuse.

Keys are made once a process. They are RSA because RSA signatures have one length: the same bytes in number
pass in every handshake of every run, so that a connection reset at byte N is reset at the same message.
"""

from __future__ import annotations

import datetime
import functools
import ipaddress
import itertools
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_FIRST_SERIAL = 1 << 30  # serial numbers of one length, too
_EPOCH = datetime.datetime(1970, 1, 1)
_DAY_S = 86400


@functools.lru_cache(maxsize=16)
def _key(name: str) -> rsa.RSAPrivateKey:
    """The process's key of this name. 2048 bits: what OpenSSL and mbedtls ask for by default."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass(frozen=True)
class Identity:
    """What a server shows and proves to be: a certificate and its key."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


class Authority:
    """An authority called `name`, valid from `not_before_s` to `not_after_s` (Unix seconds; default 2020 to 2045).

    `der` and `pem` are what a firmware is given as `cadata`. Two names have two keys.
    """

    def __init__(
        self,
        name: str = "Simulated CA",
        not_before_s: int = 1_577_836_800,
        not_after_s: int = 2_366_841_600,
    ) -> None:
        self._name = _named(name)
        self._key = _key(f"authority {name}")
        self._serials = itertools.count(_FIRST_SERIAL)
        builder = self._builder(self._name, self._key, not_before_s, not_after_s)
        certificate = _with_usage(builder, authority=True).sign(self._key, hashes.SHA256())
        self._identity = Identity(certificate, self._key)

    @property
    def der(self) -> bytes:
        return self._identity.der

    @property
    def pem(self) -> bytes:
        return self._identity.pem

    def issue(self, host: str, not_before_s: int, not_after_s: int) -> Identity:
        """A server certificate for `host`, a DNS name (`*.` allowed) or an IPv4 address, valid in Unix seconds."""
        key = _key("server")
        builder = self._builder(_named(host), key, not_before_s, not_after_s)
        builder = _with_usage(builder.add_extension(_alternative(host), False), authority=False)
        return Identity(builder.sign(self._key, hashes.SHA256()), key)

    def _builder(
        self, subject: x509.Name, key: rsa.RSAPrivateKey, not_before_s: int, not_after_s: int
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(next(self._serials))
            .not_valid_before(_date(not_before_s))
            .not_valid_after(_date(not_after_s))
        )


def self_signed(host: str, not_before_s: int, not_after_s: int) -> Identity:
    """A server certificate that nobody but itself vouches for."""
    key = _key("server")
    builder = (
        x509.CertificateBuilder()
        .subject_name(_named(host))
        .issuer_name(_named(host))
        .public_key(key.public_key())
        .serial_number(_FIRST_SERIAL)
        .not_valid_before(_date(not_before_s))
        .not_valid_after(_date(not_after_s))
        .add_extension(_alternative(host), False)
    )
    return Identity(builder.sign(key, hashes.SHA256()), key)


@dataclass(frozen=True)
class Identities:
    """The certificates that a server of `host` may show, by what is wrong with them."""

    good: Identity
    expired: Identity
    not_yet_valid: Identity
    wrong_host: Identity
    other_ca: Identity
    self_signed: Identity


def make_identities(authority: Authority, host: str, now_s: int) -> Identities:
    """Of `authority`, except the last two; `now_s` is true Unix time. Good ones are valid from 30 days ago for 90."""
    start_s, end_s = now_s - 30 * _DAY_S, now_s + 60 * _DAY_S
    return Identities(
        good=authority.issue(host, start_s, end_s),
        expired=authority.issue(host, start_s - 90 * _DAY_S, now_s - _DAY_S),
        not_yet_valid=authority.issue(host, now_s + _DAY_S, end_s),
        wrong_host=authority.issue("elsewhere.example", start_s, end_s),
        other_ca=Authority("Another CA").issue(host, start_s, end_s),
        self_signed=self_signed(host, start_s, end_s),
    )


def _date(unix_s: int) -> datetime.datetime:
    return _EPOCH + datetime.timedelta(seconds=unix_s)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _alternative(host: str) -> x509.SubjectAlternativeName:
    try:
        return x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))])
    except ValueError:
        return x509.SubjectAlternativeName([x509.DNSName(host)])


def _with_usage(builder: x509.CertificateBuilder, authority: bool) -> x509.CertificateBuilder:
    """The extensions without which mbedtls takes neither an authority nor a server."""
    builder = builder.add_extension(x509.BasicConstraints(authority, None), critical=True)
    if not authority:
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        return builder.add_extension(usage, critical=False)
    return builder.add_extension(
        x509.KeyUsage(False, False, False, False, False, True, True, False, False), critical=True
    )
