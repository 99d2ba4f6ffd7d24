"""A real Kubernetes API server with its etcd, as two processes on loopback: no nodes, no containers."""

from __future__ import annotations

import base64
import contextlib
import datetime
import ipaddress
import os
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CONTEXT = "test"
START_SECONDS = 40


@dataclass(frozen=True)
class ControlPlane:
    """kubeconfig: an administrator's, context `test`. server: its URL. ca: PEM text."""

    kubeconfig: Path
    server: str
    ca: str
    apiserver: subprocess.Popen[bytes]


@contextlib.contextmanager
def control_plane(folder: Path, etcd: Path, kube: Path) -> Iterator[ControlPlane]:
    """Start both, wait until the API server says it is ready, stop both at the end.

    kube: the binary that acts as the API server when called by the name `kube-apiserver`.
    Raises AssertionError with the tail of the log of whichever did not start.
    """
    etcd_port, peer_port, port = free_ports(3)
    authority = Authority(folder)
    apiserver = folder / "kube-apiserver"
    apiserver.symlink_to(kube)
    server = f"https://127.0.0.1:{port}"
    with contextlib.ExitStack() as stack:
        stack.enter_context(_process(folder / "etcd.log", etcd_command(etcd, folder, etcd_port, peer_port)))
        command = apiserver_command(apiserver, folder, authority, etcd_port, port)
        process = stack.enter_context(_process(folder / "apiserver.log", command))
        _wait_ready(server, authority.folder / "ca.crt", process, folder)
        kubeconfig = authority.kubeconfig(server)
        yield ControlPlane(kubeconfig, server, (authority.folder / "ca.crt").read_text(), process)


def etcd_command(etcd: Path, folder: Path, port: int, peer_port: int) -> list[str]:
    client, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer_port}"
    return [
        str(etcd),
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def apiserver_command(apiserver: Path, folder: Path, authority: Authority, etcd_port: int, port: int) -> list[str]:
    tls = authority.folder
    return [
        str(apiserver),
        f"--etcd-servers=http://127.0.0.1:{etcd_port}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        "--endpoint-reconciler-type=none",
        f"--secure-port={port}",
        f"--cert-dir={folder}",
        f"--tls-cert-file={tls / 'server.crt'}",
        f"--tls-private-key-file={tls / 'server.key'}",
        f"--client-ca-file={tls / 'ca.crt'}",
        "--authorization-mode=RBAC",
        f"--service-account-issuer=https://127.0.0.1:{port}",
        f"--service-account-key-file={tls / 'server.key'}",
        f"--service-account-signing-key-file={tls / 'server.key'}",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--allow-privileged=true",
        # without a controller manager nothing makes the default ServiceAccount that this plugin waits for
        "--disable-admission-plugins=ServiceAccount",
        "--profiling=false",
    ]


class Authority:
    """A certificate authority with a server and an administrator certificate, in files of mode 0600."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "tls"
        self.folder.mkdir()
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._ca = self._sign("ca", self._key.public_key(), authority=True)
        self._write("ca", self._key, self._ca)
        self._issue("server", "kube-apiserver", "")
        self._issue("admin", "admin", "system:masters")

    def kubeconfig(self, server: str) -> Path:
        path = self.folder.parent / "kubeconfig"
        user = {"client-certificate-data": self._data("admin.crt"), "client-key-data": self._data("admin.key")}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {"name": CONTEXT, "cluster": {"server": server, "certificate-authority-data": self._data("ca.crt")}}
            ],
            "users": [{"name": "admin", "user": user}],
            "contexts": [{"name": CONTEXT, "context": {"cluster": CONTEXT, "user": "admin"}}],
        }
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(document))
        return path

    def _data(self, name: str) -> str:
        return base64.b64encode((self.folder / name).read_bytes()).decode()

    def _issue(self, file: str, name: str, group: str) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        self._write(file, key, self._sign(name, key.public_key(), group=group))

    def _write(self, file: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
        for suffix, content in ((".key", private), (".crt", certificate.public_bytes(serialization.Encoding.PEM))):
            path = self.folder / (file + suffix)
            path.touch(mode=0o600)
            path.write_bytes(content)

    def _sign(
        self, name: str, key: ec.EllipticCurvePublicKey, *, group: str = "", authority: bool = False
    ) -> x509.Certificate:
        attributes = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
        if group:
            attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, group))
        subject = x509.Name(attributes)
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if authority else self._ca.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if authority:
            builder = builder.add_extension(_SIGNS, critical=True)
        else:
            names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
            both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
            builder = builder.add_extension(x509.ExtendedKeyUsage(both), critical=False)
        return builder.sign(self._key, hashes.SHA256())


_SIGNS = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on; held together while they are chosen, so that all differ."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


@contextlib.contextmanager
def _process(log: Path, command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    environ = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environ)  # the test's own command
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


def _wait_ready(server: str, ca: Path, process: subprocess.Popen[bytes], folder: Path) -> None:
    context = ssl.create_default_context(cafile=str(ca))
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(urllib.error.URLError, OSError), opener.open(f"{server}/readyz", timeout=5) as answer:
            if answer.status == 200:
                return
        time.sleep(0.1)
    logs = "\n".join(f"{log.name}: {log.read_text()[-1500:]}" for log in sorted(folder.glob("*.log")))
    raise AssertionError(f"the API server was not ready within {START_SECONDS} s\n{logs}")
