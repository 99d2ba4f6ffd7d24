"""Fills build contexts: the folders that images are built from, with files of the checkout and built programs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from bootstrap.supply import rootfs
from bootstrap.supply.build_catalog import ImagePart
from bootstrap.supply.cache_keys import NOT_CONTEXT


class Contexts:
    """project: the checkout. program: gives the file of a built program, such as ("go-etcd", "etcd")."""

    def __init__(self, project: Path, program: Callable[[str, str], Path]) -> None:
        self._project = project
        self._program = program

    def fill_image(self, part: ImagePart, folder: Path) -> None:
        """Fill `folder` for an image with a Dockerfile: its own folder, and the part's copies and programs."""
        self.copy(part.folder, folder)
        for target, source in part.copies.items():
            copy = self._project / source
            (folder / target).parent.mkdir(parents=True, exist_ok=True)
            if copy.is_dir():
                shutil.copytree(copy, folder / target, ignore=shutil.ignore_patterns(*NOT_CONTEXT), symlinks=True)
            else:
                shutil.copy(copy, folder / target)
        for target, source in part.files.items():
            name, program = source.split("/")
            place_file(self._program(name, program), folder / target)

    def fill_with_cas(self, source: str, folder: Path) -> None:
        """Fill `folder` with a folder of the checkout and the certificates that this machine trusts.

        source: its path.
        """
        self.copy(source, folder)
        shutil.copy(rootfs.CA_BUNDLE, folder)

    def fill_golang(self, root: Path, folder: Path) -> None:
        """Fill `folder` for the image golang. root: the folder of the Go toolchain."""
        self.copy("images/golang", folder)
        (folder / "go").mkdir()
        ignore = shutil.ignore_patterns("*_test.go", "testdata", "obj", "__pycache__")
        for name in ("VERSION", "go.env", "bin", "lib", "pkg", "src"):
            source, target = root / name, folder / "go" / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=ignore, symlinks=True)
            elif source.exists():  # distributions leave some out
                shutil.copy(source, target)

    def copy(self, source: str, folder: Path) -> None:
        """Copy a folder of the checkout into `folder`, without sources, documents and caches (NOT_CONTEXT)."""
        ignore = shutil.ignore_patterns(*NOT_CONTEXT)
        shutil.copytree(self._project / source, folder, ignore=ignore, symlinks=True, dirs_exist_ok=True)


def place_file(source: Path, target: Path) -> None:
    """Link `target` to `source`, or copy it to another file system: contexts repeat files of 100 MB and more."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copy(source, target)


def make_writable(folder: Path) -> None:
    """Let the owner write the folder and all below it: Go's module folders are read-only, and so are copies of them."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode | 0o200)
