"""What an earlier version left: ours goes, data and everybody else's stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bootstrap.core.model import Object, Pending, Ready
from bootstrap.core.paths import PRODUCT
from bootstrap.objects.apply_plan import Change
from bootstrap.objects.manifests import is_applied, stamp
from bootstrap.steps.manifest_step import Key
from bootstrap.steps.prune import WHY_KEPT, PruneStep
from bootstrap.world import World
from tests.unit.step_world import StepWorld, make

API = {"PersistentVolumeClaim": "v1", "ConfigMap": "v1", "Secret": "v1", "Deployment": "apps/v1"}


@dataclass(frozen=True)
class Wanted:
    found: tuple[Key, ...]

    def list_keys(self, _: World) -> Sequence[Key]:
        return self.found


def applied(kind: str, name: str, namespace: str = "git", **metadata: Any) -> Object:
    api_version = API.get(kind, "rbac.authorization.k8s.io/v1")
    named = {"name": name, **({"namespace": namespace} if namespace else {})}
    found = stamp({"apiVersion": api_version, "kind": kind, "metadata": named})
    found["metadata"] |= {"managedFields": [{"manager": PRODUCT, "operation": "Apply"}], **metadata}
    return found


def key(obj: Object) -> Key:
    metadata = obj["metadata"]
    return obj["apiVersion"], obj["kind"], metadata.get("namespace", ""), metadata["name"]


STAYS = applied("ConfigMap", "stays")


@pytest.fixture
def world(tmp_path: Path) -> StepWorld:
    world = make(tmp_path)
    world.kube.put(STAYS)
    return world


def step() -> PruneStep:
    return PruneStep((Wanted((key(STAYS),)),), needs=())


def left(world: StepWorld) -> set[str]:
    return {name for _, _, name in world.kube.objects}


def test_where_all_is_wanted_nothing_is_left_over(world: StepWorld) -> None:
    assert step().check(world.open()) == Ready("nothing is left over")
    assert not step().plan(world.open()).does


def test_what_no_step_wants_goes(world: StepWorld) -> None:
    world.kube.put(applied("ConfigMap", "old"), applied("ClusterRole", "wide", ""))
    assert step().check(world.open()) == Pending("ConfigMap git/old and 1 more of an earlier version")
    assert step().plan(world.open()).changes == (
        Change("delete", "ConfigMap git/old"),
        Change("delete", "ClusterRole wide"),
    )
    assert left(world) == {"stays", "old", "wide"}
    step().apply(world.open())
    assert left(world) == {"stays"}


@pytest.mark.parametrize("kind", ["PersistentVolumeClaim", "Secret"])
def test_data_stays_and_it_is_said(world: StepWorld, kind: str) -> None:
    world.kube.put(applied(kind, "data"))
    verdict = step().check(world.open())
    assert verdict == Ready(f"{kind} git/data of an earlier version may hold data")
    plan = step().plan(world.open())
    assert plan.changes == (Change("keep", f"{kind} git/data", (WHY_KEPT,)),)
    assert not plan.does
    step().apply(world.open())
    assert left(world) == {"stays", "data"}
    step().undo(world.open())
    assert left(world) == {"stays"}, "with the environment it goes"


OWNER = [{"kind": "EventListener", "uid": "1"}]
THEIRS = [{"manager": "kubectl", "operation": "Apply"}, {"manager": PRODUCT, "operation": "Update"}]


@pytest.mark.parametrize(
    "obj",
    [
        applied("ConfigMap", "x", labels={}),
        applied("ConfigMap", "x", annotations={}),
        applied("Deployment", "x", ownerReferences=OWNER),
        applied("ConfigMap", "x", managedFields=THEIRS),
        applied("ConfigMap", "x", managedFields=[]),
        applied("ConfigMap", "x", "elsewhere"),
    ],
    ids=["no label", "no digest", "made by a controller", "copied by a user", "nobody's", "in another namespace"],
)
def test_what_we_did_not_apply_stays(world: StepWorld, obj: Object) -> None:
    world.kube.put(obj)
    assert step().check(world.open()) == Ready("nothing is left over")
    step().apply(world.open())
    assert left(world) == {"stays", "x"}


def test_an_object_is_wanted_in_whatever_version_of_its_kind(world: StepWorld) -> None:
    role = applied("Role", "reader")
    world.kube.put(role)
    older = ("rbac.authorization.k8s.io/v1beta1", *key(role)[1:])
    both = PruneStep((Wanted((key(STAYS),)), Wanted((older,))), needs=())
    assert both.check(world.open()) == Ready("nothing is left over")


def test_only_an_applied_object_is_applied() -> None:
    assert is_applied(STAYS)
    assert not is_applied({})
