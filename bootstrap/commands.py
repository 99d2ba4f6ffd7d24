"""Every command by name: what it needs of the World, and the flow that it is."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bootstrap.cancel import Cancel
from bootstrap.config import Config
from bootstrap.errors import Interrupted
from bootstrap.paths import PROJECT, Paths
from bootstrap.world import World
from bootstrap.world.report import Report

if TYPE_CHECKING:
    from bootstrap.world.clock import Clock
    from bootstrap.world.engine import Engine
    from bootstrap.world.images import Images
    from bootstrap.world.shell import Shell

MODULES = {
    "up": "flows",
    "down": "flows",
    "status": "flows",
    "test_run": "running",
    "rerun": "running",
    "runs": "running",
    "logs": "running",
    "cancel": "running",
    "poll": "jobs",
    "cleanup": "jobs",
    "clone": "cloning",
    "listener": "serving",
    "tunnel": "tunnelling",
    "webhook": "delivering",
    "dashboard": "serving",
    "doctor": "looking",
    "config": "looking",
    "images": "looking",
    "bundle": "bundling",
    "mirror": "mirroring",
    "test": "checking",
    "bench": "bench",
}
"""Command -> the module of `bootstrap` that holds the function of that name."""


def run(verb: str, config: Config, paths: Paths, report: Report, options: Mapping[str, Any]) -> int:
    """Run one command; SIGTERM ends it as Ctrl-C does. Raises BootstrapError."""
    command = _command(verb)
    before = signal.signal(signal.SIGTERM, _interrupt)
    world = make_world(config, paths, report)
    try:
        return command(world, **options)
    except KeyboardInterrupt:
        world.cancel.request()
        raise Interrupted("stopped", hint=f"to go on: invoke {verb.replace('_', '-')}") from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def make_world(config: Config, paths: Paths, report: Report) -> World:
    """The doors, opened when they are first used."""
    from bootstrap.world.clock import SystemClock
    from bootstrap.world.engine import Engine
    from bootstrap.world.identity import Identity
    from bootstrap.world.shell import SystemShell

    cancel = Cancel()
    shell, clock = SystemShell(cancel), SystemClock(cancel)
    engine = Engine(shell, paths, config.engine)
    return World(
        config=config,
        paths=paths,
        project=PROJECT,
        shell=shell,
        clock=clock,
        cancel=cancel,
        report=report,
        engine=engine,
        identity=Identity(paths.env, config.name),
        images=_supply(config, paths, shell, engine, clock, cancel),
    )


def _supply(config: Config, paths: Paths, shell: Shell, engine: Engine, clock: Clock, cancel: Cancel) -> Images:
    arch = config.architecture
    if config.supply == "bundle":
        from bootstrap.supply.bundle import Bundle
        from bootstrap.supply.versions import versions

        file = Path(config.bundle.file).expanduser().absolute()
        return Bundle(engine, clock, file=file, cache=paths.cache, arch=arch, versions=versions(PROJECT))
    from bootstrap.supply.source import Source

    source = Source(shell, engine, clock, project=PROJECT, cache=paths.cache, arch=arch, cancel=cancel)
    if config.supply != "mirror":
        return source
    from bootstrap.supply.mirror import Mirror
    from bootstrap.supply.versions import versions
    from bootstrap.world.mirror import MirrorRegistry

    return Mirror(
        engine,
        clock,
        source,
        lambda crane: MirrorRegistry(shell, clock, crane, config.mirror),
        cache=paths.cache,
        arch=arch,
        versions=versions(PROJECT),
        parallel=config.mirror.parallel,
    )


def _command(verb: str) -> Callable[..., int]:
    """The flow; its module is imported only now, so that `invoke --list` and small commands stay quick."""
    command: Callable[..., int] = getattr(import_module(f"bootstrap.{MODULES[verb]}"), verb)
    return command
