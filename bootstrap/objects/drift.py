"""Is the live object still as wanted? Pure: two objects in, the first difference out.

Wanted must be a *subset* of live: what the API server defaults and what controllers fill in (clusterIP,
caBundle, status) is theirs. Two spellings of one value are no difference: quantities, ports, durations,
an empty field and none. Lists follow the API's own rule: those that it merges by a key may hold more
(another manager's), all others must be the same from end to end.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from bootstrap.core.model import Object
from bootstrap.objects.manifests import DIGEST

Path = tuple[str, ...]

MERGED_BY: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "containers": (("name",),),
    "initContainers": (("name",),),
    "ephemeralContainers": (("name",),),
    "volumes": (("name",),),
    "env": (("name",),),
    "secrets": (("name",),),
    "imagePullSecrets": (("name",),),
    "volumeMounts": (("mountPath",),),
    "volumeDevices": (("devicePath",),),
    "ports": (("containerPort", "protocol"), ("port", "protocol")),
    "hostAliases": (("ip",),),
    "topologySpreadConstraints": (("topologyKey", "whenUnsatisfiable"),),
    "webhooks": (("name",),),
    "matchConditions": (("name",),),
    "conditions": (("type",),),
    "ownerReferences": (("uid",),),
}
"""Field -> the keys by which server-side apply merges its entries, in the built-in kinds."""

SETS = {"finalizers"}
DEFAULTS: Mapping[str, Any] = {"protocol": "TCP"}
"""Of merge keys: an entry that leaves it out means this."""

MEANS_SOMETHING = {
    "automountServiceAccountToken",
    "allowPrivilegeEscalation",
    "enableServiceLinks",
    "runAsUser",
    "runAsGroup",
    "fsGroup",
}
"""Fields where `false` or 0 is not the same as leaving it out."""

QUANTITIES = {"requests", "limits", "hard", "capacity", "min", "max", "defaultRequest"}
QUANTITY_FIELDS = {"sizeLimit", "storage", "divisor", "averageValue"}
PORTS = {"port", "targetPort", "containerPort", "nodePort", "hostPort", "maxSurge", "maxUnavailable"}
IDENTITY = {"name", "generateName", "namespace"}
SERVERS = {"apiVersion", "kind", "status"}
SCHEMA = "openAPIV3Schema"

_BUILT_IN = re.compile(r"^(v1|(apps|batch|autoscaling|policy|[a-z.]+\.k8s\.io)/.*)$")
_QUANTITY = re.compile(r"^([+-]?[0-9.]+)(?:([eE][+-]?[0-9]+)|(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?)$")
_POWERS = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_UNITS = {"ns": "1e-9", "us": "1e-6", "µs": "1e-6", "ms": "1e-3", "s": "1", "m": "60", "h": "3600"}


def find_drift(wanted: Object, live: Object) -> str:
    """ "" when live holds all that is wanted, else the path of the first difference: "spec.replicas".

    A path names fields, never values: the object may be a Secret.
    """
    merges = bool(_BUILT_IN.match(str(wanted.get("apiVersion", ""))))
    for key in sorted(wanted, key=_sort_metadata_last):
        if key in ("apiVersion", "kind", "status"):
            continue
        found = _Comparison(merges).find_difference((key,), _get_wanted(wanted, key), _get_live(wanted, live, key))
        if found:
            return ".".join(found).replace(".[", "[")
    return ""


def list_changes(before: Object, after: Object) -> list[str]:
    """Paths at which two answers of one API server for one object differ: "spec.replicas", "data[a.yaml]".

    What the server and controllers keep (status, generation...) and our own digest are left out. A schema is told
    as a whole. A path names fields, never values.
    """
    pairs = [
        (key, _select_authored(key, before.get(key)), _select_authored(key, after.get(key)))
        for key in sorted({*before, *after})
    ]
    found = [path for key, one, other in pairs if key not in SERVERS for path in _list_changes_below(key, one, other)]
    return list(dict.fromkeys(found))


def is_superset(more: Any, less: Any) -> bool:
    """Whether `more` contains every value of `less`, at the same place."""
    if isinstance(more, Mapping) and isinstance(less, Mapping):
        return all(key in more and is_superset(more[key], value) for key, value in less.items())
    if isinstance(more, list) and isinstance(less, list):
        return len(more) == len(less) and all(is_superset(*pair) for pair in zip(more, less, strict=True))
    return bool(more == less)


def _select_authored(key: str, value: Any) -> Any:
    """The part of a top-level field that an author writes: of the metadata, labels and annotations."""
    if key != "metadata":
        return value
    kept = {name: each for name, each in (value or {}).items() if name in ("labels", "annotations", "finalizers")}
    kept["annotations"] = {name: each for name, each in (kept.get("annotations") or {}).items() if name != DIGEST}
    return kept


def _list_changes_below(path: str, one: Any, other: Any) -> Iterator[str]:
    if one == other or all(each is None or each in ({}, []) for each in (one, other)):
        return
    one, other = _replace_none(one, other), _replace_none(other, one)
    if isinstance(one, Mapping) and isinstance(other, Mapping) and not path.endswith(SCHEMA):
        for key in sorted({*one, *other}):
            plain = "." not in key and "/" not in key
            yield from _list_changes_below(f"{path}.{key}" if plain else f"{path}[{key}]", one.get(key), other.get(key))
    elif isinstance(one, list) and isinstance(other, list) and (keyed := _index_by_name(one, other)):
        for name in sorted({*keyed[0], *keyed[1]}):
            pair = [entries.get(name) for entries in keyed]
            yield from [f"{path}[{name}]"] if None in pair else _list_changes_below(f"{path}[{name}]", *pair)
    else:
        yield path


def _replace_none(value: Any, other: Any) -> Any:
    return {} if value is None and isinstance(other, Mapping) else value


def _index_by_name(*lists: Sequence[Any]) -> list[dict[str, Any]]:
    """Each list by the names of its entries; [] if an entry has no name, or a name comes twice."""
    found = [
        {str(each["name"]): each for each in entries if isinstance(each, Mapping) and "name" in each}
        for entries in lists
    ]
    return found if [*map(len, found)] == [*map(len, lists)] else []


def parse_quantity(value: Any) -> Decimal | None:
    """A Kubernetes quantity: "500m" -> 0.5, "1Gi" -> 1073741824; None for other values."""
    found = _QUANTITY.match(str(value)) if isinstance(value, str | int | float) and value is not True else None
    try:
        number = Decimal(found[1] + (found[2] or "")) if found else None
    except InvalidOperation:
        return None
    if found is None or number is None:
        return None
    suffix = found[3] or ""
    return number * (Decimal(1024) ** _BINARY[suffix] if suffix in _BINARY else Decimal(10) ** _POWERS[suffix])


def _sort_metadata_last(key: str) -> tuple[bool, str]:
    """Sort key: the metadata, which holds the digest, after what the user may have edited."""
    return key == "metadata", key


def _get_wanted(wanted: Object, key: str) -> Any:
    value = wanted[key]
    if key == "metadata":
        return {name: each for name, each in value.items() if name not in IDENTITY and name != "creationTimestamp"}
    if wanted.get("kind") == "Secret" and key == "stringData":
        return {name: base64.b64encode(str(each).encode()).decode() for name, each in (value or {}).items()}
    if key == "rules" and wanted.get("aggregationRule"):
        return None
    return value


def _get_live(wanted: Object, live: Object, key: str) -> Any:
    return live.get("data" if wanted.get("kind") == "Secret" and key == "stringData" else key)


class _Comparison:
    """Compares values of one object. merges: it is of a built-in kind, whose lists may be merged by key."""

    def __init__(self, merges: bool) -> None:
        self._merges = merges

    def find_difference(self, path: Path, wanted: Any, live: Any) -> Path:
        """The path of the first difference, () for none."""
        if isinstance(wanted, Mapping) and isinstance(live, Mapping):
            return self._compare_mappings(path, wanted, live)
        if isinstance(wanted, list) and isinstance(live, list):
            return self._compare_lists(path, wanted, live)
        if live is None:
            return () if _is_empty(wanted, path[-1]) else path
        return () if wanted is None or _is_same(path, wanted, live) else path

    def _compare_mappings(self, path: Path, wanted: Mapping[str, Any], live: Mapping[str, Any]) -> Path:
        steps = (self.find_difference((*path, str(key)), value, live.get(key)) for key, value in wanted.items())
        return next(filter(None, steps), ())

    def _compare_lists(self, path: Path, wanted: Sequence[Any], live: Sequence[Any]) -> Path:
        name = path[-1]
        if name in SETS:
            return () if set(wanted) <= set(live) else path
        keys = self._get_merge_keys(name, wanted)
        if keys:
            return self._compare_merged(path, keys, wanted, live)
        if name == "matchExpressions" and "webhooks" in path:
            return next((path for each in wanted if not self._is_held(path, each, live)), ())
        if len(wanted) != len(live):
            return path
        pairs = enumerate(zip(wanted, live, strict=True))
        return next(
            filter(None, (self.find_difference((*path, f"[{i}]"), one, other) for i, (one, other) in pairs)), ()
        )

    def _is_held(self, path: Path, one: Any, live: Sequence[Any]) -> bool:
        """Tekton's webhooks add expressions of their own to their selectors."""
        return any(not self.find_difference(path, one, other) for other in live)

    def _get_merge_keys(self, name: str, wanted: Sequence[Any]) -> tuple[str, ...]:
        entries = [each for each in wanted if isinstance(each, Mapping)]
        if not self._merges or len(entries) != len(wanted):
            return ()
        return next((keys for keys in MERGED_BY.get(name, ()) if all(keys[0] in each for each in entries)), ())

    def _compare_merged(self, path: Path, keys: tuple[str, ...], wanted: Sequence[Any], live: Sequence[Any]) -> Path:
        known = {_get_merge_key(each, keys): each for each in live}
        for each in wanted:
            here = (*path, f"[{each[keys[0]]}]")
            other = known.get(_get_merge_key(each, keys))
            found = here if other is None else self.find_difference(here, each, other)
            if found:
                return found
        return ()


