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
from bootstrap.supply.build_cache import Store, compute_key
from bootstrap.supply.bundle_file import ARCHIVES, BILLS, CHECKSUMS, ENGINE, TEKTON, TOOLS, UNPROVED, Description
from bootstrap.world.engine.protocol import Engine
from bootstrap.world.terminal import StepLine


class Bundle:
    """The images of a bundle.

    file: the bundle. arch: that of the nodes. versions: those of this checkout's manifests.
    """

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
        """Ready when the bundle is unpacked and the engine has its images.

        Raises UsageError for a file that is no bundle.
        """
        if not self.is_kept():
            return Pending(f"{self._file.name} is not unpacked yet")
        absent = [image for image in self._in_engine.values() if not self._engine.has_image(image)]
        if absent:
            return Pending(f"{absent[0]} is not in the engine yet")
        return Ready(f"{len(self._description.images)} images, from {self._file.name}")

    def is_kept(self) -> bool:
        """Whether the bundle is unpacked."""
        return self._folder.is_dir()

    def provide(self, line: StepLine) -> None:
        """Unpack the bundle, and load its images into the engine.

        Raises UsageError for a file that is damaged or made with other versions, PreconditionError for another
        architecture.
        """
        self._check_fit()
        part, key = self._place
        try:
            self._store.put(
                part,
                key,
                lambda folder: bundle_file.unpack(self._file, folder, line.show_progress, self._load),
                lambda: line.show_cause("waiting"),
            )
            self._load_images(line)
        finally:
            for name in self._loaded:
                with contextlib.suppress(CommandError, PreconditionError):  # it would hide an error from before
                    self._engine.remove_images(self._in_engine[name] + UNPROVED)

    def _load_images(self, line: StepLine) -> None:
        """Tag the engine's images. Only images that this command has loaded count as checked."""
        for name, image in self._in_engine.items():
            if not self._engine.has_image(image):
                if name not in self._loaded:  # the store had the rest from before
                    line.show_cause(f"loading {name}")
                    bundle_file.load_again(self._file, name, self._read_checksum(f"{ENGINE}{name}.tar"), self._load)
                self._engine.tag_image(image + UNPROVED, image)

    def read_lock(self) -> Lock:
        """The lock that the bundle describes. Raises UsageError for a file that is no bundle."""
        said = self._description
        return Lock({image.name: image for image in said.images}, said.node_image, said.registry_image)

    def list_tekton_objects(self) -> list[Object]:
        """Tekton's objects, images by logical name. Raises PreconditionError if the bundle is not unpacked."""
        loaded: list[Object] = json.loads(self._find_member(TEKTON).read_bytes())
        return loaded

    def find_tool(self, name: str) -> Path:
        """The program `name`, "kind" or "crane". Raises PreconditionError if the bundle is not unpacked."""
        return self._find_member(TOOLS + name)

    def read_kubernetes_version(self) -> str:
        """The version of Kubernetes in the node image, such as "v1.36.3"."""
        return self._description.versions["kubernetes"]

    def list_layouts(self) -> dict[str, Path]:
        """The OCI layout folders of the images, by logical name."""
        return {image.name: bundle_file.get_layout(self._folder, image.name) for image in self._description.images}

    def list_seeds(self) -> dict[str, Path]:
        """What the registry holds from the start: "library/golang:1" -> OCI layout folder."""
        return {name: bundle_file.get_layout(self._folder, name) for name in self._description.seeds}

    def find_bill(self, name: str) -> Path | None:
        """The bill of materials of an image in the bundle. name: that of its image, "node" or "registry"."""
        path = self._folder / f"{BILLS}{name}.cdx.json"
        return path if path.exists() else None

    # -- the file ----------------------------------------------------------------------------------

    @functools.cached_property
    def _head(self) -> tuple[Description, bytes]:
        return bundle_file.describe(self._file)

    @property
    def _description(self) -> Description:
        return self._head[0]

    @property
    def _place(self) -> tuple[str, str]:
        """Part and key in the store, from the file's description, which has the digests of all images, and its size.

        To read the whole file would take too long.
        """
        return "bundle", compute_key(self._head[1], str(self._file.stat().st_size))

    @property
    def _folder(self) -> Path:
        return self._store.get_path(*self._place)

    def _find_member(self, member: str) -> Path:
        path = self._folder / member
        if not path.exists():
            raise PreconditionError(f"{self._file.name} is not unpacked yet", hint="invoke up")
        return path

    @property
    def _in_engine(self) -> dict[str, str]:
        """The images that the engine itself runs: name of the archive -> name of the image."""
        return dict(zip(ARCHIVES, (self._description.node_image, self._description.registry_image), strict=True))

    def _load(self, name: str, archive: IO[bytes]) -> None:
        """Load an archive under a name that nothing uses.

        The engine compares its layers with the image's own digests.
        """
        if self._engine.has_image(self._in_engine[name]):  # of a supply that made the same
            while archive.read(oci_layout.CHUNK):
                pass
        else:
            self._engine.load_images(archive)
            self._loaded.add(name)

    def _read_checksum(self, member: str) -> str:
        pairs = [line.partition("  ") for line in self._find_member(CHECKSUMS).read_text().splitlines()]
        return {name: digest for digest, _, name in pairs}[member]

    def _check_fit(self) -> None:
        if self._description.arch != self._arch:
            raise PreconditionError(
                f"{self._file} was made for {self._description.arch}; {self._arch} is wanted",
                hint="make one there, or set arch",
            )
        if dict(self._description.versions) != dict(self._versions):
            what = f"{self._file} was made with {_format_versions(self._description.versions)}"
            hint = "make it again with this checkout: invoke bundle"
            raise UsageError(f"{what}; this checkout is for {_format_versions(self._versions)}", hint=hint)


def _format_versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())
