"""HTTP from this machine: proxies, redirects, logins, limits, and what an error is."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bootstrap.world import http_client, probe
from bootstrap.world.http_client import BrokenOff, HttpClient, TooLarge

VARIABLES = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "REQUEST_METHOD")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


class Server(ThreadingHTTPServer):
    """heard: method, path and login of each request. leads: path -> where it redirects to."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.heard: list[tuple[str, str, str]] = []
        self.logins_for_proxies: list[str] = []
        self.leads: dict[str, str] = {}
        self.connections = 0
        self.address = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        self.server.connections += 1
        super().setup()

    def do_GET(self) -> None:
        self.server.heard.append((self.command, self.path, self.headers.get("Authorization", "")))
        self.server.logins_for_proxies.append(self.headers.get("Proxy-Authorization", ""))
        lead = self.server.leads.get(self.path, "")
        self.send_response(302 if lead else 503 if self.path == "/busy" else 200)
        if lead:
            self.send_header("Location", lead)
        if self.path == "/busy":
            self.send_header("Retry-After", "7")
        if self.path == "/endless":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            return
        self.send_header("Content-Length", "9" if self.path == "/cut" else "4")
        self.end_headers()
        self.wfile.write(b"text")
        self.close_connection = self.path == "/cut"

    do_POST = do_GET  # noqa: N815  called so by http.server

    def log_message(self, *_: object) -> None:
        """The test says what matters."""


@pytest.fixture
def servers() -> Iterator[tuple[Server, Server]]:
    with Server() as first, Server() as second:
        for each in (first, second):
            threading.Thread(target=each.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield first, second
        first.shutdown()
        second.shutdown()


def test_an_answer_is_an_answer_whatever_its_status(servers: tuple[Server, Server]) -> None:
    answer = http_client.request("GET", f"{servers[0].address}/busy", 5)
    assert (answer.status, answer.body, answer.retry_after()) == (503, b"text", 7)
    assert http_client.request("GET", servers[0].address, 5).retry_after() is None


def test_a_connection_is_kept_for_as_long_as_the_client(servers: tuple[Server, Server]) -> None:
    with HttpClient(5) as client:
        assert [client.request("GET", f"{servers[0].address}/{n}", follow=False).status for n in range(3)] == [200] * 3
    assert servers[0].connections == 1


def test_a_login_follows_to_the_same_server_only(servers: tuple[Server, Server]) -> None:
    first, second = servers
    first.leads = {"/a": "/b", "/b": f"{second.address}/c"}
    assert http_client.request("GET", f"{first.address}/a", 5, authorization="Basic x").body == b"text"
    assert first.heard == [("GET", "/a", "Basic x"), ("GET", "/b", "Basic x")]
    assert second.heard == [("GET", "/c", "")]


def test_what_is_sent_is_not_sent_elsewhere(servers: tuple[Server, Server]) -> None:
    first, second = servers
    first.leads = {"/a": f"{second.address}/c"}
    assert http_client.request("POST", f"{first.address}/a", 5, body=b"x").status == 302
    assert http_client.request("GET", f"{first.address}/a", 5, follow=False).status == 302
    assert second.heard == []


def test_a_redirect_to_no_web_server_and_a_circle_are_answers(servers: tuple[Server, Server]) -> None:
    server = servers[0]
    server.leads = {"/a": "ftp://127.0.0.1/file", "/round": "/round"}
    assert http_client.request("GET", f"{server.address}/a", 5).status == 302
    assert http_client.request("GET", f"{server.address}/round", 5).status == 302
    assert len(server.heard) == 1 + http_client.MOST_REDIRECTS


def test_the_proxy_is_asked_for_each_host_anew(servers: tuple[Server, Server], monkeypatch: pytest.MonkeyPatch) -> None:
    proxy, target = servers
    monkeypatch.setenv("http_proxy", f"http://me:hu%3Ash@127.0.0.1:{proxy.server_port}")
    monkeypatch.setenv("no_proxy", f"127.0.0.1:{target.server_port}")
    proxy.leads = {"http://far.invalid/a": f"{target.address}/b"}
    assert http_client.request("GET", "http://far.invalid/a", 5, authorization="Basic x").body == b"text"
    assert proxy.heard == [("GET", "http://far.invalid/a", "Basic x")]
    assert proxy.logins_for_proxies == ["Basic bWU6aHU6c2g="]
    assert target.heard == [("GET", "/b", "")]
    assert target.logins_for_proxies == [""]


@pytest.mark.parametrize(
    ("no_proxy", "url", "proxy"),
    [
        ("", "http://a.test/x", "http://proxy:3128"),
        ("", "https://a.test/x", "http://secure:1"),
        ("a.test", "http://user@a.test:8080/x", ""),
        ("a.test:80", "http://a.test:8080/x", "http://proxy:3128"),
        ("*", "https://a.test/x", ""),
    ],
)
def test_the_environment_names_the_proxy(monkeypatch: pytest.MonkeyPatch, no_proxy: str, url: str, proxy: str) -> None:
    monkeypatch.setenv("HTTP_PROXY", "proxy:3128")  # no scheme, as many write it
    monkeypatch.setenv("HTTPS_PROXY", "http://secure:1")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert http_client.find_proxy(url) == proxy


def test_no_proxy_is_asked_for_what_is_on_this_machine(
    servers: tuple[Server, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert probe.read_local_status(servers[0].server_port, "/", 5) == 200
    assert probe.read_status(servers[0].address, 5) == 0


def test_a_body_that_is_not_wanted_is_not_waited_for(servers: tuple[Server, Server]) -> None:
    assert probe.read_status(f"{servers[0].address}/endless", 5) == 200


def test_a_body_has_a_limit_and_an_end(servers: tuple[Server, Server]) -> None:
    assert http_client.request("GET", servers[0].address, 5, limit=4).body == b"text"
    with pytest.raises(TooLarge):
        http_client.request("GET", servers[0].address, 5, limit=3)
    with pytest.raises(BrokenOff):
        http_client.request("GET", f"{servers[0].address}/cut", 5)


def test_errors_are_those_of_the_system(servers: tuple[Server, Server]) -> None:
    with pytest.raises(ConnectionRefusedError, match="refused"):
        http_client.request("GET", "http://127.0.0.1:1/", 5)
    with pytest.raises(TimeoutError):
        http_client.request("GET", f"{servers[0].address}/endless", 0.1)
    with pytest.raises(FileNotFoundError), HttpClient(5, ca_file="/nowhere/ca.crt") as client:
        client.request("GET", "https://127.0.0.1:1/")


@pytest.mark.parametrize("url", ["", "127.0.0.1/", "http://", "ftp://127.0.0.1/", "http://[half/", "http://a\nb/"])
def test_an_address_that_is_none_is_an_error_of_the_same_kind(url: str) -> None:
    with pytest.raises(OSError, match=r"address|[Hh]ost|URL|IPv6"):
        http_client.request("GET", url, 5)


def test_a_command_that_asks_nobody_does_not_load_it() -> None:
    doors = ("cli.main", "commands.up", "commands.status", "world.git_refs", "world.probe", "world.registry.user")
    code = (
        f"import sys; import {', '.join(f'bootstrap.{each}' for each in doors)}; "
        "print(sorted({'urllib3', 'urllib.request', 'http.client', 'websocket', 'wsproto'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
