"""The private engine: what is installed, how its dockerd is recognised, which files count as stale."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Mapping
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from bootstrap.core.errors import CommandError, PreconditionError
from bootstrap.core.model import Pending
from bootstrap.core.paths import Paths
from bootstrap.world import apt, host
from bootstrap.world.engine import dockerd, network, runc_filter
from bootstrap.world.engine.dockerd import Dockerd
from bootstrap.world.engine.managed import ManagedEngine
from bootstrap.world.engine.network import EngineNetwork
from bootstrap.world.shell import Output
from tests.unit.fake_shell import FakeShell

ALL = {name: f"/usr/sbin/{name}" for name in ("dockerd", "iptables", "ip", "apt-get")}


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(cache=tmp_path / "c", state=tmp_path / "s", env=tmp_path / "s/e", run=tmp_path / "r")


@pytest.fixture(autouse=True)
def fixed_network(monkeypatch: pytest.MonkeyPatch) -> None:
    fixed = EngineNetwork("tb123456", IPv4Network("10.213.0.0/16"))
    monkeypatch.setattr(EngineNetwork, "open", staticmethod(lambda folder: fixed))
    monkeypatch.setattr(host, "read_mtu", lambda: 1450)


def running(monkeypatch: pytest.MonkeyPatch, *found: tuple[int, list[str]]) -> None:
    monkeypatch.setattr(host, "list_processes", lambda: iter(found))


def subject(paths: Paths, shell: FakeShell) -> Dockerd:
    return Dockerd(shell, paths.state / "engine", paths.run)


def test_only_a_dockerd_with_our_settings_is_ours(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = subject(paths, FakeShell())
    settings = str(mine.config_file)
    running(monkeypatch, (1, ["/usr/bin/dockerd", "-H", "fd://"]), (2, ["vim", settings]))
    assert mine.find_pid() is None
    running(monkeypatch, (3, ["/usr/sbin/dockerd", "--config-file", settings]))
    assert mine.find_pid() == 3


def test_stale_files_go_before_a_start(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pid that another process has by now would keep dockerd from starting."""
    running(monkeypatch)
    monkeypatch.setattr(runc_filter, "read_missing_capabilities", frozenset)
    monkeypatch.setattr(dockerd, "PATIENCE", 1)
    monkeypatch.setattr(dockerd, "START_LIMIT", 1)
    shell = FakeShell({"start-stop-daemon --start": ""}, ALL)
    mine = subject(paths, shell)
    stale = [mine.pid_file, mine.socket, mine.exec_root / "containerd/containerd.pid"]
    for file in stale:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("1")
    with pytest.raises(CommandError, match="did not start"):
        mine.start("/usr/bin/docker")
    assert not [file for file in stale if file.exists()]


