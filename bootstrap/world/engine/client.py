"""The door to the container engine: the user's Docker, or a private one that we install and run.

Which of the two is decided once, when first used; see `choose`. Nobody else calls `docker`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import IO, Any

from bootstrap.core import constants
from bootstrap.core.errors import CommandError, PreconditionError
from bootstrap.core.model import Failed, Ready, Verdict
from bootstrap.core.paths import PRODUCT, Paths
from bootstrap.world import host
from bootstrap.world.engine.managed import ManagedEngine
from bootstrap.world.shell import Output, Shell

INSTALL = "install Docker (https://docs.docker.com/engine/install/), or run as root on Debian or Ubuntu"


@dataclass(frozen=True)
class Container:
    """state: created, running, paused, restarting, exited or dead. exit_code: of the last end, 0 before it."""

    id: str
    name: str
    image: str
    state: str
    exit_code: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    networks: frozenset[str] = frozenset()


@dataclass(frozen=True)
class EngineMachine:
    """The machine, or virtual machine, that the engine runs containers on. cgroups: version."""

    system: str
    cores: int
    memory_gib: float
    rootless: bool
    cgroups: int


@dataclass(frozen=True)
class Machine:
    """What the choice of an engine depends on.

    docker_host: $DOCKER_HOST or "". private_host: the private engine's. private_exists: it ran here before.
    docker_version: of the Docker that answers the ambient client, "" for none; asked only when it matters.
    """

    docker_host: str
    private_host: str
    private_exists: bool
    can_manage: bool
    docker_version: Callable[[], str]


def choose(wanted: str, machine: Machine) -> str | Failed:
    """Name the engine: "docker" or "managed"; or say why there is none.

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


