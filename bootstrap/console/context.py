"""What every page of the console is given: the environment, the watch cache, the queries and the mask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap.console.masking import Mask
from bootstrap.console.queries import Queries
from bootstrap.console.watch_cache import WatchCache
from bootstrap.world import World

if TYPE_CHECKING:
    from bootstrap.steps.reconcile import Outcome

STATIC = Path(__file__).parent / "static"
STYLE = STATIC / "style.css"
SCRIPT = STATIC / "log.js"


class Context:
    """One for the console's whole life, shared by all its pages and threads.

    check_steps: looks at every step of `up`; it may take seconds. links: further pages that the header points at, name
    -> address; they may be added while the console runs.
    """

    def __init__(self, world: World, check_steps: Callable[[], Sequence[Outcome]]) -> None:
        self.world = world
        self.links: dict[str, str] = {}
        self.queries = Queries(world, check_steps)
        self.mask = Mask(self.queries.list_secrets, world.clock.now)
        settings = world.config
        self.watch_cache = WatchCache(
            lambda: world.kube, lambda: world.target, settings.target.namespace, settings.pipeline.deployment
        )
