"""A company's authority as a setting: nothing is built anew, and what leaves the cluster trusts it."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bootstrap.core import constants
from bootstrap.steps.node_trust import HOSTS, OTHERS
from bootstrap.world import World
from bootstrap.world.environment_store import Identity
from tests.e2e.docker_client import docker, inspect
from tests.e2e.product import Product
from tests.e2e.repository import Repository

pytestmark = pytest.mark.e2e
WITHIN = "ARG COMMIT=unknown\n"


@dataclass
class Company:
    """A web server of the company's, as robot and as registry. asked: every request that came through TLS."""

    address: str
    ca: Path
    asked: list[str]


@pytest.fixture(scope="module")
def company(product: Product, world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    network = inspect(world, "network", constants.network(product.name))
    assert network
    gateway = network["IPAM"]["Config"][0]["Gateway"]
    identity = Identity(tmp_path_factory.mktemp("company"), "company")
    pair = identity.certificate("web", (gateway,))
    chain = identity.write("chain.pem", pair.certificate + pair.key)
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(200 if self.path == "/hook" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_HEAD = do_GET  # noqa: N815  as the library calls them

        def log_message(self, *_: object) -> None:
            """The test says what matters."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A client that does not trust it: that is what the test is about."""

    with Server((gateway, 0), Handler) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Company(f"{gateway}:{server.server_address[1]}", identity.ca_file, asked)
        server.shutdown()
    assert product.run("up").code == 0
    node = constants.control_plane(product.name)
    assert docker(world, "exec", node, "ls", OTHERS, check=False).code != 0


def test_what_leaves_the_cluster_trusts_it(
    product: Product, world: World, repository: Repository, company: Company
) -> None:
    node = constants.control_plane(product.name)
    pull = ("ctr", "images", "pull", f"--hosts-dir={HOSTS}", f"{company.address}/there/is:none")
    before = docker(world, "exec", node, *pull, check=False)
    assert "unknown authority" in before.stderr
    settings = {"INVOKE_CA_FILE": str(company.ca), "INVOKE_NOTIFY_URL": f"https://{company.address}/hook"}
    answer = product.run("up", env=settings)
    assert "parts to build" not in answer.text
    after = docker(world, "exec", node, *pull, check=False)
    assert "not found" in after.stderr
    assert any(each.startswith("/v2/there/is/manifests/none") for each in company.asked)

    line = company.ca.read_text().splitlines()[-2]
    dockerfile = repository.folder / "Dockerfile"
    text = dockerfile.read_text()
    bundle = "/etc/ssl/certs/ca-certificates.crt"
    check = f"RUN grep -qxF '{line}' {bundle} && test $(wc -l < {bundle}) -gt 100\n"
    dockerfile.write_text(text.replace(WITHIN, WITHIN + check))
    repository.git("commit", "--quiet", "--all", "--message=Build with the company's authority")
    repository.git("push", "--quiet", "--push-option=no-webhook", "origin", "main")
    tested = product.run("test-run", env=settings)
    assert "ok   notify      sent" in tested.out
    assert "/hook" in company.asked
    dockerfile.write_text(text)
    repository.git("commit", "--quiet", "--all", "--message=Build without it again")
    repository.git("push", "--quiet", "--push-option=no-webhook", "origin", "main")
