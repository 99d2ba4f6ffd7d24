"""The images, from whichever supply was chosen."""

from __future__ import annotations

from dataclasses import dataclass

from bootstrap.core.model import Verdict
from bootstrap.world import World


@dataclass(frozen=True)
class ImagesStep:
    name: str = "images"
    needs: tuple[str, ...] = ("engine",)
    limit: float = 30

    def check(self, world: World) -> Verdict:
        return world.images.check()

    def apply(self, world: World) -> None:
        world.images.provide(world.report.step(self.name))

    def undo(self, world: World) -> None:
        """Images are a cache: `down --purge` deletes it as a whole."""
