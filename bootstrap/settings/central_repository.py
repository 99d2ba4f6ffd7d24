"""The repository that declares Applications, by the settings `apps.*`."""

from __future__ import annotations

from bootstrap.incluster.application_source import Source
from bootstrap.settings.config import Config


def find_source(config: Config) -> Source | None:
    """Where it is, None if the settings name none."""
    apps = config.apps
    return Source.make(apps.repository, apps.branch, apps.path, apps.interval)
