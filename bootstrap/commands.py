"""Every command by name: what it needs of the World, and the flow that it is."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from typing import Any

from bootstrap.cancel import Cancel
from bootstrap.config import Config
from bootstrap.errors import Interrupted
from bootstrap.paths import PROJECT, Paths
from bootstrap.world import World
from bootstrap.world.report import Report


def run(verb: str, config: Config, paths: Paths, report: Report, options: Mapping[str, Any]) -> int:
    """Run one command; SIGTERM ends it as Ctrl-C does. Raises BootstrapError."""
    commands = _commands()
    before = signal.signal(signal.SIGTERM, _interrupt)
    world = make_world(config, paths, report)
    try:
        return commands[verb](world, **options)
    except KeyboardInterrupt:
        world.cancel.request()
        raise Interrupted("stopped", hint=f"to go on: invoke {verb.replace('_', '-')}") from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def make_world(config: Config, paths: Paths, report: Report) -> World:
    """The doors, opened when they are first used."""
    from bootstrap.supply.source import Source
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
        images=Source(shell, engine, clock, project=PROJECT, cache=paths.cache, arch=config.architecture),
    )


def _commands() -> dict[str, Callable[..., int]]:
    from bootstrap import bench, checking, flows, looking, running, serving

    return {
        "up": flows.up,
        "down": flows.down,
        "status": flows.status,
        "test_run": running.test_run,
        "rerun": running.rerun,
        "runs": running.runs,
        "logs": running.logs,
        "cancel": running.cancel,
        "listener": serving.listener,
        "dashboard": serving.dashboard,
        "doctor": looking.doctor,
        "config": looking.config,
        "images": looking.images,
        "test": checking.test,
        "bench": bench.bench,
    }
