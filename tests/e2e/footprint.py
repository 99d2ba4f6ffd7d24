"""What an environment has on this machine, so that what is left of it after `down` is seen."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bootstrap.core import constants
from bootstrap.core.model import Ready
from bootstrap.world import World, host
from bootstrap.world.engine.network import EngineNetwork, list_links
from bootstrap.world.file_locks import hold_engine_while_needed
from tests.e2e.docker_client import docker, inspect


@dataclass(frozen=True)
class Footprint:
    """volumes: of its containers, also those without a name. bridges: network interfaces."""

    volumes: tuple[str, ...]
    bridges: tuple[str, ...]


def footprint(world: World) -> Footprint:
    """Taken while the environment is up."""
    volumes: list[str] = []
    for container in _containers(world):
        document = inspect(world, "container", container) or {}
        volumes += [mount["Name"] for mount in document.get("Mounts", ()) if mount.get("Type") == "volume"]
    network = inspect(world, "network", constants.network(world.config.name)) or {}
    bridge = (network.get("Options") or {}).get("com.docker.network.bridge.name", "")
    return Footprint(tuple(volumes), (bridge,) if bridge else ())


def leftovers(world: World, before: Footprint, kubeconfigs: Iterable[Path]) -> list[str]:
    """A line for everything that is still there. Starts a private engine that has stopped, to ask it; it stays while
    another command uses it."""
    with hold_engine_while_needed(world):
        if not isinstance(world.engine.check(), Ready):
            world.engine.ensure(lambda _: None)
        found = [*_in_engine(world, before), *_on_host(world, before, kubeconfigs)]
    return [*found, *_of_engine(world)]


def _in_engine(world: World, before: Footprint) -> Iterator[str]:
    name = world.config.name
    yield from (f"container {each}" for each in _containers(world))
    if inspect(world, "network", constants.network(name)) is not None:
        yield f"network {constants.network(name)}"
    for volume in {*before.volumes, constants.registry_container(name)}:
        if inspect(world, "volume", volume) is not None:
            yield f"volume {volume}"


def _on_host(world: World, before: Footprint, kubeconfigs: Iterable[Path]) -> Iterator[str]:
    name = world.config.name
    yield from (f"process {pid}: {words}" for pid, words in processes_of(name))
    yield from (f"bridge {bridge}" for bridge in before.bridges if (Path("/sys/class/net") / bridge).exists())
    for kubeconfig in kubeconfigs:
        if kubeconfig.exists() and constants.context(name) in kubeconfig.read_text():
            yield f"context {constants.context(name)} in {kubeconfig}"
    for folder in (world.paths.state / "environments", world.paths.state / "locks", world.paths.run):
        yield from (f"file {path}" for path in folder.glob(f"*{name}*"))


def _of_engine(world: World) -> list[str]:
    """What an engine that has ended forgot: bridges under the prefix that its names have."""
    if not world.engine.is_managed or isinstance(world.engine.check(), Ready):
        return []
    prefix = EngineNetwork.open(world.paths.state / "engine").prefix
    return [f"bridge {link}" for link in list_links() if link.startswith(prefix)]


def _containers(world: World) -> list[str]:
    """By name and by any label, running or not."""
    name = world.config.name
    found = json.loads(f"[{','.join(docker(world, 'ps', '--all', '--format={{json .}}').stdout.splitlines())}]")
    return [
        each["Names"] for each in found if each["Names"].startswith(f"{name}-") or f"={name}," in each["Labels"] + ","
    ]


def processes_of(name: str) -> list[tuple[int, str]]:
    """Processes with the environment's name in their arguments or variables; not this one."""
    found = []
    for pid, words in host.list_processes():
        if pid == os.getpid():
            continue
        with contextlib.suppress(OSError):
            variables = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
            if name in " ".join(words) or name in variables:
                found.append((pid, " ".join(words)[:120]))
    return found
