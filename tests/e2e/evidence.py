"""What an environment looks like when a test fails, kept for whoever reads of it later: `python -m tests.e2e.evidence
FOLDER NAME`, with the variables of the environment's commands.

A program of its own, because some environments are in reach only from within an enclosure.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from bootstrap.cli.dispatch import make_world
from bootstrap.core.model import Object
from bootstrap.core.paths import PROJECT, Paths
from bootstrap.settings import config as settings
from bootstrap.world import World
from bootstrap.world.terminal import TerminalReport
from tests.e2e.docker_client import docker

TAIL_LINES = 300


def main(folder: Path, name: str) -> None:
    """Write what there is; what could not be asked is said in its file. Nothing may fail here: the test's own failure
    is what counts."""
    folder.mkdir(parents=True, exist_ok=True)
    config = settings.load(PROJECT / "invoke.yaml", os.environ, [], {"name": name})
    silent = io.StringIO()
    world = make_world(config, Paths.of(config.name, os.environ), TerminalReport(silent, silent))
    write(folder / "containers.txt", lambda: docker(world, "ps", "--all").stdout)
    write(folder / "events.txt", lambda: "\n".join(events(world)))
    write(folder / "pods.txt", lambda: "\n".join(describe_pod(pod) for pod in world.kube.list("v1", "Pod")))
    write(folder / "logs.txt", lambda: "\n".join(logs(world)))


def write(file: Path, ask: Callable[[], str]) -> None:
    try:
        text = ask()
    except Exception as error:  # noqa: BLE001  whatever is broken, the rest is still worth having
        text = f"it could not be asked: {type(error).__name__}: {error}"
    file.write_text(f"{text}\n")


def events(world: World) -> Iterator[str]:
    """By time."""
    found = world.kube.list("v1", "Event")
    for event in sorted(found, key=_time):
        thing = event.get("involvedObject", {})
        place = f"{thing.get('kind')} {thing.get('namespace', '')}/{thing.get('name')}"
        yield f"{_time(event)} {event.get('type')} {event.get('reason')} {place}: {event.get('message')}"


def _time(event: Object) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp"))


def describe_pod(pod: Object) -> str:
    meta, status = pod["metadata"], pod.get("status", {})
    node = pod["spec"].get("nodeName", "no node")
    states = [f"{each['name']}: {each.get('state')}" for each in status.get("containerStatuses", ())]
    return f"{meta['namespace']}/{meta['name']} {status.get('phase')} on {node}: {'; '.join(states)}"


def is_well(pod: Object) -> bool:
    """Whether all containers are ready, or have done their work."""
    status = pod.get("status", {})
    found = status.get("containerStatuses") or [{"ready": False}]
    return status.get("phase") == "Succeeded" or all(each["ready"] for each in found)


def logs(world: World) -> Iterator[str]:
    """Of the pods that are not ready."""
    for pod in world.kube.list("v1", "Pod"):
        if is_well(pod):
            continue
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        for container in (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]):
            yield f"== {namespace}/{name} {container['name']}"
            try:
                yield world.kube.read_log(namespace, name, container["name"], tail_lines=TAIL_LINES)
            except Exception as error:  # noqa: BLE001  as above
                yield f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
