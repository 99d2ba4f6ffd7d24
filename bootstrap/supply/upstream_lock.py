"""What projects publish: which of it is wanted (images/upstream.yaml), and what exactly it is (the lock file).

The lock file holds the hash of each release document and the digest of each image, for each platform, as
`invoke images --lock` found them. Whatever is not in it, or differs, is refused by name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bootstrap.core.errors import UsageError
from bootstrap.objects.image_refs import Reference, parse_reference

WANTED = "images/upstream.yaml"
FORMAT = 1
PLATFORMS = ("amd64", "arm64")
COMMAND = "invoke images --lock"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Wanted:
    """documents: name -> path below `upstream.releases`.

    images: logical name -> reference, without those of the documents.
    """

    documents: Mapping[str, str]
    images: Mapping[str, Reference]


@dataclass(frozen=True)
class Document:
    """One release document. sha256: of its bytes, in hex."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Platform:
    """An image for one architecture. size: bytes of all its blobs."""

    digest: str
    size: int


@dataclass(frozen=True)
class PublicImage:
    """reference: without a digest ("docker.io/library/debian:bookworm-slim"). digest: what it leads to, mostly an
    index.

    platforms: architecture -> the image for it.
    """

    reference: str
    digest: str
    platforms: Mapping[str, Platform] = field(default_factory=dict)

    @property
    def parsed(self) -> Reference:
        """The reference in its parts."""
        return parse_reference(self.reference)


@dataclass(frozen=True)
class PublicLock:
    """documents: by name. images: by logical name."""

    documents: Mapping[str, Document] = field(default_factory=dict)
    images: Mapping[str, PublicImage] = field(default_factory=dict)

    def dump(self) -> str:
        """As JSON, which `read` reads."""
        return json.dumps({"format": FORMAT} | asdict(self), indent=1, sort_keys=True) + "\n"


def read_wanted(project: Path) -> Wanted:
    """What images/upstream.yaml of the checkout wants."""
    loaded: dict[str, Any] = yaml.safe_load((project / WANTED).read_text())
    return Wanted(loaded["documents"], {name: parse_reference(text) for name, text in loaded["images"].items()})


def read(file: Path) -> PublicLock:
    """The lock in this file; empty if there is no file. Raises UsageError for a file that is no lock."""
    try:
        text = file.read_text()
    except FileNotFoundError:
        return PublicLock()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"upstream.lock: {file} cannot be read: {error}") from None
    try:
        return _parse_lock(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(f"{file} is not a lock of format {FORMAT}", hint=f"{COMMAND}, anew") from None


def _parse_lock(found: dict[str, Any]) -> PublicLock:
    """Raises ValueError, KeyError, TypeError, AttributeError."""
    if found.pop("format") != FORMAT:
        raise ValueError("format")
    documents = {name: Document(**each) for name, each in found.pop("documents").items()}
    images = {name: _parse_image(each) for name, each in found.pop("images").items()}
    hashes = all(_HASH.fullmatch(each.sha256) for each in documents.values())
    if found or not hashes or not all(_DIGEST.fullmatch(digest) for digest in _list_digests(images.values())):
        raise ValueError("contents")
    return PublicLock(documents, images)


def _parse_image(found: dict[str, Any]) -> PublicImage:
    platforms = {arch: Platform(**each) for arch, each in found.pop("platforms").items()}
    image = PublicImage(**found, platforms=platforms)
    parse_reference(image.reference)
    return image


def _list_digests(images: Iterable[PublicImage]) -> Iterator[str]:
    for image in images:
        yield image.digest
        yield from (platform.digest for platform in image.platforms.values())


def find_gaps(lock: PublicLock, needs: Wanted, arch: str) -> list[str]:
    """What is wanted and the lock does not hold, or holds in another version, each as a text with its name and why."""
    found = []
    for name, path in needs.documents.items():
        held = lock.documents.get(name)
        if not held:
            found.append(f"{path} is not in it")
        elif held.path != path:
            found.append(f"{path} is not in it, but {held.path}")
    for name, reference in needs.images.items():
        image = lock.images.get(name)
        plain = str(strip_digest(reference))
        if not image:
            found.append(f"{plain} is not in it")
        elif image.reference != plain or reference.digest not in ("", image.digest):
            found.append(f"{reference} is not in it, but {image.reference}@{image.digest}")
    for image in lock.images.values():
        if not image.platforms:
            found.append(f"{image.reference} is in it without its platforms")
        elif arch not in image.platforms:
            found.append(f"{image.reference} is not for {arch}")
    return found


def strip_digest(reference: Reference) -> Reference:
    """The reference without its digest."""
    return Reference(reference.domain, reference.path, reference.tag)


def list_changes(before: PublicLock, after: PublicLock) -> list[tuple[str, str, str]]:
    """(name, old hash or digest, new one) of what differs; "" for what is not there."""
    old, new = _list_values(before), _list_values(after)
    names = sorted({*old, *new})
    return [(name, old.get(name, ""), new.get(name, "")) for name in names if old.get(name) != new.get(name)]


def _list_values(lock: PublicLock) -> dict[str, str]:
    documents = {each.path: f"sha256:{each.sha256}" for each in lock.documents.values()}
    return documents | {image.reference: image.digest for image in lock.images.values()}
