"""The page's web server: on loopback, reading only. What it may be asked for is one short table.

A page of another site must not read it through the user's browser: the Host header has to be this
machine's own name (a foreign name that resolves to 127.0.0.1 is refused), no answer carries CORS
headers, and the policy of the page allows nothing but its own files.
"""

from __future__ import annotations

import json
import re
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs

from bootstrap.errors import BootstrapError, NotFound

STATIC = Path(__file__).parent / "static"
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
OWN_HOST = re.compile(r"(localhost|127\.0\.0\.1)(:\d{1,5})?", re.IGNORECASE)
"""Any port: the page may be reached through a tunnel."""
RUN = r"(?P<name>[a-z0-9][a-z0-9.-]{0,252})"
TEXT = "text/plain; charset=utf-8"
IDLE_SECONDS = 15.0


class Views(Protocol):
    """What is shown. Each method raises BootstrapError, NotFound for what is not there."""

    def status(self) -> dict[str, Any]: ...
    def runs(self) -> dict[str, Any]: ...
    def run(self, name: str) -> dict[str, Any]: ...
    def log(self, name: str, task: str = "") -> str: ...


@dataclass(frozen=True)
class Answer:
    status: HTTPStatus
    content_type: str
    body: bytes


class Server(ThreadingHTTPServer):
    """Serves on a socket that listens already. warn: hears of faults of our own, in one line."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, listening: socket.socket, views: Views, warn: Callable[[str], None]) -> None:
        super().__init__(listening.getsockname(), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.views = views
        self.warn = warn

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.socket.getsockname()[1]}/"

    def handle_error(self, *_: Any) -> None:
        """A browser that went away is no fault."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            self.warn(f"a request failed: {type(error).__name__}")


def answer(views: Views, target: str) -> Answer:
    """target: path and query of a GET. What is not in the table is 404; what cannot be read is 503 with its cause."""
    path, _, query = target.partition("?")
    if path in FILES:
        name, content_type = FILES[path]
        return Answer(HTTPStatus.OK, content_type, (STATIC / name).read_bytes())
    try:
        return _read(views, path, query) or _refusal(HTTPStatus.NOT_FOUND, "there is no such page")
    except NotFound as error:
        return _refusal(HTTPStatus.NOT_FOUND, error.message, error.hint)
    except BootstrapError as error:
        return _refusal(HTTPStatus.SERVICE_UNAVAILABLE, error.message, error.hint)


def _read(views: Views, path: str, query: str) -> Answer | None:
    if path == "/api/status":
        return _json(views.status())
    if path == "/api/runs":
        return _json(views.runs())
    if found := re.fullmatch(f"/api/runs/{RUN}", path):
        return _json(views.run(found["name"]))
    if found := re.fullmatch(f"/api/runs/{RUN}/log", path):
        task = parse_qs(query, max_num_fields=8).get("task", [""])[0]
        return Answer(HTTPStatus.OK, TEXT, views.log(found["name"], task).encode())
    return None


def _json(document: dict[str, Any], status: HTTPStatus = HTTPStatus.OK) -> Answer:
    return Answer(status, "application/json", json.dumps(document).encode())


def _refusal(status: HTTPStatus, message: str, hint: str = "") -> Answer:
    return _json({"error": message, "hint": hint}, status)


class _Handler(BaseHTTPRequestHandler):
    server: Server
    timeout = IDLE_SECONDS

    def do_GET(self) -> None:
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or not OWN_HOST.fullmatch(hosts[0].strip()):
            self._send(_refusal(HTTPStatus.FORBIDDEN, "this page is read as http://127.0.0.1 or http://localhost"))
            return
        self._send(self._answer())

    do_HEAD = do_GET  # noqa: N815

    def _answer(self) -> Answer:
        try:
            return answer(self.server.views, self.path)
        except Exception as error:  # noqa: BLE001
            # A fault of ours must neither end the connection in silence nor show its text, which may hold anything.
            self.server.warn(f"{self.path.partition('?')[0]}: {type(error).__name__}")
            return _refusal(HTTPStatus.INTERNAL_SERVER_ERROR, f"the page's server failed ({type(error).__name__})")

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """Called by the base class for what it cannot read: a method without a `do_`, a malformed line."""
        refused = code == HTTPStatus.NOT_IMPLEMENTED
        status = HTTPStatus.METHOD_NOT_ALLOWED if refused else HTTPStatus(code)
        self.close_connection = True
        self.request_version = self.protocol_version  # without one that was understood, no header would be sent
        self._send(_refusal(status, status.phrase))

    def _send(self, found: Answer) -> None:
        self.send_response(found.status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        if found.status is HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        self.send_header("Content-Type", found.content_type)
        self.send_header("Content-Length", str(len(found.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(found.body)

    def version_string(self) -> str:
        return "tekton-bootstrap"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Silent: what goes on is on the page."""
