"""Applications of an environment that lives: how long until what was pushed serves, alone, in a burst, all at once.

Each has a repository of its own on the environment's git server, with the demo's source in it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bootstrap.commands import clone, follow_run
from bootstrap.core import constants
from bootstrap.core.errors import ApiError
from bootstrap.core.model import Object, Pending, Ready, Verdict
from bootstrap.core.wait import until
from bootstrap.incluster.applications import API_VERSION, KIND
from bootstrap.incluster.run_names import APPLICATION
from bootstrap.objects.readiness import at, condition
from bootstrap.world import World

MANY, BURST, BURST_SECONDS = 20, 15, 30.0
PAIRS = 50
"""Of pushes one second apart, the older of which is slow."""
SLOW_BUILD = "\nFROM build AS slow\nRUN sleep 5\n\nFROM scratch\nCOPY --from=slow /go-echo /go-echo\n{rest}"
SLOW_START = 'package main\n\nimport "time"\n\nfunc init() { time.Sleep(5 * time.Second) }\n'
"""What makes the older one slow in its build, and in its rollout."""
LIMIT = 900.0
SOURCES = ("Dockerfile", "go.mod", "*.go")
AUTHOR = {
    f"GIT_{role}_{key}": value
    for role in ("AUTHOR", "COMMITTER")
    for key, value in (("NAME", "bench"), ("EMAIL", "bench@localhost"))
}


def measure(world: World, folder: Path, times: int) -> dict[str, Any]:
    """Seconds, and what became of it.

    settled: from the declaration of 20 applications until each is ready for pushes. first: of a new application, from
    its first push until that serves. push: the same, warm, `times` times. burst: 15 pushes to one within 30 s, from the
    last push until that serves; burst_builds: how many of them were built. many: 20 applications pushed at once, until
    the last serves; many_right: how many serve what was pushed to them. order: 50 pairs of pushes one second apart, of
    which the older is slow, from each newer push until that serves and nothing is under way; order_right: of how many
    pairs the newer served then. memory_gib: what the nodes have in use with the applications declared, before any push.
    Raises TimedOut.
    """
    names = [f"bench-{number:02}" for number in range(MANY)]
    clock, found = world.clock, dict[str, Any]()
    start = clock.now()
    world.kube.apply([_make_object(name) for name in names])
    until(lambda: _judge_settled(world, names), clock=clock, limit=LIMIT, what="the applications", every=0.2)
    found["settled"] = [round(clock.now() - start, 2)]
    found["memory_gib"] = measure_memory(world)
    repositories = [_make_repository(world, name, folder) for name in names]
    one = repositories[0]
    found["first"] = [_measure_push(world, one)]
    found["push"] = [_measure_push(world, one) for _ in range(times)]
    found["burst"], found["burst_builds"] = _measure_burst(world, one)
    start = clock.now()
    pushed = {each.name: each.push() for each in repositories}
    until(lambda: _judge_served(world, pushed), clock=clock, limit=LIMIT, what="all that was pushed", every=0.5)
    found["many"] = [round(clock.now() - start, 1)]
    found["many_right"] = sum(read_served(world, name) == commit for name, commit in pushed.items())
    pairs = [_measure_pair(world, one, slow_to_build=number % 2 == 0) for number in range(PAIRS)]
    found["order"] = [seconds for seconds, _ in pairs]
    found["order_right"] = sum(right for _, right in pairs)
    return found


def measure_memory(world: World) -> float:
    """GiB that all nodes have in use together: the working sets that their kubelets tell, with page cache in use."""
    nodes = [str(each["metadata"]["name"]) for each in world.kube.list("v1", "Node")]
    used = [at(world.kube.read_node_summary(each), "node", "memory", "workingSetBytes") or 0 for each in nodes]
    return round(sum(used) / 2**30, 2)


def _make_object(name: str) -> Object:
    metadata = {"name": name, "namespace": constants.RUNS}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata}


@dataclass(frozen=True)
class Repository:
    """The clone of an application's repository in `folder`."""

    world: World
    name: str
    folder: Path
    helper: str

    def push(self) -> str:
        """One more commit, without a change; its id."""
        self.git("commit", "--quiet", "--allow-empty", "--message=Another commit")
        self.git("push", "--quiet", clone.find_address(self.world, self.name), "main")
        return self.git("rev-parse", "HEAD")

    def push_slow(self, *, slow_to_build: bool) -> None:
        """A commit that is slow in its build, else in its rollout, and one after it, not pushed, that is as before."""
        dockerfile, more = self.folder / "Dockerfile", self.folder / "slow.go"
        before = dockerfile.read_text()
        if slow_to_build:
            rest = before.rpartition("/go-echo /go-echo\n")[2]
            dockerfile.write_text(before + SLOW_BUILD.format(rest=rest))
        else:
            more.write_text(SLOW_START)
        self.git("add", "--all")
        self.push()
        dockerfile.write_text(before)
        more.unlink(missing_ok=True)
        self.git("add", "--all")

    def git(self, *words: str) -> str:
        """Raises CommandError."""
        argv = ["git", "-c", f"credential.helper={self.helper}", *words]
        return self.world.shell.run(argv, cwd=self.folder, env=AUTHOR).stdout.strip()


