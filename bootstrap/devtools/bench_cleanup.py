"""Thousands of runs that were over long ago, and how long a cleanup takes to be rid of them."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from bootstrap.commands import follow_run
from bootstrap.core import constants
from bootstrap.core.errors import BootstrapError
from bootstrap.core.model import Object
from bootstrap.devtools.bench_webhook import stop_controller
from bootstrap.world import World

OVER, UNDER_WAY = 2000, 20
SIDE_BY_SIDE = 8
MARK = "tekton-bootstrap.dev/litter"
ENDED = "2001-01-01T00:00:00Z"
PADDING = 20_000
"""Bytes in the status of each, about as many as a real run has."""


def measure(world: World, times: int, clean: Callable[[], float]) -> list[float]:
    """Seconds of `clean`, each time with OVER runs that are to go and UNDER_WAY that are not.

    Raises BootstrapError if it leaves one of the former, or touches one of the latter. All are deleted in the end.
    """
    with stop_controller(world):
        try:
            return [_measure_cleanup(world, clean) for _ in range(times)]
        finally:
            for each in list_benchmark_runs(world):
                world.kube.delete(follow_run.API, "PipelineRun", each["metadata"]["name"], constants.RUNS)


def _measure_cleanup(world: World, clean: Callable[[], float]) -> float:
    make_runs(world)
    before = {uid: version for uid, version, over in _list_states(world) if not over}
    seconds = clean()
    after = {uid: version for uid, version, over in _list_states(world) if not over}
    left = sum(over for _, _, over in _list_states(world))
    if left or after != before:
        raise BootstrapError(
            f"the cleanup left {left} of {OVER} runs, and touched {len(before.items() - after.items())}"
        )
    return seconds


def make_runs(world: World) -> None:
    """OVER runs that are over, and UNDER_WAY that are not."""
    mark = secrets.token_hex(3)
    world.report.line(f"making {OVER} runs that are over, and {UNDER_WAY} that are not")
    with ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="litter") as pool:
        list(
            pool.map(
                lambda number: make_run(world, f"litter-{mark}-{number}", over=number < OVER), range(OVER + UNDER_WAY)
            )
        )


def make_run(world: World, name: str, *, over: bool) -> None:
    """One that is under way is held, so that it stays so; one that is over has no pipeline, so that it never starts.

    A controller leaves alone what is over, but would say of a held one that it waits.
    """
    held = {"pipelineRef": {"name": constants.PIPELINE}, "status": "PipelineRunPending"}
    spec = {"pipelineRef": {"name": "none"}} if over else held
    metadata = {"name": name, "namespace": constants.RUNS, "labels": {MARK: "yes"}}
    world.kube.create({"apiVersion": follow_run.API, "kind": "PipelineRun", "metadata": metadata, "spec": spec})
    if over:
        condition = {"type": "Succeeded", "status": "True", "reason": "Succeeded", "message": "x" * PADDING}
        condition["lastTransitionTime"] = ENDED
        status = {"status": {"completionTime": ENDED, "conditions": [condition]}}
        world.kube.patch(follow_run.API, "PipelineRun", name, constants.RUNS, patch=status, subresource="status")


def list_benchmark_runs(world: World) -> list[Object]:
    """All that was made here."""
    return world.kube.list(follow_run.API, "PipelineRun", constants.RUNS, labels=MARK)


def _list_states(world: World) -> list[tuple[str, str, bool]]:
    """(uid, resourceVersion, whether it is over)."""
    return [
        (each["metadata"]["uid"], each["metadata"]["resourceVersion"], "completionTime" in (each.get("status") or {}))
        for each in list_benchmark_runs(world)
    ]
