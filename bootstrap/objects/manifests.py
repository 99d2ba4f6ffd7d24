"""Manifests as values: read, put in order, stamped as ours, given a digest. Pure but for reading files.

What is compared with the cluster, and how, is `bootstrap.objects.drift`.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from bootstrap.core import untrusted
from bootstrap.core.constants import MANAGED_BY
from bootstrap.core.errors import Fault, UsageError
from bootstrap.core.model import Object
from bootstrap.core.paths import PRODUCT

DIGEST = "tekton-bootstrap.dev/digest"
"""Annotation: digest of the object as it was applied, so that a changed setting is told from an edit by hand."""

KIND_ORDER = (
    "Namespace",
    "CustomResourceDefinition",
    "PriorityClass",
    "StorageClass",
    "SecurityContextConstraints",
    "ServiceAccount",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "ConfigMap",
    "Secret",
    "Service",
    "PersistentVolumeClaim",
    "Deployment",
    "StatefulSet",
    "DaemonSet",
    "Job",
    "CronJob",
    "PodDisruptionBudget",
    "HorizontalPodAutoscaler",
    "NetworkPolicy",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
)
"""Each after what it needs; kinds that are not named (custom resources) come last."""

WORKLOADS = {"Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"}
"""Kinds that make pods."""

_RANK = {kind: rank for rank, kind in enumerate(KIND_ORDER)}
MAX_OUTSIDE_BYTES = 20 << 20
"""Bytes of a manifest that somebody else wrote."""
_SUFFIXES = (".yaml", ".yml", ".json")
_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


PART_OF = "app.kubernetes.io/part-of"
TRIGGERS = "tekton-triggers"
CRD = "CustomResourceDefinition"


class _Loader(_BASE):  # type: ignore[misc]
    """YAML as kubectl reads it: dates stay text; a key that stands twice is a fault, not the later one."""

    yaml_implicit_resolvers = {  # noqa: RUF012  as in the base class
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in _BASE.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """As the base class. Raises MarkedYAMLError for a key that stands twice."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value} stands twice", problem_mark=key.start_mark)
            seen.add(str(key.value))
        found: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return found


def load(*paths: Path) -> list[Object]:
    """The objects of files and folders (not their subfolders), in the order of file names.

    Raises UsageError with every fault: file, line, what was expected.
    """
    faults: list[Fault] = []
    objects: list[Object] = []
    for path in paths:
        for file in _list_files(path, faults):
            objects += _read(file, faults)
    if faults:
        raise UsageError(f"{len(faults)} fault{'s' if len(faults) > 1 else ''} in manifests", faults=faults)
    return objects


