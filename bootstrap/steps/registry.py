"""The environment's registry: a container beside the nodes, with TLS, a password for pushing and one for pulling."""

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
from bootstrap.core.model import Failed, Pending, Ready, Secret, Verdict
from bootstrap.core.paths import PRODUCT
from bootstrap.settings import ca_file
from bootstrap.world import World
from bootstrap.world.engine.protocol import Container, ContainerSpec

PORT = 5000
PULL_USER = "nodes"
FILES = "/etc/registry"
"""Where the container has its certificate and what it knows logins by."""
HTPASSWD, PULL_HTPASSWD = "htpasswd", "htpasswd-pull"
PROOF = "bootstrap/pause:proof"


@dataclass(frozen=True)
class RegistryStep:
    """The registry's container and volume, its certificate and login, and the images that builds start from."""

    name: str = "registry"
    needs: tuple[str, ...] = ("engine", "images")
    limit: float = 60

    def check(self, world: World) -> Verdict:
        """Ready when the registry serves with our certificate and password, and holds what builds start from."""
        container = world.engine.find_container(constants.registry_container(world.config.name))
        if container is None:
            return Pending("the container is missing")
        if _is_foreign(container):
            hint = "invoke up --name another"
            return Failed(f"a container called {container.name} exists that we did not make", hint=hint)
        unfit = _find_misfit(world, container)
        if unfit:
            return Pending(unfit)
        if not container.is_up:
            return Pending("the container is stopped")
        refusal = _find_fault(world)
        if refusal:
            return Pending(refusal)
        registry = world.open_registry()
        wanted = _list_trusting_seeds(world)
        found = registry.read_digests([*world.images.list_seeds(), *wanted])
        missing = [seed for seed in (*world.images.list_seeds(), *wanted) if seed not in found]
        if missing:
            return Pending(f"{min(missing)} is missing")
        stale = [seed for marked, seed in wanted.items() if found[marked] != found[seed]]
        if stale:
            return Pending(f"{min(stale)} trusts other CAs than ca_file")
        return Ready(f"{constants.REGISTRY}, push and pull proved")

    def apply(self, world: World) -> None:
        """Create, configure or restart the container. The volume stays; so does the port, if it is still free."""
        name = constants.registry_container(world.config.name)
        container = world.engine.find_container(name)
        if container is not None and _is_foreign(container):
            return  # `check` says why
        if container is None or _find_misfit(world, container):
            world.engine.remove_container(name)
            self._create(world, name, _get_port(container) if container else 0)
            container = None
        if container is None or not container.is_up or self._find_refusal(world):
            self._configure(world, name)
            self._restart(world, name)
            self._wait(world)
        self._seed(world)

    def undo(self, world: World) -> None:
        """Remove the container and its volume."""
        container = constants.registry_container(world.config.name)
        world.engine.remove_container(container)
        world.engine.remove_volume(container)

    def _create(self, world: World, container: str, before: int) -> None:
        """Create the container. before: the port that it had, 0 for none."""
        port = world.config.registry.port or find_free_port(before)
        world.engine.create_volume(container)
        world.engine.create_container(
            ContainerSpec(
                name=container,
                image=world.images.read_lock().registry_image,
                labels={f"{PRODUCT}/environment": world.config.name},
                network=constants.network(world.config.name),
                alias=constants.REGISTRY_HOST,
                ports={PORT: port},
                volumes={container: "/var/lib/registry"},
                memory_gib=1,
            )
        )

    def _configure(self, world: World, container: str) -> None:
        """Copy the files in through the engine's API, so that a remote engine works as well."""
        parent, _, folder = FILES.rpartition("/")
        world.engine.copy_into(container, parent, make_tar(folder, make_files(world)))

    def _restart(self, world: World, container: str) -> None:
        try:
            world.engine.restart_container(container, grace=2)
        except CommandError:  # somebody took its port, or removed its network
            world.engine.remove_container(container)
            self._create(world, container, 0)
            self._configure(world, container)
            world.engine.start_containers(container)

    @staticmethod
    def _find_refusal(world: World) -> str:
        """Why the registry does not serve us as it should, "" if it does."""
        try:
            return _find_fault(world)
        except PreconditionError as error:
            return error.message

    def _wait(self, world: World) -> None:
        def probe() -> Verdict:
            refusal = self._find_refusal(world)
            return Pending(refusal) if refusal else Ready()

        wait.until(probe, clock=world.clock, limit=self.limit, what="the registry", every=0.2)

    def _seed(self, world: World) -> None:
        """Push what builds start from; then push a small image and pull it, which proves that both work."""
        registry = world.open_registry()
        for repository, layout in {**world.images.list_seeds(), PROOF: world.images.list_layouts()["pause"]}.items():
            pushed = registry.push(layout, repository)
            if registry.read_digest(repository) != pushed:
                raise StepError(f"the registry answers another digest for {repository} than was pushed")
        with tempfile.TemporaryDirectory() as folder:
            registry.pull(PROOF, Path(folder) / "pulled")
            layer = Path(folder) / "layer.tar"
            for marked, seed in _list_trusting_seeds(world).items():
                layer.write_bytes(
                    make_tar("etc/ssl/certs", {"ca-certificates.crt": _make_ca_bundle(world)}, mode=0o644)
                )
                registry.append(seed, layer, marked)
                registry.append(seed, layer, seed)


