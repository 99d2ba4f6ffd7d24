"""Supply `bundle`: everything from one file that `invoke bundle` has written; nothing is built and nothing fetched."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from bootstrap.core.clock import Clock
from bootstrap.core.errors import CommandError, PreconditionError, UsageError
from bootstrap.core.model import Lock, Object, Pending, Ready, Verdict
from bootstrap.supply import bundle_file, oci_layout
from bootstrap.supply.build_cache import Store, key_of
from bootstrap.supply.bundle_file import ARCHIVES, CHECKSUMS, ENGINE, TEKTON, TOOLS, UNPROVED, Description
from bootstrap.world.engine.protocol import Engine
from bootstrap.world.terminal import StepLine


class Bundle:
    """file: the bundle. arch: what the nodes are to be. versions: what this checkout's manifests are made for."""

    def __init__(
        self, engine: Engine, clock: Clock, *, file: Path, cache: Path, arch: str, versions: Mapping[str, str]
    ) -> None:
        self._engine = engine
        self._file = file
        self._arch = arch
        self._versions = versions
        self._store = Store(cache, clock)
        self._loaded: set[str] = set()

    def check(self) -> Verdict:
        if not self.kept():
            return Pending(f"{self._file.name} is not unpacked yet")
        absent = [image for image in self._in_engine.values() if not self._engine.has_image(image)]
        if absent:
            return Pending(f"{absent[0]} is not in the engine yet")
        return Ready(f"{len(self._said.images)} images, from {self._file.name}")

    def kept(self) -> bool:
        return self._folder.is_dir()

    def provide(self, line: StepLine) -> None:
        """Raises UsageError for a file that is damaged, PreconditionError for one that does not fit."""
        self._fit()
        part, key = self._place
        try:
            self._store.put(
                part,
                key,
                lambda folder: bundle_file.unpack(self._file, folder, line.progress, self._load),
                lambda: line.cause("waiting"),
            )
            self._load_images(line)
        finally:
            for name in self._loaded:
                with contextlib.suppress(CommandError, PreconditionError):  # it would hide an error from before
                    self._engine.remove_images(self._in_engine[name] + UNPROVED)

    def _load_images(self, line: StepLine) -> None:
        """Of what the engine holds now only what was loaded by this command counts as proved."""
        for name, image in self._in_engine.items():
            if not self._engine.has_image(image):
                if name not in self._loaded:  # the store had the rest from before
                    line.cause(f"loading {name}")
                    bundle_file.load_again(self._file, name, self._sum(f"{ENGINE}{name}.tar"), self._load)
                self._engine.tag_image(image + UNPROVED, image)

    def lock(self) -> Lock:
        said = self._said
        return Lock({image.name: image for image in said.images}, said.node_image, said.registry_image)

    def tekton(self) -> list[Object]:
        loaded: list[Object] = json.loads(self._path(TEKTON).read_bytes())
        return loaded

    def tool(self, name: str) -> Path:
        return self._path(TOOLS + name)

    def kubernetes(self) -> str:
        return self._said.versions["kubernetes"]

    def layouts(self) -> dict[str, Path]:
        return {image.name: bundle_file.layout(self._folder, image.name) for image in self._said.images}

    def seeds(self) -> dict[str, Path]:
        return {name: bundle_file.layout(self._folder, name) for name in self._said.seeds}

    # -- the file ----------------------------------------------------------------------------------

    @functools.cached_property
    def _head(self) -> tuple[Description, bytes]:
        return bundle_file.describe(self._file)

    @property
    def _said(self) -> Description:
        return self._head[0]

    @property
    def _place(self) -> tuple[str, str]:
        """By what it says of itself, digests of all images among it, and its size: to read all of it takes too long."""
        return "bundle", key_of(self._head[1], str(self._file.stat().st_size))

    @property
    def _folder(self) -> Path:
        return self._store.path(*self._place)

    def _path(self, member: str) -> Path:
        path = self._folder / member
        if not path.exists():
            raise PreconditionError(f"{self._file.name} is not unpacked yet", hint="invoke up")
        return path

    @property
    def _in_engine(self) -> dict[str, str]:
        """What the engine runs itself: name of its archive -> name of the image."""
        return dict(zip(ARCHIVES, (self._said.node_image, self._said.registry_image), strict=True))

    def _load(self, name: str, archive: IO[bytes]) -> None:
        """By a name that nothing uses; the engine checks each layer by the image's own digests as well."""
        if self._engine.has_image(self._in_engine[name]):  # of a supply that made the same
            while archive.read(oci_layout.CHUNK):
                pass
        else:
            self._engine.load_images(archive)
            self._loaded.add(name)

    def _sum(self, member: str) -> str:
        pairs = [line.partition("  ") for line in self._path(CHECKSUMS).read_text().splitlines()]
        return {name: digest for digest, _, name in pairs}[member]

    def _fit(self) -> None:
        if self._said.arch != self._arch:
            raise PreconditionError(
                f"{self._file} was made for {self._said.arch}; {self._arch} is wanted",
                hint="make one there, or set arch",
            )
        if dict(self._said.versions) != dict(self._versions):
            what = f"{self._file} was made with {_told(self._said.versions)}"
            hint = "make it again with this checkout: invoke bundle"
            raise UsageError(f"{what}; this checkout is for {_told(self._versions)}", hint=hint)


def _told(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())
