"""Registries for tests: one of go-containerregistry's, one of Debian's docker-registry with TLS and a password, and one
before them that answers as registries do when something is wrong."""

from __future__ import annotations

import contextlib
import datetime
import http.client
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import bcrypt
import pytest

from bootstrap.core import pki
from bootstrap.steps.registry import find_free_port
from bootstrap.world import apt, host
from bootstrap.world.shell import SystemShell
from tests.integration.conftest import find_binary

USER, PASSWORD = "puller", "a-pass-word"


@contextlib.contextmanager
def plain(*words: str) -> Iterator[int]:
    """The port of a registry of go-containerregistry's. words: more flags of `crane registry serve`."""
    port = find_free_port()
    argv = [str(find_binary("crane")), "registry", "serve", f"--address=127.0.0.1:{port}", *words]
    with _running(argv, lambda: answers(port)):
        yield port


@dataclass(frozen=True)
class Secured:
    """address: HOST:PORT. ca: PEM file. data: where it keeps everything."""

    address: str
    ca: Path
    data: Path


@contextlib.contextmanager
def secured(folder: Path, data: Path | None = None, within: tuple[str, ...] = ()) -> Iterator[Secured]:
    """Debian's docker-registry, which is also what environments run: TLS by an authority of its own, and a password.

    data: where it keeps everything, if not below `folder`. within: words before the command, of an enclosure.
    """
    program = shutil.which("docker-registry")
    if not program:
        if not (host.is_root() and host.has_apt()):
            pytest.skip(
                "docker-registry is not installed, and only root may install it (Debian package docker-registry)"
            )
        apt.install_packages(SystemShell(), ["docker-registry"], lambda _: None)
        program = "/usr/bin/docker-registry"
    folder.mkdir(parents=True, exist_ok=True)
    now = datetime.datetime.now(datetime.UTC)
    authority = pki.make_authority("tests", now)
    pair = pki.issue_certificate(authority, "registry", ("localhost", "127.0.0.1"), now)
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    files = {
        "ca.crt": authority.certificate,
        "tls.crt": pair.certificate,
        "tls.key": pair.key,
        "htpasswd": f"{USER}:{hashed}\n".encode(),
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    port, data = find_free_port(), data or folder / "data"
    config = f"""\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {data}}}, delete: {{enabled: true}}}}
auth: {{htpasswd: {{realm: here, path: {folder}/htpasswd}}}}
http: {{addr: "127.0.0.1:{port}", tls: {{certificate: {folder}/tls.crt, key: {folder}/tls.key}}}}
"""
    (folder / "config.yml").write_text(config)
    look = f"import socket; socket.create_connection(('127.0.0.1', {port}), 2)"

    def listens() -> bool:
        return subprocess.run([*within, sys.executable, "-c", look], capture_output=True, check=False).returncode == 0

    with _running([*within, program, "serve", str(folder / "config.yml")], listens):
        yield Secured(f"127.0.0.1:{port}", folder / "ca.crt", data)


@contextlib.contextmanager
def _running(argv: list[str], answers: Callable[[], bool]) -> Iterator[None]:
    server = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 20
        while not answers():
            assert server.poll() is None, f"{argv[0]} ended with code {server.returncode}"
            assert time.monotonic() < end, f"{argv[0]} does not answer"
            time.sleep(0.05)
        yield
    finally:
        server.kill()
        server.wait()


def answers(port: int, status: int = 200) -> bool:
    """Whether a registry without TLS answers there, with this status to who has no password."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=2)) as connection:
        try:
            connection.request("GET", "/v2/")
            return connection.getresponse().status == status
        except OSError:
            return False


@dataclass
class Front:
    """behind: the port of the registry that it stands before. faults: for the next requests ("GET /v2/...") that hold
    `on`. retry_after: said with them. bend: changes what is read. cut, cut_push: of the next blobs that are read or
    written: bytes after which the connection ends. delay: seconds before answers.
    """

    port: int = 0
    behind: int = 0
    on: str = ""
    faults: list[int] = field(default_factory=list)
    retry_after: str = ""
    bend: Callable[[bytes], bytes] | None = None
    cut: list[int] = field(default_factory=list)
    cut_push: list[int] = field(default_factory=list)
    delay: float = 0
    heard: list[str] = field(default_factory=list)
    logins: set[str] = field(default_factory=set)


@contextlib.contextmanager
def front(behind: int) -> Iterator[Front]:
    """Before a registry without TLS, which it hands everything to but for what is to go wrong."""
    state = Front(behind=behind)
    handler = type("Handler", (_Handler,), {"state": state})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        state.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield state
        server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: Front

    def _serve(self) -> None:
        state = self.state
        state.heard.append(f"{self.command} {self.path}")
        state.logins.add(self.headers.get("Authorization", ""))
        if state.cut_push and self.command == "PATCH":
            self.rfile.read(state.cut_push.pop(0))
            self._hang_up()
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) if not self._chunked else self._chunks()
        if state.faults and state.on in state.heard[-1] and self.path != "/v2/":
            said = {"Retry-After": state.retry_after} if state.retry_after else {}
            self._answer(state.faults.pop(0), b'{"errors": []}', said)
            return
        time.sleep(state.delay)
        self._hand_on(body)

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815  as the library calls them

    @property
    def _chunked(self) -> bool:
        return self.headers.get("Transfer-Encoding", "") == "chunked"

    def _chunks(self) -> bytes:
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def _hand_on(self, body: bytes) -> None:
        dropped = ("host", "content-length", "transfer-encoding")
        kept = {name: value for name, value in self.headers.items() if name.lower() not in dropped}
        connection = http.client.HTTPConnection("127.0.0.1", self.state.behind, timeout=30)
        with contextlib.closing(connection):
            connection.request(self.command, self.path, body, {**kept, "Host": f"127.0.0.1:{self.state.port}"})
            answer = connection.getresponse()
            data = answer.read()
        headers = {name: value for name, value in answer.getheaders() if name.lower() not in dropped[1:]}
        if self.command == "HEAD":
            headers["Content-Length"] = answer.getheader("Content-Length") or "0"
        blob = self.command == "GET" and "/blobs/" in self.path and answer.status == 200
        if blob and self.state.cut:
            self._answer(200, data[: self.state.cut.pop(0)], {"Content-Length": str(len(data))})
            self._hang_up()
            return
        self._answer(answer.status, self.state.bend(data) if blob and self.state.bend else data, headers)

    def _hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _answer(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """The test says what matters."""