class Engine:
    """wanted: auto, docker or managed. Constructing it has no effect; the choice is made when first used."""

    def __init__(self, shell: Shell, paths: Paths, wanted: str) -> None:
        self._shell = shell
        self._wanted = wanted
        self._managed = ManagedEngine(shell, paths)

    @cached_property
    def choice(self) -> str | Failed:
        """ "docker", "managed", or why there is none."""
        return choose(self._wanted, self._machine())

    @property
    def managed(self) -> bool:
        """Whether it is the private one. False where there is none."""
        return self.choice == "managed"

    def check(self) -> Verdict:
        """Look, change nothing."""
        if isinstance(self.choice, Failed):
            return self.choice
        if self.managed:
            return self._managed.check()
        version = self._ambient_version()
        return Ready(f"Docker {version}") if version else Failed("Docker no longer answers", "start Docker")

    def ensure(self, on_cause: Callable[[str], None]) -> None:
        """Make the engine answer: installs and starts the private one; the user's is only looked at.

        Raises PreconditionError (none can be had), CommandError (the private one does not start).
        """
        if self.managed:
            self._managed.ensure(on_cause)
            return
        verdict = self.check()
        if isinstance(verdict, Failed):
            raise PreconditionError(verdict.why, hint=verdict.hint)

    def revive(self, on_cause: Callable[[str], None]) -> bool:
        """For `down`: start a private engine that was used before, install nothing new.

        False if no engine can be asked: then nothing of ours is in one either.
        """
        if self.managed and self._managed.exists():
            self._managed.ensure(on_cause)
        return isinstance(self.check(), Ready)

    def stop_if_idle(self) -> None:
        """End the private engine if no container runs in it. The user's Docker is left alone."""
        if self.managed:
            self._managed.stop_if_idle()

    def stop(self) -> None:
        """End the private engine and its containers. The user's Docker is left alone."""
        if self.managed:
            self._managed.stop()

    def purge(self) -> None:
        """Remove the private engine with all it holds, if there is one. The user's Docker is left alone."""
        if self._managed.exists():
            self._managed.purge()

    def environ(self) -> dict[str, str]:
        """Variables for programs that talk to the engine (kind); "" removes a name, as in `Shell.run`."""
        return self._managed.environ() if self.managed else {"DOCKER_BUILDKIT": "0"}

    def docker(
        self,
        *words: str,
        stdin: str | bytes | IO[bytes] | None = None,
        limit: float = 60,
        check: bool = True,
        on_line: Callable[[str], None] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Output:
        """Run the docker client. Raises PreconditionError if the engine does not answer, else as Shell.run."""
        program = self._managed.client if self.managed else "docker"
        try:
            return self._shell.run(
                [program, *words],
                env={**self.environ(), **(env or {})},
                stdin=stdin,
                limit=limit,
                check=check,
                on_line=on_line,
            )
        except CommandError as error:
            if _unreachable(error.evidence):
                raise PreconditionError("Docker does not answer", hint="invoke doctor") from None
            raise

    def machine(self) -> EngineMachine:
        """Where containers run. Raises PreconditionError, CommandError."""
        found = json.loads(self.docker("info", "--format", "{{json .}}", limit=15).stdout)
        return EngineMachine(
            system=str(found.get("OperatingSystem") or "unknown"),
            cores=int(found.get("NCPU") or 0),
            memory_gib=int(found.get("MemTotal") or 0) / 2**30,
            rootless=any("rootless" in option for option in found.get("SecurityOptions") or ()),
            cgroups=int(found.get("CgroupVersion") or 1),
        )

    def containers(self, *, label: str = "", name: str = "", running: bool = False) -> list[Container]:
        """Containers with `label` ("key" or "key=value") and exactly `name`; stopped ones too unless `running`.

        Without those that are `unborn`.
        """
        filters = [f"label={label}"] * bool(label) + [f"name=^/?{name}$"] * bool(name)
        return [_container(document) for document in self._documents(self._ids(filters, running))]

    def unborn(self, label: str) -> int:
        """How many containers with `label` the engine is still making, whoever asked for them being gone or not.

        It lists one before it copies the image's part of a volume (of a node: a gigabyte), and knows it by its name,
        also to remove it, only afterwards (moby 20.10, daemon/create.go: setHostConfig before Register).
        """
        ids = self._ids([f"label={label}"])
        known = {document["Id"] for document in self._documents(ids)}
        missing = set(ids) - known
        return len(missing & set(self._ids([f"label={label}"]))) if missing else 0

    def _ids(self, filters: Sequence[str], running: bool = False) -> list[str]:
        words = [word for text in filters for word in ("--filter", text)]
        return self.docker("ps", "--quiet", "--no-trunc", *(() if running else ("--all",)), *words).stdout.split()

    def _documents(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        if not ids:
            return []
        # One that ended in between makes the code 1; the others are listed all the same.
        output = self.docker("inspect", "--type=container", *ids, check=False)
        if output.code and not all(_absent(line) for line in output.stderr.splitlines()):
            raise _complaint("docker inspect", output)
        found: list[dict[str, Any]] = json.loads(output.stdout or "[]")
        return found

    def inspect(self, kind: str, name: str) -> dict[str, Any] | None:
        """The engine's JSON of a container, image, network or volume; None if there is no such thing."""
        try:
            found: list[dict[str, Any]] = json.loads(self.docker("inspect", f"--type={kind}", name).stdout)
        except CommandError as error:
            if _absent(error.evidence):
                return None
            raise
        return found[0]

    def image_exists(self, reference: str) -> bool:
        return self.inspect("image", reference) is not None

    def network_create(self, name: str) -> None:
        """Make the bridge network `name` with our label; fine if it is there and ours.

        Raises PreconditionError for a network of that name that somebody else made.
        """
        existing = self.inspect("network", name)
        if existing is None:
            options = self._managed.network_options(name) if self.managed else []
            self.docker("network", "create", "--driver=bridge", f"--label={constants.SELECTOR}", *options, name)
        elif not _is_ours(existing):
            raise PreconditionError(f"Docker network {name} exists and is not ours", hint=f"docker network rm {name}")

    def network_remove(self, name: str) -> None:
        """Remove the network if it is there and ours; what is still attached is detached, not removed."""
        existing = self.inspect("network", name)
        if existing is None or not _is_ours(existing):
            return
        for container in existing.get("Containers") or {}:
            self.docker("network", "disconnect", "--force", name, container, check=False)
        self.docker("network", "rm", name)

    def volume_remove(self, name: str) -> None:
        """Remove the volume with its data if it is there and ours."""
        existing = self.inspect("volume", name)
        if existing is not None and _is_ours(existing):
            self.docker("volume", "rm", name)

    def container_remove(self, name: str) -> None:
        """End and remove the container, with its anonymous volumes, if it is there and ours."""
        existing = self.inspect("container", name)
        if existing is not None and _is_ours(existing["Config"]):
            self.docker("rm", "--force", "--volumes", name)

    def images_remove(self) -> None:
        """Remove the images that carry our label."""
        found = self.docker("image", "ls", "--quiet", "--all", "--filter", f"label={constants.SELECTOR}").stdout.split()
        if found:
            self.docker("image", "rm", "--force", *dict.fromkeys(found), limit=120, check=False)

    def port(self, name: str, container_port: int) -> int | None:
        """The port of this machine that leads to TCP `container_port`; None if none does, or it does not run."""
        return self.ports(name).get(container_port)

    def ports(self, name: str) -> dict[int, int]:
        """Published TCP ports of a running container: port inside -> port of this machine."""
        document = self.inspect("container", name) or {}
        published = (document.get("NetworkSettings") or {}).get("Ports") or {}
        return {
            int(inside.removesuffix("/tcp")): int(bindings[0]["HostPort"])
            for inside, bindings in published.items()
            if bindings and inside.endswith("/tcp")
        }

    def _machine(self) -> Machine:
        return Machine(
            docker_host=os.environ.get("DOCKER_HOST", ""),
            private_host=self._managed.host,
            private_exists=self._managed.exists(),
            can_manage=host.is_root() and host.has_apt(),
            docker_version=self._ambient_version,
        )

    def _ambient_version(self) -> str:
        """Version of the Docker that the plain client reaches: DOCKER_HOST, context, or the default socket."""
        if not self._shell.which("docker"):
            return ""
        words = ["docker", "version", "--format", "{{.Server.Version}}"]
        return self._shell.run(words, limit=15, check=False).stdout.strip()


def _container(document: Mapping[str, Any]) -> Container:
    return Container(
        id=document["Id"],
        name=document["Name"].lstrip("/"),
        image=document["Config"]["Image"],
        state=document["State"]["Status"],
        exit_code=document["State"]["ExitCode"],
        labels=document["Config"]["Labels"] or {},
        networks=frozenset((document.get("NetworkSettings") or {}).get("Networks") or {}),
    )


def _is_ours(document: Mapping[str, Any]) -> bool:
    """Nothing without our label is ever removed."""
    labels: Mapping[str, str] = document.get("Labels") or {}
    return labels.get(constants.MANAGED_BY) == PRODUCT


def _complaint(what: str, output: Output) -> CommandError | PreconditionError:
    """The error for a docker client that was run with `check=False`."""
    if _unreachable(output.stderr):
        return PreconditionError("Docker does not answer", hint="invoke doctor")
    return CommandError(f"{what} failed with code {output.code}", code=output.code, evidence=output.stderr.strip())


def _unreachable(stderr: str) -> bool:
    return _mentions(stderr, ("cannot connect to the docker daemon", "error during connect", "connection refused"))


def _absent(stderr: str) -> bool:
    return _mentions(stderr, ("no such", "not found"))


def _mentions(text: str, phrases: Sequence[str]) -> bool:
    lower = text.lower()
    return any(phrase in lower for phrase in phrases)
