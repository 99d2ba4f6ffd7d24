"""Files that declare Applications: read, checked as far as this machine can, and written. Pure but for the files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from bootstrap.core.errors import Fault, UsageError
from bootstrap.core.model import Object
from bootstrap.incluster.applications import API_VERSION, KIND
from bootstrap.incluster.path_patterns import find_path_fault
from bootstrap.objects.manifests import load_outside
from bootstrap.objects.readiness import at

SUFFIXES = (".yaml", ".yml")


def list_files(folder: Path) -> list[Path]:
    """The files with Applications in `folder`, sorted; none if there is no such folder."""
    return sorted(each for each in folder.glob("*") if each.suffix in SUFFIXES) if folder.is_dir() else []


def list_names(file: Path) -> list[str]:
    """The names of all objects of a file; none of one that cannot be read."""
    try:
        return [str((each.get("metadata") or {}).get("name")) for each in load_outside(file)]
    except UsageError:
        return []


def load_applications(folder: Path, namespace: str) -> list[Object]:
    """The Applications of every file in `folder`, in `namespace`. Raises UsageError with every fault and its file."""
    found: list[Object] = []
    faults: list[Fault] = []
    seen: dict[str, Path] = {}
    for file in list_files(folder):
        try:
            objects = load_outside(file)
        except UsageError as error:
            faults += error.faults or [Fault(str(file), 0, error.message)]
            continue
        for each in objects:
            why = _find_fault(each, namespace, seen)
            if why:
                faults.append(Fault(str(file), 0, why))
                continue
            faults += _find_path_faults(file, each)
            seen[each["metadata"]["name"]] = file
            found.append({**each, "metadata": {**each["metadata"], "namespace": namespace}})
    if faults:
        raise UsageError("the applications are not declared rightly", faults=faults)
    return found


def _find_fault(obj: Mapping[str, Any], namespace: str, seen: Mapping[str, Path]) -> str:
    if (obj.get("apiVersion"), obj.get("kind")) != (API_VERSION, KIND):
        found = f"{obj.get('kind') or 'an object'} of {obj.get('apiVersion') or 'no version'}"
        return f"{found}; expected {KIND} of {API_VERSION}"
    metadata = obj.get("metadata") or {}
    name = metadata.get("name")
    if not isinstance(name, str):
        return "metadata.name is missing"
    if metadata.get("namespace", namespace) != namespace:
        return f"{name} is in namespace {metadata['namespace']}; applications are in {namespace}"
    return f"{name} is in {seen[name].name} already" if name in seen else ""


def _find_path_faults(file: Path, obj: Mapping[str, Any]) -> list[Fault]:
    """What is wrong with the patterns of files, by the line in which each stands. Their form is the schema's affair."""
    paths = at(obj, "spec", "paths")
    if not isinstance(paths, list):
        return []
    wrong = [(each, find_path_fault(each)) for each in paths if isinstance(each, str)]
    lines = file.read_text().splitlines() if any(why for _, why in wrong) else []
    return [
        Fault(str(file), next((number for number, line in enumerate(lines, 1) if each in line), 0), f'"{each}": {why}')
        for each, why in wrong
        if why
    ]


def make_text(obj: Mapping[str, Any]) -> str:
    """An Application as YAML, its fields in the order of the object."""
    return yaml.safe_dump(dict(obj), sort_keys=False, allow_unicode=True, width=120)
