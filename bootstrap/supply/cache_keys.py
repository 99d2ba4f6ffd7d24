"""The key of every part: a digest of its own files, and of the keys of what it is made from."""

from __future__ import annotations

import functools
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path

from bootstrap.supply import build_catalog
from bootstrap.supply.build_cache import compute_key, compute_tree_key

RECIPE = "1"
"""Part of every key: changes when this code makes something else out of the same files."""
NOT_CONTEXT = ("*.go", "go.mod", "go.sum", "cmd", "*.md", "__pycache__")
"""What of an image's folder does not get into its build context."""
NOT_COMPILED = ("*_test.go", "testdata", "*.md", "*.yaml", "Dockerfile", "__pycache__")
"""What of a Go module does not get into its programs."""

GO_PARTS = {part.name: part for part in build_catalog.GO_PARTS}
WHEEL_PARTS = {part.name: part for part in build_catalog.WHEEL_PARTS}
IMAGE_PARTS = {part.name: part for part in build_catalog.IMAGE_PARTS}

Inputs = Callable[[], Sequence[str | bytes]]


class Keys:
    """project: the checkout. go: gives the toolchain's version as far as results depend on it ("1.26").

    special: name -> inputs of the key of a part that the catalog does not list, or that this supply makes otherwise.
    """

    def __init__(self, project: Path, arch: str, go: Callable[[], str], special: Mapping[str, Inputs]) -> None:
        self._project = project
        self._arch = arch
        self._go = go
        self._special = special

    @functools.cache  # noqa: B019  one supply lives as long as the command
    def compute(self, name: str) -> str:
        """The key of the part `name`. Raises KeyError."""
        if name in self._special:
            return compute_key(RECIPE, *self._special[name]())
        if name in GO_PARTS:
            go = GO_PARTS[name]
            machine = platform.machine() if go.native else self._arch
            edits = map(repr, go.edits)
            return compute_key(
                RECIPE, self.compute_tree(go.module, NOT_COMPILED), repr(go), machine, self._go(), *edits
            )
        if name in WHEEL_PARTS:
            wheels = WHEEL_PARTS[name]
            return compute_key(RECIPE, self.compute_tree(wheels.requirements), repr(wheels), self._arch)
        image = IMAGE_PARTS[name]
        copies = [self.compute_tree(source) for source in image.copies.values()]
        return compute_key(
            RECIPE, self.compute_tree(image.folder), repr(image), *copies, *map(self.compute, image.needs)
        )

    @functools.cache  # noqa: B019  see compute
    def compute_tree(self, path: str, without: tuple[str, ...] = NOT_CONTEXT) -> str:
        """The key of a file, or of the files below a folder but for those that match the patterns `without`."""
        root = self._project / path
        return compute_tree_key(self._project, [root] if root.is_file() else list_files(root, without))


def list_files(root: Path, without: Sequence[str]) -> list[Path]:
    """The files and symbolic links below `root`, but for what lies under a name that matches a pattern of `without`."""
    found: list[Path] = []
    for folder, folders, files in os.walk(root):
        here = Path(folder)
        dropped = {name for name in (*folders, *files) if any(fnmatch(name, pattern) for pattern in without)}
        links = [name for name in folders if (here / name).is_symlink()]
        folders[:] = [name for name in folders if name not in dropped]
        found += [here / name for name in (*files, *links) if name not in dropped]
    return found
