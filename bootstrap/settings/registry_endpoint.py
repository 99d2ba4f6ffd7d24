"""Where pods pull from, and where the pipeline pushes to: the environment's own registry, or one of the user's. Pure.

A cluster elsewhere cannot reach the environment's own registry; the mirror, which holds every image by digest, takes
its place. Whatever has to name a registry asks here.
"""

from __future__ import annotations

from dataclasses import dataclass

from bootstrap.core import constants
from bootstrap.core.model import Secret
from bootstrap.settings.config import Config


@dataclass(frozen=True)
class RegistryEndpoint:
    """The registry that pods pull from and pipelines push to.

    host: HOST[:PORT]. folder: the path below which everything is, "" for the top. plain: it is without TLS.
    username: who pulls and pushes there; "" for a registry without a login. password: None for the random one of the
    environment's own registry.
    """

    host: str
    folder: str = ""
    plain: bool = False
    username: str = ""
    password: Secret | None = None

    @property
    def root(self) -> str:
        """HOST[:PORT][/FOLDER], the beginning of all references."""
        return f"{self.host}/{self.folder}".rstrip("/")


def choose_endpoint(config: Config) -> RegistryEndpoint:
    """The environment's own registry, or the user's mirror where the cluster cannot reach that."""
    if not config.elsewhere:
        return RegistryEndpoint(
            constants.REGISTRY, username=config.registry.username, password=config.registry.password or None
        )
    mirror = config.mirror
    plain = mirror.plain_http == "on"
    return RegistryEndpoint(mirror.registry, mirror.folder, plain, username=mirror.username, password=mirror.password)


def render_buildkit_config(where: RegistryEndpoint, authorities: str, parallelism: int) -> str:
    """BuildKit's own configuration.

    authorities: the file, in its pod, of those that vouch for the registry. parallelism: steps that run at one time.
    Format: BuildKit docs/buildkitd.toml.md. A mirror with a path is asked for HOST/PATH/library/golang.
    """
    vouched = "  http = true" if where.plain else f'  ca = ["{authorities}"]'
    lines = [
        "# Names without a host are looked for there first: it holds the base images.",
        '[registry."docker.io"]',
        f'  mirrors = ["{where.root}"]',
        f'[registry."{where.host}"]',
        vouched,
        "[worker.oci]",
        f"  max-parallelism = {parallelism}",
    ]
    return "\n".join(lines) + "\n"
