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
    """gone: stored versions that the wanted definition no longer serves. lost: those of them that it no longer knows.

    through: the version in which every object is written back, "" if the two definitions share none.
    served: one in which the live definition can be asked. flip: whether it has to store `through` first.
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
        return f"{self.group}/{self.through or self.served}"


def migration(live: Object, wanted: Object) -> Migration | None:
    """None when every stored version stays served."""
    stored = at(live, "status", "storedVersions") or []
    kept = _served(wanted)
    gone = tuple(each for each in stored if each not in kept)
    if not gone:
        return None
    now, then = _stored(live), _stored(wanted)
    served = _served(live)
    common = [each for each in (now, then, *served) if each in served and each in kept]
    through = common[0] if common else ""
    known = {each["name"] for each in _versions(wanted)}
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


def storing(live: Object, version: str) -> list[Object]:
    """`spec.versions` of the definition, with `version` as the one that is stored."""
    return [{**each, "storage": each["name"] == version} for each in copy.deepcopy(_versions(live))]


def bridged(live: Object, wanted: Object) -> list[Object]:
    """`spec.versions` that hold those of both, and store as the wanted one: the way for a kind without any object."""
    known = {each["name"] for each in _versions(wanted)}
    old = [{**each, "storage": False} for each in copy.deepcopy(_versions(live)) if each["name"] not in known]
    return [*old, *copy.deepcopy(_versions(wanted))]


def stored_by(definition: Object) -> str:
    return _stored(definition)


def converts(definition: Object) -> bool:
    """Whether a webhook turns one version into another; without one only `apiVersion` changes."""
    return bool(at(definition, "spec", "conversion", "strategy") == "Webhook")


def content(obj: Object) -> Any:
    """What an object says apart from its version and its bookkeeping, to see whether a version loses any of it."""
    return {key: value for key, value in obj.items() if key not in ("apiVersion", "metadata")}


def _versions(definition: Object) -> Sequence[Object]:
    return at(definition, "spec", "versions") or []


def _served(definition: Object) -> list[str]:
    return [each["name"] for each in _versions(definition) if each.get("served")]


def _stored(definition: Object) -> str:
    return next((each["name"] for each in _versions(definition) if each.get("storage")), "")