def test_start_is_over_when_dockerd_says_so(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    running(monkeypatch)
    monkeypatch.setattr(runc_filter, "read_missing_capabilities", frozenset)
    monkeypatch.setenv("INVOKE_GIT_PASSWORD", "hush")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy")
    shell = FakeShell({"start-stop-daemon --start": ""}, ALL, on_run=say_ready)
    subject(paths, shell).start("/usr/bin/docker")
    environ = shell.environs[-1]
    assert environ["INVOKE_GIT_PASSWORD"] == ""  # "" removes it
    assert "HTTPS_PROXY" not in environ


def say_ready(environ: Mapping[str, str]) -> None:
    """What dockerd does once it answers; the datagram waits in the socket until it is read."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as speaker:
        speaker.sendto(b"READY=1", environ["NOTIFY_SOCKET"])


def test_settings_share_nothing_with_another_docker(paths: Paths) -> None:
    mine = subject(paths, FakeShell())
    settings = mine.make_settings(None)
    assert settings["iptables"] is False
    assert settings["bridge"] == "tb123456-0"
    assert settings["default-address-pools"] == [{"base": "10.213.128.0/17", "size": 24}]
    assert settings["live-restore"] is True
    assert settings["mtu"] == 1450
    for key in ("data-root", "exec-root", "pidfile"):
        assert str(paths.state.parent) in settings[key]
    assert "default-runtime" not in settings


def test_filtering_runtime_is_set_only_where_asked(paths: Paths) -> None:
    settings = subject(paths, FakeShell()).make_settings(Path("/x/runtime-filter"))
    assert settings["runtimes"] == {"filtered": {"path": "/x/runtime-filter"}}
    assert settings["default-runtime"] == "filtered"


def test_written_runtime_runs_by_itself(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copied out of the checkout, by an interpreter without our packages, it ends in runc."""
    mine = subject(paths, FakeShell())
    mine.bin.mkdir(parents=True)
    runtime = mine._write_runtime()
    runc = mine.bin / "runc"
    runc.write_text("#!/bin/sh\necho runc $1\n")
    runc.chmod(0o755)
    environ = {"PATH": f"{mine.bin}:/usr/bin:/bin"}
    found = subprocess.run([runtime, "--version"], env=environ, capture_output=True, text=True, check=True)
    assert found.stdout == "runc --version\n"


def test_leftovers_are_ended_container_first(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = subject(paths, FakeShell({"umount --lazy": ""}))
    shim = ["/usr/bin/containerd-shim-runc-v2", "-address", f"{mine.exec_root}/containerd/containerd.sock"]
    foreign = ["/usr/bin/containerd-shim-runc-v2", "-address", "/run/containerd/containerd.sock"]
    running(monkeypatch, (10, shim), (20, foreign))
    monkeypatch.setattr(host, "list_children", lambda pid: [pid + 1])
    monkeypatch.setattr(host, "list_mounts", lambda folder: [folder / "m"] if folder == mine.data else [])
    killed: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, _: killed.append(pid))
    mine.kill_leftovers()
    assert killed == [11, 10]


def test_check_names_what_is_missing(paths: Paths) -> None:
    verdict = ManagedEngine(FakeShell(programs={"ip": "/sbin/ip"}), paths).check()
    assert verdict == Pending("Docker is not installed (no dockerd, iptables)")


def test_check_of_an_engine_that_does_not_run(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    running(monkeypatch)
    assert ManagedEngine(FakeShell(programs=ALL), paths).check() == Pending("the private Docker is not running")


def test_looking_creates_nothing(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    running(monkeypatch)
    managed = ManagedEngine(FakeShell(programs=ALL), paths)
    managed.check()
    managed.make_environ()
    assert not managed.exists()
    assert not paths.state.exists()


@pytest.mark.parametrize(
    ("version", "gone"),
    [("20.10", True), (Output(1, "", "Cannot connect to the Docker daemon"), False)],
    ids=["answers", "does not, so that containers may live on"],
)
def test_an_engine_that_ends_takes_bridge_and_rules_with_it(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, version: str | Output, gone: bool
) -> None:
    settings = str(subject(paths, FakeShell()).config_file)
    running(monkeypatch, (3, ["/usr/sbin/dockerd", "--config-file", settings]))
    monkeypatch.setattr(network, "list_links", lambda: ["lo", "eth0", "tb123456-0", "tb999999-0"])
    shell = FakeShell(programs=ALL)
    managed = ManagedEngine(shell, paths)
    answers: dict[str, str | Output] = {f"{managed.client} version": version, f"{managed.client} ps": ""}
    shell.answers = answers | {"iptables -w": "", "ip link delete": ""}
    ended: list[int] = []
    monkeypatch.setattr(dockerd, "end_process", ended.append)
    managed.stop()
    assert ended == [3]
    assert len([each for each in shell.ran if " -D " in each]) == (3 if gone else 0)
    assert [each for each in shell.ran if each.startswith("ip ")] == ["ip link delete tb123456-0"] * gone


@pytest.mark.parametrize(("ignored", "number"), [("", signal.SIGTERM), ("trap : TERM; ", signal.SIGKILL)])
def test_a_process_that_nobody_reaps_has_ended(
    monkeypatch: pytest.MonkeyPatch, ignored: str, number: signal.Signals
) -> None:
    """Waited for until process 1 had reaped it, dockerd took 1.5 s longer on one machine, and 35 s and a failure
    where nothing reaps."""
    monkeypatch.setattr(dockerd, "STOP_LIMIT", 5 if number == signal.SIGTERM else 0.2)
    with subprocess.Popen(
        ["/bin/sh", "-c", f"{ignored}echo; while :; do sleep 0.05; done"],
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as child:
        assert child.stdout
        child.stdout.readline()
        dockerd.end_process(child.pid)
        os.kill(child.pid, 0)  # it is still in the table
        assert child.wait(5) == -number
    dockerd.end_process(child.pid)


def test_environ_leads_children_to_the_private_engine_only(paths: Paths) -> None:
    environ = ManagedEngine(FakeShell(), paths).make_environ()
    assert environ["DOCKER_HOST"] == f"unix://{paths.run}/docker.sock"
    assert environ["DOCKER_CONTEXT"] == ""
    assert environ["PATH"].startswith(f"{paths.state}/engine/bin:")


@pytest.fixture
def policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "policy-rc.d"
    original = apt.keep_services_off
    monkeypatch.setattr(apt, "keep_services_off", lambda _: original(file))
    return file


@pytest.mark.usefixtures("policy")
def test_package_lists_are_read_only_when_the_first_try_fails() -> None:
    shell = FakeShell({"apt-get install": ""}, ALL)
    apt.install_packages(shell, ["docker.io"], lambda _: None)
    assert [command.split()[1] for command in shell.ran] == ["install"]
    assert "--no-remove" in shell.ran[0]


@pytest.mark.usefixtures("policy")
def test_install_that_fails_says_why(paths: Paths) -> None:
    shell = FakeShell({"apt-get": Output(100, "", "E: no network"), "dpkg --configure": ""}, {"apt-get": "x"})
    with pytest.raises(PreconditionError) as raised:
        ManagedEngine(shell, paths).ensure(lambda _: None)
    assert raised.value.evidence == "E: no network"
    assert raised.value.hint.startswith("apt-get install docker.io iptables iproute2")


def test_policy_refuses_services_and_goes_away(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    with apt.keep_services_off(policy):
        assert subprocess.run([policy], check=False).returncode == 101
    assert not policy.exists()


def test_policy_of_somebody_else_comes_back(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    policy.write_text("theirs")
    with pytest.raises(ValueError, match="broken off"), apt.keep_services_off(policy):
        raise ValueError("broken off")
    assert policy.read_text() == "theirs"


def test_policy_comes_back_after_a_kill(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    policy.write_text(apt.REFUSAL)
    (tmp_path / "policy-rc.d.tekton-bootstrap").write_text("theirs")
    with apt.keep_services_off(policy):
        pass
    assert policy.read_text() == "theirs"


def test_two_that_install_at_once_do_so_one_after_the_other(tmp_path: Path) -> None:
    """The first to end took the other's policy away."""
    policy, order = tmp_path / "policy-rc.d", list[str]()
    inside, second = threading.Event(), threading.Event()

    def install(name: str) -> None:
        second.set()
        with apt.keep_services_off(policy):
            order.append(name)

    with apt.keep_services_off(policy):
        thread = threading.Thread(target=install, args=("second",))
        thread.start()
        assert second.wait(10)
        inside.wait(0.2)  # time in which the other must not get in
        order.append("first")
        assert policy.exists()
    thread.join(10)
    assert order == ["first", "second"]
    assert not policy.exists()
