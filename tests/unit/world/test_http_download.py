"""Files from web servers: what is handed on of a login, and what a redirect or too much of a file does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bootstrap.core.errors import PreconditionError
from bootstrap.core.model import Secret
from bootstrap.world import http_download
from bootstrap.world.http_download import DownloadAccess, download
from tests.unit.fakes import FakeClock


class Server(ThreadingHTTPServer):
    """heard: path and Authorization of each request. /elsewhere leads to `other`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.heard: list[tuple[str, str]] = []
        self.other = ""
        self.busy = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.heard.append((self.path, self.headers.get("Authorization", "")))
        if self.server.busy:
            self.server.busy -= 1
            self.send_response(503)
            self.send_header("Retry-After", "999")
        elif self.path == "/elsewhere":
            self.send_response(302)
            self.send_header("Location", f"{self.server.other}/file")
        else:
            self.send_response(200)
            self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"text" * (self.path == "/file"))

    def log_message(self, *_: object) -> None:
        """The test says what matters."""


@pytest.fixture
def servers() -> Iterator[tuple[Server, Server]]:
    with Server() as first, Server() as second:
        for each in (first, second):
            threading.Thread(target=each.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        first.other = second.address
        yield first, second
        first.shutdown()
        second.shutdown()


def test_a_login_is_not_handed_on_to_another_server(servers: tuple[Server, Server]) -> None:
    first, second = servers
    assert download(f"{first.address}/elsewhere", DownloadAccess("me", Secret("hush")), FakeClock()) == b"text"
    assert first.heard == [("/elsewhere", "Basic bWU6aHVzaA==")]
    assert second.heard == [("/file", "")]


def test_no_server_makes_us_wait_for_long(servers: tuple[Server, Server]) -> None:
    servers[0].busy, clock = 2, FakeClock()
    assert download(f"{servers[0].address}/file", DownloadAccess(), clock) == b"text"
    assert clock.slept == [http_download.LONGEST_PAUSE] * 2


def test_a_file_that_is_too_large_is_refused(servers: tuple[Server, Server], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_download, "LARGEST", 3)
    with pytest.raises(PreconditionError, match="is larger than"):
        download(f"{servers[0].address}/file", DownloadAccess(), FakeClock())


def test_an_authority_that_cannot_be_read_is_named() -> None:
    with pytest.raises(PreconditionError, match=r"upstream\.ca_file: /nowhere/ca\.crt cannot be read"):
        download("https://127.0.0.1:9/file", DownloadAccess(ca_file="/nowhere/ca.crt"), FakeClock())
