"""`invoke tunnel` with a real ssh and a real sshd. What it leads to is a small server in place of the listener."""

from __future__ import annotations

import http.client
import http.server
import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bootstrap.commands import tunnel
from bootstrap.core.cancel import Cancel
from bootstrap.core.clock import SystemClock
from bootstrap.core.errors import BootstrapError, PreconditionError
from bootstrap.world.kube.service_forward import Stats
from bootstrap.world.shell import SystemShell
from tests import sshd
from tests.unit import page_world as stage
from tests.unit.fakes import FakeReport

pytestmark = pytest.mark.integration


STATS = Stats()


class Live(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        STATS.connections += 1
        self.send_response(200 if self.path == "/live" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def near(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of what stands in for the listener; `Forward` leads to it."""
    if not shutil.which("ssh"):
        pytest.skip("ssh is not installed (Debian package openssh-client)")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Live) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = int(server.server_address[1])

        class Forward:
            def __init__(self, *_: object) -> None:
                self.local_port = port
                self.stats = STATS

            def __enter__(self) -> Forward:
                return self

            def __exit__(self, *_: object) -> None:
                pass

        monkeypatch.setattr(tunnel, "Forward", Forward)
        yield port
        server.shutdown()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@dataclass
class Tunnel:
    """`invoke tunnel` in a thread."""

    folder: Path
    login: str
    options: dict[str, Any]
    report: FakeReport = field(default_factory=FakeReport)
    cancel: Cancel = field(default_factory=Cancel)
    error: BootstrapError | None = None
    code: int | None = None

    def __post_init__(self) -> None:
        kube = stage.kube()
        kube.objects["Service"] = [{"metadata": {"name": "el-demo-listener", "namespace": "cicd"}}]
        self.world = stage.make_world(self.folder, kube, report=self.report, clock=SystemClock(self.cancel))
        self.world.shell = SystemShell(self.cancel)
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.code = tunnel.tunnel(self.world, to=self.login, **self.options)
        except BootstrapError as error:
            self.error = error

    def until(self, words: str, times: int = 1) -> None:
        until(lambda: self.error or self.said.count(words) >= times, lambda: f"{words!r} in {self.said} {self.error}")
        assert self.error is None, self.error

    @property
    def said(self) -> str:
        return "\n".join(str(text) for _, text in self.report.printed)

    def __enter__(self) -> Tunnel:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel.request()
        self.thread.join(20)
        assert not self.thread.is_alive()


def until(condition: Callable[[], object], what: Callable[[], str], limit: float = 40) -> None:
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, what()
        time.sleep(0.05)


def answer(port: int) -> int:
    """What the far host's port answers, 0 if nothing listens."""
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", "/live")
        return connection.getresponse().status
    except OSError:
        return 0


def test_a_tunnel_is_checked_from_the_far_side_and_comes_back(tmp_path: Path, near: int) -> None:
    far = free_port()
    with sshd.serving(tmp_path / "sshd") as server:
        with Tunnel(tmp_path, server.login, {"port": far, "config": server.config}) as tunnel:
            tunnel.until("GatewayPorts clientspecified")
            assert f"127.0.0.1:{far} leads to cicd/el-demo-listener: HTTP 200, asked from there by " in tunnel.said
            assert answer(far) == 200
            server.drop()
            tunnel.until("again in 1 s")
            tunnel.until("HTTP 200", times=2)
            assert answer(far) == 200
        assert (tunnel.code, tunnel.error) == (0, None)
        assert re.search(r"ended after \d+ connections$", tunnel.said)
        until(lambda: answer(far) == 0 and not server.sessions(), lambda: "something stayed on the far side")


def test_a_host_that_lets_others_in_needs_no_hint(tmp_path: Path, near: int) -> None:
    options = {"GatewayPorts": "clientspecified"}
    with (
        sshd.serving(tmp_path / "sshd", **options) as server,
        Tunnel(tmp_path, server.login, {"port": free_port(), "config": server.config}) as tunnel,
    ):
        tunnel.until("enter at the git host: http://127.0.0.1:")
        assert "GatewayPorts" not in tunnel.said


def refused(tmp_path: Path, server: sshd.Sshd, **options: Any) -> PreconditionError:
    with Tunnel(tmp_path, server.login, {"port": free_port(), "config": server.config} | options) as tunnel:
        until(lambda: tunnel.error, lambda: tunnel.said)
    assert isinstance(tunnel.error, PreconditionError)
    assert "HTTP" not in tunnel.said
    return tunnel.error


def test_each_refusal_has_its_own_words(tmp_path: Path, near: int) -> None:
    with sshd.serving(tmp_path / "sshd") as server:
        unknown = refused(tmp_path, server, config=server.client(known="/dev/null"))
        assert unknown.message == "ssh does not know the key of host 127.0.0.1 yet"
        other = tmp_path / "other"
        other.write_text(f"[127.0.0.1]:{server.port} {(server.folder / 'stranger.pub').read_text()}")
        changed = refused(tmp_path, server, config=server.client(known=str(other)))
        assert changed.message == "the key of host 127.0.0.1 is not the one that ssh knows"
        assert "does not let us in" in refused(tmp_path, server, config=server.client(identity="stranger")).message
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = int(taken.getsockname()[1])
            error = refused(tmp_path, server, port=port)
        assert error.message.startswith(f"port {port} of 127.0.0.1 cannot be had: it is taken there")
        assert error.hint == f"invoke tunnel {server.login} --port {port + 1}"
        assert refused(tmp_path, server, ssh_port=free_port()).message == "no sshd answers at 127.0.0.1"


def test_forwarding_may_be_forbidden(tmp_path: Path, near: int) -> None:
    with sshd.serving(tmp_path / "sshd", AllowTcpForwarding="no") as server:
        assert "AllowTcpForwarding" in refused(tmp_path, server).message
