"""What the program asks of a container engine. `docker.DockerEngine` is the implementation for Docker.

Another engine (podman, nerdctl) is a second class with these methods. Nothing outside `world/engine/` knows which one
it talks to, runs a client of an engine, or reads what such a client prints.

Every method that asks the engine raises PreconditionError if it does not answer, CommandError if it refuses (evidence:
what it said), and TimedOut after the limit. Further errors are named where they are raised. Limits are in seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from bootstrap.core.model import Failed, Verdict


@dataclass(frozen=True)
class Container:
    """A container as the engine has it now.

    image: the reference that it was made from. state: created, running, paused, restarting, exited or dead.
    exit_code: of the last end, 0 before it. networks: name of each that it is attached to -> its IP address there, ""
    while it does not run. wants_ports: TCP port inside -> port of the engine's machine that it was made to have, 0
    where the engine chooses one; `Engine.ports` tells those that it has while it runs.
    """

    id: str
    name: str
    image: str
    state: str
    exit_code: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    networks: Mapping[str, str] = field(default_factory=dict)
    wants_ports: Mapping[int, int] = field(default_factory=dict)

    @property
    def is_up(self) -> bool:
        """Whether it was started and has not ended; it may be paused, or between an end and a restart by the engine."""
        return self.state in ("running", "paused", "restarting")


@dataclass(frozen=True)
class ContainerSpec:
    """A container to be made.

    labels: besides the one that marks what is ours. network, alias: the network that it is attached to, and its further
    name there. ports: TCP port inside -> port of 127.0.0.1 on the engine's machine. volumes: name of a volume -> path
    inside. memory_gib: the most that it may use.
    """

    name: str
    image: str
    labels: Mapping[str, str]
    network: str
    alias: str
    ports: Mapping[int, int]
    volumes: Mapping[str, str]
    memory_gib: int


@dataclass(frozen=True)
class EngineMachine:
    """The machine, or virtual machine, that the engine runs containers on.

    system: its name, "Debian GNU/Linux 12 (bookworm)". cgroups: version of control groups, 1 or 2.
    """

    system: str
    cores: int
    memory_gib: float
    rootless: bool
    cgroups: int


class Engine(Protocol):
    """A container engine: the user's, or a private one that we install and run."""

    # -- the engine itself -------------------------------------------------------------------------------

    @property
    def choice(self) -> str | Failed:
        """Which engine it is: "docker" (the user's) or "managed" (the private one); or why there is none."""

    @property
    def is_managed(self) -> bool:
        """Whether it is the private one. False where there is none."""

    def check(self) -> Verdict:
        """Whether it answers, with its version. Changes nothing, and raises nothing for an engine that is away."""

    def ensure(self, on_cause: Callable[[str], None]) -> None:
        """Make the engine answer: installs and starts the private one; the user's is only looked at.

        on_cause: hears what is being done. Raises PreconditionError (none can be had), CommandError (the private one
        does not start).
        """

    def revive(self, on_cause: Callable[[str], None]) -> bool:
        """For `down`: start a private engine that was used before, install nothing new.

        False if no engine can be asked: then nothing of ours is in one either.
        """

    def stop_if_idle(self) -> None:
        """End the private engine if no container runs in it. The user's is left alone."""

    def stop(self) -> None:
        """End the private engine and its containers. The user's is left alone."""

    def purge(self) -> None:
        """Remove the private engine with all it holds, if there is one. The user's is left alone."""

    def make_environ(self) -> dict[str, str]:
        """Variables for programs that talk to the engine themselves (kind); "" removes a name, as in `Shell.run`."""

    def read_machine(self) -> EngineMachine:
        """Where containers run, which need not be this machine."""

    # -- containers --------------------------------------------------------------------------------------

    def list_containers(self, *, label: str = "", name: str = "", running: bool = False) -> list[Container]:
        """Containers with `label` ("key" or "key=value") and exactly `name`; stopped ones too unless `running`.

        Without those of `count_unfinished_containers`.
        """

    def count_unfinished_containers(self, label: str) -> int:
        """How many containers with `label` the engine lists and is still making, also for a client that is gone."""

    def find_container(self, name: str) -> Container | None:
        """The container of that name, whoever made it; None if there is none."""

    def find_port(self, name: str, container_port: int) -> int | None:
        """The port of this machine that leads to TCP `container_port`; None if none does, or it does not run."""

    def list_ports(self, name: str) -> dict[int, int]:
        """Published TCP ports of a running container: port inside -> port of this machine."""

    def create_container(self, spec: ContainerSpec) -> None:
        """Make a container with our label; it does not run yet.

        It starts with the engine again unless it was stopped, has no capabilities, and cannot get new privileges.
        """

    def copy_into(self, container: str, folder: str, archive: bytes) -> None:
        """Unpack a tar archive below `folder`, which exists, of a container that runs or not. Owners are kept."""

    def start_containers(self, *containers: str, limit: float = 60) -> None:
        """Start containers. Nothing becomes of one that runs."""

    def restart_container(self, container: str, *, grace: int) -> None:
        """End the container if it runs, by force after `grace` seconds, and start it.

        Raises CommandError if it does not start: its port is taken, or its network is gone.
        """

    def exec(self, container: str, *command: str, limit: float = 60) -> str:
        """Run a command in a running container; what it printed on stdout, as it is.

        Raises CommandError if it cannot be run, or ends with another code than 0 (its code; evidence: its stderr).
        """

    def remove_container(self, name: str) -> None:
        """End and remove the container, with its anonymous volumes, if it is there and has our label."""

    def remove_nodes(self, names: Sequence[str]) -> None:
        """End and remove nodes of a cluster, with their anonymous volumes.

        Nodes have kind's labels and not ours, so the caller must know that they are ours.
        """

    # -- networks and volumes ----------------------------------------------------------------------------

    def create_network(self, name: str) -> None:
        """Make the bridge network `name` with our label; fine if it is there and ours.

        Raises PreconditionError for a network of that name that somebody else made.
        """

    def has_network(self, name: str) -> bool:
        """Whether there is a network of that name, whoever made it."""

    def connect_network(self, network: str, container: str, *, alias: str) -> None:
        """Attach a container to one more network, where it is known as `alias` as well."""

    def remove_network(self, name: str) -> None:
        """Remove the network if it is there and ours; what is still attached is detached, not removed."""

    def create_volume(self, name: str) -> None:
        """Make the volume `name` with our label; fine if it is there."""

    def remove_volume(self, name: str) -> None:
        """Remove the volume with its data if it is there and ours."""

    # -- images ------------------------------------------------------------------------------------------

    def has_image(self, reference: str) -> bool:
        """Whether the engine holds an image of that name."""

    def read_image_size(self, reference: str) -> int:
        """Bytes that an image takes in the engine, unpacked; 0 if it is not there."""

    def list_image_tags(self, repository: str) -> list[str]:
        """Tags of the images that the engine holds of a repository, that of the newest image first."""

    def build_image(
        self, folder: Path, name: str, *, arguments: Sequence[str] = (), on_progress: Callable[[str], None]
    ) -> None:
        """Build the image `name`, with our label, from a folder with a Dockerfile. Its steps use the host's network.

        arguments: "NAME=value" for the Dockerfile's ARG lines. on_progress: hears the step that begins ("step 3/9").
        Raises CommandError with the builder's last lines as evidence; TimedOut after half an hour.
        """

    def load_images(self, archive: Path | IO[bytes], *, limit: float = 900) -> None:
        """Take in the images of an archive as `save` writes it, or crane, by the names that stand in it."""

    def save_image(self, image: str, archive: Path, *, limit: float = 900) -> None:
        """Write an image to an archive: a tar file with a manifest.json; newer engines add an OCI layout."""

    def tag_image(self, image: str, name: str) -> None:
        """Give an image a further name; an image that had that name loses it."""

    def remove_images(self, *references: str) -> None:
        """Take these names away. An image that has no name left is deleted.

        Raises CommandError if one is not there, or a container is made from it; the others are gone all the same.
        """

    def remove_own_images(self) -> None:
        """Remove the images that carry our label, as far as no container is made from them."""
