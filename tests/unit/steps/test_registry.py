"""The registry's container: made, kept, repaired, and never somebody else's."""

from __future__ import annotations

import io
import socket
import tarfile
from dataclasses import replace
from pathlib import Path

import bcrypt
import pytest

from bootstrap.core import constants
from bootstrap.core.errors import StepError, TimedOut
from bootstrap.core.model import Failed, Pending, Ready, Secret, Verdict
from bootstrap.settings.config import Config, RegistrySettings
from bootstrap.steps.registry import PROOF, RegistryStep, find_free_port, make_tar
from tests.unit.step_world import REGISTRY_IMAGE, Box, StepWorld, make

NAME = "demo-registry"
STEP = RegistryStep()


@pytest.fixture
def world(tmp_path: Path) -> StepWorld:
    return make(tmp_path)


@pytest.fixture
def running(world: StepWorld) -> Box:
    """The registry as `up` leaves it."""
    STEP.apply(world.open())
    return world.engine.boxes[NAME]


def check(world: StepWorld) -> Verdict:
    return STEP.check(world.open())


def with_settings(world: StepWorld, **values: object) -> StepWorld:
    world.config = replace(world.config, registry=RegistrySettings(**values))  # type: ignore[arg-type]
    return world


def test_nothing_is_there(world: StepWorld) -> None:
    assert check(world) == Pending("the container is missing")
    assert not world.paths.env.exists(), "a look makes no secrets"


def test_it_is_made_and_proved(world: StepWorld, running: Box) -> None:
    assert check(world) == Ready("registry.tekton.internal:5000, push and pull proved")
    assert running.image == REGISTRY_IMAGE
    files = ("htpasswd", "htpasswd-pull", "tls.crt", "tls.key")
    assert set(running.files) == {f"/etc/registry/{name}" for name in files}
    assert set(world.served.held) == {"library/golang:1", "library/golang:1.26", PROOF}
    assert world.served.pulled == [PROOF]
    [spec] = world.engine.specs
    assert (spec.network, spec.alias) == ("tekton-bootstrap-demo", constants.REGISTRY_HOST)
    assert spec.volumes == {NAME: "/var/lib/registry"}
    assert spec.labels == {"tekton-bootstrap/environment": "demo"}


def test_no_secret_is_in_any_command_line(world: StepWorld, running: Box) -> None:
    password = world.identity.ensure_password("registry", Secret("")).reveal()
    assert password not in "\n".join(world.engine.commands)
    assert "PRIVATE KEY" not in "\n".join(world.engine.commands)


def test_a_second_apply_restarts_nothing(world: StepWorld, running: Box) -> None:
    STEP.apply(world.open())
    assert world.engine.boxes[NAME] is running
    assert running.starts == 1


def test_a_missing_seed_is_pushed_without_a_restart(world: StepWorld, running: Box) -> None:
    del world.served.held["library/golang:1.26"]
    assert check(world) == Pending("library/golang:1.26 is missing")
    STEP.apply(world.open())
    assert running.starts == 1
    assert check(world) == Ready("registry.tekton.internal:5000, push and pull proved")


def test_a_stopped_container_is_started(world: StepWorld, running: Box) -> None:
    running.running = False
    assert check(world) == Pending("the container is stopped")
    STEP.apply(world.open())
    assert (running.running, running.starts) == (True, 2)


def test_what_refuses_our_password_is_configured_anew(world: StepWorld, running: Box) -> None:
    running.files.clear()
    world.served.why_not = ["it answers 401 to our password"] * 2
    assert check(world) == Pending("it answers 401 to our password")
    STEP.apply(world.open())
    assert len(running.files) == 4
    assert running.starts == 2


@pytest.mark.parametrize("known", ["", "nodes:of-another-password"])
def test_what_does_not_know_the_password_of_the_nodes_is_configured_anew(
    world: StepWorld, running: Box, known: str
) -> None:
    file = "/etc/registry/htpasswd-pull"
    wanted = running.files.pop(file)
    running.files |= {file: known} if known else {}
    assert check(world) == Pending("it does not know the nodes' password")
    STEP.apply(world.open())
    assert running.files[file] == wanted
    assert running.starts == 2
    assert isinstance(check(world), Ready)


