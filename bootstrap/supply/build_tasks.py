"""Tasks of a supply, by kind: a folder of the store, an image of the engine, an OCI layout of such an image."""

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


class Workshop:
    """key: of a part, see `keys`. prefix: of the parts that another supply makes otherwise: they are kept apart."""

    def __init__(self, engine: Engine, store: Store, key: Callable[[str], str], prefix: str = "") -> None:
        self._engine = engine
        self._store = store
        self._key = key
        self._prefix = prefix

    def folder(self, part: str) -> Path:
        return self._store.path(part, self._key(part))

    def layout(self, name: str) -> Path:
        return self._store.path(f"{self._prefix}layout-{name}", self._key(name))

    def tag(self, name: str) -> str:
        return f"tekton-bootstrap/{self._prefix}{name}:{self._key(name)}"

    def stored(
        self,
        name: str,
        cost: int,
        needs: tuple[str, ...],
        build: Callable[[Path, Say], None],
        compiles: bool = False,
        label: str = "",
    ) -> Task:
        """A task whose result is a folder of the store."""

        def make(say: Say) -> None:
            key = self._key(name)
            self._store.put(name, key, lambda f: build(f, say), lambda: say("another command builds it"))

        return Task(name, label or name, cost, needs, lambda: self._store.has(name, self._key(name)), make, compiles)

    def fetched(self, name: str, label: str, fetch: Callable[[Say], None]) -> Task:
        """A task that fills a cache which looks after itself; run whenever a part that needs it is to be built."""
        return Task(name, label, FETCH_COST, (), lambda: False, fetch)

    def in_engine(self, name: str, cost: int, needs: tuple[str, ...], context: Context) -> Task:
        """A task whose result is an image of the engine, built from a context folder."""

        def build(folder: Path, say: Say) -> None:
            self._build(name, folder, context(folder, say), say)

        return self.held(name, cost, needs, build)

    def held(self, name: str, cost: int, needs: tuple[str, ...], bring: Callable[[Path, Say], None]) -> Task:
        """A task whose result is an image of the engine, however it gets there. bring: is given an empty folder."""

        def make(say: Say) -> None:
            with self._store.locked(f"engine-{self._prefix}{name}", lambda: say("another command builds it")):
                if self._engine.has_image(self.tag(name)):
                    return
                folder = self._store.scratch(f"engine-{self._prefix}{name}")
                try:
                    bring(folder, say)
                finally:
                    shutil.rmtree(folder, ignore_errors=True)
                self._drop_older(name)

        return Task(f"engine:{name}", name, cost, needs, lambda: self._engine.has_image(self.tag(name)), make)

    def exported(self, name: str) -> Task:
        """A task that turns an image of the engine into an OCI layout of the store."""

        def export(folder: Path, say: Say) -> None:
            say("packing")
            archive = folder / "engine.tar"
            self._engine.save_image(self.tag(name), archive, limit=600)
            oci_layout.from_engine_archive(archive, folder)
            archive.unlink()

        def make(say: Say) -> None:
            part = self.layout(name).parent.name
            self._store.put(part, self._key(name), lambda f: export(f, say), lambda: say("another command packs it"))

        return Task(f"layout:{name}", f"{name} image", 3, (f"engine:{name}",), lambda: self.layout(name).is_dir(), make)

    def _build(self, name: str, folder: Path, arguments: list[str], say: Say) -> None:
        try:
            self._engine.build_image(folder, self.tag(name), arguments=arguments, on_progress=say)
        except CommandError as error:
            message = f"the image {name} could not be built"
            raise CommandError(message, code=error.code, evidence=error.evidence) from None

    def _drop_older(self, name: str) -> None:
        """Keep as many as the store does; the engine refuses to remove what a container is made from."""
        repository = self.tag(name).rpartition(":")[0]
        names = [f"{repository}:{tag}" for tag in self._engine.list_image_tags(repository)]
        older = [each for each in names if each != self.tag(name)][KEEP - 1 :]
        if older:
            with contextlib.suppress(CommandError, PreconditionError):  # they cost space, and go with the next build
                self._engine.remove_images(*older)
