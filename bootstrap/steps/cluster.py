"""The cluster: a kind cluster of our own; what its nodes must know of the registry, and hold of the images."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import yaml

from bootstrap import kindconfig, kubeconfig, names
from bootstrap.errors import ApiError, CommandError, PreconditionError, StepError
from bootstrap.model import Failed, LockedImage, Object, Pending, Ready, Verdict
from bootstrap.readiness import readiness
from bootstrap.steps.registry import tar_of
from bootstrap.steps.restart import await_pods
from bootstrap.steps.unpacking import unpack
from bootstrap.world import World
from bootstrap.world.engine import Container

MARK = "/kind/tekton-bootstrap"
"""A file on the first control-plane node, written last: the digest of what the cluster was made from."""
KIND_LABEL, ROLE_LABEL = "io.x-k8s.kind.cluster", "io.x-k8s.kind.role"
CONTROL_PLANE_RUNS = "installing CNI"
"""The phase of kind's in which the control plane runs, and the workers wait."""
CGROUP_V2 = Path("/sys/fs/cgroup/cgroup.controllers")
CERTS = f"/etc/containerd/certs.d/{names.REGISTRY}"
TRUSTED = ("hosts.toml", "ca.crt")
KUBECONFIGS = "kubeconfigs"
"""A file of the environment's folder: the user's kubeconfig files that were given the context, one a line.

`down` may be called with another KUBECONFIG than `up` was.
"""


def configuration(world: World, node_image: str = "") -> Object:
    """What kind is given: the user's file and our needs. Raises UsageError with every fault of that file."""
    config = world.config
    return kindconfig.render(
        kindconfig.load(world.project / config.cluster.config),
        name=config.name,
        node_image=node_image,
        api_port=config.cluster.api_port,
        mappings=[
            kindconfig.PortMapping(names.GIT_NODE_PORT, config.git.port),
            kindconfig.PortMapping(names.APP_NODE_PORT, config.app.port),
        ],
        fail_cgroup_v1=CGROUP_V2.exists(),
    )


def made_from(world: World) -> str:
    """The digest of what a running cluster cannot change.

    Of the node image only the Kubernetes version counts: other images reach a running cluster through
    the registry, see `PreloadStep`.
    """
    lasting = yaml.safe_dump(configuration(world, world.images.kubernetes()), sort_keys=True)
    return hashlib.sha256(lasting.encode()).hexdigest()


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
        if stopped:
            return Pending(f"{', '.join(stopped)} is stopped")
        verdict = self._matches(world, nodes)
        if not isinstance(verdict, Ready):
            return verdict
        verdict = self._api(world, len(nodes))
        if isinstance(verdict, Ready) and not _known_to_user(world):
            return Pending(f"your kubeconfig does not lead to {world.context}")
        return verdict

    def apply(self, world: World) -> None:
        nodes = self._nodes(world)
        foreign = self._foreign(world, nodes) if nodes else None
        if foreign:
            raise StepError(foreign.why, hint=foreign.hint)
        since, stopped = datetime.now(UTC), [node.name for node in nodes if node.state != "running"]
        if stopped:
            world.engine.docker("start", *stopped, limit=120)
        if nodes and not self._mark(world, files_of(world, nodes)):
            delete(world)
            nodes, stopped = [], []
        if not nodes:
            self._create(world)
            nodes = self._nodes(world)
        trust(world, nodes)
        world.identity.write("kubeconfig", world.kind.kubeconfig(world.config.name).encode())
        if not _known_to_user(world):
            world.kind.export(world.config.name)
        remember_kubeconfig(world)
        if stopped:
            await_pods(world, stopped, since)

    def undo(self, world: World) -> None:
        nodes = self._nodes(world)
        if not nodes or self._foreign(world, nodes):
            return
        try:
            delete(world)
        except PreconditionError:  # kind went with the caches
            world.engine.docker("rm", "--force", "--volumes", *(node.name for node in nodes))
            world.report.warn(f"context {world.context} stays: kubectl config delete-context {world.context}")

    def _create(self, world: World) -> None:
        node_image = world.images.lock().node_image
        text = yaml.safe_dump(configuration(world, node_image), sort_keys=True)
        line = world.report.step(self.name)

        def hear(phase: str) -> None:
            line.cause(phase)
            if phase == CONTROL_PLANE_RUNS:
                unpack(world, [node for node in self._nodes(world) if node.labels.get(ROLE_LABEL) == "worker"])

        try:
            world.kind.create(world.config.name, text, node_image, hear)
        except CommandError as error:
            raise CommandError(
                "kind could not create the cluster",
                code=error.code,
                hint="invoke doctor; the half-made cluster is replaced by the next invoke up",
                evidence=error.evidence,
            ) from None
        folder, _, file = MARK.rpartition("/")
        archive = tar_of(".", {file: made_from(world).encode()}, mode=0o644)
        world.engine.docker("cp", "-", f"{names.control_plane(world.config.name)}:{folder}", stdin=archive)

    @staticmethod
    def _nodes(world: World) -> list[Container]:
        return world.engine.containers(label=f"{KIND_LABEL}={world.config.name}")

    @staticmethod
    def _foreign(world: World, nodes: Sequence[Container]) -> Failed | None:
        """A cluster of that name of which a node does not hang on our network is somebody else's."""
        if all(names.network(world.config.name) in node.networks for node in nodes):
            return None
        return Failed(
            f"a kind cluster called {world.config.name} exists that we did not make; it is left alone",
            hint="invoke up --name another, or invoke up --context kind-" + world.config.name,
        )

    def _matches(self, world: World, nodes: Sequence[Container]) -> Verdict:
        """Whether what the nodes hold is what the settings say."""
        files = files_of(world, nodes)
        mark = self._mark(world, files)
        if not mark:
            return Pending("it is half made")
        hint = f"invoke down --name {world.config.name}, then invoke up"
        if mark != made_from(world):
            what = "it was made from other settings (kind-config.yaml, ports, versions), which cannot change in place"
            return Failed(what, hint=hint)
        expected = len(configuration(world)["nodes"])
        if len(nodes) < expected:
            return Failed(f"{expected - len(nodes)} of its {expected} nodes were removed", hint=hint)
        return trusts(world, files)

    @staticmethod
    def _mark(world: World, files: Mapping[str, Held]) -> str:
        first = files.get(names.control_plane(world.config.name))
        return first.mark if first else ""

    @staticmethod
    def _api(world: World, count: int) -> Verdict:
        try:
            nodes = world.kube.list("v1", "Node")
            version = world.kube.version()
        except (ApiError, PreconditionError) as error:  # the latter: our copy of the kubeconfig was lost
            return Pending(error.message)
        if len(nodes) < count:
            return Pending(f"{len(nodes)} of {count} nodes have joined")
        for node in nodes:
            verdict = readiness(node)
            if not isinstance(verdict, Ready):
                return Pending(f"node {node['metadata']['name']}: {verdict.why}")
        return Ready(f"kind {world.config.name}, {count} nodes, Kubernetes {version.removeprefix('v')}")


