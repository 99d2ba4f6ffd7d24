"""Stands before the real API server and answers in its stead, over the wire, as an overloaded one does."""

from __future__ import annotations

import contextlib
import http.client
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.integration.control_plane import ControlPlane


@dataclass(frozen=True)
class Fault:
    """status: answered without asking the server. 0: it is asked, and its answer is lost with the connection."""

    status: int = 0
    retry_after: str = ""


@contextlib.contextmanager
def front(plane: ControlPlane, faults: Mapping[str, Sequence[Fault]]) -> Iterator[int]:
    """The port, on 127.0.0.1 with the server's own certificate. faults: method -> for its first requests."""
    left = {method: list(some) for method, some in faults.items()}
    lock = threading.Lock()
    behind, tls = urlsplit(plane.server), plane.kubeconfig.parent / "tls"

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with lock:
                waiting = left.get(self.command)
                fault = waiting.pop(0) if waiting else None
            if fault and fault.status:
                self._answer(fault.status, b"{}", {"Retry-After": fault.retry_after} if fault.retry_after else {})
                return
            status, content = self._asked(body)
            if fault:
                self.close_connection = True
                return
            self._answer(status, content, {"Content-Type": "application/json"})

        do_GET = do_POST = do_DELETE = _serve  # noqa: N815  as the library calls them

        def _asked(self, body: bytes) -> tuple[int, bytes]:
            trusted = ssl.create_default_context(cafile=str(tls / "ca.crt"))
            connection = http.client.HTTPSConnection(
                str(behind.hostname), int(behind.port or 0), timeout=20, context=trusted
            )
            with contextlib.closing(connection):
                kept = ("Authorization", "Content-Type")
                headers = {name: self.headers[name] for name in kept if name in self.headers}
                connection.request(self.command, self.path, body, headers)
                answer = connection.getresponse()
                return answer.status, answer.read()

        def _answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls / "server.crt", tls / "server.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield int(server.server_address[1])
        assert not any(left.values()), f"not met with: {left}"
    finally:
        server.shutdown()
        server.server_close()
