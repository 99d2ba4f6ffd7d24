"""The environment's authority and what it issues."""

from __future__ import annotations

import datetime
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from bootstrap.core import pki
from bootstrap.core.pki import KeyPair

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)
HOSTS = ("registry.tekton.internal", "127.0.0.1")


@pytest.fixture(scope="module")
def authority() -> KeyPair:
    return pki.make_authority("demo", NOW)


@pytest.fixture(scope="module")
def server(authority: KeyPair) -> KeyPair:
    return pki.issue_certificate(authority, "registry", HOSTS, NOW)


def load(pair: KeyPair) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pair.certificate)


def test_the_authority_may_sign_and_nothing_below_it_may(authority: KeyPair, server: KeyPair) -> None:
    ca, leaf = load(authority), load(server)
    assert ca.extensions.get_extension_for_class(x509.BasicConstraints).value == x509.BasicConstraints(True, 0)
    assert ca.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert not leaf.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    leaf.verify_directly_issued_by(ca)


def test_a_certificate_names_its_hosts_as_what_they_are(server: KeyPair) -> None:
    names = load(server).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["registry.tekton.internal"]
    assert [str(each) for each in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]


def test_it_serves_as_server_and_as_client(server: KeyPair) -> None:
    usage = load(server).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usage) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}


def test_it_is_valid_from_a_little_before(server: KeyPair) -> None:
    leaf = load(server)
    assert NOW - datetime.timedelta(hours=1) < leaf.not_valid_before_utc < NOW
    assert leaf.not_valid_after_utc == NOW + 3650 * DAY, "as long as its CA"


def test_a_client_needs_no_hosts(authority: KeyPair) -> None:
    client = pki.issue_certificate(authority, "buildkit-client", (), NOW)
    with pytest.raises(x509.ExtensionNotFound):
        load(client).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert pki.is_current(client, authority.certificate, (), NOW)
    assert not pki.is_current(client, authority.certificate, ("host",), NOW)


def test_current_is_what_is_ours_fits_and_lasts(authority: KeyPair, server: KeyPair) -> None:
    def current(pair: KeyPair, hosts: tuple[str, ...] = HOSTS, at: datetime.datetime = NOW) -> bool:
        return pki.is_current(pair, authority.certificate, hosts, at)

    assert current(server)
    assert current(server, hosts=("127.0.0.1",))
    assert not current(server, hosts=(*HOSTS, "localhost"))
    assert current(server, at=NOW + 3640 * DAY), "it ends with its CA"
    short = pki.issue_certificate(authority, "registry", HOSTS, NOW, days=100)
    assert current(short, at=NOW + 69 * DAY)
    assert not current(short, at=NOW + 71 * DAY), "30 days before its end it is renewed"


def test_what_another_authority_issued_is_not_current(server: KeyPair) -> None:
    other = pki.make_authority("demo", NOW)
    assert not pki.is_current(server, other.certificate, HOSTS, NOW)


def test_a_certificate_with_another_key_is_not_current(authority: KeyPair, server: KeyPair) -> None:
    other = pki.issue_certificate(authority, "registry", HOSTS, NOW)
    half_written = KeyPair(server.certificate, other.key)
    assert not pki.is_current(half_written, authority.certificate, HOSTS, NOW)


@pytest.mark.parametrize("damaged", [KeyPair(b"", b""), KeyPair(b"no PEM", b"no PEM")])
def test_what_cannot_be_read_is_not_current(authority: KeyPair, damaged: KeyPair) -> None:
    assert not pki.is_current(damaged, authority.certificate, HOSTS, NOW)


def test_der_is_what_a_connection_shows(server: KeyPair) -> None:
    assert pki.to_der(server.certificate) == ssl.PEM_cert_to_DER_cert(server.certificate.decode())


def test_keys_are_private_and_of_their_own(authority: KeyPair, server: KeyPair) -> None:
    assert b"PRIVATE KEY" in server.key
    assert b"PRIVATE" not in server.certificate
    keys = [serialization.load_pem_private_key(pair.key, None).public_key() for pair in (authority, server)]
    assert keys[0] != keys[1]


def test_a_long_name_is_cut_to_what_x509_allows() -> None:
    assert load(pki.make_authority("x" * 100, NOW)).subject.rfc4514_string() == f"CN=tekton-bootstrap {'x' * 47}"
