"""Which images of builds a cleanup deletes, and why. Pure.

Only the pipeline gives an image a commit in full as its tag, so an image with such tags alone is a build's. What a
person pushed under another tag is theirs.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

SHIPPED = ("library/", "bootstrap/")
"""Where `up` puts what builds start from, and the environment's own images: beginnings of repositories."""
_TAG = re.compile(r"[0-9a-f]{40}")
_NAMED = re.compile(r"sha256:[0-9a-f]{64}|(?<![0-9a-f])[0-9a-f]{40}(?![0-9a-f])")


@dataclass(frozen=True)
class Image:
    """What a digest of a repository stands for.

    tags: all that lead to it. children: digests of the manifests in it, where it is an index.
    """

    repository: str
    digest: str
    tags: tuple[str, ...]
    children: tuple[str, ...] = ()

    @property
    def is_built(self) -> bool:
        """Whether only a build can have made it."""
        return all(map(is_commit, self.tags))

    def is_needed(self, names: Collection[str]) -> bool:
        """Whether one of its tags or digests is among the names that are in use."""
        return any(each in names for each in (self.digest, *self.children, *self.tags))


@dataclass(frozen=True)
class ExpiredImage:
    """An image to delete. digests: in the order in which they go, its own last, so that it is found until all went."""

    image: Image
    digests: tuple[str, ...]


def is_commit(tag: str) -> bool:
    """Whether a tag is a commit in full."""
    return bool(_TAG.fullmatch(tag))


def find_repositories(repositories: Iterable[str], kept: Collection[str]) -> list[str]:
    """Those whose images may be a build's. kept: further ones that nothing is deleted in."""
    return [each for each in repositories if not each.startswith(SHIPPED) and each not in kept]


def find_names(text: str) -> set[str]:
    """Every digest and every commit in full that an object, as JSON, names anywhere.

    It is not asked where: a field that is overlooked would cost an image that is in use, and one too many costs room.
    """
    return set(_NAMED.findall(text))


def find_expired(images: Iterable[Image], names: Collection[str]) -> list[ExpiredImage]:
    """The images to delete: those of builds that none of the names in use leads to.

    images: all that have tags, of all repositories of builds. A manifest that an image which stays has in common with
    them stays as well.
    """
    images = list(images)
    expired = [each for each in images if each.is_built and not each.is_needed(names)]
    stay: dict[str, set[str]] = {}
    for each in images:
        if each not in expired:
            stay.setdefault(each.repository, set()).update((each.digest, *each.children))
    return [
        ExpiredImage(each, (*(one for one in each.children if one not in stay.get(each.repository, ())), each.digest))
        for each in expired
    ]
