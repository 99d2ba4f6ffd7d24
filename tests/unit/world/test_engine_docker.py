"""Which engine is chosen, and how the docker client's answers are read."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from inspect import signature
from pathlib import Path

import pytest

from bootstrap.core.errors import CommandError, PreconditionError
from bootstrap.core.model import Failed, Ready
from bootstrap.core.paths import Paths
from bootstrap.world.engine.docker import ChoiceFacts, DockerEngine, choose_engine
from bootstrap.world.engine.protocol import Container, ContainerSpec, Engine
from bootstrap.world.shell import Output
from tests.unit.fake_shell import FakeShell
from tests.unit.step_world import FakeEngine

OURS = {"app.kubernetes.io/managed-by": "tekton-bootstrap"}
BARE = ChoiceFacts(
    docker_host="",
    private_host="unix:///run/x/docker.sock",
    private_exists=False,
    can_manage=True,
    docker_version=lambda: "",
)


def with_docker(machine: ChoiceFacts) -> ChoiceFacts:
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
def test_choice(wanted: str, machine: ChoiceFacts, choice: str) -> None:
    assert choose_engine(wanted, machine) == choice


@pytest.mark.parametrize(
    ("wanted", "machine", "why"),
    [
        ("auto", replace(BARE, can_manage=False), "no Docker answers"),
        ("auto", replace(BARE, docker_host="tcp://far"), "no Docker answers at DOCKER_HOST tcp://far"),
        ("docker", BARE, "no Docker answers"),
        ("managed", replace(BARE, can_manage=False), "a private Docker needs root on Debian or Ubuntu"),
    ],
)
def test_no_engine_says_why_and_what_to_do(wanted: str, machine: ChoiceFacts, why: str) -> None:
    choice = choose_engine(wanted, machine)
    assert isinstance(choice, Failed)
    assert choice.why == why
    assert choice.hint


def test_managed_is_chosen_without_asking_docker() -> None:
    def asked() -> str:
        raise AssertionError("docker was asked")

    assert choose_engine("managed", replace(BARE, docker_version=asked)) == "managed"


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(cache=tmp_path / "c", state=tmp_path / "s", env=tmp_path / "s/e", run=tmp_path / "r")


def engine(paths: Paths, answers: dict[str, str | Output]) -> tuple[DockerEngine, FakeShell]:
    """On the user's Docker, which needs no root and no /proc."""
    shell = FakeShell({"docker version": "28.0\n", **answers}, {"docker": "/usr/bin/docker"})
    return DockerEngine(shell, paths, "docker"), shell


def test_constructing_runs_nothing(paths: Paths) -> None:
    assert engine(paths, {})[1].ran == []


def test_ready_names_the_version(paths: Paths) -> None:
    assert engine(paths, {})[0].check() == Ready("Docker 28.0")


def test_engine_that_is_down_is_a_precondition(paths: Paths) -> None:
    down = Output(1, "", "Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?")
    subject, _ = engine(paths, {"docker ps": down})
    with pytest.raises(PreconditionError, match="does not answer"):
        subject.list_containers()


