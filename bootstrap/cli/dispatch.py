"""Every command by name: what it needs of the World, and the flow that it is."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bootstrap.core.cancel import Cancel
from bootstrap.core.errors import Interrupted
from bootstrap.core.paths import PROJECT, Paths
from bootstrap.settings.config import Config
from bootstrap.world import World
from bootstrap.world.terminal import Report

if TYPE_CHECKING:
    from bootstrap.core.clock import Clock
    from bootstrap.world.engine.protocol import Engine
    from bootstrap.world.environment_store import Identity
    from bootstrap.world.image_supply import Images
    from bootstrap.world.shell import Shell

MODULES = {
    "up": "commands.up",
    "down": "commands.down",
    "status": "commands.status",
    "test_run": "commands.runs",
    "rerun": "commands.runs",
    "runs": "commands.runs",
    "logs": "commands.runs",
    "cancel": "commands.runs",
    "poll": "commands.run_cronjob",
    "cleanup": "commands.run_cronjob",
    "clone": "commands.clone",
    "app_add": "commands.applications",
    "app_list": "commands.applications",
    "app_show": "commands.applications",
    "app_remove": "commands.applications",
    "promote": "commands.promote",
    "rollback": "commands.promote",
    "deployments": "commands.deployments",
    "listener": "commands.listener",
    "tunnel": "commands.tunnel",
    "webhook": "commands.webhook",
    "dashboard": "console.serve",
    "doctor": "commands.doctor",
    "config": "commands.show_config",
    "images": "commands.list_images",
    "bundle": "commands.bundle",
    "mirror": "commands.mirror",
    "test": "devtools.test_command",
    "bench": "devtools.bench",
    "soak": "devtools.soak",
    "pins": "devtools.pins",
}
"""Command -> the module of `bootstrap` that holds the function of that name."""
NEEDS_NO_CHOICE = ("down", "test", "bench", "pins")
"""Commands for which `supply: auto` is source: the first has to work without whatever the environment came from, the
others need programs that only source builds."""


def run(verb: str, config: Config, paths: Paths, report: Report, options: Mapping[str, Any]) -> int:
    """Run one command; SIGTERM ends it as Ctrl-C does. Raises BootstrapError."""
    command = _import_command(verb)
    before = signal.signal(signal.SIGTERM, _interrupt)
    world: World | None = None
    try:
        world = make_world(config, paths, report, verb)
        return command(world, **options)
    except KeyboardInterrupt:
        if world:
            world.cancel.request()
        raise Interrupted("stopped", hint=f"to go on: invoke {verb.replace('_', '-')}") from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(*_: object) -> None:
    """A handler of SIGTERM. Raises KeyboardInterrupt, as Ctrl-C does."""
    raise KeyboardInterrupt


def make_world(config: Config, paths: Paths, report: Report, verb: str = "") -> World:
    """The World of a command; engine, images and API are made when first used.

    verb: the command, which `supply: auto` depends on.
    """
    from bootstrap.core.clock import SystemClock
    from bootstrap.world.environment_store import Identity
    from bootstrap.world.shell import SystemShell

    cancel = Cancel()
    shell, clock = SystemShell(cancel), SystemClock(cancel)
    identity = Identity(paths.env, config.name)
    config, why = _resolve_settings(config, shell, identity, verb)
    return World(
        config=config,
        paths=paths,
        project=PROJECT,
        shell=shell,
        clock=clock,
        cancel=cancel,
        report=report,
        make_engine=lambda: _make_engine(config, paths, shell),
        identity=identity,
        make_images=lambda engine: _make_supply(config, paths, shell, engine, clock, cancel),
        supply_why=why,
    )


def _resolve_settings(config: Config, shell: Shell, identity: Identity, verb: str) -> tuple[Config, str]:
    """With a supply in place of auto, and why it is that one; what only shows the settings shows them as they are."""
    if config.supply != "auto" or verb == "config":
        return config, f"as set ({config.origin('supply')})"
    if verb in NEEDS_NO_CHOICE:
        return replace(config, supply="source"), f"auto: {verb} looks for no other"
    from bootstrap.supply import auto

    # What fills a mirror, or writes a bundle, takes it from elsewhere.
    choice = auto.choose_supply(shell, config, PROJECT, made_with=identity.read_supply(), without=verb)
    return replace(config, supply=choice.supply), f"auto: {choice.why}"


def _make_engine(config: Config, paths: Paths, shell: Shell) -> Engine:
    from bootstrap.world.engine.docker import DockerEngine

    return DockerEngine(shell, paths, config.engine)


def _make_supply(config: Config, paths: Paths, shell: Shell, engine: Engine, clock: Clock, cancel: Cancel) -> Images:
    arch = config.architecture
    if config.supply == "bundle":
        from bootstrap.supply.bundle import Bundle
        from bootstrap.supply.versions import read_versions

        file = Path(config.bundle.file).expanduser().absolute()
        return Bundle(engine, clock, file=file, cache=paths.cache, arch=arch, versions=read_versions(PROJECT))
    if config.supply == "upstream":
        from bootstrap.supply.upstream import Upstream

        return Upstream(
            shell, engine, clock, settings=config.upstream, project=PROJECT, cache=paths.cache, arch=arch, cancel=cancel
        )
    from bootstrap.supply.source import Source

    source = Source(shell, engine, clock, project=PROJECT, cache=paths.cache, arch=arch, cancel=cancel)
    if config.supply != "mirror":
        return source
    from bootstrap.supply.mirror import Mirror
    from bootstrap.supply.mirror_remote import DirectMirror
    from bootstrap.supply.versions import read_versions
    from bootstrap.world.registry.user import MirrorRegistry

    make = partial(DirectMirror, logs_in=bool(config.mirror.username)) if config.elsewhere else Mirror
    return make(
        engine,
        clock,
        source,
        lambda crane: MirrorRegistry(shell, clock, crane, config.mirror),
        cache=paths.cache,
        arch=arch,
        versions=read_versions(PROJECT),
        parallel=config.mirror.parallel,
    )


def _import_command(verb: str) -> Callable[..., int]:
    """The flow; its module is imported only now, so that `invoke --list` and small commands stay quick."""
    command: Callable[..., int] = getattr(import_module(f"bootstrap.{MODULES[verb]}"), verb)
    return command
