"""Old runs go, and nothing else. The runs here are made up, and the selector keeps all others out of it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from bootstrap.commands import follow_run, run_cronjob
from bootstrap.commands.follow_run import API
from bootstrap.core import constants
from bootstrap.core.model import Pending, Ready, Verdict
from bootstrap.core.wait import until
from bootstrap.devtools import bench_cleanup
from bootstrap.objects.readiness import judge
from bootstrap.steps.registry import PROOF, make_tar
from bootstrap.world import World
from tests.e2e import app
from tests.e2e.product import Product

pytestmark = pytest.mark.e2e

OURS = ("--set", f"cleanup.exclude=!{bench_cleanup.MARK}")
SETTINGS = (*OURS, "--set", "cleanup.keep=1", "--set", "cleanup.days=0", "--set", "cleanup.archive=on")
OLD = {f"old-{number}" for number in range(3)}


def fail_run(world: World, name: str) -> None:
    """A run that Tekton itself ends at once: there is no such pipeline."""
    metadata = {"name": name, "namespace": constants.RUNS, "labels": {bench_cleanup.MARK: "yes"}}
    spec = {"pipelineRef": {"name": "none"}}
    world.kube.create({"apiVersion": API, "kind": "PipelineRun", "metadata": metadata, "spec": spec})

    def over() -> Verdict:
        live = world.kube.get(API, "PipelineRun", name, constants.RUNS) or {}
        return Ready() if "completionTime" in (live.get("status") or {}) else Pending("it is not over")

    until(over, clock=world.clock, limit=60, what=name)


@pytest.fixture
def made(world: World) -> Iterator[None]:
    try:
        for name in OLD:
            fail_run(world, name)
        bench_cleanup.make_run(world, "held", over=False)
        yield
    finally:
        for each in bench_cleanup.list_benchmark_runs(world):
            world.kube.delete(API, "PipelineRun", each["metadata"]["name"], constants.RUNS)


def left(world: World) -> set[str]:
    return {each["metadata"]["name"] for each in bench_cleanup.list_benchmark_runs(world)}


def all_runs(world: World) -> set[str]:
    return {each["metadata"]["name"] for each in world.kube.list(API, "PipelineRun", constants.RUNS)}


def archived(world: World) -> str:
    """The names of the archive's files, read by a Job that mounts it."""
    cron = world.kube.get("batch/v1", "CronJob", "cleanup", constants.RUNS)
    assert cron
    job = run_cronjob.make_job(cron, "look-into-the-archive", {})
    job["spec"]["template"]["spec"]["containers"][0]["command"] = ["ls", "/archive"]
    world.kube.create(job)

    def over() -> Verdict:
        found = world.kube.list(
            "v1", "Pod", constants.RUNS, labels=f"batch.kubernetes.io/job-name={job['metadata']['name']}"
        )
        return judge(found[0]) if found else Pending("no pod yet")

    try:
        assert isinstance(until(over, clock=world.clock, limit=60, what="a look into the archive"), Ready)
        [pod] = world.kube.list(
            "v1", "Pod", constants.RUNS, labels=f"batch.kubernetes.io/job-name={job['metadata']['name']}"
        )
        return world.kube.read_log(constants.RUNS, pod["metadata"]["name"])
    finally:
        world.kube.delete("batch/v1", "Job", job["metadata"]["name"], constants.RUNS)


@pytest.mark.usefixtures("made")
def test_old_runs_go_into_the_archive_and_all_others_stay(product: Product, world: World) -> None:
    others = all_runs(world) - left(world)
    assert "has no volume /archive yet" in product.run("cleanup", *SETTINGS, code=3).text
    assert product.run("up", *SETTINGS).code == 0
    try:
        dry = product.run("cleanup", "--dry-run", *SETTINGS)
        assert dry.out.count("would delete old-") == 2
        assert left(world) == OLD | {"held"}
        answer = product.run("cleanup", *SETTINGS)
        assert "2 deleted" in answer.out
        assert "held" in left(world)
        [stays] = left(world) - {"held"}
        assert others <= all_runs(world)
        files = archived(world)
        for gone in OLD - {stays}:
            assert gone in files
        assert stays not in files
    finally:
        assert product.run("up").code == 0


@pytest.mark.usefixtures("made")
def test_a_selector_that_is_none_deletes_nothing_and_is_told(product: Product, world: World) -> None:
    answer = product.run("cleanup", "--set", "cleanup.keep=0", "--set", "cleanup.exclude=a in b", code=1)
    assert "unable to parse" in answer.text
    assert left(world) == OLD | {"held"}
    assert "failed: the runs could not be listed" in product.run("status").out
    assert product.run("cleanup").code == 0
    assert "failed" not in next(line for line in product.run("status").out.splitlines() if " cleanup " in line)


def test_what_a_run_that_was_deleted_left_goes(product: Product, world: World) -> None:
    """Its folder: it is deleted while it builds, so that its last task never runs. And an image of no run."""
    registry, unused = world.open_registry(), f"demo/go-echo:{secrets.token_hex(20)}"
    layer = product.folder / "unused.tar"
    layer.write_bytes(
        make_tar("unused", {"unused": secrets.token_bytes(1000)})
    )  # workloads name the image's own digest
    registry.append(PROOF, layer, unused)
    before = app.version(product)
    run = follow_run.compose_run(world, "main", "")
    name = world.kube.create(run)["metadata"]["name"]

    def cloned() -> Verdict:
        label = f"tekton.dev/pipelineRun={name},tekton.dev/pipelineTask=git-clone"
        found = world.kube.list(API, "TaskRun", constants.RUNS, labels=label)
        return judge(found[0]) if found else Pending("no TaskRun yet")

    assert isinstance(until(cloned, clock=world.clock, limit=120, what="its sources", every=0.2), Ready)
    world.kube.delete(API, "PipelineRun", name, constants.RUNS)

    def gone() -> Verdict:
        pods = world.kube.list("v1", "Pod", constants.RUNS, labels=f"tekton.dev/pipelineRun={name}")
        live = world.kube.get(API, "PipelineRun", name, constants.RUNS)
        return Pending("it is going") if pods or live else Ready()

    until(gone, clock=world.clock, limit=120, what=f"the end of {name}")
    said = product.run("cleanup", *OURS).out
    assert f"removed the folder of {name}" in said
    assert f"deleted {unused}" in said
    assert set(registry.read_digests([unused, PROOF])) == {PROOF}
    said = product.run("cleanup", *OURS).out
    assert "removed the folder" not in said
    assert "deleted demo/go-echo" not in said
    assert app.version(product) == before
