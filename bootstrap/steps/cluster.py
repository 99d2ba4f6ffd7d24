"""The cluster: a kind cluster of our own, or one that exists."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from bootstrap import kindconfig, names
from bootstrap.errors import ApiError, BootstrapError, CommandError, StepError
from bootstrap.model import Failed, LockedImage, Pending, Ready, Verdict
from bootstrap.readiness import readiness
from bootstrap.steps.registry import tar_of
from bootstrap.world import World
from bootstrap.world.engine import Container

MARK = "/kind/tekton-bootstrap"
"""A file on the first control-plane node, written last: the digest of what the cluster was made from."""
KIND_LABEL = "io.x-k8s.kind.cluster"
CGROUP_V2 = Path("/sys/fs/cgroup/cgroup.controllers")
CERTS = f"/etc/containerd/certs.d/{names.REGISTRY}"


def made_from(world: World) -> tuple[str, str]:
    """(kind configuration as YAML, the digest of what a running cluster cannot change).

    Of the node image only the Kubernetes version counts: other images reach a running cluster through
    the registry, see `PreloadStep`.
    """
    config, node_image = world.config, world.images.lock().node_image
    document = kindconfig.load(world.project / config.cluster.config)
    rendered = kindconfig.render(
        document,
        name=config.name,
        node_image=node_image,
        api_port=config.cluster.api_port,
        mappings=[
            kindconfig.PortMapping(names.GIT_NODE_PORT, config.git.port),
            kindconfig.PortMapping(names.APP_NODE_PORT, config.app.port),
        ],
        fail_cgroup_v1=CGROUP_V2.exists(),
    )
    text = yaml.safe_dump(rendered, sort_keys=True)
    lasting = text.replace(node_image, world.images.kubernetes())
    return text, hashlib.sha256(lasting.encode()).hexdigest()


@dataclass(frozen=True)
class KindCluster:
    name: str = "cluster"
    needs: tuple[str, ...] = ("engine", "images")
    limit: float = 180

    def check(self, world: World) -> Verdict:
        nodes = self._nodes(world)
        if not nodes:
            return Pending("there is no cluster yet")
        foreign = self._foreign(world, nodes)
        if foreign:
            return foreign
        stopped = [node.name for node in nodes if node.state != "running"]
        mark = "" if stopped else self._mark(world)
        if stopped:
            return Pending(f"{', '.join(stopped)} is stopped")
        if not mark:
            return Pending("it is half made")
        if mark != made_from(world)[1]:
            return Failed(
                "it was made from other settings (kind-config.yaml, ports, versions), which cannot change in place",
                hint=f"invoke down --name {world.config.name}, then invoke up",
            )
        untrusting = self._untrusting(world, nodes)
        if untrusting:
            return Pending(f"{untrusting[0]} does not trust the registry yet")
        return self._api(world, len(nodes))

    def apply(self, world: World) -> None:
        nodes = self._nodes(world)
        foreign = self._foreign(world, nodes) if nodes else None
        if foreign:
            raise StepError(foreign.why, hint=foreign.hint)
        if any(node.state != "running" for node in nodes):
            world.engine.docker("start", *(node.name for node in nodes), limit=120)
        if nodes and not self._mark(world):
            world.kind.delete(world.config.name)
            nodes = []
        if not nodes:
            self._create(world)
            nodes = self._nodes(world)
        self._trust(world, nodes)
        world.identity.write("kubeconfig", world.kind.kubeconfig(world.config.name).encode())

    def undo(self, world: World) -> None:
        nodes = self._nodes(world)
        if not nodes or self._foreign(world, nodes):
            return
        world.kind.delete(world.config.name)

    def _create(self, world: World) -> None:
        text, digest = made_from(world)
        try:
            world.kind.create(world.config.name, text, world.images.lock().node_image)
        except CommandError as error:
            raise CommandError(
                "kind could not create the cluster",
                code=error.code,
                hint="invoke doctor; the half-made cluster is replaced by the next invoke up",
                evidence=error.evidence,
            ) from None
        folder, _, file = MARK.rpartition("/")
        archive = tar_of(".", {file: digest.encode()}, mode=0o644)
        world.engine.docker("cp", "-", f"{names.control_plane(world.config.name)}:{folder}", stdin=archive)

    @staticmethod
    def _nodes(world: World) -> list[Container]:
        return world.engine.containers(label=f"{KIND_LABEL}={world.config.name}")

    @staticmethod
    def _foreign(world: World, nodes: Sequence[Container]) -> Failed | None:
        """A cluster of that name which does not hang on our network is somebody else's."""
        network = names.network(world.config.name)
        document = world.engine.inspect("container", nodes[0].name) or {}
        if network in document.get("NetworkSettings", {}).get("Networks", {}):
            return None
        return Failed(
            f"a kind cluster called {world.config.name} exists that we did not make; it is left alone",
            hint="invoke up --name another, or invoke up --context kind-" + world.config.name,
        )

    @staticmethod
    def _mark(world: World) -> str:
        node = names.control_plane(world.config.name)
        return world.engine.docker("exec", node, "cat", MARK, check=False).stdout.strip()

    def _untrusting(self, world: World, nodes: Sequence[Container]) -> list[str]:
        wanted = hosts_toml(world)
        return [
            node.name
            for node in nodes
            if world.engine.docker("exec", node.name, "cat", f"{CERTS}/hosts.toml", check=False).stdout != wanted
        ]

    def _trust(self, world: World, nodes: Sequence[Container]) -> None:
        """containerd reads these files at each pull; nothing has to be restarted."""
        files = {"hosts.toml": hosts_toml(world).encode(), "ca.crt": world.identity.authority().certificate}
        parent, _, folder = CERTS.rpartition("/")
        for node in nodes:
            world.engine.docker("cp", "-", f"{node.name}:{parent}", stdin=tar_of(folder, files))

    @staticmethod
    def _api(world: World, count: int) -> Verdict:
        try:
            nodes = world.kube.list("v1", "Node")
            version = world.kube.version()
        except ApiError as error:
            return Pending(error.message)
        if len(nodes) < count:
            return Pending(f"{len(nodes)} of {count} nodes have joined")
        for node in nodes:
            verdict = readiness(node)
            if not isinstance(verdict, Ready):
                return Pending(f"node {node['metadata']['name']}: {verdict.why}")
        return Ready(f"kind {world.config.name}, {count} nodes, Kubernetes {version.removeprefix('v')}")