def delete(world: World) -> None:
    """Delete the nodes, and the context in every file that it was written to."""
    for file in _kubeconfigs(world) or [""]:
        world.kind.delete(world.config.name, file)


def remember_kubeconfig(world: World) -> None:
    """Keep in mind which of the user's files has the context now."""
    file, known = str(kubeconfig.locate(world.context).absolute()), _kubeconfigs(world)
    if file not in known:
        world.identity.write(KUBECONFIGS, "\n".join([*known, file]).encode())


def _kubeconfigs(world: World) -> list[str]:
    path = world.identity.folder / KUBECONFIGS
    known = path.read_text().splitlines() if path.exists() else []
    return [file for file in known if Path(file).exists()]


@dataclass(frozen=True)
class Held:
    """What a node holds of ours. mark: see MARK, "" without. trust: the files of `trusted`, one after the other."""

    mark: str
    trust: str


def files_of(world: World, nodes: Sequence[Container]) -> dict[str, Held]:
    """What each node holds; all are asked at the same time, because each takes a fifth of a second."""
    wanted = " ".join(f"{CERTS}/{name}" for name in TRUSTED)

    def look(node: Container) -> Held:
        script = f"cat {MARK}; echo; cat {wanted}"
        mark, _, trust = world.engine.docker("exec", node.name, "sh", "-c", script, check=False).stdout.partition("\n")
        return Held(mark.strip(), trust)

    with ThreadPoolExecutor(len(nodes), thread_name_prefix="node") as pool:
        return dict(zip([node.name for node in nodes], pool.map(look, nodes), strict=True))


def trusts(world: World, files: Mapping[str, Held]) -> Verdict:
    """Whether every node trusts the registry and knows the password."""
    untrusting = [name for name, held in files.items() if held.trust != "".join(trusted(world).values())]
    return Pending(f"{untrusting[0]} does not trust the registry yet") if untrusting else Ready()


def trust(world: World, nodes: Sequence[Container]) -> None:
    """Make it so. containerd reads these files at each pull; nothing has to be restarted."""
    files = {name: text.encode() for name, text in trusted(world).items()}
    parent, _, folder = CERTS.rpartition("/")
    for node in nodes:
        world.engine.docker("cp", "-", f"{node.name}:{parent}", stdin=tar_of(folder, files))


def _known_to_user(world: World) -> bool:
    """Whether the user's own kubeconfig leads to this cluster; they may have deleted the context."""
    try:
        theirs = kubeconfig.locate(world.context).read_text()
        ours = world.kubeconfig.read_text()
        return kubeconfig.access(theirs, world.context).server == kubeconfig.access(ours, world.context).server
    except (OSError, PreconditionError):
        return False


def trusted(world: World) -> dict[str, str]:
    """Files of containerd's folder for the registry."""
    return {TRUSTED[0]: hosts_toml(world), TRUSTED[1]: world.identity.authority().certificate.decode()}


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
        nodes = world.engine.containers(label=f"{KIND_LABEL}={world.cluster}")
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
        node = names.control_plane(world.cluster)
        listing = ("exec", node, "ctr", "--namespace=k8s.io", "images", "list", "--quiet")
        there = set(world.engine.docker(*listing).stdout.split())
        newer = [image for image in world.images.lock().images.values() if image.reference not in there]
        found = world.registry().digests(map(_tagged, newer)) if newer else {}
        return [image for image in newer if found.get(_tagged(image)) != image.digest]


def _tagged(image: LockedImage) -> str:
    return f"{image.repository.removeprefix(names.REGISTRY + '/')}:{image.digest.partition(':')[2][:12]}"
