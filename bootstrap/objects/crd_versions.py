"""The stored versions of a kind across an upgrade: judgements on two CustomResourceDefinitions, no I/O.

`status.storedVersions` lists every version in which objects may lie in etcd. An API server refuses a definition
that lacks one of them, and what lies there in such a version could never be read again. So objects are
written back in a version that both definitions serve, before the new one is applied.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bootstrap.core.model import Object
from bootstrap.objects.readiness import at


@dataclass(frozen=True)
class Migration:
    """How the objects of a kind are moved to versions that a new definition still serves.

    gone: stored versions that the wanted definition no longer serves. lost: those of them that it no longer contains.
    through: the version in which every object is written back, "" if the two definitions share none. served: a version
    of the live definition to read objects in. flip: whether the live definition has to store `through` first.
    """

    group: str
    kind: str
    name: str
    gone: tuple[str, ...]
    lost: tuple[str, ...]
    through: str
    served: str
    flip: bool

    @property
    def api_version(self) -> str:
        """The version to read and write objects in: GROUP/VERSION."""
        return f"{self.group}/{self.through or self.served}"


def plan_migration(live: Object, wanted: Object) -> Migration | None:
    """What has to be migrated before `wanted` can replace `live`; None if every stored version stays served."""
    stored = at(live, "status", "storedVersions") or []
    kept = _list_served(wanted)
    gone = tuple(each for each in stored if each not in kept)
    if not gone:
        return None
    now, then = _find_stored(live), _find_stored(wanted)
    served = _list_served(live)
    common = [each for each in (now, then, *served) if each in served and each in kept]
    through = common[0] if common else ""
    known = {each["name"] for each in _get_versions(wanted)}
    return Migration(
        group=live["spec"]["group"],
        kind=live["spec"]["names"]["kind"],
        name=live["metadata"]["name"],
        gone=gone,
        lost=tuple(each for each in gone if each not in known),
        through=through,
        served=next(iter(served), ""),
        flip=through != now,
    )


def with_stored_version(live: Object, version: str) -> list[Object]:
    """`spec.versions` of the live definition, with `version` as the stored one."""
    return [{**each, "storage": each["name"] == version} for each in copy.deepcopy(_get_versions(live))]


def merge_versions(live: Object, wanted: Object) -> list[Object]:
    """`spec.versions` with the versions of both definitions, stored as in the wanted one: for kinds without objects."""
    known = {each["name"] for each in _get_versions(wanted)}
    old = [{**each, "storage": False} for each in copy.deepcopy(_get_versions(live)) if each["name"] not in known]
    return [*old, *copy.deepcopy(_get_versions(wanted))]


def get_stored_version(definition: Object) -> str:
    """The version in which the definition stores objects, "" if it names none."""
    return _find_stored(definition)


def has_conversion_webhook(definition: Object) -> bool:
    """Whether a webhook converts between versions; without one, a conversion changes `apiVersion` only."""
    return bool(at(definition, "spec", "conversion", "strategy") == "Webhook")


def get_content(obj: Object) -> Any:
    """An object without its version and metadata: equal before and after a conversion that loses nothing."""
    return {key: value for key, value in obj.items() if key not in ("apiVersion", "metadata")}


def _get_versions(definition: Object) -> Sequence[Object]:
    return at(definition, "spec", "versions") or []


def _list_served(definition: Object) -> list[str]:
    return [each["name"] for each in _get_versions(definition) if each.get("served")]


def _find_stored(definition: Object) -> str:
    return next((each["name"] for each in _get_versions(definition) if each.get("storage")), "")
