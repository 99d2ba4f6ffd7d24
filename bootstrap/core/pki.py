"""The environment's certificate authority and the certificates it issues. Pure: bytes in, bytes out."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_DAYS = 3650
"""Life of a CA, and of what it issues: nothing renews a certificate where nobody types `invoke up`."""
RENEW_DAYS = 30
_BACKDATE = datetime.timedelta(minutes=5)  # clocks of nodes and pods may be a little behind


@dataclass(frozen=True)
class KeyPair:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes


def make_authority(name: str, now: datetime.datetime) -> KeyPair:
    """A self-signed CA for the environment `name`."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _make_name(f"tekton-bootstrap {name}")
    certificate = (
        _make_builder(subject, subject, key, now, now + datetime.timedelta(days=CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_make_key_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return KeyPair(certificate.public_bytes(serialization.Encoding.PEM), _to_pem(key))


def issue_certificate(
    authority: KeyPair, name: str, hosts: Iterable[str], now: datetime.datetime, days: int = CA_DAYS
) -> KeyPair:
    """A certificate for the server or client `name`, for `days` and no longer than its CA.

    hosts: DNS names and IP addresses.
    """
    ca = x509.load_pem_x509_certificate(authority.certificate)
    ca_key = serialization.load_pem_private_key(authority.key, None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)  # noqa: S101  new_authority makes no other
    key = ec.generate_private_key(ec.SECP256R1())
    names = [_make_general_name(host) for host in hosts]
    end = min(now + datetime.timedelta(days=days), ca.not_valid_after_utc)
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = (
        _make_builder(_make_name(name), ca.subject, key, now, end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .add_extension(_make_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    certificate = builder.sign(ca_key, hashes.SHA256())
    return KeyPair(certificate.public_bytes(serialization.Encoding.PEM), _to_pem(key))


def is_current(
    pair: KeyPair, authority: bytes, hosts: Iterable[str], now: datetime.datetime, *, days: int = RENEW_DAYS
) -> bool:
    """Whether it is of this authority, fits its key, names these hosts and lasts so many days, or as many as its CA."""
    try:
        leaf, ca = x509.load_pem_x509_certificate(pair.certificate), x509.load_pem_x509_certificate(authority)
        key = serialization.load_pem_private_key(pair.key, None)
        leaf.verify_directly_issued_by(ca)
    except Exception:  # noqa: BLE001  any reason why it is not ours ends in a new one
        return False
    needed = min(now + datetime.timedelta(days=days), ca.not_valid_after_utc)
    long_enough = leaf.not_valid_after_utc >= needed
    return (
        long_enough and leaf.public_key() == key.public_key() and {*map(_make_general_name, hosts)} <= _read_names(leaf)
    )


def read_expiry(certificate: bytes) -> datetime.datetime | None:
    """The moment, in UTC, from which nobody accepts the certificate, given as PEM; None if it is none."""
    try:
        return x509.load_pem_x509_certificate(certificate).not_valid_after_utc
    except ValueError:
        return None


def to_der(certificate: bytes) -> bytes:
    """The certificate, given as PEM, in DER: the bytes that a TLS connection carries."""
    return x509.load_pem_x509_certificate(certificate).public_bytes(serialization.Encoding.DER)


def _read_names(leaf: x509.Certificate) -> set[x509.GeneralName]:
    try:
        return set(leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return set()


def _make_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _make_general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _make_builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    now: datetime.datetime,
    end: datetime.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(end)
    )


def _make_key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _to_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
