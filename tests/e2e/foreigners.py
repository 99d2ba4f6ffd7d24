"""A cluster that somebody else made, with kind and on a network of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import yaml

from bootstrap.core.paths import PROJECT
from bootstrap.settings import kind_config
from bootstrap.steps.kind_cluster import CGROUP_V2
from tests.e2e.docker_client import docker
from tests.e2e.product import Product

ONE_NODE = PROJECT / "tests/e2e/one-node.yaml"
"""kind's configuration of a cluster for tests to which a second node proves nothing."""


@contextlib.contextmanager
def cluster(product: Product, name: str) -> Iterator[None]:
    """Of one node, as `kind` makes it without us. The network has the cluster's name."""
    world = product.world()
    world.engine.ensure(lambda _: None)
    node_image = world.images.read_lock().node_image
    config = kind_config.render(
        kind_config.load(ONE_NODE), name=name, node_image=node_image, api_port=0, fail_cgroup_v1=CGROUP_V2.exists()
    )
    environ = world.engine.make_environ() | {
        "KIND_EXPERIMENTAL_DOCKER_NETWORK": name,
        "KUBECONFIG": str(product.kubeconfig),
    }

    def kind(*words: str, stdin: str | None = None) -> None:
        program = str(world.images.find_tool("kind"))
        world.shell.run([program, *words, f"--name={name}"], env=environ, stdin=stdin, limit=300)

    try:
        kind("create", "cluster", f"--image={node_image}", "--config=-", "--wait=120s", stdin=yaml.safe_dump(config))
        yield
    finally:
        world.engine.ensure(lambda _: None)  # commands may have stopped it: nothing of ours was left in it
        kind("delete", "cluster")
        docker(world, "network", "rm", name)
        world.engine.stop_if_idle()
