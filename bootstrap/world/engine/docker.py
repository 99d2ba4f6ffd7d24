"""The container engine Docker, by its client: the user's, or a private one that we install and run.

Which of the two is decided once, when first used; see `choose_engine`. Nobody else calls `docker`. What its methods
answer and raise stands at `protocol.Engine`.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from bootstrap.core import constants
from bootstrap.core.errors import CommandError, PreconditionError
from bootstrap.core.model import Failed, Ready, Verdict
from bootstrap.core.paths import PRODUCT, Paths
from bootstrap.world import host
from bootstrap.world.engine import messages
from bootstrap.world.engine.managed import ManagedEngine
from bootstrap.world.engine.protocol import Container, ContainerSpec, EngineMachine
from bootstrap.world.shell import Output, Shell

LIMIT = 60.0
"""Seconds of a command of the client that names no other limit."""
BUILD_LIMIT = 1800.0
ARCHIVE_LIMIT = 900.0
"""Seconds of a build, and of writing or reading an archive of images."""
BUILD_TAIL = 20
"""Lines of a build's output that its failure shows."""
OURS = {constants.MANAGED_BY: PRODUCT}
INSTALL = "install Docker (https://docs.docker.com/engine/install/), or run as root on Debian or Ubuntu"


@dataclass(frozen=True)
class ChoiceFacts:
    """What the choice of an engine depends on.

    docker_host: $DOCKER_HOST or "". private_host: the private engine's. private_exists: it ran here before.
    can_manage: whether a private engine can be installed here. docker_version: asks for the version of the Docker that
    the plain client reaches, "" for none; called only when it matters.
    """

    docker_host: str
    private_host: str
    private_exists: bool
    can_manage: bool
    docker_version: Callable[[], str]


def choose_engine(wanted: str, machine: ChoiceFacts) -> str | Failed:
    """Name the engine: "docker" or "managed"; or say why there is none. wanted: the setting, auto, docker or managed.

    A private engine made earlier stays the choice of `auto`, also once a Docker of the user's appears:
    the environments are in it. An explicit DOCKER_HOST outweighs that.
    """
    pointed_elsewhere = bool(machine.docker_host) and machine.docker_host != machine.private_host
    if wanted == "managed" or (wanted == "auto" and machine.private_exists and not pointed_elsewhere):
        return "managed" if machine.can_manage else Failed("a private Docker needs root on Debian or Ubuntu", INSTALL)
    if machine.docker_version():
        return "docker"
    if wanted == "auto" and machine.can_manage and not pointed_elsewhere:
        return "managed"
    where = f" at DOCKER_HOST {machine.docker_host}" if machine.docker_host else ""
    return Failed(f"no Docker answers{where}", "start Docker" if machine.docker_host else INSTALL)


