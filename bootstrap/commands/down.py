"""`invoke down`: undo every step, last first."""

from __future__ import annotations

from bootstrap.core.errors import BootstrapError
from bootstrap.core.model import Ready
from bootstrap.steps import graph
from bootstrap.steps.reconcile import dismantle
from bootstrap.world import World
from bootstrap.world.file_locks import hold_engine, lock_environment


def down(world: World, *, purge: bool = False) -> int:
    """Undo every step, last first. On nothing: nothing, and exit 0.

    What cannot be removed does not keep the rest from being; the first such error is raised at the end.
    """
    start = world.clock.now()
    what = f"environment {world.config.name} is gone"
    with lock_environment(world, "down", last=True), hold_engine(world) as alone:
        local = not world.config.elsewhere
        failures = _undo(world, engine=local and world.engine.revive(lambda _: None))
        world.identity.delete()
        last = alone()
        if last and local:
            world.engine.stop_if_idle()
        if purge and not failures:
            what += _purge(world, last)
    world.paths.remove_empty()
    if failures:
        raise failures[0]
    hint = "" if purge else "; caches stay: invoke down --purge"
    world.report.line(f"{what} ({world.clock.now() - start:.1f} s){hint}")
    return 0


def _purge(world: World, alone: bool) -> str:
    """Delete caches and private engine, unless another environment lives on them, or another command uses them."""
    others = world.paths.list_others() or ([] if alone else ["another command"])
    if others:
        world.report.warn(f"caches and engine stay, for they are also those of {', '.join(others)}")
        return ""
    if not world.engine.is_managed and isinstance(world.engine.check(), Ready):
        world.engine.remove_own_images()
    world.engine.purge()
    world.paths.purge()
    return ", and so are the caches"


def _undo(world: World, *, engine: bool) -> list[BootstrapError]:
    """A cluster of our own goes as a whole; from one that exists each step removes what it made.

    engine: whether it can be asked; if not, nothing of ours is in it.
    """
    # What is to go is rendered first, as for `up`. What is known of the mirror is enough, whatever it holds by now.
    if world.config.elsewhere and not world.images.is_kept():
        world.images.provide(world.report.step("images"))
    todo = graph.list_steps(world)
    outside = {"engine", "images", "registry", "cluster"}
    inside = {step.name for step in todo} - outside
    wanted = (outside if engine else set()) | (inside if world.config.context else set())
    return dismantle(todo, wanted, world, world.report)
