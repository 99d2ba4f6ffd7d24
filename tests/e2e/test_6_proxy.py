"""A real proxy: what leaves the cluster goes through it, and what stays inside does not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bootstrap.core import constants
from bootstrap.world import World
from tests.e2e.docker_client import inspect
from tests.e2e.product import Product
from tests.e2e.repository import Repository

pytestmark = pytest.mark.e2e
ROBOT, ELSEWHERE = "http://robot.invalid/hook", "http://elsewhere.invalid/app.git"
WITHIN = "ARG COMMIT=unknown\n"


class Proxy(ThreadingHTTPServer):
    """asked: every address that it was asked for. It answers all of them itself."""

    asked: list[str]


class Handler(BaseHTTPRequestHandler):
    server: Proxy

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        found = self.path == ROBOT
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """The test says what matters."""


@pytest.fixture(scope="module")
def proxy(product: Product, world: World) -> Iterator[Proxy]:
    """On this machine, where pods reach it: at the gateway of the environment's network."""
    network = inspect(world, "network", constants.network(product.name))
    assert network
    gateway = network["IPAM"]["Config"][0]["Gateway"]
    with Proxy((gateway, 0), Handler) as server:
        server.asked = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
    assert product.run("up").code == 0


def test_what_leaves_the_cluster_goes_through_the_proxy(
    product: Product, world: World, repository: Repository, proxy: Proxy
) -> None:
    address = f"http://{proxy.server_address[0]!s}:{proxy.server_address[1]}"
    settings = {
        "HTTP_PROXY": address,
        "NO_PROXY": "127.0.0.1,localhost",
        "INVOKE_NOTIFY_URL": ROBOT,
        "INVOKE_POLL_REPOSITORIES": ELSEWHERE,
    }
    product.run("up", env=settings)
    dockerfile = repository.folder / "Dockerfile"
    before = dockerfile.read_text()
    dockerfile.write_text(before.replace(WITHIN, f'{WITHIN}RUN test "$http_proxy" = {address}\n'))
    repository.git("commit", "--quiet", "--all", "--message=Build behind a proxy")
    repository.git("push", "--quiet", "--push-option=no-webhook", "origin", "main")
    answer = product.run("test-run", env=settings)
    assert "ok   notify      sent" in answer.out
    assert product.run("poll", env=settings, code=1).code == 1
    assert ROBOT in proxy.asked
    assert any(each.startswith(ELSEWHERE) for each in proxy.asked)
    assert not [each for each in proxy.asked if "svc" in each or constants.REGISTRY_HOST in each]
    dockerfile.write_text(before)
    repository.git("commit", "--quiet", "--all", "--message=Build without a proxy again")
    repository.git("push", "--quiet", "--push-option=no-webhook", "origin", "main")
