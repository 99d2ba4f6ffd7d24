"""Image references: parsed, found in objects, and rewritten from logical names to what the lock holds. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bootstrap.core.errors import BootstrapError, UsageError
from bootstrap.core.model import Lock, Object

LOCAL = "image.local/"
DEFAULT_DOMAIN = "docker.io"
OFFICIAL = "library/"
NAME_LENGTH = 255

_LOGICAL = re.compile(re.escape(LOCAL) + r"([a-z0-9]+(?:[._-][a-z0-9]+)*)")
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?")
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}")
_BY_DIGEST = re.compile(r"(?<![A-Za-z0-9._:/\[\]-])-*([A-Za-z0-9\[][A-Za-z0-9._:/\[\]-]*+@sha256:[0-9a-f]{64})")
"""Begins where a word does, so that the search takes no longer than the text is long."""
_PUBLIC = re.compile(
    r"(?<![\w./:@-])(?:docker\.io|ghcr\.io|gcr\.io|quay\.io|registry\.k8s\.io|mcr\.microsoft\.com|cgr\.dev|public\.ecr\.aws)"
    r"/[a-z0-9][\w./-]*(?::[\w.-]+)?(?:@sha256:[0-9a-f]{64})?"
)
"""What names an image of a public registry, wherever it stands, also by a tag; an address of the web does not."""
_NAMED = re.compile(r"image(?![a-z]*polic)", re.IGNORECASE)
_NOT_PULLED = frozenset(
    {"_example", "description", "pattern", "glob", "imageReferences", "skipImageReferences", "matchImageReferences"}
)
"""Keys below which nothing is an image to pull: what is only told, an example whose checksum a webhook verifies, and
the patterns of policies (Kyverno, Sigstore, Tekton's VerificationPolicy)."""
_TAG_FIELDS = ("tag", "imageTag", "version", "digest", "sha")
"""Fields in which operators and Helm charts keep the rest of a reference."""
_PATTERN = re.compile(r"[*?!|<>{}\s]")
_ALONE = "its tag stands in a field of its own"
_LINE = re.compile(r"""^[ \t-]*image:[ \t]*["']?([^\s"'#]+)["']?[ \t]*(?:#.*)?$""", re.MULTILINE)
_FLAG = re.compile(r"^-{1,2}(?:[a-z0-9]+-)*image(?:-win)?(?:=(.*))?$")


@dataclass(frozen=True)
class Reference:
    """One image reference in full: domain "docker.io", path "library/golang", tag and digest "" if not given."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def repository(self) -> str:
        """DOMAIN/PATH, without tag and digest."""
        return f"{self.domain}/{self.path}"

    def __str__(self) -> str:
        return self.repository + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def parse_reference(text: str) -> Reference:
    """Read a reference as docker and containerd do: "golang:1" is docker.io/library/golang:1.

    Raises UsageError.
    """
    name, at, digest = text.partition("@")
    name, tag = _split_tag(name)
    domain, path = _split_domain(name)
    if at and not _DIGEST.fullmatch(digest):
        raise _make_error(text, "its digest is not ALGORITHM:HEX of the right length")
    if tag is not None and not _TAG.fullmatch(tag):
        raise _make_error(text, "its tag has a character that a tag cannot have")
    if re.fullmatch(r"[0-9a-f]{64}", text):
        raise _make_error(text, "64 hex digits are an image's id, not a name")
    if path != path.lower():
        raise _make_error(text, "the repository must be lower case")
    if not _DOMAIN.fullmatch(domain) or not _PATH.fullmatch(path):
        raise _make_error(text, "expected [HOST[:PORT]/]PATH[:TAG][@DIGEST]")
    if len(path) > NAME_LENGTH:
        raise _make_error(text, f"its path is longer than {NAME_LENGTH} characters")
    return Reference(domain, path, tag or "", digest)


def _split_tag(name: str) -> tuple[str, str | None]:
    """(name, tag); a colon before the last slash belongs to the host's port."""
    head, colon, tail = name.rpartition(":")
    return (head, tail) if colon and "/" not in tail else (name, None)


def _split_domain(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    is_host = slash and ("." in first or ":" in first or first == "localhost" or first != first.lower())
    domain, path = (first, rest) if is_host else (DEFAULT_DOMAIN, name)
    domain = DEFAULT_DOMAIN if domain == "index.docker.io" else domain
    return domain, OFFICIAL + path if domain == DEFAULT_DOMAIN and "/" not in path else path


def _make_error(text: str, why: str) -> UsageError:
    return UsageError(f'"{text[:80]}" is not an image reference: {why}')


# -- in objects --------------------------------------------------------------------------------------


def find_logical_names(value: Any) -> set[str]:
    """Every NAME of `image.local/NAME`, in whatever string below `value`: images, arguments, params, env."""
    return {name for text in _list_strings(value) for name in _LOGICAL.findall(text)}


def rewrite(objects: Iterable[Object], lock: Lock) -> list[Object]:
    """Copies with every logical name replaced by the locked reference.

    Raises BootstrapError for names that the lock does not hold.
    """
    given = list(objects)
    unknown = sorted(find_logical_names(given) - set(lock.images))
    if unknown:
        known = ", ".join(sorted(lock.images)) or "nothing"
        raise BootstrapError(f"no image is called {', '.join(unknown)}", evidence=f"the lock holds {known}")
    return [
        _map_strings(each, lambda text: _LOGICAL.sub(lambda m: lock.images[m[1]].reference, text)) for each in given
    ]


@dataclass(frozen=True)
class ImagePlace:
    """An image reference and where it stands in an object.

    path: keys and indices down to its string. text: the reference in that string. sure: it can be nothing else.
    Otherwise it has a tag or a digest, and stands where it may be an image: a parameter called IMAGE may as well name
    what a run builds. left: why it cannot be replaced, "" if it can.
    """

    path: tuple[str | int, ...]
    text: str
    sure: bool = True
    left: str = ""


def find_places(obj: Any) -> Iterator[ImagePlace]:
    """Every reference of an object that may be pulled.

    Sure are `image` fields, image volumes, `-x-image=` arguments, logical names, values and arguments with a digest.
    Unsure are digests in longer texts, values that are a tagged reference of a public registry, parameters, variables
    and entries with "image" in their names, the resolver's `bundle`, `image:` lines of texts, and images whose tag
    stands in another field. A mere mention is none of them.
    """
    if isinstance(obj, Mapping) and obj.get("kind") == "CustomResourceDefinition":
        return
    seen: set[tuple[tuple[str | int, ...], str]] = set()
    for place in sorted(_find_below(obj, ()), key=lambda each: not each.sure):
        if (place.path, place.text) not in seen:
            seen.add((place.path, place.text))
            yield place


def list_references(objects: Iterable[Object]) -> list[str]:
    """The references of objects of ours, each once, in order: those that are sure, and, mentions among them, whatever
    has a digest or is of a public registry."""
    return list(dict.fromkeys(text for each in objects for text in _list_all(each)))


def _list_all(obj: Object) -> Iterator[str]:
    if obj.get("kind") == "CustomResourceDefinition":
        return
    yield from (place.text for place in find_places(obj) if place.sure or place.left)
    for text in _list_strings(obj):
        yield from _BY_DIGEST.findall(text)
        yield from _PUBLIC.findall(text)


def list_unlocked(objects: Iterable[Object], lock: Lock) -> list[str]:
    """The references that the lock does not hold: a node could not pull them, or would pull something else."""
    held = {image.reference for image in lock.images.values()}
    return [text for text in list_references(objects) if text not in held]


def _find_below(value: Any, path: tuple[str | int, ...]) -> Iterator[ImagePlace]:
    """The references below `value`, with duplicates."""
    if isinstance(value, str):
        yield from (ImagePlace(path, text, sure) for text, sure in _find_in_text(value))
    elif isinstance(value, Mapping):
        yield from _find_in_mapping(value, path)
        for key, item in value.items():
            if key in _NOT_PULLED or (key == "annotations" and path[-1:] == ("metadata",)):
                continue
            if key == "image" and isinstance(item, str):
                yield from _find_in_image_field(value, (*path, key), item)
            else:
                yield from _find_below(item, (*path, key))
    elif isinstance(value, list):
        yield from _find_in_flags(value, path)
        for index, item in enumerate(value):
            yield from _find_below(item, (*path, index))


def _find_in_image_field(holder: Mapping[Any, Any], path: tuple[str | int, ...], text: str) -> Iterator[ImagePlace]:
    """`image: X`; a pattern is none, and without a tag of its own it may be one part of several."""
    if not text or text.startswith("$(") or _PATTERN.search(text):
        return
    alone = not _is_pinned(text) and any(holder.get(field) for field in _TAG_FIELDS)
    yield ImagePlace(path, text, sure=not alone, left=_ALONE if alone else "")


def _find_in_mapping(value: Mapping[Any, Any], path: tuple[str | int, ...]) -> Iterator[ImagePlace]:
    """{name: BUILDER_IMAGE, value: X}, {default-image: X}, {image: {reference: X}}, {repository: X, tag: Y}."""
    named = _NAMED.search(str(value.get("name", ""))) or value.get("name") == "bundle"
    for key, item in value.items():
        hinted = _NAMED.search(str(key)) or (named and key in ("value", "default"))
        if hinted and key != "image" and key not in _NOT_PULLED:
            yield from (
                ImagePlace((*path, *at), text, sure=False) for at, text in _list_values(key, item) if _is_pinned(text)
            )
    volume = value.get("image")
    if isinstance(volume, Mapping) and isinstance(volume.get("reference"), str) and _is_plain(volume["reference"]):
        yield ImagePlace((*path, "image", "reference"), volume["reference"])
    repository = value.get("repository")
    if isinstance(repository, str) and any(value.get(field) for field in _TAG_FIELDS):
        text = f"{value['registry']}/{repository}" if value.get("registry") else repository
        if _is_plain(text):
            yield ImagePlace((*path, "repository"), text, sure=False, left=_ALONE)


def _list_values(key: str, item: Any) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """(path, text) of a value that is one text, or a list of them."""
    if isinstance(item, str):
        yield (key,), item
    elif isinstance(item, list):
        yield from (((key, index), each) for index, each in enumerate(item) if isinstance(each, str))


def _is_plain(text: str) -> bool:
    """Whether it is a reference, with or without a tag."""
    try:
        parse_reference(text)
    except UsageError:
        return False
    return True


def _is_pinned(text: str) -> bool:
    """Whether it is a reference with a tag or a digest."""
    try:
        found = parse_reference(text)
    except UsageError:
        return False
    return bool(found.tag or found.digest)


def _find_in_flags(words: list[Any], path: tuple[str | int, ...]) -> Iterator[ImagePlace]:
    """`-shell-image=X` and `-shell-image X`."""
    for index, word in enumerate(words):
        found = _FLAG.match(word) if isinstance(word, str) else None
        if found is None:
            continue
        following = words[index + 1] if index + 1 < len(words) else ""
        value, place = (found[1], index) if found[1] is not None else (following, index + 1)
        if isinstance(value, str) and value and not value.startswith("-") and not _PATTERN.search(value):
            yield ImagePlace((*path, place), value)


def _find_in_text(text: str) -> Iterator[tuple[str, bool]]:
    """(reference, whether it is sure)."""
    yield from ((found[0], True) for found in _LOGICAL.finditer(text))
    is_argument = text.startswith("-")
    yield from ((found, is_argument or found == text.strip()) for found in _BY_DIGEST.findall(text))
    if _PUBLIC.fullmatch(text) and _is_pinned(text):
        yield text, False
    yield from ((found, False) for found in _LINE.findall(text) if _is_pinned(found))


def _list_strings(value: Any) -> Iterator[str]:
    """Every string below `value`."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _list_strings(item)


def _map_strings(value: Any, change: Callable[[str], str]) -> Any:
    """A copy of `value` with `change` applied to every string."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: _map_strings(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [_map_strings(item, change) for item in value]
    return value
