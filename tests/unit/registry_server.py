"""A web server that answers as a registry's API does, as far as looks and uploads need one."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Said:
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class RegistryServer:
    """Use as a context. answers: "HEAD /v2/..." -> what is said, one after the other, the last of them for ever.

    default: status for all else. delay: seconds before each answer. wants: the Authorization that it insists on, and
    challenge: how it asks for one. tls: with which it speaks HTTPS.
    """

    def __init__(
        self,
        answers: Mapping[str, list[Said]] | None = None,
        *,
        default: int = 404,
        delay: float = 0,
        wants: str = "",
        challenge: str = 'Basic realm="here"',
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.heard: list[str] = []
        self.received = 0
        self.authorizations: list[str] = []
        self._left = {key: list(said) for key, said in (answers or {}).items()}
        self._default, self._delay, self._wants, self.challenge = default, delay, wants, challenge
        self._over = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> RegistryServer:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()

    def _say(self, request: str, authorization: str) -> Said:
        self.heard.append(request)
        self.authorizations.append(authorization)
        self._over.wait(self._delay)
        key = request.partition("?")[0]
        if self._wants and authorization != self._wants and not key.startswith("GET /token"):
            return Said(401, {"WWW-Authenticate": self.challenge})
        left = self._left.get(key, [])
        if not left:
            return Said(self._default)
        return left.pop(0) if len(left) > 1 else left[0]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                server.received += len(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
                said = server._say(f"{self.command} {self.path}", self.headers.get("Authorization", ""))
                try:
                    self.send_response(said.status)
                    for name, value in {"Content-Length": str(len(said.body)), **said.headers}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    if self.command != "HEAD":
                        self.wfile.write(said.body)
                except OSError:  # who asked has gone
                    self.close_connection = True

            do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = do_DELETE = _serve  # noqa: N815  as the library calls them

            def log_message(self, *_: Any) -> None:
                """The test says what matters."""

        return Handler
