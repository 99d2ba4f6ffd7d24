"""`invoke soak`: an environment that is up lives through minutes of pushes, failing pushes, polls and deleted pods.

At its end each pushed commit must have its run, with the result that it deserves; the newest good one must serve; no
container may have been ended for its memory; and every step must be ready. What it pushes stays in the branch `main` of
the environment's own repository, so use an environment that you do not need otherwise.
"""

from __future__ import annotations

import random
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bootstrap.commands import clone, follow_run, run_cronjob, runs, status
from bootstrap.core import constants
from bootstrap.core.errors import ApiError, BootstrapError, CommandError, PreconditionError
from bootstrap.core.model import Object, Pending, Ready, Verdict
from bootstrap.core.wait import until
from bootstrap.devtools.bench import Clone
from bootstrap.incluster.run_names import make_triggered_run_name
from bootstrap.objects.readiness import at
from bootstrap.objects.run_status import Run, RunState
from bootstrap.steps import graph
from bootstrap.steps.reconcile import check_steps
from bootstrap.world import World

ACTIONS = {"push": 45, "failing push": 15, "poll": 10, "delete pod": 30}
"""What is done next -> its weight."""
PAUSE = (3.0, 20.0)
"""Seconds between two actions, from and to."""
SETTLE_LIMIT = 1200.0
"""Seconds that the runs under way are given to end, and the steps to be ready again."""
PUSH_LIMIT = 180.0
NAMESPACES = (constants.RUNS, constants.BUILD, constants.GIT, constants.DEMO, constants.TEKTON)
BROKEN = "broken.go"


@dataclass
class Log:
    """What was done. good and bad: pushed commits, in order, which a run can build or cannot."""

    good: list[str] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)
    polls: int = 0
    pods: list[str] = field(default_factory=list)

    @property
    def newest(self) -> str:
        """The last commit that can be built, "" for none."""
        return self.good[-1] if self.good else ""


def soak(world: World, *, minutes: int = 30, seed: int = 0, as_json: bool = False) -> int:
    """Live for so many minutes; 1 if something is not as it must be then. seed 0: another one each time.

    Raises PreconditionError where the environment is not ready to begin with.
    """
    seed = seed or secrets.randbelow(10**6)
    unready = list_unready(world)
    if unready:
        raise PreconditionError(f"environment {world.config.name} is not ready: {unready[0]}", hint="invoke up")
    with tempfile.TemporaryDirectory(prefix="tekton-bootstrap-soak-") as folder:
        found = Soak(world, Path(folder), random.Random(seed)).live(minutes * 60)  # noqa: S311  no secret
    document = {"seed": seed, "minutes": minutes, **found}
    rows = [[name, str(value)] for name, value in document.items() if name != "faults"]
    world.report.table(["what", ""], rows)
    for fault in found["faults"]:
        world.report.warn(fault)
    if as_json:
        world.report.json(document)
    return 1 if found["faults"] else 0


def list_unready(world: World) -> list[str]:
    """ "STEP: why" of each step that is not ready."""
    outcomes = check_steps(graph.list_steps(world), world, world.clock)
    return [f"{each.name}: {each.verdict.why}" for each in outcomes if not isinstance(each.verdict, Ready)]


