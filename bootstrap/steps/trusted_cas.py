"""The authorities that the cluster is told of: the environment's own, and those of the settings."""

from __future__ import annotations

from bootstrap.settings.ca_file import read
from bootstrap.world import World


def authorities(world: World) -> str:
    """PEM, one after the other. Raises PreconditionError for a file of the settings that is none."""
    config = world.config
    files = {"ca_file": config.ca_file, "mirror.ca_file": config.mirror.ca_file if config.elsewhere else ""}
    own = world.identity.authority().certificate.decode()
    return "".join([own, *(read(key, file) for key, file in files.items() if file)])