def make_files(world: World) -> dict[str, bytes]:
    """The files of the container below FILES, name -> contents."""
    settings = world.config.registry
    pair = _read_certificate(world)
    password = world.identity.ensure_password("registry", settings.password)
    return {
        HTPASSWD: world.identity.ensure_htpasswd(settings.username, password),
        PULL_HTPASSWD: _make_pull_htpasswd(world),
        "tls.crt": pair.certificate,
        "tls.key": pair.key,
    }


def ensure_pull_password(world: World) -> Secret:
    """The password of PULL_USER, which the nodes log in with; it is always a random one."""
    return world.identity.ensure_password("registry-pull", Secret(""))


def _make_pull_htpasswd(world: World) -> bytes:
    return world.identity.ensure_htpasswd(PULL_USER, ensure_pull_password(world), PULL_HTPASSWD)


def _find_fault(world: World) -> str:
    """Why the running container does not serve us or the nodes as it should, "" if it does.

    The server for the nodes is not published on this machine. That it runs is certain: without it the container ends.
    """
    fault = world.open_registry().find_fault(_encode_certificate(world))
    if fault:
        return fault
    name = constants.registry_container(world.config.name)
    try:
        known = world.engine.exec(name, "cat", f"{FILES}/{PULL_HTPASSWD}")
    except CommandError:  # there is no such file
        known = ""
    wanted = _make_pull_htpasswd(world).decode()
    return "" if known.strip() == wanted.strip() else "it does not know the nodes' password"


def _make_ca_bundle(world: World) -> bytes:
    """The certificates that builds trust: those of this machine, as in the base image, and those of `ca_file`."""
    company = ca_file.read("ca_file", world.config.ca_file)
    own = ca_file.read_machine_bundle({})
    return (own if company in own else own + company).encode()


def _list_trusting_seeds(world: World) -> dict[str, str]:
    """The seeds that get a layer with the certificates of `ca_file`, by a second tag that names them; {} without it."""
    if not world.config.ca_file:
        return {}
    mark = hashlib.sha256(_make_ca_bundle(world)).hexdigest()[:12]
    return {f"{seed}-trusts-{mark}": seed for seed in world.images.list_seeds()}


def _is_foreign(container: Container) -> bool:
    return container.labels.get(constants.MANAGED_BY) != PRODUCT


def _find_misfit(world: World, container: Container) -> str:
    """Why the container has to be made anew, "" if it is as wanted."""
    if container.image != world.images.read_lock().registry_image:
        return "another version runs"
    wanted = world.config.registry.port
    return "its port has changed" if wanted and wanted != _get_port(container) else ""


def _get_port(container: Container) -> int:
    """The port of this machine that the container was made with, 0 if there is none."""
    return container.wants_ports.get(PORT, 0)


def _read_certificate(world: World) -> pki.KeyPair:
    return world.identity.ensure_certificate("registry", (constants.REGISTRY_HOST, "localhost", "127.0.0.1"))


def _encode_certificate(world: World) -> bytes:
    """The certificate that the registry has to present, in DER."""
    return pki.to_der(_read_certificate(world).certificate)


def find_free_port(wanted: int = 0) -> int:
    """A port of 127.0.0.1 that nothing listens on now; `wanted` if that is one. Raises OSError if there is none."""
    try:
        with socket.create_server(("127.0.0.1", wanted)) as server:
            return int(server.getsockname()[1])
    except OSError:
        if not wanted:
            raise
        return find_free_port()


def make_tar(folder: str, files: Mapping[str, bytes], mode: int = 0o600) -> bytes:
    """A tar archive of root's files below `folder`, for `Engine.copy_into`. files: path below it -> content."""
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
