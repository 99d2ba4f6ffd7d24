"""The door to webhooks, against a small server."""

from __future__ import annotations

import http.server
import socket
import threading

import pytest

from bootstrap.core.errors import ApiError
from bootstrap.world import webhook_sender


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(int(self.headers["X-Wanted"]))
        self.end_headers()
        self.wfile.write(body + b"\xff")

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("status", [202, 400, 503])
def test_every_answer_is_an_answer(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")  # which must not be asked
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert webhook_sender.post_webhook(
            f"http://127.0.0.1:{server.server_address[1]}/", b"{}", {"X-Wanted": str(status)}
        ) == (
            status,
            "{}\ufffd",
        )
        thread.join(5)


def test_no_answer_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ApiError, match="does not answer") as caught:
        webhook_sender.post_webhook(f"http://127.0.0.1:{port}/", b"{}", {})
    assert caught.value.status == 0
