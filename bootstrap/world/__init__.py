"""World: an adapter to each outside system, handed down explicitly. There is no global state."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap.core import constants
from bootstrap.core.cancel import Cancel
from bootstrap.core.errors import PreconditionError

if TYPE_CHECKING:
    from bootstrap.core.clock import Clock
    from bootstrap.core.paths import Paths
    from bootstrap.settings.config import Config
    from bootstrap.world.engine.protocol import Engine
    from bootstrap.world.environment_store import Identity
    from bootstrap.world.image_supply import Images
    from bootstrap.world.kind import Kind
    from bootstrap.world.kube.client import Kube
    from bootstrap.world.registry.environment import Registry
    from bootstrap.world.registry.user import MirrorRegistry
    from bootstrap.world.shell import Shell
    from bootstrap.world.terminal import Report


@dataclass
class World:
    """What a command may use of the outside: its settings, folders and adapters.

    config: settings. paths: folders. project: the checkout. shell, clock, report, identity: adapters; the others are
    made when they are first used, for much has to be loaded for them. make_engine, make_images: make `engine` and
    `images`. cancel: flipped when the command is to stop; shell and clock are made with the same one. supply_why: why
    `config.supply` is what it is, which never is auto here.
    """

    config: Config
    paths: Paths
    project: Path
    shell: Shell
    clock: Clock
    report: Report
    make_engine: Callable[[], Engine]
    identity: Identity
    make_images: Callable[[Engine], Images]
    cancel: Cancel = field(default_factory=Cancel)
    supply_why: str = ""

    @cached_property
    def engine(self) -> Engine:
        """The container engine."""
        return self.make_engine()

    @cached_property
    def images(self) -> Images:
        """The supply of images that the settings name."""
        return self.make_images(self.engine)

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig that every call of ours names: our own copy, or the user's for a cluster of theirs."""
        from bootstrap.objects.kubeconfig_files import locate

        return locate(self.config.context) if self.config.context else self.paths.env / "kubeconfig"

    @property
    def context(self) -> str:
        """The kubeconfig's context of the environment: the given one, or kind's for our own cluster."""
        return self.config.context or constants.context(self.config.name)

    @property
    def cluster(self) -> str:
        """The cluster as kind calls it: the environment's name, or that of the given context."""
        return self.config.context.removeprefix("kind-") or self.config.name

    @cached_property
    def kube(self) -> Kube:
        """The Kubernetes API of the environment's cluster."""
        from bootstrap.objects.kubeconfig_files import list_files
        from bootstrap.world.kube.client import Kube

        files = list_files() if self.config.context else ()
        return Kube(self.kubeconfig, self.context, files)

    @cached_property
    def target(self) -> Kube:
        """The Kubernetes API of the cluster that the pipeline deploys to: this one, unless the settings name another.

        Raises PreconditionError if the kubeconfig of the settings cannot be read.
        """
        from bootstrap.objects.kubeconfig import read_current_context
        from bootstrap.objects.kubeconfig_files import read_files
        from bootstrap.world.kube.client import Kube

        settings = self.config.target
        if not settings.kubeconfig:
            return self.kube
        path = self.project / Path(settings.kubeconfig).expanduser()
        if not path.exists():
            raise PreconditionError(f"target.kubeconfig: there is no file {path}")
        return Kube(path, settings.context or read_current_context(read_files([path]), source=str(path)))

    @cached_property
    def kind(self) -> Kind:
        """kind's program, for the environment's engine and network."""
        from bootstrap.objects import proxy_env
        from bootstrap.world.kind import Kind

        proxy = proxy_env.make_node_variables(self.config.proxy)
        return Kind(self.shell, self.engine, self.images.find_tool("kind"), constants.network(self.config.name), proxy)

    def with_kube(self, kube: Kube) -> World:
        """A copy of this world with another cluster as its `kube`; all other adapters are the same ones."""
        other = copy.copy(self)
        other.kube = kube
        return other

    def for_looking(self, *, renews: bool = False) -> World:
        """This world for a command that only looks: whatever it reads of the environment's folder, it writes nothing.

        renews: see `Identity.for_looking`.
        """
        other = copy.copy(self)
        other.identity = self.identity.for_looking(renews=renews)
        return other

    def open_mirror(self) -> MirrorRegistry:
        """The user's registry of the settings. Nothing is sent yet."""
        from bootstrap.world.registry.user import MirrorRegistry

        return MirrorRegistry(self.shell, self.clock, self.images.find_tool("crane"), self.config.mirror)

    def open_registry(self) -> Registry:
        """The environment's registry, as this machine reaches it. Raises PreconditionError if it does not run."""
        from bootstrap.world.registry.environment import Registry

        port = self.engine.find_port(constants.registry_container(self.config.name), 5000)
        if port is None:
            raise PreconditionError("the registry does not run", hint="invoke up")
        address = f"127.0.0.1:{port}"
        settings = self.config.registry
        password = self.identity.ensure_password("registry", settings.password)
        login = self.identity.write_docker_config(settings.username, password, (address, constants.REGISTRY))
        return Registry(self.shell, self.images.find_tool("crane"), address, login, self.identity.ca_file)
