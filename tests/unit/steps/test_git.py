"""The git server's manifests with the settings put in: whom it tells of a push, and that it names what others name."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from bootstrap.core import constants
from bootstrap.core.errors import PreconditionError
from bootstrap.core.model import LockedImage, Pending, Ready
from bootstrap.settings.config import Config, GitSettings
from bootstrap.steps.manifest_catalog import MAX_SEED_BYTES, make_git_step, make_pipeline_step, pack_source, render_git
from bootstrap.world import probe
from tests.unit.step_world import Box, StepWorld, make

LISTENER = "http://el-demo-listener.cicd.svc.cluster.local:8080"


@pytest.fixture
def world(tmp_path: Path) -> StepWorld:
    world = make(tmp_path)
    for name in ("git-server", "toolbox"):
        world.images.images[name] = LockedImage(name, f"{constants.REPOSITORY}/{name}", "sha256:" + "c" * 64)
    return world


def environment(world: StepWorld) -> dict[str, str]:
    [found] = [each for each in render_git(world.open()) if each["kind"] == "Deployment"]
    [server] = found["spec"]["template"]["spec"]["containers"]
    return {each["name"]: each["value"] for each in server["env"]}


@pytest.mark.parametrize(("webhook", "address"), [("on", LISTENER), ("off", "")])
def test_whom_it_tells_of_a_push(world: StepWorld, webhook: str, address: str) -> None:
    world.config = Config(git=GitSettings(webhook=webhook))
    assert environment(world)["WEBHOOK_URL"] == address


@pytest.mark.parametrize(("answer", "verdict"), [(200, Ready), (0, Pending), (502, Pending)])
def test_ready_is_when_a_push_would_get_there(
    world: StepWorld, monkeypatch: pytest.MonkeyPatch, answer: int, verdict: type
) -> None:
    asked = []

    def ask(port: int, path: str, _: float) -> int:
        asked.append((port, path))
        return answer

    monkeypatch.setattr(probe, "read_local_status", ask)
    assert make_git_step().prove(world.open()) == Ready(), "without a port of ours there is nothing to ask"
    node = constants.control_plane("demo")
    world.engine.add(Box(node, "node", ports={constants.GIT_NODE_PORT: 40000}))
    assert isinstance(make_git_step().prove(world.open()), verdict)
    assert asked == [(40000, "/healthz")]


def test_names_agree(world: StepWorld) -> None:
    found = environment(world)
    assert found["WEBHOOK_URL"] == f"http://{constants.LISTENER}.{constants.RUNS}.svc.cluster.local:8080"
    assert f"{found['CLONE_URL']}/{found['REPOSITORIES']}.git" == constants.GIT_URL


@pytest.mark.parametrize(("available", "verdict"), [(0, Pending), (2, Ready)])
def test_a_pipeline_is_ready_when_its_first_task_can_find_the_git_server_by_name(
    world: StepWorld, available: int, verdict: type
) -> None:
    counts = {"replicas": 2, "updatedReplicas": 2, "availableReplicas": available, "observedGeneration": 1}
    metadata = {"name": "coredns", "namespace": "kube-system", "generation": 1}
    dns = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {"replicas": 2}}
    world.kube.put(dns | {"status": counts})
    assert isinstance(make_pipeline_step().prove(world.open()), verdict)
    world.config = Config(context="theirs")
    assert make_pipeline_step().prove(world.open()) == Ready(), "its owner knows what finds names there"


def test_the_seed_holds_sources_only(tmp_path: Path) -> None:
    """A program that was built in the folder made `up` fail, and a file with secrets went into the cluster."""
    for name in ("main.go", "deploy/deploy.yaml", ".dockerignore"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    pure = pack_source(tmp_path)
    (tmp_path / "go-echo").write_bytes(b"\x7fELF" + b"x" * 100)
    (tmp_path / ".idea").mkdir()
    for name in (".env", "main.go~", ".main.go.swp", "go-echo.test", ".idea/workspace.xml"):
        (tmp_path / name).write_text("s3cret")
    assert pack_source(tmp_path) == pure
    with tarfile.open(fileobj=io.BytesIO(pure)) as tar:
        assert tar.getnames() == [".dockerignore", "deploy/deploy.yaml", "main.go"]


def test_a_seed_that_no_object_could_hold_is_refused_with_its_largest_file(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(os.urandom(MAX_SEED_BYTES + 1))
    with pytest.raises(PreconditionError, match=r"its largest file is model\.bin"):
        pack_source(tmp_path)