def test_ensure_raises_what_check_found(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    subject = DockerEngine(FakeShell(), paths, "docker")
    with pytest.raises(PreconditionError) as raised:
        subject.ensure(print)
    assert "install Docker" in raised.value.hint


@pytest.mark.parametrize("stderr", ["Error: No such network: x", "Error response from daemon: network x not found"])
def test_what_is_absent_is_no_failure(paths: Paths, stderr: str) -> None:
    subject, _ = engine(paths, {"docker inspect": Output(1, "[]", stderr)})
    assert not subject.has_network("x")
    assert not subject.has_image("x")
    assert subject.find_container("x") is None
    assert subject.read_image_size("x") == 0


def test_other_failure_of_inspect_is_raised(paths: Paths) -> None:
    with pytest.raises(CommandError):
        engine(paths, {"docker inspect": Output(1, "", "permission denied")})[0].has_network("x")


def inspected(**document: object) -> str:
    return json.dumps([document])


def test_ports_are_those_published_over_tcp(paths: Paths) -> None:
    published = {
        "5000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "32768"}],
        "53/udp": [{"HostIp": "127.0.0.1", "HostPort": "53"}],
        "80/tcp": None,
    }
    subject, _ = engine(paths, {"docker inspect": inspected(NetworkSettings={"Ports": published})})
    assert subject.list_ports("registry") == {5000: 32768}
    assert subject.find_port("registry", 80) is None


def test_a_container_is_read_in_full(paths: Paths) -> None:
    document = {
        "Id": "abc",
        "Name": "/demo-registry",
        "Config": {"Image": "registry:1", "Labels": OURS},
        "State": {"Status": "paused", "ExitCode": 0, "Running": True},
        "HostConfig": {
            "PortBindings": {"5000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "41000"}], "80/tcp": [{"HostPort": ""}]}
        },
        "NetworkSettings": {"Networks": {"one": {"IPAddress": "10.0.0.2"}, "two": {"IPAddress": ""}}},
    }
    found = engine(paths, {"docker inspect": inspected(**document)})[0].find_container("demo-registry")
    assert found == Container(
        id="abc",
        name="demo-registry",
        image="registry:1",
        state="paused",
        labels=OURS,
        networks={"one": "10.0.0.2", "two": ""},
        wants_ports={5000: 41000, 80: 0},
    )
    assert found.is_up


def test_the_size_of_an_image(paths: Paths) -> None:
    assert engine(paths, {"docker inspect": inspected(Size=1000)})[0].read_image_size("node:1") == 1000


def test_containers_are_listed_by_exact_name(paths: Paths) -> None:
    document = {
        "Id": "abc",
        "Name": "/demo-registry",
        "Config": {"Image": "registry", "Labels": None},
        "State": {"Status": "exited", "ExitCode": 137},
    }
    subject, shell = engine(paths, {"docker ps": "abc\n", "docker inspect": json.dumps([document])})
    [found] = subject.list_containers(name="demo-registry", label="a=b")
    assert (found.name, found.state, found.exit_code) == ("demo-registry", "exited", 137)
    assert "--filter label=a=b --filter name=^/?demo-registry$" in shell.ran[1]


def test_a_container_that_vanished_meanwhile_is_left_out(paths: Paths) -> None:
    gone = Output(1, "[]", "Error: No such container: abc")
    assert engine(paths, {"docker ps": "abc\n", "docker inspect": gone})[0].list_containers() == []


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
        subject.list_containers()


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
    assert subject.count_unfinished_containers("a=b") == count


def test_foreign_network_is_neither_adopted_nor_removed(paths: Paths) -> None:
    subject, shell = engine(paths, {"docker inspect": inspected(Labels={}, Containers={})})
    with pytest.raises(PreconditionError, match="is not ours"):
        subject.create_network("net")
    subject.remove_network("net")
    assert not [command for command in shell.ran if command.startswith("docker network")]


def test_network_is_made_with_our_label(paths: Paths) -> None:
    absent = Output(1, "[]", "No such network")
    subject, shell = engine(paths, {"docker inspect": absent, "docker network create": "id"})
    subject.create_network("net")
    label = "--label=app.kubernetes.io/managed-by=tekton-bootstrap"
    assert shell.ran[-1] == f"docker network create --driver=bridge {label} net"


def test_our_network_is_detached_then_removed(paths: Paths) -> None:
    answers = {"docker inspect": inspected(Labels=OURS, Containers={"abc": {}}), "docker network": ""}
    subject, shell = engine(paths, dict(answers))
    subject.remove_network("net")
    assert shell.ran[-2:] == ["docker network disconnect --force net abc", "docker network rm net"]


def test_only_our_container_and_volume_are_removed(paths: Paths) -> None:
    foreign, _shell = engine(paths, {"docker inspect": inspected(Config={"Labels": {}}, Labels={})})
    foreign.remove_container("box")
    foreign.remove_volume("data")
    mine = inspected(Config={"Labels": OURS}, Labels=OURS)
    ours, shell = engine(paths, {"docker inspect": mine, "docker rm --force": "", "docker volume rm": ""})
    ours.remove_container("box")
    ours.remove_volume("data")
    assert "docker rm --force --volumes box" in shell.ran
    assert "docker volume rm data" in shell.ran


SPEC = ContainerSpec(
    name="demo-registry",
    image="registry:1",
    labels={"tekton-bootstrap/environment": "demo"},
    network="net",
    alias="registry.tekton.internal",
    ports={5000: 41000},
    volumes={"data": "/var/lib/registry"},
    memory_gib=1,
)


def test_a_container_is_made_with_our_label_and_few_rights(paths: Paths) -> None:
    subject, shell = engine(paths, {"docker create": "id"})
    subject.create_container(SPEC)
    assert shell.ran[-1].split() == [
        "docker",
        "create",
        "--name=demo-registry",
        "--label=app.kubernetes.io/managed-by=tekton-bootstrap",
        "--label=tekton-bootstrap/environment=demo",
        "--network=net",
        "--network-alias=registry.tekton.internal",
        "--restart=unless-stopped",
        "--publish=127.0.0.1:41000:5000",
        "--volume=data:/var/lib/registry",
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
        "--memory=1g",
        "registry:1",
    ]


def archived(subject: DockerEngine) -> None:
    subject.load_images(Path("a.tar"))
    subject.save_image("image:1", Path("b.tar"))


@pytest.mark.parametrize(
    ("act", "lines"),
    [
        (lambda it: it.start_containers("a", "b"), ["start a b"]),
        (lambda it: it.restart_container("a", grace=2), ["restart --time=2 a"]),
        (lambda it: it.copy_into("a", "/etc", b"tar"), ["cp - a:/etc"]),
        (lambda it: it.remove_nodes(["a", "b"]), ["rm --force --volumes a b"]),
        (lambda it: it.connect_network("net", "a", alias="other"), ["network connect --alias=other net a"]),
        (archived, ["load --quiet --input a.tar", "save --output b.tar image:1"]),
        (lambda it: it.tag_image("a:1", "a:2"), ["tag a:1 a:2"]),
        (lambda it: it.remove_images("a:1", "a:2"), ["image rm a:1 a:2"]),
    ],
)
def test_what_docker_is_told(paths: Paths, act: Callable[[DockerEngine], object], lines: list[str]) -> None:
    subject, shell = engine(paths, {f"docker {line.split()[0]}": "" for line in lines})
    act(subject)
    assert [each for each in shell.ran if not each.startswith("docker version")] == [f"docker {line}" for line in lines]


def test_a_command_in_a_container_answers_what_it_printed(paths: Paths) -> None:
    subject, shell = engine(paths, {"docker exec": "one\ntwo\n"})
    assert subject.exec("node", "cat", "/file") == "one\ntwo\n"
    assert shell.ran[-1] == "docker exec node cat /file"


def test_a_volume_that_is_there_is_not_made_again(paths: Paths) -> None:
    subject, shell = engine(paths, {"docker inspect": inspected(Name="data")})
    subject.create_volume("data")
    absent, again = engine(paths, {"docker inspect": Output(1, "[]", "no such volume"), "docker volume create": ""})
    absent.create_volume("data")
    assert not [each for each in shell.ran if "volume create" in each]
    assert again.ran[-1] == "docker volume create --label=app.kubernetes.io/managed-by=tekton-bootstrap data"


def test_tags_are_told_as_the_engine_orders_them(paths: Paths) -> None:
    subject, _ = engine(paths, {"docker image ls": "newest\nolder\n"})
    assert subject.list_image_tags("tekton-bootstrap/pause") == ["newest", "older"]


def test_a_build_is_told_step_by_step(paths: Paths) -> None:
    subject, shell = engine(paths, {"docker build": "Step 1/2 : FROM scratch\n ---> abc\nStep 2/2 : RUN make\n"})
    said: list[str] = []
    subject.build_image(Path("/context"), "image:1", arguments=["BASE=base:1"], on_progress=said.append)
    assert said == ["step 1/2", "step 2/2"]
    label = "--label app.kubernetes.io/managed-by=tekton-bootstrap"
    options = f"--force-rm --network=host -t image:1 {label} --build-arg BASE=base:1"
    assert shell.ran[-1] == f"docker build {options} /context"


def test_a_failed_build_shows_the_builders_last_lines(paths: Paths) -> None:
    output = "".join(f"line {number}\n" for number in range(30)) + "apt-get: not found\n"
    subject, _ = engine(paths, {"docker build": Output(1, output, "")})
    with pytest.raises(CommandError) as failure:
        subject.build_image(Path("/context"), "image:1", on_progress=print)
    assert failure.value.evidence.splitlines()[0] == "line 11"
    assert failure.value.evidence.endswith("apt-get: not found")


def test_the_fake_of_the_steps_is_called_as_the_engine_is() -> None:
    """Methods that it does not have fail the test that calls them."""
    common = [name for name in vars(Engine) if name[0] != "_" and callable(getattr(FakeEngine, name, None))]
    assert {"exec", "copy_into", "create_container"} <= set(common)
    for name in common:
        wanted, found = (list(signature(getattr(each, name)).parameters.values()) for each in (Engine, FakeEngine))
        assert [(each.name, each.kind) for each in found] == [(each.name, each.kind) for each in wanted], name


def test_the_users_docker_is_never_stopped_or_purged(paths: Paths) -> None:
    subject, shell = engine(paths, {})
    subject.stop()
    subject.stop_if_idle()
    subject.purge()
    assert {command.split()[1] for command in shell.ran} <= {"version"}
