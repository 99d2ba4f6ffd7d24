"""Changes to parsed objects, said as data. A patch that matches nothing raises: silence would be a lost setting."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bootstrap.core.errors import BootstrapError
from bootstrap.core.model import Object

Path = tuple[str | int, ...]
"""Keys from the object down; in a list the `name` of an entry, or its index: ("spec", "containers", "app", "image")."""


@dataclass(frozen=True)
class Select:
    """Which objects. An empty field matches all."""

    kind: str = ""
    name: str = ""
    namespace: str = ""

    def matches(self, obj: Object) -> bool:
        """Whether the object has the kind, name and namespace that are given."""
        metadata = obj.get("metadata") or {}
        pairs = (
            (self.kind, obj.get("kind")),
            (self.name, metadata.get("name")),
            (self.namespace, metadata.get("namespace")),
        )
        return all(not wanted or wanted == found for wanted, found in pairs)

    def __str__(self) -> str:
        name = "/".join(part for part in (self.namespace, self.name) if part)
        return " ".join(part for part in (self.kind, name) if part) or "any object"


@dataclass(frozen=True)
class Patch:
    """edit changes the object it is given, a copy. It raises LookupError or TypeError where that is not as expected."""

    select: Select
    edit: Callable[[Object], None]


def apply_patches(objects: Iterable[Object], patches: Sequence[Patch]) -> list[Object]:
    """Copies of all objects, patched in order.

    Raises BootstrapError for a patch that no object matches (with the candidates) or that does not fit.
    """
    patched = [copy.deepcopy(each) for each in objects]
    for patch in patches:
        chosen = [each for each in patched if patch.select.matches(each)]
        if not chosen:
            raise BootstrapError(
                f"a patch matches nothing: {patch.select}", evidence=_list_candidates(patched, patch.select)
            )
        for each in chosen:
            try:
                patch.edit(each)
            except (LookupError, TypeError) as error:
                raise BootstrapError(f"a patch does not fit {_describe(each)}: {error}") from None
    return patched


def put(*path: str | int, value: Any) -> Callable[[Object], None]:
    """An edit that sets the field at `path`; mappings on the way are made, list entries must be there."""

    def edit(obj: Object) -> None:
        set_at(obj, path, value)

    return edit


def get_at(obj: Any, path: Path) -> Any:
    """The value at `path`. Raises LookupError or TypeError when it is not there."""
    for step in path:
        obj = obj[_resolve_step(obj, step)]
    return obj


def set_at(obj: Object, path: Path, value: Any) -> None:
    """Set the value at `path`; mappings on the way are created.

    Raises LookupError or TypeError when the path leads through a list without such an entry, or through a plain value.
    """
    here: Any = obj
    for step in path[:-1]:
        if isinstance(here, dict) and here.get(str(step)) is None:
            here[str(step)] = {}
        here = here[_resolve_step(here, step)]
    here[_resolve_step(here, path[-1], new=True)] = value


def _resolve_step(here: Any, step: str | int, *, new: bool = False) -> str | int:
    """The key or index that `step` means in `here`. new: a key may be missing. Raises LookupError or TypeError."""
    if isinstance(here, dict):
        if step not in here and not new:
            raise LookupError(f"it has no {step}; it has {', '.join(map(str, here)) or 'nothing'}")
        return step
    if not isinstance(here, list):
        raise TypeError(f"{step}: there is a value, and nothing below it")
    names = [each.get("name") if isinstance(each, dict) else None for each in here]
    index = names.index(step) if isinstance(step, str) and step in names else step
    if not isinstance(index, int) or not 0 <= index < len(here):
        raise LookupError(f"the list has no entry {step}; it has {', '.join(map(str, names)) or 'none'}")
    return index


def _list_candidates(objects: Sequence[Object], select: Select) -> str:
    """Those of the same kind if there are any, else all."""
    alike = [each for each in objects if each.get("kind") == select.kind] or objects
    return "there are: " + ", ".join(sorted(map(_describe, alike))[:20]) if alike else "there are no objects"


def _describe(obj: Object) -> str:
    metadata = obj.get("metadata") or {}
    return str(Select(str(obj.get("kind", "")), str(metadata.get("name", "")), str(metadata.get("namespace") or "")))
