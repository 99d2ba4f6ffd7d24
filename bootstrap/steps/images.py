"""The images, from whichever supply was chosen."""

from __future__ import annotations

from dataclasses import dataclass

from bootstrap.core.model import Verdict
from bootstrap.world import World


@dataclass(frozen=True)
class ImagesStep:
    """The images of the lock, from whichever supply was chosen."""

    name: str = "images"
    needs: tuple[str, ...] = ("engine",)
    limit: float = 30

    def check(self, world: World) -> Verdict:
        """Ready when every image is there and nothing has to be built or fetched."""
        return world.images.check()

    def apply(self, world: World) -> None:
        """Build or fetch the images that are missing."""
        world.images.provide(world.report.step(self.name))

    def undo(self, world: World) -> None:
        """Nothing: images are a cache, which `down --purge` deletes as a whole."""
