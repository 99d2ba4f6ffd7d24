"""Checks the signature of a webhook from a Gitea or Forgejo that does not send GitHub's signature as well.

An interceptor of Tekton Triggers, whose own ones know the signatures of GitHub and GitLab only: it receives a delivery
and answers whether to go on (triggers v0.35, pkg/apis/triggers/v1beta1, InterceptorRequest). The signature is the
HMAC-SHA256 of the body in hexadecimal digits, without a prefix (Gitea's documentation, "Webhooks").

Environment: SECRET (file), PORT.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from bootstrap.incluster.json_object import Object

HEADERS = ("x-forgejo-signature", "x-gitea-signature")
EVENT = "x-github-event"
"""Both send their events by this name, too."""
MAX_REQUEST_BYTES = 8_000_000
"""Longer requests are answered with 413."""
FAILED_PRECONDITION = 9
"""gRPC's code, as Tekton's own interceptors have it."""


def check_signature(request: Object, secret: bytes) -> Object:
    """The InterceptorResponse to an InterceptorRequest: whether to go on, and why not."""
    headers = {name.lower(): values[0] for name, values in (request.get("header") or {}).items() if values}
    given = next((headers[name] for name in HEADERS if headers.get(name)), "")
    wanted = (request.get("interceptor_params") or {}).get("eventTypes") or ()
    body = str(request.get("body") or "").encode(errors="replace")
    right = hmac.new(secret, body, hashlib.sha256).hexdigest()
    if not secret:
        return _refuse("there is no secret to check with")
    if not given:
        return _refuse("it carries no signature")
    if not hmac.compare_digest(given.encode(errors="replace"), right.encode()):
        return _refuse("its signature is wrong")
    if headers.get(EVENT) not in wanted:
        return _refuse("its event is none of those that are waited for")
    return {"continue": True, "status": {}}


def _refuse(why: str) -> Object:
    return {"continue": False, "status": {"code": FAILED_PRECONDITION, "message": why}}


def make_server(port: int, secret: Callable[[], bytes]) -> ThreadingHTTPServer:
    """A server of the interceptor that is bound to the port but not started. secret: called for every delivery, for the
    mounted Secret may change."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 20

        def do_GET(self) -> None:
            self._answer(200 if self.path == "/healthz" else 404, b"")

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if not length.isdigit() or int(length) > MAX_REQUEST_BYTES:
                self._answer(413, b"")
                return
            try:
                answer = check_signature(json.loads(self.rfile.read(int(length))), secret())
            except (ValueError, TypeError, AttributeError, KeyError):
                self._answer(400, b"")
                return
            self._answer(200, json.dumps(answer).encode())

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Write no line per request: `invoke webhook` traces deliveries by other logs."""

    return ThreadingHTTPServer(("", port), Handler)


def main(environ: Mapping[str, str]) -> int:
    """Serve until SIGTERM; answers the exit code."""
    file = Path(environ["SECRET"])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with make_server(int(environ["PORT"]), file.read_bytes) as running:
        running.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
