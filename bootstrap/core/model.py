"""Value types that every layer shares. No I/O, no dependencies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]
"""A Kubernetes object as parsed YAML or JSON."""


_known: set[str] = set()
"""The text of each Secret of this process. The only global state: a fault that nobody foresaw has no World at hand."""


class Secret:
    """A text that must not be shown. str(), repr() and f-strings are masked; `reveal()` is the text.

    Every one that is made is remembered, so that whatever is printed later can be masked (`list_known_secrets`).
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text
        if text:
            _known.add(text)

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __repr__(self) -> str:
        return "Secret('***')"

    def __str__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __bool__(self) -> bool:
        return bool(self._text)


def list_known_secrets() -> list[Secret]:
    """Every secret that this process has come to know."""
    return [Secret(each) for each in tuple(_known)]


@dataclass(frozen=True)
class Ready:
    """The thing is as wanted. `why` may name what was found ("2 nodes, Kubernetes 1.36.3")."""

    why: str = ""


@dataclass(frozen=True)
class Pending:
    """Not as wanted yet: absent, changed, or still starting. `why` names the cause."""

    why: str


@dataclass(frozen=True)
class Failed:
    """It will not become ready by waiting. `hint` is what to type."""

    why: str
    hint: str = ""


@dataclass(frozen=True)
class Unknown:
    """The state could not be read, for example because a host does not answer."""

    why: str


Verdict = Ready | Pending | Failed | Unknown


@dataclass(frozen=True)
class LockedImage:
    """One image of the lock.

    name: logical ("toolbox", "tekton-controller"); repository: "HOST/path" without tag or digest;
    digest: "sha256:<64 hex>"; size: bytes of all blobs; aliases: further full references
    ("registry.k8s.io/pause:3.10.2") under which a node must know it; in_node: whether the node image holds it;
    public: the reference under which others publish it ("ghcr.io/tektoncd/...:v1.9.0"), "" for what is made here.
    """

    name: str
    repository: str
    digest: str
    size: int = 0
    aliases: tuple[str, ...] = ()
    in_node: bool = True
    public: str = ""

    @property
    def reference(self) -> str:
        """REPOSITORY@DIGEST, as a manifest names the image."""
        return f"{self.repository}@{self.digest}"


@dataclass(frozen=True)
class Lock:
    """What a supply resolved the image list to.

    node_image: what the engine runs as kind's node, as the engine names it.
    registry_image: the same for the registry.
    pull_secret: name of the Secret by which pods log in where the images are; "" where the nodes log in themselves.
    seeds: base images that builds need in the user's registry, where none of ours is filled with them:
    "library/golang:1" -> "golang@sha256:...", the public image that it has to be a copy of.
    """

    images: Mapping[str, LockedImage] = field(default_factory=dict)
    node_image: str = ""
    registry_image: str = ""
    pull_secret: str = ""
    seeds: Mapping[str, str] = field(default_factory=dict)