def test_pushing_and_pulling_have_passwords_of_their_own(world: StepWorld, running: Box) -> None:
    pushes, pulls = (running.files[f"/etc/registry/{name}"].strip() for name in ("htpasswd", "htpasswd-pull"))
    password = world.identity.ensure_password("registry-pull", Secret("")).reveal().encode()
    assert pulls.startswith("nodes:")
    assert bcrypt.checkpw(password, pulls.partition(":")[2].encode())
    assert not bcrypt.checkpw(password, pushes.partition(":")[2].encode())


def test_a_registry_that_never_answers_ends_the_wait(world: StepWorld) -> None:
    world.served.why_not = ["it does not answer"] * 1000
    with pytest.raises(TimedOut) as failure:
        RegistryStep(limit=2).apply(world.open())
    assert failure.value.evidence == "it does not answer"


def test_another_version_takes_its_place_on_the_same_port_with_the_same_volume(world: StepWorld, running: Box) -> None:
    port = running.ports[5000]
    world.images.registry_image = "tekton-bootstrap/registry:2"
    assert check(world) == Pending("another version runs")
    STEP.apply(world.open())
    box = world.engine.boxes[NAME]
    assert (box.image, box.ports[5000]) == ("tekton-bootstrap/registry:2", port)
    assert world.engine.volumes == {NAME}
    assert [spec.volumes for spec in world.engine.specs] == [{NAME: "/var/lib/registry"}] * 2


def test_another_port_in_the_settings_is_applied(world: StepWorld, running: Box) -> None:
    port = find_free_port()
    with_settings(world, port=port)
    assert check(world) == Pending("its port has changed")
    STEP.apply(world.open())
    assert world.engine.boxes[NAME].ports == {5000: port}
    assert isinstance(check(world), Ready)


def test_a_port_that_somebody_took_meanwhile_is_given_up(world: StepWorld, running: Box) -> None:
    running.running, running.taken = False, True
    STEP.apply(world.open())
    box = world.engine.boxes[NAME]
    assert box is not running
    assert box.running
    assert len(box.files) == 4
    assert isinstance(check(world), Ready)


def test_a_container_of_somebody_else_is_neither_used_nor_changed(world: StepWorld) -> None:
    theirs = world.engine.add(Box(NAME, REGISTRY_IMAGE, ports={5000: 5000}))
    verdict = check(world)
    assert isinstance(verdict, Failed)
    assert "demo-registry exists that we did not make" in verdict.why
    STEP.apply(world.open())
    STEP.undo(world.open())
    assert world.engine.boxes == {NAME: theirs}
    assert not theirs.files
    assert world.engine.commands == []


def test_a_registry_that_lies_about_what_it_holds_is_noticed(world: StepWorld) -> None:
    world.served.lies = True
    with pytest.raises(StepError, match="another digest"):
        STEP.apply(world.open())


def test_undo_takes_container_and_volume_and_may_be_done_twice(world: StepWorld, running: Box) -> None:
    STEP.undo(world.open())
    STEP.undo(world.open())
    assert (world.engine.boxes, world.engine.volumes) == ({}, set())


def test_environments_have_their_own(tmp_path: Path) -> None:
    world = make(tmp_path, Config(name="other"))
    STEP.apply(world.open())
    assert set(world.engine.boxes) == {"other-registry"}
    assert [spec.network for spec in world.engine.specs] == ["tekton-bootstrap-other"]


def test_a_wanted_port_is_taken_if_it_is_free() -> None:
    port = find_free_port()
    assert find_free_port(port) == port
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        assert find_free_port(taken) != taken


def test_files_are_handed_in_with_their_modes() -> None:
    with tarfile.open(fileobj=io.BytesIO(make_tar("registry", {"tls.key": b"k"}))) as tar:
        folder, file = tar.getmembers()
    assert (folder.name, folder.isdir(), folder.mode) == ("registry", True, 0o755)
    assert (file.name, file.mode, file.size, file.uid) == ("registry/tls.key", 0o600, 1, 0)
