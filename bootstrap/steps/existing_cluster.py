"""A cluster of the user's, whose nodes are containers of the same engine: kind's, made by whoever.

Nothing in it is changed but what the steps after this one apply, and containerd's folder for our
registry on each node; `undo` takes that away again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bootstrap.core import constants
from bootstrap.core.errors import ApiError, BootstrapError
from bootstrap.core.model import Failed, Pending, Ready, Verdict
from bootstrap.objects import cluster_requirements, openshift_scc
from bootstrap.steps.manifest_catalog import namespaces
from bootstrap.steps.node_trust import CERTS, KIND_LABEL, Held, files_of, trust, trusts
from bootstrap.world import World
from bootstrap.world.engine.protocol import Container


@dataclass(frozen=True)
class ExistingCluster:
    name: str = "cluster"
    needs: tuple[str, ...] = ("engine", "images", "registry")
    limit: float = 30

    def check(self, world: World) -> Verdict:
        version = version_of(world)
        if isinstance(version, Failed):
            return version
        nodes = self._nodes(world)
        if not nodes:
            return Failed(
                f"the nodes of {world.context} are not containers of this engine: they could not reach the registry",
                hint="--supply mirror works anywhere (docs/install.md); or use a kind cluster of the same Docker",
            )
        files = files_of(world, nodes)
        for verdict in _judgements(world, version, files):
            if not isinstance(verdict, Ready):
                return verdict
        if self._unconnected(world, nodes):
            return Pending("the registry is not on its network yet")
        verdict = trusts(world, files)
        return Ready(f"{world.context}, Kubernetes {version.removeprefix('v')}") if verdict == Ready() else verdict

    def apply(self, world: World) -> None:
        """Nothing to a cluster that does not fit; `check` says why."""
        nodes = self._nodes(world)
        if not nodes or isinstance(self.check(world), Failed):
            return
        container = constants.registry_container(world.config.name)
        for network in self._unconnected(world, nodes):
            world.engine.connect_network(network, container, alias=constants.REGISTRY_HOST)
        trust(world, nodes)

    def undo(self, world: World) -> None:
        """The registry leaves the network when its container is removed."""
        for node in self._nodes(world):
            world.engine.exec(node.name, "rm", "-rf", CERTS)

    @staticmethod
    def _nodes(world: World) -> list[Container]:
        return world.engine.list_containers(label=f"{KIND_LABEL}={world.cluster}", running=True)

    @staticmethod
    def _unconnected(world: World, nodes: list[Container]) -> set[str]:
        """Networks of the nodes that the registry is not on."""
        registry = world.engine.find_container(constants.registry_container(world.config.name))
        connected = set(registry.networks) if registry else set()
        return {network for node in nodes for network in node.networks} - connected


def version_of(world: World) -> str | Failed:
    """Of the context's Kubernetes, or why it does not tell."""
    try:
        return world.kube.version()
    except BootstrapError as error:
        return Failed(f"context {world.context}: {error.message}", hint=error.hint or "kubectl config get-contexts")


def _judgements(world: World, version: str, files: Mapping[str, Held]) -> Iterator[Verdict]:
    """Whether it can carry an environment, before anything of it is touched; the cheap ones first."""
    if any(held.mark for held in files.values()):
        yield Failed(
            f"{world.context} is the cluster of the environment {world.cluster}: two cannot share it",
            hint=f"invoke up --name {world.cluster}, without --context",
        )
    yield from fits(world, version)


def fits(world: World, version: str) -> Iterator[Verdict]:
    """Whether the cluster of the context can carry an environment, wherever it is. version: of its Kubernetes."""
    yield cluster_requirements.check_kubernetes(version)
    rights = cluster_requirements.RIGHTS + (
        cluster_requirements.list_openshift_rights() if world.kube.serves(openshift_scc.SECURITY) else ()
    )
    yield cluster_requirements.check_rights([each for each in rights if not world.kube.can_i(*each)], world.context)
    yield cluster_requirements.check_storage(world.kube.list("storage.k8s.io/v1", "StorageClass"))
    yield _admitted(world)


def _admitted(world: World) -> Verdict:
    """Whether the cluster's own policies let our namespaces in, with the labels that they have; those come first."""
    for each in namespaces().objects(world):
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
