"""`invoke tunnel` without a network: when it says what, when it tries again, and when it gives up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from bootstrap.commands import tunnel
from bootstrap.commands.ssh_client import RemotePort, SshLogin
from bootstrap.core.errors import CommandError, PreconditionError, TimedOut, UsageError
from bootstrap.world.kube.service_forward import Stats
from bootstrap.world.shell import Output
from tests.unit import page_world as stage
from tests.unit.fakes import FakeClock, FakeReport

LOOPBACK = "   1: 0100007F:2378 00000000:0000 0A 0 0 0"
GOOD = f"answer curl 200\n{LOOPBACK}\n"
TO = "ada@host"


@dataclass
class Ssh:
    """Each start of ssh lives through so many looks, then says its last words. looks: what each look prints.

    An answer without a status comes by the tunnel as well, unless it is a stranger's ("!").
    """

    lives: list[tuple[int, str]]
    looks: Sequence[str | Exception]
    stats: Stats = field(default_factory=Stats)
    started: list[Sequence[str]] = field(default_factory=list)
    stopped: int = 0
    words: str = ""
    left: int = 0

    def which(self, program: str) -> str:
        return f"/usr/bin/{program}"

    def start(self, argv: Sequence[str]) -> Ssh:
        self.started.append(argv)
        self.left, self.words = self.lives.pop(0) if self.lives else (0, "Permission denied (publickey).")
        return self

    def is_alive(self) -> bool:
        return self.left > 0

    def read_tail(self) -> str:
        return self.words

    def stop(self) -> None:
        self.stopped += 1

    def run(self, argv: Sequence[str], *, stdin: str, limit: float) -> Output:
        look, self.looks = (self.looks[0], self.looks[1:]) if self.looks else ("", ())
        if isinstance(look, Exception):
            raise look
        self.stats.connections += not look.startswith("!")
        return Output(0, look.removeprefix("!"), "")

    def slept(self, _: float) -> None:
        self.left -= 1


def run_tunnel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ssh: Ssh, **options: Any
) -> tuple[Exception, list[str]]:
    """How it ended, and what it said."""

    class Forward:
        def __init__(self, *_: object) -> None:
            self.local_port, self.stats = 40000, ssh.stats

        def __enter__(self) -> Forward:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(tunnel, "Forward", Forward)
    kube, report = stage.kube(), FakeReport()
    kube.objects["Service"] = [{"metadata": {"name": "el-demo-listener", "namespace": "cicd"}}]
    world = stage.make_world(tmp_path, kube, report=report, clock=FakeClock(on_sleep=ssh.slept))
    world.shell = cast(Any, ssh)
    with pytest.raises((PreconditionError, UsageError)) as caught:
        tunnel.tunnel(world, to=TO, **options)
    assert ssh.stopped == len(ssh.started), "no ssh is left behind"
    return caught.value, [text for _, text in report.printed]


def test_it_tells_how_it_stands_and_tries_again_until_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = "Timeout, server host not responding."
    ssh = Ssh([(5, lost), (0, lost), (0, lost), (3, lost)], [GOOD, "", "", GOOD])
    error, said = run_tunnel(tmp_path, monkeypatch, ssh)
    assert "does not let us in" in str(error)
    assert [line for line in said if line.startswith("lost")] == [
        f"lost: ssh ended: {lost}; again in 1 s",
        f"lost: ssh ended: {lost}; again in 2 s",
        f"lost: ssh ended: {lost}; again in 5 s",
        f"lost: ssh ended: {lost}; again in 1 s",
    ]
    assert said[0] == "connecting to ada@host   (Ctrl-C ends it)"
    assert said[1] == "host:9080 leads to cicd/el-demo-listener: HTTP 200, asked from there by curl"


def test_a_first_connection_that_fails_is_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error, _ = run_tunnel(tmp_path, monkeypatch, Ssh([(0, "Could not resolve hostname host")], []))
    assert str(error) == "there is no host host"


@pytest.mark.parametrize("looks", [["!answer curl 404"], ["!answer curl 0"] * 3])
def test_another_programs_answer_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looks: list[Any]) -> None:
    error, said = run_tunnel(tmp_path, monkeypatch, Ssh([(9, "")], looks))
    assert str(error).startswith("port 9080 of host cannot be had")
    assert "HTTP" not in "".join(said)


@pytest.mark.parametrize(
    ("look", "why"),
    [
        ("", "it has neither curl, python3, bash nor nc, or gives no shell"),
        (CommandError("ssh failed", code=1, evidence="This account is not available"), "This account is not available"),
        (TimedOut("ssh did not end within 60 s"), "ssh did not end within 60 s"),
    ],
)
def test_what_cannot_be_checked_is_said_honestly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, look: Any, why: str
) -> None:
    _, said = run_tunnel(tmp_path, monkeypatch, Ssh([(9, "gone")], [look] * 3))
    assert f"the tunnel stands, but from host it cannot be checked: {why}" in said
    assert "HTTP" not in "".join(said)


def test_a_listener_that_does_not_answer_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, said = run_tunnel(tmp_path, monkeypatch, Ssh([(9, "gone")], ["answer curl 0"] * 4 + [GOOD]))
    [warning] = [line for line in said if "does not answer yet" in line]
    assert warning == "port 9080 of host does not answer yet; is the listener ready? invoke status"
    assert said.index(warning) < next(at for at, line in enumerate(said) if "HTTP 200" in line)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ssh_port": -1}, "--ssh-port: -1 is not a port"),
        ({"identity": "/no/such/key"}, "--identity: there is no file /no/such/key"),
        ({"config": "/no/such/config"}, "--config: there is no file /no/such/config"),
    ],
)
def test_wrong_flags_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], words: str
) -> None:
    error, said = run_tunnel(tmp_path, monkeypatch, Ssh([], []), **options)
    assert str(error) == words
    assert said == []


@pytest.fixture
def bare(tmp_path: Path) -> Any:
    return stage.make_world(tmp_path, stage.kube())


def test_what_is_missing_is_named_first(bare: Any) -> None:
    ssh = Ssh([], [])
    bare.shell = ssh
    with pytest.raises(PreconditionError, match="no webhook listener"):
        tunnel.tunnel(bare, to=TO)
    ssh.which = lambda _: None  # type: ignore[method-assign, assignment, return-value]
    with pytest.raises(PreconditionError, match="ssh was not found") as caught:
        tunnel.tunnel(bare, to=TO)
    assert caught.value.hint == "apt-get install openssh-client"


@pytest.mark.parametrize(
    ("open_to", "words"),
    [("all", "enter at the git host: http://host:9080/"), ("loopback", "GatewayPorts"), ("unknown", "cannot be told")],
)
def test_who_reaches_the_port(open_to: str, words: str) -> None:
    lines = tunnel.describe_port(SshLogin(TO), 9080, RemotePort("curl", 200, open_to))
    assert words in " ".join(lines[1:])
