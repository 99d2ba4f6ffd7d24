"""Which engine is chosen, and how the docker client's answers are read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bootstrap.core.errors import CommandError, PreconditionError
from bootstrap.core.model import Failed, Ready
from bootstrap.core.paths import Paths
from bootstrap.world.engine.client import Engine, Machine, choose
from bootstrap.world.shell import Output
from tests.unit.fake_shell import FakeShell

OURS = {"app.kubernetes.io/managed-by": "tekton-bootstrap"}
BARE = Machine(
    docker_host="",
    private_host="unix:///run/x/docker.sock",
    private_exists=False,
    can_manage=True,
    docker_version=lambda: "",
)


def with_docker(machine: Machine) -> Machine:
    return replace(machine, docker_version=lambda: "28.0")


@pytest.mark.parametrize(
    ("wanted", "machine", "choice"),
    [
        ("auto", BARE, "managed"),
        ("auto", with_docker(BARE), "docker"),
        ("auto", with_docker(replace(BARE, private_exists=True)), "managed"),
        ("auto", with_docker(replace(BARE, private_exists=True, docker_host="tcp://far")), "docker"),
        ("auto", replace(BARE, docker_host=BARE.private_host), "managed"),
        ("docker", with_docker(BARE), "docker"),
        ("managed", with_docker(BARE), "managed"),
    ],
)
def test_choice(wanted: str, machine: Machine, choice: str) -> None:
    assert choose(wanted, machine) == choice


@pytest.mark.parametrize(
    ("wanted", "machine", "why"),
    [
        ("auto", replace(BARE, can_manage=False), "no Docker answers"),
        ("auto", replace(BARE, docker_host="tcp://far"), "no Docker answers at DOCKER_HOST tcp://far"),
        ("docker", BARE, "no Docker answers"),
        ("managed", replace(BARE, can_manage=False), "a private Docker needs root on Debian or Ubuntu"),
    ],
)
def test_no_engine_says_why_and_what_to_do(wanted: str, machine: Machine, why: str) -> None:
    choice = choose(wanted, machine)
    assert isinstance(choice, Failed)
    assert choice.why == why
    assert choice.hint


def test_managed_is_chosen_without_asking_docker() -> None:
    def asked() -> str:
        raise AssertionError("docker was asked")

    assert choose("managed", replace(BARE, docker_version=asked)) == "managed"


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(cache=tmp_path / "c", state=tmp_path / "s", env=tmp_path / "s/e", run=tmp_path / "r")


def engine(paths: Paths, answers: dict[str, str | Output]) -> tuple[Engine, FakeShell]:
    """On the user's Docker, which needs no root and no /proc."""
    shell = FakeShell({"docker version": "28.0\n", **answers}, {"docker": "/usr/bin/docker"})
    return Engine(shell, paths, "docker"), shell


def test_constructing_runs_nothing(paths: Paths) -> None:
    assert engine(paths, {})[1].ran == []


def test_ready_names_the_version(paths: Paths) -> None:
    assert engine(paths, {})[0].check() == Ready("Docker 28.0")


def test_engine_that_is_down_is_a_precondition(paths: Paths) -> None:
    down = Output(1, "", "Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?")
    subject, _ = engine(paths, {"docker ps": down})
    with pytest.raises(PreconditionError, match="does not answer"):
        subject.docker("ps")


def test_ensure_raises_what_check_found(paths: Paths) -> None:
    subject = Engine(FakeShell(), paths, "docker")
    with pytest.raises(PreconditionError) as raised:
        subject.ensure(print)
    assert "install Docker" in raised.value.hint


@pytest.mark.parametrize("stderr", ["Error: No such network: x", "Error response from daemon: network x not found"])
def test_absent_thing_is_none(paths: Paths, stderr: str) -> None:
    assert engine(paths, {"docker inspect": Output(1, "[]", stderr)})[0].inspect("network", "x") is None


def test_other_failure_of_inspect_is_raised(paths: Paths) -> None:
    with pytest.raises(CommandError):
        engine(paths, {"docker inspect": Output(1, "", "permission denied")})[0].inspect("network", "x")


def inspected(**document: object) -> str:
    return json.dumps([document])


def test_ports_are_those_published_over_tcp(paths: Paths) -> None:
    published = {
        "5000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "32768"}],
        "53/udp": [{"HostIp": "127.0.0.1", "HostPort": "53"}],
        "80/tcp": None,
    }
    subject, _ = engine(paths, {"docker inspect": inspected(NetworkSettings={"Ports": published})})
    assert subject.ports("registry") == {5000: 32768}
    assert subject.port("registry", 80) is None