def hosts_toml(world: World) -> str:
    """containerd's entry for the registry: our CA, and the password, so that pods need no pull secret.

    Format: containerd docs/hosts.md.
    """
    settings = world.config.registry
    password = world.identity.password("registry", settings.password)
    login = b64encode(f"{settings.username}:{password.reveal()}".encode()).decode()
    server = f"https://{names.REGISTRY}"
    lines = [
        f'server = "{server}"',
        f'[host."{server}"]',
        '  capabilities = ["pull", "resolve"]',
        f'  ca = "{CERTS}/ca.crt"',
        f'  [host."{server}".header]',
        f'    Authorization = "Basic {login}"',
    ]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class PreloadStep:
    """Every image is where a node finds it: in the node image, or in the registry if the nodes are older."""

    name: str = "preload"
    needs: tuple[str, ...] = ("cluster", "registry")
    limit: float = 30

    def check(self, world: World) -> Verdict:
        lock = world.images.lock()
        nodes = world.engine.containers(label=f"{KIND_LABEL}={world.config.name}")
        if nodes and all(node.image == lock.node_image for node in nodes):
            return Ready(f"{len(lock.images)} images in the nodes from the start")
        missing = self._missing(world)
        if missing:
            return Pending(f"{len(missing)} images are newer than the nodes")
        return Ready(f"{len(lock.images)} images in the registry")

    def apply(self, world: World) -> None:
        registry, layouts = world.registry(), world.images.layouts()
        for image in self._missing(world):
            registry.push(layouts[image.name], _tagged(image))

    def undo(self, world: World) -> None:
        """They go with the registry."""

    @staticmethod
    def _missing(world: World) -> list[LockedImage]:
        """Of the lock, what neither the nodes nor the registry hold."""
        node = names.control_plane(world.config.name)
        listing = ("exec", node, "ctr", "--namespace=k8s.io", "images", "list", "--quiet")
        there = set(world.engine.docker(*listing).stdout.split())
        newer = [image for image in world.images.lock().images.values() if image.reference not in there]
        registry = world.registry() if newer else None
        return [image for image in newer if registry and registry.digest(_tagged(image)) != image.digest]


def _tagged(image: LockedImage) -> str:
    return f"{image.repository.removeprefix(names.REGISTRY + '/')}:{image.digest.partition(':')[2][:12]}"


@dataclass(frozen=True)
class ExistingCluster:
    """A cluster of the user's: nothing is made, nothing is removed."""

    name: str = "cluster"
    needs: tuple[str, ...] = ()
    limit: float = 30

    def check(self, world: World) -> Verdict:
        try:
            version = world.kube.version()
        except BootstrapError as error:
            return Failed(f"context {world.context}: {error.message}", hint=error.hint or "kubectl config get-contexts")
        return Ready(f"{world.context}, Kubernetes {version.removeprefix('v')}")

    def apply(self, world: World) -> None:
        """There is nothing to do: `check` answers Ready or Failed."""

    def undo(self, world: World) -> None:
        """It is the user's."""

