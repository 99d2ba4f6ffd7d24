"""The tasks of a supply by kind: a folder of the store, an image of the engine, an OCI layout of such an image."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

from bootstrap.core.errors import CommandError, PreconditionError
from bootstrap.supply import oci_layout
from bootstrap.supply.build_cache import KEEP, Store
from bootstrap.supply.build_scheduler import Task
from bootstrap.world.engine.protocol import Engine

Say = Callable[[str], None]
Context = Callable[[Path, Say], list[str]]
"""Fills a folder to build from; answers build arguments, "BASE=tekton-bootstrap/base:KEY"."""

FETCH_COST = 10
"""Expected seconds to fetch the modules of a part; it varies more with the network than with the part."""


class TaskFactory:
    """Makes tasks, and names their results.

    key: gives the key of a part, see `cache_keys`. prefix: for images that another supply makes in another way, so that
    both are kept.
    """

    def __init__(self, engine: Engine, store: Store, key: Callable[[str], str], prefix: str = "") -> None:
        self._engine = engine
        self._store = store
        self._key = key
        self._prefix = prefix

    def get_folder(self, part: str) -> Path:
        """The folder of a part in the store, whether it exists or not."""
        return self._store.get_path(part, self._key(part))

    def get_layout(self, name: str) -> Path:
        """The folder of an image's OCI layout in the store, whether it exists or not."""
        return self._store.get_path(f"{self._prefix}layout-{name}", self._key(name))

    def get_tag(self, name: str) -> str:
        """The name of an image in the engine, "tekton-bootstrap/NAME:KEY"."""
        return f"tekton-bootstrap/{self._prefix}{name}:{self._key(name)}"

    def make_store_task(
        self,
        name: str,
        cost: int,
        needs: tuple[str, ...],
        build: Callable[[Path, Say], None],
        compiles: bool = False,
        label: str = "",
    ) -> Task:
        """A task whose result is a folder of the store. build: fills that folder."""

        def make(say: Say) -> None:
            key = self._key(name)
            self._store.put(name, key, lambda f: build(f, say), lambda: say("another command builds it"))

        return Task(name, label or name, cost, needs, lambda: self._store.has(name, self._key(name)), make, compiles)

    def make_fetch_task(self, name: str, label: str, fetch: Callable[[Say], None]) -> Task:
        """A task that fills a cache which manages itself. It runs whenever a part that needs it is to be built."""
        return Task(name, label, FETCH_COST, (), lambda: False, fetch)

    def make_build_task(self, name: str, cost: int, needs: tuple[str, ...], context: Context) -> Task:
        """A task whose result is an image of the engine, built from a folder that `context` fills."""

        def build(folder: Path, say: Say) -> None:
            self._build(name, folder, context(folder, say), say)

        return self.make_engine_task(name, cost, needs, build)

    def make_engine_task(
        self, name: str, cost: int, needs: tuple[str, ...], bring: Callable[[Path, Say], None]
    ) -> Task:
        """A task whose result is an image of the engine. bring: puts it there, and gets an empty folder for that."""

        def make(say: Say) -> None:
            with self._store.hold_lock(f"engine-{self._prefix}{name}", lambda: say("another command builds it")):
                if self._engine.has_image(self.get_tag(name)):
                    return
                folder = self._store.make_scratch(f"engine-{self._prefix}{name}")
                try:
                    bring(folder, say)
                finally:
                    shutil.rmtree(folder, ignore_errors=True)
                self._drop_older(name)

        return Task(f"engine:{name}", name, cost, needs, lambda: self._engine.has_image(self.get_tag(name)), make)

    def make_export_task(self, name: str) -> Task:
        """A task that turns an image of the engine into an OCI layout of the store."""

        def export(folder: Path, say: Say) -> None:
            say("packing")
            archive = folder / "engine.tar"
            self._engine.save_image(self.get_tag(name), archive, limit=600)
            oci_layout.convert_engine_archive(archive, folder)
            archive.unlink()

        def make(say: Say) -> None:
            part = self.get_layout(name).parent.name
            self._store.put(part, self._key(name), lambda f: export(f, say), lambda: say("another command packs it"))

        return Task(
            f"layout:{name}", f"{name} image", 3, (f"engine:{name}",), lambda: self.get_layout(name).is_dir(), make
        )

    def _build(self, name: str, folder: Path, arguments: list[str], say: Say) -> None:
        try:
            self._engine.build_image(folder, self.get_tag(name), arguments=arguments, on_progress=say)
        except CommandError as error:
            message = f"the image {name} could not be built"
            raise CommandError(message, code=error.code, evidence=error.evidence) from None

    def _drop_older(self, name: str) -> None:
        """Keep as many images as the store keeps results.

        The engine refuses to remove one that a container is made from.
        """
        repository = self.get_tag(name).rpartition(":")[0]
        names = [f"{repository}:{tag}" for tag in self._engine.list_image_tags(repository)]
        older = [each for each in names if each != self.get_tag(name)][KEEP - 1 :]
        if older:
            with contextlib.suppress(CommandError, PreconditionError):  # they cost space, and go with the next build
                self._engine.remove_images(*older)
