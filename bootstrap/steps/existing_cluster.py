"""A cluster of the user whose nodes are containers of the same engine, such as one that they made with kind.

Only the objects of the later steps are applied to it, and containerd's folder for our registry is written on each
node; `undo` removes that folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bootstrap.core import constants
from bootstrap.core.errors import ApiError, BootstrapError
from bootstrap.core.model import Failed, Pending, Ready, Verdict
from bootstrap.objects import cluster_requirements, openshift_scc
from bootstrap.steps.manifest_catalog import make_namespaces_step
from bootstrap.steps.node_trust import CERTS, KIND_LABEL, NodeFiles, judge_trust, read_node_files, write_trust_files
from bootstrap.world import World
from bootstrap.world.engine.protocol import Container


@dataclass(frozen=True)
class ExistingCluster:
    """The cluster of `--context`, with the environment's registry connected to the network of its nodes."""

    name: str = "cluster"
    needs: tuple[str, ...] = ("engine", "images", "registry")
    limit: float = 30

    def check(self, world: World) -> Verdict:
        """Ready when the cluster meets the requirements and its nodes can pull from our registry.

        Failed when it cannot carry an environment: waiting does not help.
        """
        version = read_version(world)
        if isinstance(version, Failed):
            return version
        nodes = self._list_nodes(world)
        if not nodes:
            return Failed(
                f"the nodes of {world.context} are not containers of this engine: they could not reach the registry",
                hint="--supply mirror works anywhere (docs/install.md); or use a kind cluster of the same Docker",
            )
        files = read_node_files(world, nodes)
        for verdict in _judge_cluster(world, version, files):
            if not isinstance(verdict, Ready):
                return verdict
        if self._list_unconnected(world, nodes):
            return Pending("the registry is not on its network yet")
        verdict = judge_trust(world, files)
        return Ready(f"{world.context}, Kubernetes {version.removeprefix('v')}") if verdict == Ready() else verdict

    def apply(self, world: World) -> None:
        """Connect the registry to the nodes' network and write its CA and login to each node.

        A cluster that does not meet the requirements is not touched; `check` says why.
        """
        nodes = self._list_nodes(world)
        if not nodes or isinstance(self.check(world), Failed):
            return
        container = constants.registry_container(world.config.name)
        for network in self._list_unconnected(world, nodes):
            world.engine.connect_network(network, container, alias=constants.REGISTRY_HOST)
        write_trust_files(world, nodes)

    def undo(self, world: World) -> None:
        """Remove containerd's folder for our registry.

        The registry leaves the network when its container is removed.
        """
        for node in self._list_nodes(world):
            world.engine.exec(node.name, "rm", "-rf", CERTS)

    @staticmethod
    def _list_nodes(world: World) -> list[Container]:
        return world.engine.list_containers(label=f"{KIND_LABEL}={world.cluster}", running=True)

    @staticmethod
    def _list_unconnected(world: World, nodes: list[Container]) -> set[str]:
        """The networks of the nodes that the registry is not on."""
        registry = world.engine.find_container(constants.registry_container(world.config.name))
        connected = set(registry.networks) if registry else set()
        return {network for node in nodes for network in node.networks} - connected


def read_version(world: World) -> str | Failed:
    """The version of the context's Kubernetes, such as "v1.36.3"; Failed with the cause if it does not answer."""
    try:
        return world.kube.read_version()
    except BootstrapError as error:
        return Failed(f"context {world.context}: {error.message}", hint=error.hint or "kubectl config get-contexts")


def _judge_cluster(world: World, version: str, files: Mapping[str, NodeFiles]) -> Iterator[Verdict]:
    """A verdict for each requirement, Ready where it is met. Nothing is changed, and the cheap checks come first."""
    if any(held.mark for held in files.values()):
        yield Failed(
            f"{world.context} is the cluster of the environment {world.cluster}: two cannot share it",
            hint=f"invoke up --name {world.cluster}, without --context",
        )
    yield from judge_fitness(world, version)


def judge_fitness(world: World, version: str) -> Iterator[Verdict]:
    """A verdict for each requirement on the cluster of the context, wherever its nodes run; Ready where it is met.

    version: that of its Kubernetes. Raises ApiError.
    """
    yield cluster_requirements.check_kubernetes(version)
    rights = cluster_requirements.RIGHTS + (
        cluster_requirements.list_openshift_rights() if world.kube.serves(openshift_scc.SECURITY) else ()
    )
    yield cluster_requirements.check_rights([each for each in rights if not world.kube.can_i(*each)], world.context)
    yield cluster_requirements.check_storage(world.kube.list("storage.k8s.io/v1", "StorageClass"))
    yield _judge_admission(world)


def _judge_admission(world: World) -> Verdict:
    """Whether the cluster's own policies admit our namespaces with their labels; a dry run asks them."""
    for each in make_namespaces_step().objects(world):
        if world.kube.get("v1", "Namespace", each["metadata"]["name"]) is not None:
            continue
        try:
            world.kube.create(each, dry_run=True)
        except ApiError as error:
            hint = "an admission policy of that cluster is in the way; docs/install.md says what is made"
            return Failed(
                f"{world.context} refuses the namespace {each['metadata']['name']}: {error.message}", hint=hint
            )
    return Ready()
