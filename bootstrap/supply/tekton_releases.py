"""Tekton's release documents as they are published: reads them, and turns their images into logical names.

A release names its images by digest wherever it names them: in containers, and in arguments of the controllers. ko
writes a repository per product, and in it the program's name with a hash, or the whole import path.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from bootstrap.core.errors import BootstrapError, PreconditionError
from bootstrap.core.model import Object
from bootstrap.objects.image_refs import LOCAL, Reference, parse_reference
from bootstrap.supply import tekton_build
from bootstrap.supply.upstream_lock import COMMAND, PublicLock, strip_digest

DASHBOARD = "tekton-dashboard"
"""Logical name of its image, and the value of the label PART_OF on each of its objects."""
PART_OF = "app.kubernetes.io/part-of"
_PRODUCT = re.compile(r"(?:^|/)tektoncd/(pipeline|triggers|dashboard)(?:/|$)")
_HASHED = re.compile(r"-[0-9a-f]{32}$")
_REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:_-]*(?:/[a-z0-9._-]+)+(?::[\w.-]+)?@sha256:[0-9a-f]{64}")


def find_logical_name(reference: Reference) -> str:
    """ "ghcr.io/tektoncd/triggers/controller-f656ca31..." -> "tekton-triggers-controller".

    "" for an image of others.
    """
    product = _PRODUCT.search(reference.path)
    if not product:
        return ""
    if product[1] == "dashboard":
        return DASHBOARD
    program = _HASHED.sub("", reference.path.rpartition("/")[2])
    name = f"tekton-{'pipelines' if product[1] == 'pipeline' else 'triggers'}-{program}"
    return name if name in tekton_build.NAMES else ""


def verify(path: str, data: bytes, sha256: str) -> bytes:
    """The same `data`. Raises PreconditionError if its SHA-256 is not the lock's."""
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise PreconditionError(
            f"{path} is not what the lock says: its SHA-256 is {found}, not {sha256}",
            hint=f"a release does not change: find out why before {COMMAND}",
        )
    return data


def parse(name: str, data: bytes) -> list[Object]:
    """The objects of a document; those of Dashboard all get the label PART_OF.

    Raises PreconditionError for a document without Kubernetes objects.
    """
    try:
        found = [each for each in yaml.load_all(data, Loader=yaml.CSafeLoader) if each]
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PreconditionError(f"the release document {name} is not YAML", evidence=str(error)) from None
    if not found or not all(isinstance(each, dict) and "kind" in each and "metadata" in each for each in found):
        raise PreconditionError(f"the release document {name} holds no Kubernetes objects")
    if name == "dashboard":
        for each in found:
            each["metadata"].setdefault("labels", {})[PART_OF] = DASHBOARD
    return found


def is_dashboard(obj: Object) -> bool:
    """Whether an object of the releases belongs to Tekton Dashboard."""
    return bool((obj["metadata"].get("labels") or {}).get(PART_OF) == DASHBOARD)


def find_images(objects: list[Object]) -> dict[str, Reference]:
    """Logical name -> the full reference, of each image of Tekton.

    Raises BootstrapError if one name has two references.
    """
    found: dict[str, Reference] = {}
    for text in _list_strings(objects):
        for match in _REFERENCE.findall(text):
            reference = parse_reference(match)
            name = find_logical_name(reference)
            if name and found.setdefault(name, reference) != reference:
                raise BootstrapError(f"the releases name two images {name}", evidence=f"{found[name]}\n{reference}")
    return found


def check_complete(found: Mapping[str, Reference]) -> None:
    """Raises BootstrapError if `found` does not have every image of Tekton that is known."""
    missing = sorted(set(tekton_build.NAMES) - set(found))
    if missing:
        raise BootstrapError(
            f"the releases name no image {', '.join(missing)}", hint="another version of this product?"
        )


def use_logical_names(objects: list[Object], lock: PublicLock) -> list[Object]:
    """The same objects with images by logical name. Raises BootstrapError for an image that the lock does not hold."""
    for name, reference in find_images(objects).items():
        held = lock.images.get(name)
        if not held or (held.reference, held.digest) != (str(strip_digest(reference)), reference.digest):
            raise BootstrapError(f"the lock does not hold the image {reference}", hint=COMMAND)
    changed: list[Object] = _map_strings(objects)
    return changed


def _map_strings(value: Any) -> Any:
    if isinstance(value, str):
        return _REFERENCE.sub(lambda match: _make_local(match[0]), value)
    if isinstance(value, dict):
        return {key: _map_strings(item) for key, item in value.items()}
    return [_map_strings(item) for item in value] if isinstance(value, list) else value


def _make_local(text: str) -> str:
    name = find_logical_name(parse_reference(text))
    return LOCAL + name if name else text


def _list_strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _list_strings(item)
