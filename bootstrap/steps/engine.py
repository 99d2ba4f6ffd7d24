"""The container engine, and the network of the environment in it."""

from __future__ import annotations

from dataclasses import dataclass

from bootstrap.core import constants
from bootstrap.core.model import Pending, Ready, Verdict
from bootstrap.world import World


@dataclass(frozen=True)
class EngineStep:
    """The container engine, and the environment's network in it.

    network: False for commands that make no environment and so need no network.
    """

    network: bool = True
    name: str = "engine"
    needs: tuple[str, ...] = ()
    limit: float = 60

    def check(self, world: World) -> Verdict:
        """Ready when the engine answers and the network is there."""
        verdict = world.engine.check()
        if not isinstance(verdict, Ready) or not self.network:
            return verdict
        there = world.engine.has_network(constants.network(world.config.name))
        return verdict if there else Pending("its network is missing")

    def apply(self, world: World) -> None:
        """Start the engine if it is ours, and create the network."""
        world.engine.ensure(world.report.step(self.name).show_cause)
        if self.network:
            world.engine.create_network(constants.network(world.config.name))

    def undo(self, world: World) -> None:
        """Remove the network. The engine keeps running."""
        world.engine.remove_network(constants.network(world.config.name))
