"""What stands between an environment and the world in a company: a proxy, and a web server with the company's own CA.

Both run on this machine, where pods reach them: at the gateway of the environment's network.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

from bootstrap.world.environment_store import Identity

ROBOT = "robot.company.invalid"
"""The web server's name, which only the proxy knows."""
HOOK = f"https://{ROBOT}/hook"


@dataclass
class Company:
    """address: HOST:PORT of the web server. proxy: URL. ca: PEM file of the CA that issued the server's certificate.

    asked: paths that the web server was asked for, by clients that trusted it. proxied: what the proxy was asked for,
    a URL or, for a tunnel, HOST:PORT.
    """

    ca: Path
    address: str = ""
    proxy: str = ""
    asked: list[str] = field(default_factory=list)
    proxied: list[str] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    """Answers every request itself: 200 for a path that ends with /hook, else 404."""

    heard: ClassVar[list[str]]

    def do_GET(self) -> None:
        self.heard.append(self.path)
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(200 if self.path.endswith("/hook") else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_HEAD = do_GET  # noqa: N815  as the library calls them

    def log_message(self, *_: object) -> None:
        """The test says what matters."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that does not trust it, or that has gone: that is what the test is about."""


@contextlib.contextmanager
def serving(folder: Path, gateway: str) -> Iterator[Company]:
    """folder: for keys and certificates. gateway: an address of this machine."""
    identity = Identity(folder, "company")
    pair = identity.ensure_certificate("web", (gateway, ROBOT))
    chain = identity.write_file("chain.pem", pair.certificate + pair.key)
    company = Company(identity.ca_file)

    class Web(_Handler):
        heard = company.asked

    class Proxy(_Handler):
        heard = company.proxied

        def do_CONNECT(self) -> None:
            """A tunnel to the web server, by its name or address; to nowhere else."""
            self.heard.append(self.path)
            if self.path not in (f"{ROBOT}:443", company.address):
                self.send_error(502)
                return
            self.send_response(200)
            self.end_headers()
            self.close_connection = True
            with socket.create_connection((gateway, web.server_address[1]), timeout=10) as there:
                _relay(self.connection, there)

    with _Server((gateway, 0), Web) as web, _Server((gateway, 0), Proxy) as proxy:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        web.socket = context.wrap_socket(web.socket, server_side=True, do_handshake_on_connect=False)
        company.address = f"{gateway}:{web.server_address[1]}"
        company.proxy = f"http://{gateway}:{proxy.server_address[1]}"
        for server in (web, proxy):
            threading.Thread(target=server.serve_forever, daemon=True).start()
        yield company
        for server in (web, proxy):
            server.shutdown()


def _relay(here: socket.socket, there: socket.socket) -> None:
    """Until either side ends, or says nothing for a minute."""
    ends = {here: there, there: here}
    while ready := select.select([*ends], [], [], 60)[0]:
        for source in ready:
            data = source.recv(65536)
            if not data:
                return
            ends[source].sendall(data)