def _make_repository(world: World, name: str, folder: Path) -> Repository:
    made = Repository(world, name, folder / name, f"store --file={clone.write_credential_file(world)}")
    made.folder.mkdir(parents=True)
    for pattern in SOURCES:
        for path in (world.project / "demo/go-echo").glob(pattern):
            shutil.copy(path, made.folder)
    (made.folder / "NAME").write_text(name)
    made.git("init", "--quiet", "--initial-branch=main")
    made.git("add", "--all")
    return made


def _measure_push(world: World, repository: Repository) -> float:
    """Seconds from the start of the push until its commit serves, before the run has ended."""
    start = world.clock.now()
    commit = repository.push()
    wanted = {repository.name: commit}
    until(lambda: _judge_answer(world, wanted), clock=world.clock, limit=LIMIT, what="the pushed commit", every=0.1)
    seconds = round(world.clock.now() - start, 2)
    until(lambda: _judge_served(world, wanted), clock=world.clock, limit=LIMIT, what="the run's end", every=0.2)
    return seconds


def _measure_burst(world: World, repository: Repository) -> tuple[list[float], int]:
    """([seconds from the last push until it serves], how many of all were built)."""
    before = {each["metadata"]["name"] for each in _list_runs(world, repository.name)}
    for _ in range(BURST - 1):
        start = world.clock.now()
        repository.push()
        world.clock.sleep(max(0.0, BURST_SECONDS / BURST - (world.clock.now() - start)))
    seconds = _measure_push(world, repository)
    made = [each for each in _list_runs(world, repository.name) if each["metadata"]["name"] not in before]
    return [seconds], count_builds(made)


def _measure_pair(world: World, repository: Repository, *, slow_to_build: bool) -> tuple[float, bool]:
    """(seconds from the newer push until it serves and nothing is under way, whether it answers then)."""
    repository.push_slow(slow_to_build=slow_to_build)
    world.clock.sleep(1)
    start = world.clock.now()
    wanted = {repository.name: repository.push()}
    until(lambda: _judge_served(world, wanted), clock=world.clock, limit=LIMIT, what="the newer commit", every=0.2)
    until(lambda: _judge_over(world, repository.name), clock=world.clock, limit=LIMIT, what="the older run", every=0.2)
    seconds = round(world.clock.now() - start, 1)
    return seconds, read_served(world, repository.name) == wanted[repository.name]


def _judge_over(world: World, name: str) -> Verdict:
    going = [each for each in _list_runs(world, name) if "completionTime" not in (each.get("status") or {})]
    return Pending(f"{len(going)} runs are not over") if going else Ready()


def count_builds(runs: Sequence[Object]) -> int:
    """How many of these PipelineRuns began to build."""
    tasks = [at(each, "status", "childReferences") or () for each in runs]
    return sum(any(child.get("pipelineTaskName") == "build-image" for child in each) for each in tasks)


def _list_runs(world: World, name: str) -> list[Object]:
    return world.kube.list(follow_run.API, "PipelineRun", constants.RUNS, labels=f"{APPLICATION}={name}")


def _list_applications(world: World) -> dict[str, Object]:
    found = world.kube.list(API_VERSION, KIND, constants.RUNS)
    return {str(each["metadata"]["name"]): each for each in found}


def _judge_settled(world: World, names: Sequence[str]) -> Verdict:
    there = _list_applications(world)
    missing = [name for name in names if condition(there.get(name, {}), "Ready").get("status") != "True"]
    return Pending(f"{len(missing)} are not settled, such as {missing[0]}") if missing else Ready()


def _judge_served(world: World, wanted: dict[str, str]) -> Verdict:
    """Whether the manager tells of each application that its commit serves and nothing is under way."""
    there = _list_applications(world)
    missing = []
    for name, commit in wanted.items():
        status = at(there.get(name), "status") or {}
        [first, *_] = status.get("environments") or [{}]
        if (status.get("state"), first.get("commit")) != ("ready", commit):
            missing.append(f"{name}: {status.get('state')}")
    return Pending(f"{len(missing)} of {len(wanted)} do not serve it: {missing[0]}") if missing else Ready()


def _judge_answer(world: World, wanted: dict[str, str]) -> Verdict:
    missing = [name for name, commit in wanted.items() if read_served(world, name) != commit]
    return Pending(f"{missing[0]} answers another commit") if missing else Ready()


def read_served(world: World, name: str) -> str:
    """The commit that /version of an application answers, "" if it does not."""
    try:
        return str(json.loads(world.kube.get_from_service(name, name, 80, "/version"))["commit"])
    except (ApiError, ValueError, KeyError):
        return ""
