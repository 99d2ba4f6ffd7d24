"""The door to the registry, against a server with TLS and a password on loopback."""

from __future__ import annotations

import base64
import datetime
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bootstrap.core import pki
from bootstrap.core.errors import CommandError
from bootstrap.core.model import Secret
from bootstrap.world.environment_store import Identity
from bootstrap.world.registry.environment import Registry
from tests.unit.fake_shell import FakeShell

NOW = datetime.datetime.now(datetime.UTC)
PAUSE, GOLANG = "sha256:" + "a" * 64, "sha256:" + "b" * 64
CRANE = Path("/bin/crane")


class Server:
    """images: "path:tag" -> digest. status: of every answer, in place of the right one. connections: how many."""

    def __init__(self) -> None:
        self.images: dict[str, str] = {}
        self.status = 0
        self.login = base64.b64encode(b"builder:p").decode()
        self.connections = 0
        self.port = 0
        self.pair: pki.KeyPair


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    return Identity(tmp_path / "demo", "demo")


@pytest.fixture
def server(identity: Identity) -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            state.connections += 1
            super().setup()

        def do_GET(self) -> None:
            self._answer(200)

        def do_HEAD(self) -> None:
            path, _, tag = self.path.removeprefix("/v2/").rpartition("/manifests/")
            digest = state.images.get(f"{path}:{tag}", "")
            assert "application/vnd.oci.image.manifest.v1+json" in self.headers["Accept"]
            self._answer(200 if digest else 404, digest)

        def _answer(self, status: int, digest: str = "") -> None:
            right = self.headers["Authorization"] == f"Basic {state.login}"
            self.send_response(state.status or (status if right else 401))
            if digest:
                self.send_header("Docker-Content-Digest", digest)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    state.pair = identity.ensure_certificate("registry", ("127.0.0.1",))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(identity.folder / "registry.crt", identity.folder / "registry.key")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.socket = tls.wrap_socket(http.socket, server_side=True)
        http.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that refuse our certificate
        threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        state.port = http.server_port
        yield state
        http.shutdown()


def door(
    identity: Identity, port: int, shell: FakeShell | None = None, *, word: str = "p", ca: Path | None = None
) -> Registry:
    address = f"127.0.0.1:{port}"
    config = identity.write_docker_config("builder", Secret(word), (address,))
    return Registry(shell or FakeShell(), CRANE, address, config, ca or identity.ca_file)


def test_all_digests_come_over_one_connection(identity: Identity, server: Server) -> None:
    server.images = {"bootstrap/pause:1": PAUSE, "library/golang:1.26": GOLANG}
    registry = door(identity, server.port)
    found = registry.read_digests(["bootstrap/pause:1", "bootstrap/none:1", "library/golang:1.26"])
    assert found == {"bootstrap/pause:1": PAUSE, "library/golang:1.26": GOLANG}
    assert server.connections == 1
    assert registry.read_digest("bootstrap/pause:1") == PAUSE
    assert registry.read_digest("bootstrap/none:1") == ""


def test_no_answer_is_not_taken_for_an_absent_image(identity: Identity, server: Server) -> None:
    with pytest.raises(CommandError, match="answers 401"):
        door(identity, server.port, word="wrong").read_digests(["a:1"])
    server.status = 500
    with pytest.raises(CommandError, match="answers 500"):
        door(identity, server.port).read_digests(["a:1"])
    with pytest.raises(CommandError, match="does not answer"):
        door(identity, 1).read_digests(["a:1"])


def test_it_serves_as_it_should(identity: Identity, server: Server) -> None:
    assert door(identity, server.port).find_fault(pki.to_der(server.pair.certificate)) == ""


def test_why_it_does_not(identity: Identity, server: Server, tmp_path: Path) -> None:
    shown = pki.to_der(server.pair.certificate)
    assert door(identity, server.port, word="wrong").find_fault(shown) == "it answers 401 to our password"
    other = pki.issue_certificate(identity.ensure_ca(), "registry", ("127.0.0.1",), NOW)
    assert (
        door(identity, server.port).find_fault(pki.to_der(other.certificate)).startswith("it shows another certificate")
    )
    stranger = tmp_path / "stranger.crt"
    stranger.write_bytes(pki.make_authority("demo", NOW).certificate)
    assert "CERTIFICATE_VERIFY_FAILED" in door(identity, server.port, ca=stranger).find_fault(shown)
    assert door(identity, 1).find_fault(shown).startswith("it does not answer")
    server.status = 503
    assert door(identity, server.port).find_fault(shown) == "it answers 503"


def test_crane_gets_its_secrets_by_files_and_no_proxy(identity: Identity) -> None:
    shell = FakeShell({"/bin/crane push": f"127.0.0.1:5/library/golang@{GOLANG}\n", "/bin/crane pull": ""})
    registry = door(identity, 5, shell, word="correct-horse")
    assert registry.push(Path("/layout"), "library/golang:1") == GOLANG
    registry.pull("library/golang:1", Path("/out"))
    assert shell.ran == [
        "/bin/crane push /layout 127.0.0.1:5/library/golang:1",
        "/bin/crane pull --format=oci 127.0.0.1:5/library/golang:1 /out",
    ]
    for environ in shell.environs:
        assert environ["DOCKER_CONFIG"] == str(identity.folder / "docker")
        assert environ["SSL_CERT_FILE"] == str(identity.ca_file)
        assert environ["HTTPS_PROXY"] == environ["https_proxy"] == ""
        assert "correct-horse" not in str(environ)
