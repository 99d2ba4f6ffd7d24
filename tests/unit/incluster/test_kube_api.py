"""How a pod's client reaches an API server: by another name than the certificate's, and by a proxy."""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bootstrap.core import pki
from bootstrap.incluster.kube_api import Api, ApiFailure

NAME = "api.internal"


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b'{"kind": "Status"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Proxy(ThreadingHTTPServer):
    """Leads every CONNECT to one port of this machine. asked: (where to, login)."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), Tunnel)
        self.target = port
        self.asked: list[tuple[str, str | None]] = []


class Tunnel(BaseHTTPRequestHandler):
    server: Proxy

    def do_CONNECT(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Proxy-Authorization")))
        with socket.create_connection(("127.0.0.1", self.server.target)) as far:
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=_copy, args=(far, self.connection), daemon=True)
            back.start()
            _copy(self.connection, far)
            back.join(5)

    def log_message(self, *_: object) -> None:
        pass


def _copy(source: socket.socket, target: socket.socket) -> None:
    while data := source.recv(65536):
        target.sendall(data)
    target.shutdown(socket.SHUT_WR)


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """Of an API server whose certificate is for NAME alone; `tmp_path` is the folder of an account that trusts it."""
    now = datetime.datetime.now(datetime.UTC)
    ca = pki.make_authority("test", now)
    pair = pki.issue_certificate(ca, "api", [NAME], now)
    for name, data in (("ca.crt", ca.certificate), ("pair.pem", pair.certificate + pair.key), ("token", b"t")):
        (tmp_path / name).write_bytes(data)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pair.pem")
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        server.daemon_threads = True
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_a_server_is_known_by_the_name_of_its_certificate_alone(tmp_path: Path, port: int) -> None:
    with pytest.raises(ApiFailure, match="SSLCertVerificationError"):
        Api("127.0.0.1", port, tmp_path).request("GET", "/version")
    api = Api("127.0.0.1", port, tmp_path, server_name=NAME)
    assert api.request("GET", "/version") == {"kind": "Status"}
    api.close()
    with pytest.raises(ApiFailure, match="SSLCertVerificationError"):
        Api("127.0.0.1", port, tmp_path, server_name="other.internal").request("GET", "/version")


@pytest.mark.parametrize(("login", "sent"), [("", None), ("me:pass%3Aword@", "Basic bWU6cGFzczp3b3Jk")])
def test_a_server_is_reached_by_a_proxy(tmp_path: Path, port: int, login: str, sent: str | None) -> None:
    with Proxy(port) as proxy:
        threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        api = Api(NAME, 6443, tmp_path, proxy=f"http://{login}127.0.0.1:{proxy.server_port}")
        assert api.request("GET", "/version") == {"kind": "Status"}
        api.close()
        proxy.shutdown()
    assert proxy.asked == [(f"{NAME}:6443", sent)]