class DockerEngine:
    """The `Engine` that docker's client drives. wanted: auto, docker or managed.

    Constructing it has no effect; the choice is made when first used. Errors: those that `Engine` names.
    """

    def __init__(self, shell: Shell, paths: Paths, wanted: str) -> None:
        self._shell = shell
        self._wanted = wanted
        self._managed = ManagedEngine(shell, paths)

    @cached_property
    def choice(self) -> str | Failed:
        """ "docker" or "managed", or why there is none; asked of the machine once."""
        return choose_engine(self._wanted, self._read_choice_facts())

    @property
    def is_managed(self) -> bool:
        """Whether it is the private one."""
        return self.choice == "managed"

    def check(self) -> Verdict:
        """Whether it answers, with its version."""
        if isinstance(self.choice, Failed):
            return self.choice
        if self.is_managed:
            return self._managed.check()
        version = self._read_ambient_version()
        return Ready(f"Docker {version}") if version else Failed("Docker no longer answers", "start Docker")

    def ensure(self, on_cause: Callable[[str], None]) -> None:
        """Install and start the private engine, or look at the user's. Raises PreconditionError, CommandError."""
        if self.is_managed:
            self._managed.ensure(on_cause)
            return
        verdict = self.check()
        if isinstance(verdict, Failed):
            raise PreconditionError(verdict.why, hint=verdict.hint)

    def revive(self, on_cause: Callable[[str], None]) -> bool:
        """Start a private engine that was used before; whether any engine answers."""
        if self.is_managed and self._managed.exists():
            self._managed.ensure(on_cause)
        return isinstance(self.check(), Ready)

    def stop_if_idle(self) -> None:
        """End the private engine if no container runs in it."""
        if self.is_managed:
            self._managed.stop_if_idle()

    def stop(self) -> None:
        """End the private engine and its containers."""
        if self.is_managed:
            self._managed.stop()

    def purge(self) -> None:
        """Remove the private engine with all it holds, also where it is not the choice."""
        if self._managed.exists():
            self._managed.purge()

    def make_environ(self) -> dict[str, str]:
        """Variables for programs that talk to Docker themselves; "" removes a name."""
        return self._managed.make_environ() if self.is_managed else {"DOCKER_BUILDKIT": "0"}

    def read_machine(self) -> EngineMachine:
        """The machine as `docker info` describes it."""
        found = json.loads(self._docker("info", "--format", "{{json .}}", limit=15).stdout)
        return EngineMachine(
            system=str(found.get("OperatingSystem") or "unknown"),
            cores=int(found.get("NCPU") or 0),
            memory_gib=int(found.get("MemTotal") or 0) / 2**30,
            rootless=any("rootless" in option for option in found.get("SecurityOptions") or ()),
            cgroups=int(found.get("CgroupVersion") or 1),
        )

    def list_containers(self, *, label: str = "", name: str = "", running: bool = False) -> list[Container]:
        """Containers by label and exact name."""
        filters = []
        if label:
            filters.append(f"label={label}")
        if name:
            filters.append(f"name=^/?{name}$")
        return [_read_container(document) for document in self._inspect_containers(self._list_ids(filters, running))]

    def count_unfinished_containers(self, label: str) -> int:
        """How many containers with `label` Docker lists and is still making, also for a client that is gone.

        It lists one before it copies the image's part of a volume (of a node: a gigabyte), and knows it by its name,
        also to remove it, only afterwards (moby 20.10, daemon/create.go: setHostConfig before Register).
        """
        ids = self._list_ids([f"label={label}"])
        known = {document["Id"] for document in self._inspect_containers(ids)}
        missing = set(ids) - known
        return len(missing & set(self._list_ids([f"label={label}"]))) if missing else 0

    def find_container(self, name: str) -> Container | None:
        """The container of that name; None if there is none."""
        document = self._inspect("container", name)
        return _read_container(document) if document is not None else None

    def find_port(self, name: str, container_port: int) -> int | None:
        """The port of this machine that leads to TCP `container_port`; None if none does."""
        return self.list_ports(name).get(container_port)

    def list_ports(self, name: str) -> dict[int, int]:
        """Published TCP ports: port inside -> port of this machine; empty while it does not run."""
        document = self._inspect("container", name) or {}
        return _read_host_ports((document.get("NetworkSettings") or {}).get("Ports") or {})

    def create_container(self, spec: ContainerSpec) -> None:
        """Make a container with our label; it does not run yet."""
        labels = {**OURS, **spec.labels}
        self._docker(
            "create",
            f"--name={spec.name}",
            *(f"--label={key}={value}" for key, value in labels.items()),
            f"--network={spec.network}",
            f"--network-alias={spec.alias}",
            "--restart=unless-stopped",
            *(f"--publish=127.0.0.1:{port}:{inside}" for inside, port in spec.ports.items()),
            *(f"--volume={volume}:{path}" for volume, path in spec.volumes.items()),
            "--cap-drop=ALL",
            "--security-opt=no-new-privileges",
            f"--memory={spec.memory_gib}g",
            spec.image,
        )

    def copy_into(self, container: str, folder: str, archive: bytes) -> None:
        """Unpack a tar archive below `folder` of a container."""
        self._docker("cp", "-", f"{container}:{folder}", stdin=archive)

    def start_containers(self, *containers: str, limit: float = LIMIT) -> None:
        """Start containers; nothing becomes of one that runs."""
        self._docker("start", *containers, limit=limit)

    def restart_container(self, container: str, *, grace: int) -> None:
        """End the container, by force after `grace` seconds, and start it."""
        self._docker("restart", f"--time={grace}", container)

    def exec(self, container: str, *command: str, limit: float = LIMIT) -> str:
        """Run a command in a running container; its stdout."""
        return self._docker("exec", container, *command, limit=limit).stdout

    def remove_container(self, name: str) -> None:
        """End and remove a container of ours with its anonymous volumes."""
        existing = self._inspect("container", name)
        if existing is not None and _is_ours(existing["Config"]):
            self._docker("rm", "--force", "--volumes", name)

    def remove_nodes(self, names: Sequence[str]) -> None:
        """End and remove nodes of a cluster with their anonymous volumes, whatever their labels."""
        self._docker("rm", "--force", "--volumes", *names)

    def create_network(self, name: str) -> None:
        """Make a bridge network with our label. Raises PreconditionError for one that somebody else made."""
        existing = self._inspect("network", name)
        if existing is None:
            options = self._managed.make_network_options(name) if self.is_managed else []
            self._docker("network", "create", "--driver=bridge", f"--label={constants.SELECTOR}", *options, name)
        elif not _is_ours(existing):
            raise PreconditionError(f"Docker network {name} exists and is not ours", hint=f"docker network rm {name}")

    def has_network(self, name: str) -> bool:
        """Whether there is a network of that name."""
        return self._inspect("network", name) is not None

    def connect_network(self, network: str, container: str, *, alias: str) -> None:
        """Attach a container to a network, where it is known as `alias` as well."""
        self._docker("network", "connect", f"--alias={alias}", network, container)

    def remove_network(self, name: str) -> None:
        """Detach what is on a network of ours, and remove it."""
        existing = self._inspect("network", name)
        if existing is None or not _is_ours(existing):
            return
        for container in existing.get("Containers") or {}:
            self._docker("network", "disconnect", "--force", name, container, check=False)
        self._docker("network", "rm", name)

    def create_volume(self, name: str) -> None:
        """Make a volume with our label; fine if it is there."""
        if self._inspect("volume", name) is None:
            self._docker("volume", "create", f"--label={constants.SELECTOR}", name)

    def remove_volume(self, name: str) -> None:
        """Remove a volume of ours with its data."""
        existing = self._inspect("volume", name)
        if existing is not None and _is_ours(existing):
            self._docker("volume", "rm", name)

    def has_image(self, reference: str) -> bool:
        """Whether Docker holds an image of that name."""
        return self._inspect("image", reference) is not None

    def read_image_size(self, reference: str) -> int:
        """Bytes that an image takes, unpacked; 0 if it is not there."""
        document = self._inspect("image", reference) or {}
        return int(document.get("Size", 0))

    def list_image_tags(self, repository: str) -> list[str]:
        """Tags of a repository's images, that of the newest image first."""
        return self._docker("image", "ls", "--format={{.Tag}}", repository).stdout.split()

    def build_image(
        self, folder: Path, name: str, *, arguments: Sequence[str] = (), on_progress: Callable[[str], None]
    ) -> None:
        """Build an image from a folder with a Dockerfile. Raises CommandError with the last BUILD_TAIL lines."""
        tail: deque[str] = deque(maxlen=BUILD_TAIL)

        def hear(line: str) -> None:
            tail.append(line)
            progress = messages.read_build_progress(line)
            if progress:
                on_progress(progress)

        options = [word for argument in arguments for word in ("--build-arg", argument)]
        command = ["build", "--force-rm", "--network=host", "-t", name, "--label", constants.SELECTOR, *options]
        try:
            self._docker(*command, str(folder), limit=BUILD_LIMIT, on_line=hear)
        except CommandError as error:  # the classic builder tells the cause on stdout
            raise CommandError(error.message, code=error.code, evidence="\n".join(tail)) from None

    def load_images(self, archive: Path | IO[bytes], *, limit: float = ARCHIVE_LIMIT) -> None:
        """Take in the images of an archive, by the names that stand in it."""
        if isinstance(archive, Path):
            self._docker("load", "--quiet", "--input", str(archive), limit=limit)
        else:
            self._docker("load", "--quiet", stdin=archive, limit=limit)

    def save_image(self, image: str, archive: Path, *, limit: float = ARCHIVE_LIMIT) -> None:
        """Write an image to an archive."""
        self._docker("save", "--output", str(archive), image, limit=limit)

    def tag_image(self, image: str, name: str) -> None:
        """Give an image a further name."""
        self._docker("tag", image, name)

    def remove_images(self, *references: str) -> None:
        """Take names away; an image without one is deleted. Raises CommandError for one that is not there or in use."""
        self._docker("image", "rm", *references)

    def remove_own_images(self) -> None:
        """Remove the images that carry our label, as far as no container is made from them."""
        ours = ("--filter", f"label={constants.SELECTOR}")
        found = self._docker("image", "ls", "--quiet", "--all", *ours).stdout.split()
        if found:
            self._docker("image", "rm", "--force", *dict.fromkeys(found), limit=120, check=False)

    def _docker(
        self,
        *words: str,
        stdin: str | bytes | IO[bytes] | None = None,
        limit: float = LIMIT,
        check: bool = True,
        on_line: Callable[[str], None] | None = None,
    ) -> Output:
        """Run the docker client. Raises PreconditionError if the engine does not answer, else as Shell.run."""
        program = self._managed.client if self.is_managed else "docker"
        try:
            return self._shell.run(
                [program, *words],
                env=self.make_environ(),
                stdin=stdin,
                limit=limit,
                check=check,
                on_line=on_line,
            )
        except CommandError as error:
            if messages.is_unreachable(error.evidence):
                raise PreconditionError("Docker does not answer", hint="invoke doctor") from None
            raise

    def _inspect(self, kind: str, name: str) -> dict[str, Any] | None:
        """Docker's document of a "container", "image", "network" or "volume"; None if there is no such thing.

        Shape: GET /containers/NAME/json and so on, of Docker's API.
        """
        try:
            found: list[dict[str, Any]] = json.loads(self._docker("inspect", f"--type={kind}", name).stdout)
        except CommandError as error:
            if messages.is_absent(error.evidence):
                return None
            raise
        return found[0]

    def _list_ids(self, filters: Sequence[str], running: bool = False) -> list[str]:
        words = [word for text in filters for word in ("--filter", text)]
        return self._docker("ps", "--quiet", "--no-trunc", *(() if running else ("--all",)), *words).stdout.split()

    def _inspect_containers(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        if not ids:
            return []
        # One that ended in between makes the code 1; the others are listed all the same.
        output = self._docker("inspect", "--type=container", *ids, check=False)
        if output.code and not all(messages.is_absent(line) for line in output.stderr.splitlines()):
            raise _make_error("docker inspect", output)
        found: list[dict[str, Any]] = json.loads(output.stdout or "[]")
        return found

    def _read_choice_facts(self) -> ChoiceFacts:
        return ChoiceFacts(
            docker_host=os.environ.get("DOCKER_HOST", ""),
            private_host=self._managed.host,
            private_exists=self._managed.exists(),
            can_manage=host.is_root() and host.has_apt(),
            docker_version=self._read_ambient_version,
        )

    def _read_ambient_version(self) -> str:
        """Version of the Docker that the plain client reaches: DOCKER_HOST, context, or the default socket."""
        if not self._shell.which("docker"):
            return ""
        words = ["docker", "version", "--format", "{{.Server.Version}}"]
        return self._shell.run(words, limit=15, check=False).stdout.strip()


def _read_container(document: Mapping[str, Any]) -> Container:
    networks = (document.get("NetworkSettings") or {}).get("Networks") or {}
    bindings = (document.get("HostConfig") or {}).get("PortBindings") or {}
    return Container(
        id=document["Id"],
        name=document["Name"].lstrip("/"),
        image=document["Config"]["Image"],
        state=document["State"]["Status"],
        exit_code=document["State"]["ExitCode"],
        labels=document["Config"]["Labels"] or {},
        networks={name: str(network.get("IPAddress") or "") for name, network in networks.items()},
        wants_ports=_read_host_ports(bindings),
    )


def _read_host_ports(bindings: Mapping[str, Sequence[Mapping[str, str]] | None]) -> dict[int, int]:
    """Of {"5000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "41000"}]} the ports of TCP: {5000: 41000}; 0 for none."""
    return {
        int(inside.removesuffix("/tcp")): int(found[0]["HostPort"] or 0)
        for inside, found in bindings.items()
        if found and inside.endswith("/tcp")
    }


def _is_ours(document: Mapping[str, Any]) -> bool:
    """Nothing without our label is ever removed."""
    labels: Mapping[str, str] = document.get("Labels") or {}
    return labels.get(constants.MANAGED_BY) == PRODUCT


def _make_error(what: str, output: Output) -> CommandError | PreconditionError:
    """The error for a docker client that was run with `check=False`."""
    if messages.is_unreachable(output.stderr):
        return PreconditionError("Docker does not answer", hint="invoke doctor")
    return CommandError(f"{what} failed with code {output.code}", code=output.code, evidence=output.stderr.strip())
