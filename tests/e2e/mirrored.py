"""A mirror of the user's: a registry with TLS and a password, and what `invoke mirror` made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.integration import registries
from tests.integration.registries import Secured

FOLDER = "team/mirror"
"""The same in each session. Addresses come again with another build, which `up` has to notice."""


@dataclass(frozen=True)
class Kept:
    """given: variables of the registry as it runs here. data: what it keeps, for another one."""

    given: dict[str, str]
    data: Path


@dataclass(frozen=True)
class Filled(Kept):
    """plan: what `mirror --plan` told before. said: by the command that filled it."""

    plan: str
    said: Mapping[str, Any]


def variables(server: Secured) -> dict[str, str]:
    return {
        "INVOKE_MIRROR_REGISTRY": server.address,
        "INVOKE_MIRROR_FOLDER": FOLDER,
        "INVOKE_MIRROR_USERNAME": registries.USER,
        "INVOKE_MIRROR_PASSWORD": registries.PASSWORD,
        "INVOKE_MIRROR_CA_FILE": str(server.ca),
    }
