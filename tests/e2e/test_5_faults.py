"""Things taken away by hand: `status` tells, `up` repairs; what is not ours is left alone."""

from __future__ import annotations

import base64

import pytest

from bootstrap.core import constants
from bootstrap.core.model import Object
from bootstrap.world import World
from tests.e2e import app
from tests.e2e.docker_client import docker, inspect
from tests.e2e.product import Product
from tests.e2e.repository import Repository

pytestmark = pytest.mark.e2e
KIND_LABEL = "io.x-k8s.kind.cluster"


def _verdicts(product: Product) -> dict[str, str]:
    return {step["name"]: step["verdict"] for step in app.status(product, code=1)["steps"]}


def _get(world: World, api_version: str, kind: str, name: str, namespace: str) -> Object:
    found = world.kube.get(api_version, kind, name, namespace)
    assert found, f"{kind} {name} is missing"
    return found


def test_a_registry_that_was_removed_comes_back_with_its_images(product: Product, world: World) -> None:
    world.open_registry().push(world.images.list_layouts()["pause"], "e2e/kept:1")
    kept = world.open_registry().read_digest("e2e/kept:1")
    docker(world, "rm", "--force", constants.registry_container(product.name))
    assert _verdicts(product)["registry"] == "pending"
    product.run("up")
    assert world.open_registry().read_digest("e2e/kept:1") == kept


def test_what_was_deleted_scaled_and_edited_by_hand_is_as_it_was(
    product: Product, world: World, repository: Repository
) -> None:
    serving = app.version(product)
    kube = world.kube
    kube.delete("apps/v1", "Deployment", "git", constants.GIT)
    kube.delete("v1", "Secret", "git-auth", constants.RUNS)
    kube.delete("tekton.dev/v1", "Task", "deploy", constants.RUNS)
    kube.patch("apps/v1", "Deployment", "go-echo", constants.DEMO, patch={"spec": {"replicas": 0}})
    kube.patch("v1", "ConfigMap", "buildkitd", constants.BUILD, patch={"data": {"buildkitd.toml": "# nothing"}})
    assert set(_verdicts(product).values()) >= {"ready", "pending"}
    product.run("up")
    assert _get(world, "apps/v1", "Deployment", "git", constants.GIT)["status"]["readyReplicas"] == 1
    auth = _get(world, "v1", "Secret", "git-auth", constants.RUNS)
    assert base64.b64decode(auth["data"]["password"]) == (world.paths.env / "git.password").read_bytes()
    assert _get(world, "apps/v1", "Deployment", "go-echo", constants.DEMO)["status"]["readyReplicas"] == 2
    assert "registry" in _get(world, "v1", "ConfigMap", "buildkitd", constants.BUILD)["data"]["buildkitd.toml"]
    assert app.version(product) == serving, "the image that the pipeline deployed is kept"


def test_a_changed_setting_is_applied_and_taken_back(product: Product, world: World) -> None:
    product.run("up", "--set", "app.replicas=3")
    assert _get(world, "apps/v1", "Deployment", "go-echo", constants.DEMO)["status"]["readyReplicas"] == 3
    product.run("up")
    assert _get(world, "apps/v1", "Deployment", "go-echo", constants.DEMO)["spec"]["replicas"] == 2


def test_a_setting_that_cannot_change_in_place_names_the_way_out(product: Product, world: World) -> None:
    answer = product.run("up", "--set", "cluster.api_port=16443", code=1)
    assert f"invoke down --name {product.name}" in answer.err
    assert app.status(product)["steps"]


def test_a_stopped_node_is_started_again(product: Product, world: World) -> None:
    docker(world, "stop", "--time=5", f"{product.name}-worker", limit=60)
    assert _verdicts(product)["cluster"] == "pending"
    product.run("up")
    assert app.version(product)


def test_a_node_that_runs_no_command_is_told_and_loses_nothing(
    product: Product, world: World, repository: Repository
) -> None:
    """What the cluster was made from cannot be read then; that is no reason to make it anew."""
    before, node = repository.git("ls-remote", "origin"), constants.control_plane(product.name)
    made = inspect(world, "container", node)
    assert made
    docker(world, "update", "--pids-limit=1", node)
    try:
        answer = product.run("up", code=1)
    finally:
        docker(world, "update", "--pids-limit=-1", node)
    assert "so nothing is changed" in answer.err
    assert f"invoke down --name {product.name}" in answer.err
    product.run("up")
    now = inspect(world, "container", node)
    assert now
    assert now["Id"] == made["Id"]
    assert repository.git("ls-remote", "origin") == before


def test_faulty_settings_are_all_named_and_nothing_is_touched(product: Product, world: World) -> None:
    answer = product.run("up", "--set", "git.prot=1", "--set", "app.replicas=many", code=2)
    assert "git.prot" in answer.err
    assert "app.replicas" in answer.err
    assert answer.out == ""


@pytest.fixture
def foreign(product: Product, world: World) -> str:
    """A node container of a kind cluster that somebody else made; removed by its name afterwards."""
    return f"{product.name}-not-ours"


def test_a_foreign_cluster_of_the_same_name_is_neither_adopted_nor_deleted(
    product: Product, world: World, foreign: str
) -> None:
    node = f"{foreign}-control-plane"
    labels = (f"--label={KIND_LABEL}={foreign}", "--label=io.x-k8s.kind.role=control-plane")
    docker(world, "create", f"--name={node}", *labels, world.images.read_lock().registry_image)
    try:
        answer = product.run("up", name=foreign, code=1)
        assert "we did not make" in answer.text
        product.run("down", name=foreign)
        assert inspect(world, "container", node) is not None
    finally:
        docker(world, "rm", "--force", "--volumes", node)