class Soak:
    """folder: private, for the clone; removed by its owner. chance: what decides which action comes next."""

    def __init__(self, world: World, folder: Path, chance: random.Random) -> None:
        self._world = world
        self._chance = chance
        self._clone = Clone(world, folder / "clone")
        self._log = Log()

    def live(self, seconds: float) -> dict[str, Any]:
        """Act for so many seconds, wait until all is over, and answer what was done and found."""
        world = self._world
        clone.clone(world, into=str(self._clone.folder))
        room, end = status.read_disk(world), world.clock.now() + seconds
        while world.clock.now() < end:
            action = self._chance.choices([*ACTIONS], [*ACTIONS.values()])[0]
            world.report.line(f"{max(0, end - world.clock.now()):.0f} s to go: {action}")
            self._act(action)
            world.clock.sleep(self._chance.uniform(*PAUSE))
        self._push(broken=False)  # the last one can be built
        found = self._await_runs()
        unready = self._await_ready()
        left = status.read_disk(world)
        faults = list_faults(self._log, found, self._read_served()) + unready + self._list_killed()
        return {
            "pushes": len(self._log.good),
            "failing pushes": len(self._log.bad),
            "polls": self._log.polls,
            "pods deleted": len(self._log.pods),
            "disk taken, MB": round((room.free - left.free) / 1e6) if room and left else None,
            "faults": faults,
        }

    def _act(self, action: str) -> None:
        if action == "poll":
            self._log.polls += 1
            try:
                run_cronjob.poll(self._world)
            except BootstrapError as error:  # what serves it may have been deleted a moment ago
                self._world.report.line(f"poll: {error.message}")
        elif action == "delete pod":
            self._delete_pod()
        else:
            self._push(broken=action == "failing push")

    def _push(self, *, broken: bool) -> None:
        file = self._clone.folder / BROKEN
        if broken:
            file.write_text(f"package main\n\nfunc broken{len(self._log.bad)}( {{\n")
        else:
            file.unlink(missing_ok=True)
        self._clone.git("add", "--all")
        commit = self._clone.commit()
        (self._log.bad if broken else self._log.good).append(commit)

        def pushed() -> Verdict:
            try:
                self._clone.git("push", "--quiet", "origin", "HEAD:main")
            except CommandError as error:  # the git server may have been deleted a moment ago
                return Pending(error.message)
            return Ready()

        until(pushed, clock=self._world.clock, limit=PUSH_LIMIT, what="a push", every=3)

    def _delete_pod(self) -> None:
        """One of a Deployment; pods of runs are left alone, for nobody makes them anew."""
        pods = [pod for space in NAMESPACES for pod in self._world.kube.list("v1", "Pod", space) if _is_kept_up(pod)]
        pod = self._chance.choice(sorted(pods, key=lambda each: str(each["metadata"]["name"])))
        name, space = pod["metadata"]["name"], pod["metadata"]["namespace"]
        self._world.report.line(f"pod {space}/{name}")
        self._world.kube.delete("v1", "Pod", name, space)
        self._log.pods.append(name)

    def _await_runs(self) -> dict[str, Run]:
        """The runs by their names, once each pushed commit's is over, or all that there are."""
        found: dict[str, Run] = {}
        wanted = {make_triggered_run_name(constants.GIT_URL, each) for each in (*self._log.good, *self._log.bad)}
        newest = make_triggered_run_name(constants.GIT_URL, self._log.newest)

        def over() -> Verdict:
            try:
                found.update({run.name: run for run in runs.list_runs(self._world)})
            except ApiError as error:
                return Pending(error.message)
            going = [run.name for run in found.values() if not run.state.is_over]
            if going:
                return Pending(f"{len(going)} runs are not over: {going[0]}")
            return Ready() if newest in found else Pending(f"{newest} is not there yet")

        until(over, clock=self._world.clock, limit=SETTLE_LIMIT, what="the runs", every=3)
        return {name: run for name, run in found.items() if name in wanted}

    def _await_ready(self) -> list[str]:
        unready: list[str] = []

        def ready() -> Verdict:
            unready[:] = list_unready(self._world)
            return Pending(unready[0]) if unready else Ready()

        try:
            until(ready, clock=self._world.clock, limit=SETTLE_LIMIT, what="the steps", every=3)
        except BootstrapError:
            return [f"not ready: {each}" for each in unready]
        return []

    def _read_served(self) -> str:
        try:
            return follow_run.read_served_commit(self._world)
        except (ApiError, ValueError) as error:
            return str(error)

    def _list_killed(self) -> list[str]:
        pods = [pod for space in NAMESPACES for pod in self._world.kube.list("v1", "Pod", space)]
        return [f"ended for its memory: {name}" for name in find_killed(pods)]


def _is_kept_up(pod: Object) -> bool:
    owners = at(pod, "metadata", "ownerReferences") or ()
    return not at(pod, "metadata", "deletionTimestamp") and any(each["kind"] == "ReplicaSet" for each in owners)


def find_killed(pods: Sequence[Object]) -> list[str]:
    """POD/CONTAINER of each container that the kernel has ended for its memory."""
    return [
        f"{pod['metadata']['name']}/{container['name']}"
        for pod in pods
        for container in at(pod, "status", "containerStatuses") or ()
        if at(container, "lastState", "terminated", "reason") == "OOMKilled"
    ]


def list_faults(log: Log, found: Mapping[str, Run], served: str) -> list[str]:
    """What is wrong with the runs (by their names) of what was pushed, and with the commit that serves."""
    faults: list[str] = []
    for commits, wanted in ((log.good, RunState.SUCCEEDED), (log.bad, RunState.FAILED)):
        for commit in commits:
            run = found.get(make_triggered_run_name(constants.GIT_URL, commit))
            if run is None:
                faults.append(f"no run: {commit[:12]}")
            elif run.state is RunState.SUPERSEDED and wanted is RunState.SUCCEEDED and commit != log.newest:
                continue  # another push was deployed meanwhile
            elif run.state is not wanted:
                faults.append(f"{run.name} is {run.state.value}, not {wanted.value}: {run.why}")
    if served != log.newest:
        faults.append(f"{served[:60]} serves, and not {log.newest[:12]}")
    return faults
