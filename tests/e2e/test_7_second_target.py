"""A second, real cluster as the target: the pipeline runs in the first and deploys to the second."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from bootstrap.core import constants
from bootstrap.objects.kubeconfig import read_current_context
from bootstrap.settings import kind_config
from bootstrap.steps.kind_cluster import CGROUP_V2
from bootstrap.steps.node_trust import CERTS
from bootstrap.world import World
from bootstrap.world.kube.client import Kube
from tests.e2e import app
from tests.e2e.docker_client import docker
from tests.e2e.foreigners import ONE_NODE
from tests.e2e.product import Product
from tests.e2e.repository import Repository

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def second(product: Product, world: World) -> Iterator[Path]:
    """The kubeconfig of a one-node cluster on the first one's network, whose node may pull from the registry."""
    name = f"{product.name}-second"
    node_image = world.images.lock().node_image
    config = kind_config.render(
        kind_config.parse(ONE_NODE), name=name, node_image=node_image, api_port=0, fail_cgroup_v1=CGROUP_V2.exists()
    )
    try:
        _kind(product, world, "create", "cluster", "--name", name, "--image", node_image, "--wait=0s", config=config)
        _trust(world, f"{product.name}-control-plane", constants.control_plane(name))
        path = product.folder / "second"
        path.touch(mode=0o600)
        path.write_text(world.kind.kubeconfig(name))
        yield path
    finally:
        _kind(product, world, "delete", "cluster", "--name", name)


def _kind(product: Product, world: World, *words: str, config: object = None) -> None:
    """With the tests' kubeconfig: kind writes a context into it."""
    environ = world.engine.make_environ() | {
        "KIND_EXPERIMENTAL_DOCKER_NETWORK": constants.network(product.name),
        "KUBECONFIG": str(product.kubeconfig),
    }
    stdin = yaml.safe_dump(config) if config else None
    options = ["--config=-"] if config else []
    world.shell.run([str(world.images.tool("kind")), *words, *options], env=environ, stdin=stdin, limit=300)


def _trust(world: World, source: str, target: str) -> None:
    """As docs say for a cluster of one's own: containerd is told the registry's CA and password."""
    for file in ("hosts.toml", "ca.crt"):
        text = world.engine.exec(source, "cat", f"{CERTS}/{file}")
        docker(world, "exec", "-i", target, "sh", "-c", f"mkdir -p {CERTS} && cat > {CERTS}/{file}", stdin=text)


def test_a_run_deploys_to_the_second_cluster(
    product: Product, world: World, second: Path, repository: Repository
) -> None:
    there = {"INVOKE_TARGET_KUBECONFIG": str(second), "INVOKE_TARGET_NAMESPACE": "shop"}
    product.run("up", env=there)
    answer = product.run("test-run", env=there)
    commit = repository.git("rev-parse", "main")
    assert f"/version answers {commit[:7]}" in answer.last
    deployment = Kube(second, read_current_context(second.read_text())).get("apps/v1", "Deployment", "go-echo", "shop")
    assert deployment
    assert deployment["status"]["readyReplicas"] == 2
    assert "demo/go-echo@sha256:" in deployment["spec"]["template"]["spec"]["containers"][0]["image"]
    assert world.kube.get("v1", "Namespace", "shop") is None


def test_the_first_cluster_is_the_target_again(product: Product, world: World, second: Path) -> None:
    product.run("up")
    product.run("test-run")
    app.await_rollout(world)
