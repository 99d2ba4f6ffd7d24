"""The certificates that pods of the cluster trust: the environment's own CA, and those of the settings."""

from __future__ import annotations

from bootstrap.settings.ca_file import read
from bootstrap.world import World


def read_trusted_cas(world: World) -> str:
    """The certificates in PEM, one after the other.

    Raises PreconditionError for a file of the settings that holds none.
    """
    config = world.config
    files = {"ca_file": config.ca_file, "mirror.ca_file": config.mirror.ca_file if config.elsewhere else ""}
    own = world.identity.ensure_ca().certificate.decode()
    return "".join([own, *(read(key, file) for key, file in files.items() if file)])
