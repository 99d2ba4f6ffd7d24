"""What every page of the console is given: the environment, its watched runs, the other queries, and what to mask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap.console.masking import Mask
from bootstrap.console.queries import Sources
from bootstrap.console.watch_cache import Feed
from bootstrap.world import World

if TYPE_CHECKING:
    from bootstrap.steps.reconcile import Outcome

STATIC = Path(__file__).parent / "static"
STYLE = STATIC / "style.css"


class Context:
    """look: checks every step. links: further pages to point at, name -> address; they may come later."""

    def __init__(self, world: World, look: Callable[[], Sequence[Outcome]]) -> None:
        self.world = world
        self.links: dict[str, str] = {}
        self.sources = Sources(world, look)
        self.mask = Mask(self.sources.secrets, world.clock.now)
        settings = world.config
        self.feed = Feed(
            lambda: world.kube, lambda: world.target, settings.target.namespace, settings.pipeline.deployment
        )