def _get_merge_key(entry: Mapping[str, Any], keys: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(str(entry.get(key, DEFAULTS.get(key, ""))) for key in keys)


def _is_empty(value: Any, name: str) -> bool:
    """Whether the API server leaves such a field out of what it stores."""
    if isinstance(value, Mapping):
        return all(_is_empty(each, key) for key, each in value.items())
    if value is False or (value == 0 and isinstance(value, int)):
        return name not in MEANS_SOMETHING
    return value is None or value == "" or value == []


def _is_same(path: Path, wanted: Any, live: Any) -> bool:
    if isinstance(wanted, bool) or isinstance(live, bool):
        return wanted is live
    if wanted == live:
        return True
    name, parent = path[-1], path[-2] if len(path) > 1 else ""
    if parent in QUANTITIES or name in QUANTITY_FIELDS:
        one, other = parse_quantity(wanted), parse_quantity(live)
        return one is not None and one == other
    if name == "timeout" or parent == "timeouts":
        return _parse_seconds(wanted) is not None and _parse_seconds(wanted) == _parse_seconds(live)
    return name in PORTS and str(wanted) == str(live)


def _parse_seconds(value: Any) -> Decimal | None:
    """A duration in seconds: "20m" and "20m0s" are 1200. None for other values."""
    parts = _DURATION.findall(str(value))
    whole = "".join(number + unit for number, unit in parts) == str(value)
    return sum((Decimal(n) * Decimal(_UNITS[unit]) for n, unit in parts), Decimal(0)) if parts and whole else None