def load_outside(file: Path) -> list[Object]:
    """As `load`, of one file that somebody else wrote: a text that would never end is refused as well."""
    try:
        text = untrusted.read_file(file, MAX_OUTSIDE_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        fault = Fault(str(file), 0, f"cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8'}")
        raise UsageError(f"{file} cannot be read", faults=[fault]) from None
    untrusted.check_yaml(text, str(file))
    return parse(text, str(file))


def parse(text: str, where: str = "") -> list[Object]:
    """The objects of one YAML text. Raises UsageError."""
    faults: list[Fault] = []
    objects = list(_documents(text, where, faults))
    if faults:
        raise UsageError(f"{where or 'the manifest'} is wrong", faults=faults)
    return objects


def _list_files(path: Path, faults: list[Fault]) -> Sequence[Path]:
    if path.is_file():
        return [path]
    files = sorted(each for each in path.glob("*") if each.suffix in _SUFFIXES) if path.is_dir() else []
    if not files:
        faults.append(Fault(str(path), 0, "expected a manifest, or a folder with .yaml files"))
    return files


def _read(file: Path, faults: list[Fault]) -> list[Object]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        faults.append(Fault(str(file), 0, f"cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8'}"))
        return []
    return list(_documents(text, str(file), faults))


def _documents(text: str, where: str, faults: list[Fault]) -> Iterator[Object]:
    try:
        loader = _Loader(text)
        while loader.check_node():
            node = loader.get_node()
            line = node.start_mark.line + 1
            for found in _list_objects(_copy_aliases(loader.construct_document(node))):
                wrong = _find_missing(found)
                if wrong:
                    faults.append(Fault(where, line, wrong))
                else:
                    yield found
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        faults.append(Fault(where, mark.line + 1 if mark else 0, error.problem or "not YAML"))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        faults.append(Fault(where, 0, f"not YAML: {str(error).splitlines()[0] if str(error) else 'unreadable'}"))


def _copy_aliases(value: Any) -> Any:
    """A copy in which each YAML alias is a value of its own: a patch of one place must not change another."""
    if isinstance(value, dict):
        return {key: _copy_aliases(each) for key, each in value.items()}
    return [_copy_aliases(each) for each in value] if isinstance(value, list) else value


def _list_objects(document: Any) -> Iterator[Any]:
    """The objects of a document: none of an empty one, the items of a List."""
    if isinstance(document, dict) and document.get("kind") == "List":
        yield from document.get("items") or ()
    elif document is not None:
        yield document


def _find_missing(found: Any) -> str:
    """What makes `found` no Kubernetes object, "" if it is one."""
    if not isinstance(found, dict):
        return "expected an object with apiVersion, kind and metadata"
    metadata = found.get("metadata")
    missing = [key for key in ("apiVersion", "kind") if not isinstance(found.get(key), str)]
    if not isinstance(metadata, dict) or not (metadata.get("name") or metadata.get("generateName")):
        missing.append("metadata.name")
    return f"{found.get('kind') or 'the object'} lacks {', '.join(missing)}" if missing else ""


def sort_by_need(objects: Iterable[Object]) -> list[Object]:
    """The objects sorted by kind, each kind after those it needs; within a kind as given."""
    return sorted(objects, key=lambda each: _RANK.get(each["kind"], len(_RANK)))


def compute_digest(obj: Object) -> str:
    """ "sha256:<64 hex>" over the object, however its keys are ordered, and the same before and after `stamp`.

    The content of a Secret is left out: a digest of a weak password would give it away.
    """
    bare = copy.deepcopy(obj)
    metadata = bare.get("metadata", {})
    for group, name in (("annotations", DIGEST), ("labels", MANAGED_BY)):
        values = metadata.get(group) or {}
        values.pop(name, None)
        if not values:
            metadata.pop(group, None)
    if bare.get("kind") == "Secret":
        bare.pop("data", None)
        bare.pop("stringData", None)
    text = json.dumps(bare, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def stamp(obj: Object) -> Object:
    """A copy that says it is ours: managed-by label and digest annotation."""
    stamped = copy.deepcopy(obj)
    metadata = stamped["metadata"]
    metadata["labels"] = {**(metadata.get("labels") or {}), MANAGED_BY: PRODUCT}
    metadata["annotations"] = {**(metadata.get("annotations") or {}), DIGEST: compute_digest(obj)}
    return stamped


def get_pod_spec(obj: Object) -> Any | None:
    """The pod spec of a workload, not a copy; None for other kinds."""
    spec = obj.get("spec") or {}
    if obj["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    return spec["template"]["spec"] if obj["kind"] in WORKLOADS else None


def is_ours(obj: Object) -> bool:
    """Whether it carries our managed-by label: only such objects are ever changed or deleted."""
    return bool(((obj.get("metadata") or {}).get("labels") or {}).get(MANAGED_BY) == PRODUCT)


def is_applied(obj: Object) -> bool:
    """Whether we applied it: not what a controller made of it, nor a user's copy of it.

    Controllers and `kubectl apply` copy labels and annotations; only the server's `managedFields` say who applied.
    """
    metadata = obj.get("metadata") or {}
    managers = metadata.get("managedFields") or ()
    return (
        is_ours(obj)
        and DIGEST in (metadata.get("annotations") or {})
        and not metadata.get("ownerReferences")
        and any(each.get("manager") == PRODUCT and each.get("operation") == "Apply" for each in managers)
    )


def get_part(obj: Object) -> str:
    """The part of Tekton's release that an object belongs to, by its API group or its label."""
    group = obj["spec"]["group"] if obj["kind"] == CRD else obj["apiVersion"]
    labels = obj["metadata"].get("labels") or {}
    return TRIGGERS if group.startswith("triggers.") else str(labels.get(PART_OF, ""))
