"""`git push` to the environment's own server is enough: a run, the new version, and no run where none is due."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from bootstrap.commands import run_cronjob
from bootstrap.core import constants
from bootstrap.core.model import Failed, Pending, Ready, Verdict
from bootstrap.core.wait import until
from bootstrap.incluster.run_names import make_triggered_run_name
from bootstrap.objects.readiness import judge
from bootstrap.world import World
from tests.e2e import app
from tests.e2e.product import Product
from tests.e2e.receiver import received
from tests.e2e.repository import Repository

pytestmark = pytest.mark.e2e

TEKTON = "tekton.dev/v1"
LEAVES_A_PROCESS = """
FROM build AS left
RUN sleep 100000 &

FROM scratch
COPY --from=left /go-echo /go-echo
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/go-echo"]
"""
"""More of the demo's Dockerfile."""
DELIVERY = re.compile(r"remote: (.+?): webhook sent · delivery ([0-9a-f-]{36})")


def runs(world: World) -> set[str]:
    return {run["metadata"]["name"] for run in world.kube.list(TEKTON, "PipelineRun", constants.RUNS)}


def wait_for_run(world: World, name: str, *, limit: float = 90) -> None:
    """Until it is there: what did not reach the listener at once is sent again, with pauses that grow."""

    def probe() -> Verdict:
        return Ready() if name in runs(world) else Pending("no run yet")

    until(probe, clock=world.clock, limit=limit, what=f"run {name}", every=0.2)


def end_of(world: World, name: str) -> Verdict:
    def probe() -> Verdict:
        return judge(world.kube.get(TEKTON, "PipelineRun", name, constants.RUNS))

    return until(probe, clock=world.clock, limit=300, what=f"the end of {name}")


def deliveries(world: World) -> dict[str, dict[str, Any]]:
    """What the git server's log tells of its deliveries: id -> the last line about it."""
    [pod] = world.kube.list("v1", "Pod", constants.GIT, labels="app.kubernetes.io/name=git")
    lines = map(json.loads, world.kube.read_log(constants.GIT, pod["metadata"]["name"]).splitlines())
    return {line["id"]: line for line in lines if line["msg"] == "webhook"}


@contextlib.contextmanager
def pods_away(world: World, deployment: str, namespace: str, replicas: int) -> Iterator[None]:
    """All of its pods are gone, not only on their way: one that is ending may still take a delivery and lose it."""
    live = world.kube.get("apps/v1", "Deployment", deployment, namespace)
    assert live
    labels = ",".join(f"{key}={value}" for key, value in live["spec"]["selector"]["matchLabels"].items())

    def pods() -> set[str]:
        return {each["metadata"]["name"] for each in world.kube.list("v1", "Pod", namespace, labels=labels)}

    def scale(number: int) -> None:
        world.kube.patch("apps/v1", "Deployment", deployment, namespace, patch={"spec": {"replicas": number}})

    old = pods()
    assert old

    def probe() -> Verdict:
        return Pending("they are ending") if old & pods() else Ready()

    scale(0)
    try:
        until(probe, clock=world.clock, limit=90, what=f"the end of {deployment}")
        yield
    finally:
        scale(replicas)


def test_the_first_commit_started_no_run(world: World, repository: Repository) -> None:
    first = repository.git("rev-list", "--max-parents=0", "main")
    assert make_triggered_run_name(constants.GIT_URL, first) not in runs(world)


def test_a_push_becomes_one_run_and_its_version_serves(product: Product, world: World, repository: Repository) -> None:
    before = runs(world)
    for branch in ("work", "feature/main", "main-2"):
        repository.push(branch, "Elsewhere", "README.md", f"\nOn {branch}.\n", told=True)
        assert DELIVERY.search(repository.said), "the listener is told, and has no business with it"
    repository.git("push", "--quiet", "origin", "main:refs/tags/v1")
    repository.git("push", "--quiet", "origin", ":work")
    commit = repository.push("main", "Arrive by push", "Dockerfile", LEAVES_A_PROCESS, told=True)
    said = DELIVERY.search(repository.said)
    assert said, repository.said
    assert said[1] == f"main {commit[:7]}"
    name = make_triggered_run_name(constants.GIT_URL, commit)
    wait_for_run(world, name)
    assert isinstance(end_of(world, name), Ready)
    assert app.version(product) == commit
    assert runs(world) - before == {name}
    row = app.run_of(product, commit)
    assert (row["run"], row["branch"], row["by"], row["state"]) == (name, "main", "push", "Succeeded")
    told = deliveries(world)[said[2]]
    assert (told["ref"], told["commit"], told["status"], told["error"]) == ("refs/heads/main", commit, 202, "")
    assert told["eventID"]
    [builder] = world.kube.list("v1", "Pod", constants.BUILD, labels="app.kubernetes.io/name=buildkitd")
    seen = world.kube.execute(constants.BUILD, builder["metadata"]["name"], ["sh", "-c", "cat /proc/[0-9]*/comm"])
    assert "buildkitd" in seen.stdout
    assert "sleep" not in seen.stdout


def test_a_broken_commit_fails_and_the_version_before_it_serves(
    product: Product, world: World, repository: Repository
) -> None:
    before = app.version(product)
    commit = repository.push("main", "Break it", "main.go", "\nfunc broken() { fmt.Printn() }\n", told=True)
    name = make_triggered_run_name(constants.GIT_URL, commit)
    wait_for_run(world, name)
    assert isinstance(end_of(world, name), Failed)
    assert app.version(product) == before
    sent = received(world)[-1]
    assert (sent["status"], sent["commit"], sent["failedTask"]) == ("failed", commit, "build-image")


def test_a_listener_that_is_away_is_told_later_and_test_run_follows(
    product: Product, world: World, repository: Repository
) -> None:
    """It also mends main, which the tests after this one build."""
    before = runs(world)
    repository.git("revert", "--no-edit", "HEAD")
    with pods_away(world, constants.LISTENER, constants.RUNS, world.config.webhook.replicas):
        repository.git("push", "--quiet", "origin", "main")
    commit = repository.head
    name = make_triggered_run_name(constants.GIT_URL, commit)
    wait_for_run(world, name)
    answer = product.run("test-run")
    assert f"run {name} · commit {commit[:7]} · started by your push" in answer.out
    assert f"/version answers {commit[:7]}" in answer.last
    assert runs(world) - before == {name}


def test_a_push_whose_event_is_lost_behind_the_listener_gets_its_run(
    product: Product, world: World, repository: Repository
) -> None:
    """A quiet push before it gets none. Here nothing is reconciled by the clock, so that no other test meets it."""
    assert run_cronjob.run_now(world, "reconciler", {}) == 0
    before = runs(world)
    repository.push("main", "Nobody is told", "README.md", "\nNot a word.\n")
    assert "no webhook is sent: push option no-webhook" in repository.said
    assert run_cronjob.run_now(world, "reconciler", {}) == 0
    assert runs(world) == before
    with pods_away(world, "tekton-triggers-core-interceptors", constants.TEKTON, 1):
        commit = repository.push("main", "Be lost", "README.md", "\nOn the way.\n", told=True)
        said = DELIVERY.search(repository.said)
        assert said, "the listener accepts it, and can do nothing with it"
        name = make_triggered_run_name(constants.GIT_URL, commit)
        assert run_cronjob.run_now(world, "reconciler", {}) == 0
    assert isinstance(end_of(world, name), Ready)
    assert app.version(product) == commit
    assert runs(world) - before == {name}
