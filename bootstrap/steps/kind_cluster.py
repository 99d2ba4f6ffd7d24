"""The environment's own cluster, which kind makes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import yaml

from bootstrap.core import constants, wait
from bootstrap.core.errors import ApiError, CommandError, PreconditionError, StepError, TimedOut, UsageError
from bootstrap.core.model import Failed, Object, Pending, Ready, Unknown, Verdict
from bootstrap.objects import kubeconfig, kubeconfig_files
from bootstrap.objects.readiness import judge
from bootstrap.settings import kind_config
from bootstrap.settings.config import Config
from bootstrap.steps.image_pins import pin_images
from bootstrap.steps.image_unpack import start_unpacking
from bootstrap.steps.node_restart import await_pods
from bootstrap.steps.node_trust import (
    KIND_LABEL,
    MARK,
    OTHERS,
    NodeFiles,
    judge_trust,
    read_node_files,
    write_trust_files,
)
from bootstrap.steps.registry import make_tar
from bootstrap.world import World
from bootstrap.world.engine.protocol import Container
from bootstrap.world.kind import INSTALLING_CNI, nodes_exist

ROLE_LABEL = "io.x-k8s.kind.role"
BIRTH_LIMIT = 120.0
"""Seconds; a node takes about three, and more where the disk is busy."""
CERTIFICATE_HOURS = 10 * 365 * 24
"""As long as kubeadm's own CAs live: kind renews no certificate, and a cluster holds commits that must not be lost."""
UNUSED_IMAGE_HOURS = 24
"""Each commit leaves an image on the nodes that ran it. What is needed again is pulled again."""
CGROUP_V2 = Path("/sys/fs/cgroup/cgroup.controllers")
KUBECONFIGS = "kubeconfigs"
"""A file of the environment's folder: the user's kubeconfig files that were given the context, one a line.

`down` may be called with another KUBECONFIG than `up` was.
"""


def make_configuration(
    config: Config,
    project: Path,
    node_image: str = "",
    *,
    certificate_hours: int = 0,
    unused_image_hours: int = 0,
    elect_leaders: bool = True,
) -> Object:
    """The configuration that kind is given: the user's file, with what an environment needs put in.

    node_image: reference of the nodes' image, "" for kind's own choice. certificate_hours: life of what kubeadm issues,
    0 for its own choice. unused_image_hours: after which nodes delete an image, 0 for never.
    elect_leaders: as `kind_config.render` has it. Raises UsageError with all faults of the file.
    """
    return kind_config.render(
        kind_config.load(project / config.cluster.config),
        name=config.name,
        node_image=node_image,
        api_port=config.cluster.api_port,
        mappings=[
            kind_config.PortMapping(constants.GIT_NODE_PORT, config.git.port),
            kind_config.PortMapping(constants.APP_NODE_PORT, config.app.port),
        ],
        fail_cgroup_v1=CGROUP_V2.exists(),
        certificate_hours=certificate_hours,
        unused_image_hours=unused_image_hours,
        elect_leaders=elect_leaders,
    )


def compute_fixed_digest(world: World) -> str:
    """The SHA-256, in hex, of the settings that cannot change while the cluster exists.

    Of the node image only the Kubernetes version counts: other images reach a running cluster through the registry,
    see `PreloadStep`. The lives of certificates and of unused images do not count: an older cluster keeps its own.
    """
    lasting = yaml.safe_dump(
        make_configuration(world.config, world.project, world.images.read_kubernetes_version()), sort_keys=True
    )
    return hashlib.sha256(lasting.encode()).hexdigest()


