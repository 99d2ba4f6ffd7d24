"""`up` over an environment of another version: the plan, the order, what is left over, and a run that is in flight."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from bootstrap.commands.follow_run import API
from bootstrap.core import constants
from bootstrap.core.errors import RunFailed
from bootstrap.core.model import Failed, Object, Pending, Ready, Verdict
from bootstrap.core.wait import until
from bootstrap.objects.manifests import stamp
from bootstrap.objects.readiness import at, judge
from bootstrap.steps import tekton
from bootstrap.steps.stored_versions import CRD
from bootstrap.world import World
from tests.e2e import receiver
from tests.e2e.product import Product

pytestmark = pytest.mark.e2e

KIND = "clusterinterceptors.triggers.tekton.dev"
"""One that no webhook converts."""
OLD = "v0"
GO = "go"
"""A Service of this name in the receiver's namespace lets the run in flight go on."""
SIGN: Object = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": GO, "namespace": receiver.NAMESPACE},
    "spec": {"selector": {"app": "none"}, "ports": [{"port": 80}]},
}
WORKLOADS = ("tekton-pipelines-controller", "tekton-pipelines-webhook")


def run_in_flight(world: World) -> str:
    """Two tasks, one after the other, that wait for GO: the second is started by the controller that is there then."""
    security = {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    wait = {
        "name": "wait",
        "image": world.images.read_lock().images["toolbox"].reference,
        "command": ["sh", "-c", f"until getent hosts {GO}.{receiver.NAMESPACE}.svc.cluster.local; do sleep 1; done"],
        "securityContext": security,
    }
    tasks: list[Object] = [{"name": name, "taskSpec": {"steps": [wait]}} for name in ("first", "second")]
    tasks[1]["runAfter"] = ["first"]
    run = world.kube.create(
        {
            "apiVersion": API,
            "kind": "PipelineRun",
            "metadata": {"name": f"in-flight-{secrets.token_hex(3)}", "namespace": constants.RUNS},
            "spec": {"pipelineSpec": {"tasks": tasks}},
        }
    )
    name = str(run["metadata"]["name"])
    pod = f"{name}-first-pod"
    _until(world, lambda: judge(world.kube.get("v1", "Pod", pod, constants.RUNS)), "its first task")
    return name


def _until(world: World, probe: Any, what: str) -> None:
    verdict = until(probe, clock=world.clock, limit=180, what=what)
    if isinstance(verdict, Failed):
        raise RunFailed(verdict.why)


def set_version(world: World, version: str) -> None:
    world.kube.patch("v1", "ConfigMap", "pipelines-info", constants.TEKTON, patch={"data": {"version": version}})


def grow_older(world: World) -> None:
    """As it might have been made by an earlier version: other pods, another stored version, objects that are gone."""
    for name in WORKLOADS:
        path = "/spec/template/spec/containers/0/resources/limits/cpu"
        patch = [{"op": "replace", "path": path, "value": "1"}]
        world.kube.patch("apps/v1", "Deployment", name, constants.TEKTON, patch=patch)
    live = world.kube.get(*CRD, KIND)
    assert live
    [version] = live["spec"]["versions"]
    versions = [{**version, "name": OLD}, {**version, "storage": False}]
    world.kube.patch(*CRD, KIND, patch={"spec": {"versions": versions}})
    metadata = {"name": "old", "namespace": constants.GIT}
    world.kube.apply([stamp({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "1"}})])
    set_version(world, "v1.2.3")

    def rolled() -> Verdict:
        found = [judge(world.kube.get("apps/v1", "Deployment", name, constants.TEKTON)) for name in WORKLOADS]
        return next((each for each in found if not isinstance(each, Ready)), tekton.judge_admission(world))

    _until(world, rolled, "the older version")


def stored(world: World) -> Any:
    return at(world.kube.get(*CRD, KIND), "status", "storedVersions")


def over(world: World, name: str) -> Verdict:
    run = world.kube.get(API, "PipelineRun", name, constants.RUNS)
    return judge(run) if run else Pending("it is gone")


@pytest.fixture
def older(product: Product, world: World) -> Iterator[str]:
    """The environment, grown older; answers the run that is in flight. Afterwards it is as it was."""
    name = ""
    try:
        grow_older(world)
        name = run_in_flight(world)
        yield name
    finally:
        set_version(world, "v1.2.3")
        product.run("up")
        if name:
            world.kube.delete(API, "PipelineRun", name, constants.RUNS)
        world.kube.delete("v1", "Service", GO, receiver.NAMESPACE)


def test_another_version_takes_over_and_the_run_goes_on(product: Product, world: World, older: str) -> None:
    wanted = tekton.read_versions(world).pipelines
    assert stored(world) == ["v1alpha1", OLD]
    plan = [
        f"version  Pipelines v1.2.3 -> {wanted}",
        f" objects): stored as {OLD}, written back as v1alpha1",
        "Deployment tekton-pipelines/tekton-pipelines-controller",
        "delete   ConfigMap git/old",
    ]
    dry = product.run("up", "--dry-run")
    for line in plan:
        assert line in dry.out
    assert dry.last.startswith("would apply: tekton")
    assert stored(world) == ["v1alpha1", OLD], "nothing was changed"
    answer = product.run("up")
    for line in plan:
        assert line in answer.out
    assert answer.out.index(plan[0]) < answer.out.index("ok   tekton")
    assert stored(world) == ["v1alpha1"]
    assert world.kube.get("v1", "ConfigMap", "old", constants.GIT) is None
    assert tekton.read_installed_versions(world) == tekton.read_versions(world)
    assert not isinstance(over(world, older), Ready), "it was in flight all the time"
    world.kube.apply([SIGN])
    _until(world, lambda: over(world, older), "the run in flight")
    assert product.run("up", "--dry-run").last == "nothing to do"


def test_an_older_version_is_refused(product: Product, world: World) -> None:
    set_version(world, "v99.0.0")
    try:
        for words in (("up", "--dry-run"), ("up",)):
            answer = product.run(*words, code=1)
            assert "nothing was changed: Pipelines v99.0.0 runs here" in answer.err
            assert "next: " in answer.err
        assert tekton.read_installed_versions(world).pipelines == "v99.0.0"
    finally:
        set_version(world, tekton.read_versions(world).pipelines)
    assert product.run("up", "--dry-run").last == "nothing to do"
