"""A cluster of the user's: judged before anything of it is touched, and left as it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bootstrap.core import constants
from bootstrap.core.errors import ApiError
from bootstrap.core.model import Failed, Object, Pending, Ready
from bootstrap.objects import cluster_requirements
from bootstrap.steps.existing_cluster import ExistingCluster
from bootstrap.steps.node_trust import KIND_LABEL, MARK
from tests.unit.step_world import Box, FakeKube, StepWorld, make

STEP, NODE, NETWORK = ExistingCluster(), "theirs-control-plane", "kind"
REGISTRY = constants.registry_container("demo")


class Kube(FakeKube):
    """forbidden: resources that the user may not create. old: the version is."""

    forbidden: frozenset[str] = frozenset()
    old = False

    def can_i(self, verb: str, group: str, resource: str, namespace: str = "") -> bool:
        return resource not in self.forbidden

    def read_version(self) -> str:
        return "v1.30.1" if self.old else "v1.36.3"


@pytest.fixture
def world(tmp_path: Path) -> StepWorld:
    world = make(tmp_path)
    world.config = replace(world.config, context="kind-theirs")
    world.kube = Kube()
    annotations = {cluster_requirements.DEFAULT_CLASS: "true"}
    world.kube.put({"kind": "StorageClass", "metadata": {"name": "standard", "annotations": annotations}})
    world.engine.add(Box(NODE, "kindest/node:v1.36", {KIND_LABEL: "theirs"}, frozenset({NETWORK})))
    world.engine.add(Box(REGISTRY, "registry", {}, frozenset({constants.network("demo")})))
    return world


def kube(world: StepWorld) -> Kube:
    assert isinstance(world.kube, Kube)
    return world.kube


def test_one_that_fits_is_connected_and_trusts(world: StepWorld) -> None:
    assert STEP.check(world.open()) == Pending("the registry is not on its network yet")
    world.engine.boxes[REGISTRY].networks |= {NETWORK}
    assert isinstance(STEP.check(world.open()), Pending)
    STEP.apply(world.open())
    assert STEP.check(world.open()) == Ready("kind-theirs, Kubernetes 1.36.3")


def test_a_registry_that_was_removed_is_on_no_network(world: StepWorld) -> None:
    del world.engine.boxes[REGISTRY]
    assert STEP.check(world.open()) == Pending("the registry is not on its network yet")


def forbid(world: StepWorld) -> None:
    kube(world).forbidden = frozenset({"secrets", "clusterroles"})


def grow_old(world: StepWorld) -> None:
    kube(world).old = True


def take_storage(world: StepWorld) -> None:
    world.kube.objects.clear()


def refuse(world: StepWorld) -> None:
    world.kube.refuse = {"Namespace": ApiError("denied by policy no-privileged", status=403)}


def be_ours(world: StepWorld) -> None:
    world.engine.boxes[NODE].files[MARK] = "digest"


def be_elsewhere(world: StepWorld) -> None:
    del world.engine.boxes[NODE]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (forbid, "may not create secrets, create clusterroles.rbac.authorization.k8s.io"),
        (grow_old, "Kubernetes v1.30.1 is older than 1.31"),
        (take_storage, "no storage class is the default"),
        (refuse, "refuses the namespace cicd: denied by policy"),
        (be_ours, "is the cluster of the environment theirs"),
        (be_elsewhere, "are not containers of this engine"),
    ],
)
def test_one_that_does_not_fit_is_refused_and_not_touched(
    world: StepWorld, fault: Callable[[StepWorld], None], said: str
) -> None:
    fault(world)
    verdict = STEP.check(world.open())
    assert isinstance(verdict, Failed)
    assert said in verdict.why
    assert verdict.hint
    before = list(world.engine.commands)
    STEP.apply(world.open())
    assert [each for each in world.engine.commands[len(before) :] if not each.startswith("exec")] == []


def test_a_namespace_that_is_there_is_not_asked_for(world: StepWorld) -> None:
    refuse(world)
    for name in ("cicd", "cicd-build", "git", "demo"):
        there: Object = {"kind": "Namespace", "metadata": {"name": name}}
        world.kube.put(there)
    assert STEP.check(world.open()) == Pending("the registry is not on its network yet")