@dataclass(frozen=True)
class KindCluster:
    """The kind cluster of the environment: its nodes, what is written on them, and the user's kubeconfig."""

    name: str = "cluster"
    needs: tuple[str, ...] = ("engine", "images")
    limit: float = 180

    def check(self, world: World) -> Verdict:
        """Ready when all nodes run, were made from these settings, and the user's kubeconfig leads to them."""
        nodes = self._list_nodes(world)
        if not nodes:
            return Pending("there is no cluster yet")
        foreign = self._find_foreign(world, nodes)
        if foreign:
            return foreign
        stopped = [node.name for node in nodes if node.state != "running"]
        if stopped:
            return Pending(f"{', '.join(stopped)} is stopped")
        verdict = self._judge_nodes(world, nodes)
        if not isinstance(verdict, Ready):
            return verdict
        verdict = self._judge_api(world, len(nodes))
        if isinstance(verdict, Ready) and not _is_known_to_user(world):
            return Pending(f"your kubeconfig does not lead to {world.context}")
        return verdict

    def apply(self, world: World) -> None:
        """Start the nodes that are stopped, or make the cluster; then write what nodes and kubeconfigs must hold.

        Raises StepError for a cluster of others, and for one in use that does not tell what it was made from.
        """
        since, nodes = datetime.now(UTC), self._await_nodes(world)
        foreign = self._find_foreign(world, nodes)
        if foreign:
            raise StepError(foreign.why, hint=foreign.hint)
        started = self._start_stopped(world, nodes)
        if not self._keep_finished(world, nodes):
            self._create(world)
            started = []
        write_trust_files(world, self._list_nodes(world))
        self._write_kubeconfigs(world)
        if started:
            await_pods(world, started, since)

    @staticmethod
    def _start_stopped(world: World, nodes: Sequence[Container]) -> list[str]:
        """The names of the nodes that were started.

        A node that never ran is left as it is, because it may not even start.
        """
        stopped = [node.name for node in nodes if node.state not in ("running", "created")]
        if stopped:
            world.engine.start_containers(*stopped, limit=120)
        return stopped

    def _keep_finished(self, world: World, nodes: Sequence[Container]) -> bool:
        """Whether the nodes are a finished cluster. A cluster that was never finished is deleted.

        The certificates of a `ca_file` that is no longer set are removed from its nodes.
        """
        ran = [node for node in nodes if node.state != "created"]
        held = self._read_files(world, ran)
        if not nodes:
            return False
        if len(ran) < len(nodes) or not self._get_mark(world, held):
            self._replace(world, held)
            return False
        for name, each in held.items():
            if OTHERS in each.trust and not world.config.ca_file:
                world.engine.exec(name, "rm", "-rf", OTHERS)
        return True

    @staticmethod
    def _write_kubeconfigs(world: World) -> None:
        """Our copy, and the context in the user's file if it does not lead to the cluster."""
        world.identity.write_file("kubeconfig", world.kind.read_kubeconfig(world.config.name).encode())
        if not _is_known_to_user(world):
            world.kind.export_kubeconfig(world.config.name)
        remember_kubeconfig(world)

    def undo(self, world: World) -> None:
        """Delete the cluster, and its context in the user's kubeconfig files.

        A cluster that others made is left alone.
        """
        nodes = self._await_nodes(world)
        if not nodes or self._find_foreign(world, nodes):
            return
        try:
            delete_cluster(world)
        except (PreconditionError, UsageError):  # kind went with the caches, or with the bundle
            world.engine.remove_nodes([node.name for node in nodes])
            world.report.warn(f"context {world.context} stays: kubectl config delete-context {world.context}")

    def _create(self, world: World) -> None:
        """Make the cluster; if nodes are in the way that the engine still made for a killed command, replace them."""
        try:
            self._make_cluster(world)
        except CommandError as error:
            nodes = self._await_nodes(world)
            if not nodes_exist(error.evidence) or not nodes or self._find_foreign(world, nodes):
                raise
            self._replace(world, self._read_files(world, [node for node in nodes if node.state == "running"]))
            self._make_cluster(world)

    @staticmethod
    def _read_files(world: World, nodes: Sequence[Container]) -> dict[str, NodeFiles]:
        """What the nodes hold. Raises StepError if one of them does not answer, because then nothing may be deleted."""
        try:
            return read_node_files(world, nodes)
        except (CommandError, TimedOut) as error:
            why = f"cluster: a node does not tell what it was made from, so nothing is changed: {error.message}"
            hint = f"invoke doctor; then invoke up again, or invoke down --name {world.config.name} to delete it all"
            raise StepError(why, hint=hint, evidence=error.evidence) from None

    @staticmethod
    def _replace(world: World, held: Mapping[str, NodeFiles]) -> None:
        """Delete a cluster that was never finished. Raises StepError if it may hold data, such as commits."""
        verdict = _judge_unmarked(world, held)
        if isinstance(verdict, Failed):
            raise StepError(f"cluster: {verdict.why}", hint=verdict.hint)
        delete_cluster(world)

    def _make_cluster(self, world: World) -> None:
        node_image = world.images.read_lock().node_image
        wanted = make_configuration(
            world.config,
            world.project,
            node_image,
            certificate_hours=CERTIFICATE_HOURS,
            unused_image_hours=UNUSED_IMAGE_HOURS,
            elect_leaders=False,
        )
        text = yaml.safe_dump(wanted, sort_keys=True)
        line = world.report.step(self.name)

        def hear(phase: str) -> None:
            line.show_cause(phase)
            if phase == INSTALLING_CNI:
                start_unpacking(
                    world, [node for node in self._list_nodes(world) if node.labels.get(ROLE_LABEL) == "worker"]
                )

        try:
            world.kind.create_cluster(world.config.name, text, node_image, hear)
        except CommandError as error:
            raise CommandError(
                "kind could not create the cluster",
                code=error.code,
                hint="invoke doctor; the half-made cluster is replaced by the next invoke up",
                evidence=error.evidence,
            ) from None
        pin_images(world, self._list_nodes(world))
        folder, _, file = MARK.rpartition("/")
        archive = make_tar(".", {file: compute_fixed_digest(world).encode()}, mode=0o644)
        world.engine.copy_into(constants.control_plane(world.config.name), folder, archive)

    @staticmethod
    def _list_nodes(world: World) -> list[Container]:
        return world.engine.list_containers(label=f"{KIND_LABEL}={world.config.name}")

    def _await_nodes(self, world: World) -> list[Container]:
        """The nodes, once the engine makes none any more for a command that was ended. Raises TimedOut."""

        def look() -> Verdict:
            count = world.engine.count_unfinished_containers(f"{KIND_LABEL}={world.config.name}")
            return Pending(f"Docker still makes {count} nodes for a command that was ended") if count else Ready()

        def say(verdict: Pending | Unknown) -> None:
            world.report.step(self.name).show_cause(verdict.why)

        wait.until(look, clock=world.clock, limit=BIRTH_LIMIT, what="Docker, which makes nodes,", on_change=say)
        return self._list_nodes(world)

    @staticmethod
    def _find_foreign(world: World, nodes: Sequence[Container]) -> Failed | None:
        """Failed if a node is not on our network: then somebody else made this cluster. None if it is ours."""
        if all(constants.network(world.config.name) in node.networks for node in nodes):
            return None
        return Failed(
            f"a kind cluster called {world.config.name} exists that we did not make; it is left alone",
            hint="invoke up --name another, or invoke up --context kind-" + world.config.name,
        )

    def _judge_nodes(self, world: World, nodes: Sequence[Container]) -> Verdict:
        """Whether what the nodes hold is what the settings say."""
        files = read_node_files(world, nodes)
        mark = self._get_mark(world, files)
        if not mark:
            return _judge_unmarked(world, files)
        hint = f"invoke down --name {world.config.name}, then invoke up"
        if mark != compute_fixed_digest(world):
            return Failed(f"{_explain_mismatch(world)}, which cannot change in place", hint=hint)
        expected = len(make_configuration(world.config, world.project)["nodes"])
        if len(nodes) < expected:
            return Failed(f"{expected - len(nodes)} of its {expected} nodes were removed", hint=hint)
        return judge_trust(world, files)

    @staticmethod
    def _get_mark(world: World, files: Mapping[str, NodeFiles]) -> str:
        first = files.get(constants.control_plane(world.config.name))
        return first.mark if first else ""

    @staticmethod
    def _judge_api(world: World, count: int) -> Verdict:
        try:
            nodes = world.kube.list("v1", "Node")
            version = world.kube.read_version()
        except (ApiError, PreconditionError) as error:  # the latter: our copy of the kubeconfig was lost
            return Pending(error.message)
        if len(nodes) < count:
            return Pending(f"{len(nodes)} of {count} nodes have joined")
        for node in nodes:
            verdict = judge(node)
            if not isinstance(verdict, Ready):
                return Pending(f"node {node['metadata']['name']}: {verdict.why}")
        return Ready(f"kind {world.config.name}, {count} nodes, Kubernetes {version.removeprefix('v')}")