def test_containers_are_listed_by_exact_name(paths: Paths) -> None:
    document = {
        "Id": "abc",
        "Name": "/demo-registry",
        "Config": {"Image": "registry", "Labels": None},
        "State": {"Status": "exited", "ExitCode": 137},
    }
    subject, shell = engine(paths, {"docker ps": "abc\n", "docker inspect": json.dumps([document])})
    [found] = subject.containers(name="demo-registry", label="a=b")
    assert (found.name, found.state, found.exit_code) == ("demo-registry", "exited", 137)
    assert "--filter label=a=b --filter name=^/?demo-registry$" in shell.ran[1]


def test_a_container_that_vanished_meanwhile_is_left_out(paths: Paths) -> None:
    gone = Output(1, "[]", "Error: No such container: abc")
    assert engine(paths, {"docker ps": "abc\n", "docker inspect": gone})[0].containers() == []


@pytest.mark.parametrize(
    ("stderr", "error", "words"),
    [
        (
            "Error: No such container: abc\nCannot connect to the Docker daemon at unix:///x",
            PreconditionError,
            "answer",
        ),
        ("fork/exec: resource temporarily unavailable", CommandError, "docker inspect failed with code 1"),
    ],
)
def test_a_failed_look_is_not_an_engine_without_containers(
    paths: Paths, stderr: str, error: type[Exception], words: str
) -> None:
    subject, _ = engine(paths, {"docker ps": "abc\n", "docker inspect": Output(1, "[]", stderr)})
    with pytest.raises(error, match=words):
        subject.containers()


@pytest.mark.parametrize(
    ("listed", "count"), [(["abc", "abc"], 0), (["abc\ndef", "abc\ndef"], 1), (["abc\ndef", "abc"], 0)]
)
def test_what_is_listed_and_not_known_is_still_being_made(paths: Paths, listed: list[str], count: int) -> None:
    """One that vanished meanwhile is not listed any more."""
    answers: dict[str, str | Output] = {"docker inspect": Output(1, inspected(Id="abc"), "No such container: def")}
    subject, shell = engine(paths, answers)

    def once_more(_: object) -> None:
        if shell.ran[-1].startswith("docker ps"):
            shell.answers = answers | {"docker ps": listed.pop(0)}

    shell.on_run = once_more
    assert subject.unborn("a=b") == count


def test_foreign_network_is_neither_adopted_nor_removed(paths: Paths) -> None:
    subject, shell = engine(paths, {"docker inspect": inspected(Labels={}, Containers={})})
    with pytest.raises(PreconditionError, match="is not ours"):
        subject.network_create("net")
    subject.network_remove("net")
    assert not [command for command in shell.ran if command.startswith("docker network")]


def test_network_is_made_with_our_label(paths: Paths) -> None:
    absent = Output(1, "[]", "No such network")
    subject, shell = engine(paths, {"docker inspect": absent, "docker network create": "id"})
    subject.network_create("net")
    label = "--label=app.kubernetes.io/managed-by=tekton-bootstrap"
    assert shell.ran[-1] == f"docker network create --driver=bridge {label} net"


def test_our_network_is_detached_then_removed(paths: Paths) -> None:
    answers = {"docker inspect": inspected(Labels=OURS, Containers={"abc": {}}), "docker network": ""}
    subject, shell = engine(paths, dict(answers))
    subject.network_remove("net")
    assert shell.ran[-2:] == ["docker network disconnect --force net abc", "docker network rm net"]


def test_only_our_container_and_volume_are_removed(paths: Paths) -> None:
    foreign, _shell = engine(paths, {"docker inspect": inspected(Config={"Labels": {}}, Labels={})})
    foreign.container_remove("box")
    foreign.volume_remove("data")
    mine = inspected(Config={"Labels": OURS}, Labels=OURS)
    ours, shell = engine(paths, {"docker inspect": mine, "docker rm --force": "", "docker volume rm": ""})
    ours.container_remove("box")
    ours.volume_remove("data")
    assert "docker rm --force --volumes box" in shell.ran
    assert "docker volume rm data" in shell.ran


def test_the_users_docker_is_never_stopped_or_purged(paths: Paths) -> None:
    subject, shell = engine(paths, {})
    subject.stop()
    subject.stop_if_idle()
    subject.purge()
    assert {command.split()[1] for command in shell.ran} <= {"version"}
