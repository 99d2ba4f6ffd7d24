"""The environment's registry: a container beside the nodes, with TLS and passwords."""

from __future__ import annotations

import hashlib
import io
import socket
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bootstrap.core import constants, pki, wait
from bootstrap.core.errors import CommandError, PreconditionError, StepError
from bootstrap.core.model import Failed, Pending, Ready, Verdict
from bootstrap.core.paths import PRODUCT
from bootstrap.settings import ca_file
from bootstrap.world import World
from bootstrap.world.engine.protocol import Container, ContainerSpec

PORT = 5000
PROOF = "bootstrap/pause:proof"


@dataclass(frozen=True)
class RegistryStep:
    name: str = "registry"
    needs: tuple[str, ...] = ("engine", "images")
    limit: float = 60

    def check(self, world: World) -> Verdict:
        container = world.engine.find_container(constants.registry_container(world.config.name))
        if container is None:
            return Pending("the container is missing")
        if _is_foreign(container):
            hint = "invoke up --name another"
            return Failed(f"a container called {container.name} exists that we did not make", hint=hint)
        unfit = _unfit(world, container)
        if unfit:
            return Pending(unfit)
        if not container.is_up:
            return Pending("the container is stopped")
        registry = world.registry()
        refusal = registry.refusal(_shown(world))
        if refusal:
            return Pending(refusal)
        wanted = _trusting(world)
        found = registry.digests([*world.images.seeds(), *wanted])
        missing = [seed for seed in (*world.images.seeds(), *wanted) if seed not in found]
        if missing:
            return Pending(f"{min(missing)} is missing")
        stale = [seed for marked, seed in wanted.items() if found[marked] != found[seed]]
        if stale:
            return Pending(f"{min(stale)} trusts other CAs than ca_file")
        return Ready(f"{constants.REGISTRY}, push and pull proved")

    def apply(self, world: World) -> None:
        """What its volume holds survives every change; the port does when it is still free."""
        name = constants.registry_container(world.config.name)
        container = world.engine.find_container(name)
        if container is not None and _is_foreign(container):
            return  # `check` says why
        if container is None or _unfit(world, container):
            world.engine.remove_container(name)
            self._create(world, name, _published(container) if container else 0)
            container = None
        if container is None or not container.is_up or self._refusal(world):
            self._configure(world, name)
            self._restart(world, name)
            self._wait(world)
        self._seed(world)

    def undo(self, world: World) -> None:
        container = constants.registry_container(world.config.name)
        world.engine.remove_container(container)
        world.engine.remove_volume(container)

    def _create(self, world: World, container: str, before: int) -> None:
        """before: the port that it had, 0 for none."""
        port = world.config.registry.port or free_port(before)
        world.engine.create_volume(container)
        world.engine.create_container(
            ContainerSpec(
                name=container,
                image=world.images.lock().registry_image,
                labels={f"{PRODUCT}/environment": world.config.name},
                network=constants.network(world.config.name),
                alias=constants.REGISTRY_HOST,
                ports={PORT: port},
                volumes={container: "/var/lib/registry"},
                memory_gib=1,
            )
        )

    def _configure(self, world: World, container: str) -> None:
        """Hand the files in through the engine's API, so that a remote engine works as well."""
        settings = world.config.registry
        pair = _certificate(world)
        password = world.identity.password("registry", settings.password)
        files = {
            "htpasswd": world.identity.htpasswd(settings.username, password),
            "tls.crt": pair.certificate,
            "tls.key": pair.key,
        }
        world.engine.copy_into(container, "/etc", tar_of("registry", files))

    def _restart(self, world: World, container: str) -> None:
        try:
            world.engine.restart_container(container, grace=2)
        except CommandError:  # somebody took its port, or removed its network
            world.engine.remove_container(container)
            self._create(world, container, 0)
            self._configure(world, container)
            world.engine.start_containers(container)

    @staticmethod
    def _refusal(world: World) -> str:
        """Why the registry does not serve us as it should, or ""."""
        try:
            return world.registry().refusal(_shown(world))
        except PreconditionError as error:
            return error.message

    def _wait(self, world: World) -> None:
        def probe() -> Verdict:
            refusal = self._refusal(world)
            return Pending(refusal) if refusal else Ready()

        wait.until(probe, clock=world.clock, limit=self.limit, what="the registry", every=0.2)

    def _seed(self, world: World) -> None:
        """Push what builds start from; and push a small image and pull it back: the proof that it works."""
        registry = world.registry()
        for repository, layout in {**world.images.seeds(), PROOF: world.images.layouts()["pause"]}.items():
            pushed = registry.push(layout, repository)
            if registry.digest(repository) != pushed:
                raise StepError(f"the registry answers another digest for {repository} than was pushed")
        with tempfile.TemporaryDirectory() as folder:
            registry.pull(PROOF, Path(folder) / "pulled")
            layer = Path(folder) / "layer.tar"
            for marked, seed in _trusting(world).items():
                layer.write_bytes(tar_of("etc/ssl/certs", {"ca-certificates.crt": _bundle(world)}, mode=0o644))
                registry.append(seed, layer, marked)
                registry.append(seed, layer, seed)


def _bundle(world: World) -> bytes:
    """What builds are to trust: as the base of the images, what this machine does; and `ca_file`."""
    company = ca_file.read("ca_file", world.config.ca_file)
    own = ca_file.read_machine_bundle({})
    return (own if company in own else own + company).encode()


def _trusting(world: World) -> dict[str, str]:
    """Seeds that get a layer with the authorities of `ca_file` -> by a second tag that says which. {} without."""
    if not world.config.ca_file:
        return {}
    mark = hashlib.sha256(_bundle(world)).hexdigest()[:12]
    return {f"{seed}-trusts-{mark}": seed for seed in world.images.seeds()}


def _is_foreign(container: Container) -> bool:
    return container.labels.get(constants.MANAGED_BY) != PRODUCT


def _unfit(world: World, container: Container) -> str:
    """Why the container has to be made anew, or ""."""
    if container.image != world.images.lock().registry_image:
        return "another version runs"
    wanted = world.config.registry.port
    return "its port has changed" if wanted and wanted != _published(container) else ""


def _published(container: Container) -> int:
    """The port of this machine that it was made with, 0 if there is none."""
    return container.wants_ports.get(PORT, 0)


def _certificate(world: World) -> pki.KeyPair:
    return world.identity.certificate("registry", (constants.REGISTRY_HOST, "localhost", "127.0.0.1"))


def _shown(world: World) -> bytes:
    """The certificate that it is to show, in DER."""
    return pki.to_der(_certificate(world).certificate)


def free_port(wanted: int = 0) -> int:
    """A port of 127.0.0.1 that nothing listens on now: the wanted one if it is."""
    try:
        with socket.create_server(("127.0.0.1", wanted)) as server:
            return int(server.getsockname()[1])
    except OSError:
        if not wanted:
            raise
        return free_port()


def tar_of(folder: str, files: Mapping[str, bytes], mode: int = 0o600) -> bytes:
    """A tar archive of root's files below `folder`, for `Engine.copy_into`. Names may lead through further folders."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path in dict.fromkeys([folder, *(f"{folder}/{name}".rpartition("/")[0] for name in files)]):
            top = tarfile.TarInfo(path)
            top.type, top.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(top)
        for name, data in files.items():
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size, info.mode = len(data), mode
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()
