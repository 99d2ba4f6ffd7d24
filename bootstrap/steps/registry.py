"""The environment's registry: a container beside the nodes, with TLS and passwords."""

from __future__ import annotations

import io
import socket
import ssl
import tarfile
import tempfile
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bootstrap import names
from bootstrap.errors import StepError
from bootstrap.model import Pending, Ready, Verdict
from bootstrap.paths import PRODUCT
from bootstrap.world import World

PORT = 5000


@dataclass(frozen=True)
class RegistryStep:
    name: str = "registry"
    needs: tuple[str, ...] = ("engine", "images")
    limit: float = 60

    def check(self, world: World) -> Verdict:
        container = names.registry_container(world.config.name)
        document = world.engine.inspect("container", container)
        if document is None:
            return Pending("the container is missing")
        if not document["State"]["Running"]:
            return Pending("the container is stopped")
        if document["Config"]["Image"] != world.images.lock().registry_image:
            return Pending("another version runs")
        refused = self._ask(world)
        if refused:
            return Pending(refused)
        missing = [name for name in world.images.seeds() if not world.registry().digest(name)]
        if missing:
            return Pending(f"{missing[0]} is missing")
        return Ready(f"{names.REGISTRY}, push and pull proved")

    def apply(self, world: World) -> None:
        container = names.registry_container(world.config.name)
        document = world.engine.inspect("container", container)
        fits = document is not None and document["Config"]["Image"] == world.images.lock().registry_image
        if not fits:
            world.engine.container_remove(container)
            self._create(world, container)
        self._configure(world, container)
        world.engine.docker("restart", "--time=2", container)
        self._wait(world)
        self._seed(world)

    def undo(self, world: World) -> None:
        container = names.registry_container(world.config.name)
        world.engine.container_remove(container)
        world.engine.volume_remove(container)

    def _create(self, world: World, container: str) -> None:
        port = world.config.registry.port or free_port()
        label = f"--label={names.SELECTOR}"
        if world.engine.inspect("volume", container) is None:
            world.engine.docker("volume", "create", label, container)
        world.engine.docker(
            "create",
            f"--name={container}",
            label,
            f"--label={PRODUCT}/environment={world.config.name}",
            f"--network={names.network(world.config.name)}",
            f"--network-alias={names.REGISTRY_HOST}",
            "--restart=unless-stopped",
            f"--publish=127.0.0.1:{port}:{PORT}",
            f"--volume={container}:/var/lib/registry",
            "--cap-drop=ALL",
            "--security-opt=no-new-privileges",
            "--memory=1g",
            world.images.lock().registry_image,
        )

    def _configure(self, world: World, container: str) -> None:
        """Hand the files in through the engine's API, so that a remote engine works as well."""
        identity, settings = world.identity, world.config.registry
        pair = identity.certificate("registry", (names.REGISTRY_HOST, "localhost", "127.0.0.1"))
        password = identity.password("registry", settings.password)
        files = {
            "htpasswd": identity.htpasswd(settings.username, password),
            "tls.crt": pair.certificate,
            "tls.key": pair.key,
        }
        world.engine.docker("cp", "-", f"{container}:/etc", stdin=tar_of("registry", files))

    def _ask(self, world: World) -> str:
        """Why the registry does not answer to our password, or ""."""
        port = world.engine.port(names.registry_container(world.config.name), PORT)
        password = world.identity.password("registry", world.config.registry.password)
        login = b64encode(f"{world.config.registry.username}:{password.reveal()}".encode()).decode()
        request = urllib.request.Request(f"https://127.0.0.1:{port}/v2/", headers={"Authorization": f"Basic {login}"})  # noqa: S310
        context = ssl.create_default_context(cafile=str(world.identity.ca_file))
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
        try:
            opener.open(request, timeout=3).close()
        except urllib.error.HTTPError as error:
            return f"it answers {error.code} to our password" if error.code == 401 else f"it answers {error.code}"
        except OSError as error:
            return f"it does not answer ({getattr(error, 'reason', error)})"
        return ""

    def _wait(self, world: World) -> None:
        from bootstrap import wait

        def probe() -> Verdict:
            refused = self._ask(world)
            return Pending(refused) if refused else Ready()

        wait.until(probe, clock=world.clock, limit=self.limit, what="the registry", every=0.2)

    def _seed(self, world: World) -> None:
        """Push what builds start from, and pull one image back: the proof that it works."""
        registry = world.registry()
        for repository, layout in world.images.seeds().items():
            pushed = registry.push(layout, repository)
            if registry.digest(repository) != pushed:
                raise StepError(f"the registry answers another digest for {repository} than was pushed")
        with tempfile.TemporaryDirectory() as folder:
            registry.pull(next(iter(world.images.seeds())), Path(folder) / "pulled")


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def tar_of(folder: str, files: Mapping[str, bytes], mode: int = 0o600) -> bytes:
    """A tar archive of root's files below `folder`, for `docker cp -`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        top = tarfile.TarInfo(folder)
        top.type, top.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(top)
        for name, data in files.items():
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size, info.mode = len(data), mode
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()