def _judge_unmarked(world: World, held: Mapping[str, NodeFiles]) -> Pending | Failed:
    """For a cluster without its mark: Pending if it was never finished, Failed if it has been in use."""
    why = ""
    if any(each.volumes for each in held.values()):
        why = "a node has volumes with data"
    else:
        try:
            if world.kube.list("v1", "Namespace", labels=constants.SELECTOR):
                why = "its API server has namespaces of this environment"
        except (ApiError, PreconditionError):
            """No API server of this environment, so nothing was ever put into it."""
    if not why:
        return Pending("it is half made")
    return Failed(
        f"what the cluster was made from is not known, and it is in use: {why}; nothing is deleted",
        hint=f"save what you need, then invoke down --name {world.config.name} (deletes it all), then invoke up",
    )


def _explain_mismatch(world: World) -> str:
    """How the cluster differs from the wanted one."""
    wanted = world.images.read_kubernetes_version()
    try:
        runs = world.kube.read_version()
    except (ApiError, PreconditionError):
        runs = wanted
    if runs != wanted:
        return f"it runs Kubernetes {runs.removeprefix('v')}, and {wanted.removeprefix('v')} is wanted"
    return "it was made from other settings (kind-config.yaml, ports, versions)"


def delete_cluster(world: World) -> None:
    """Delete the nodes, and the context in every kubeconfig file that it was written to."""
    for file in _list_kubeconfigs(world) or [""]:
        world.kind.delete_cluster(world.config.name, file)


def remember_kubeconfig(world: World) -> None:
    """Note in the environment's folder which of the user's kubeconfig files has the context now."""
    file, known = str(kubeconfig_files.locate(world.context).absolute()), _list_kubeconfigs(world)
    if file not in known:
        world.identity.write_file(KUBECONFIGS, "\n".join([*known, file]).encode())


def _list_kubeconfigs(world: World) -> list[str]:
    path = world.identity.folder / KUBECONFIGS
    known = path.read_text().splitlines() if path.exists() else []
    return [file for file in known if Path(file).exists()]


def _is_known_to_user(world: World) -> bool:
    """Whether the user's own kubeconfig leads to this cluster; they may have deleted the context."""
    try:
        theirs = kubeconfig_files.read_files(kubeconfig_files.list_files())
        ours = kubeconfig_files.read_files([world.kubeconfig])
        return (
            kubeconfig.read_access(theirs, world.context).server == kubeconfig.read_access(ours, world.context).server
        )
    except PreconditionError:
        return False
