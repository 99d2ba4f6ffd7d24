"""Another version of our manifests over one that is there, on a real API server: stored versions, what is left over."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bootstrap.core.clock import SystemClock
from bootstrap.core.errors import ApiError, StepError
from bootstrap.core.model import Object, Pending, Ready
from bootstrap.objects.apply_plan import Change
from bootstrap.steps.manifest_step import ManifestStep
from bootstrap.steps.prune import PruneStep
from bootstrap.steps.stored_versions import CRD
from bootstrap.world import World
from bootstrap.world.kube.client import Kube
from tests.integration.patience import await_kind
from tests.unit.fakes import FakeReport

pytestmark = pytest.mark.integration

ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
ONLY_SIZE = {"type": "object", "properties": {"size": {"type": "integer"}}}
COUNT = 30


@pytest.fixture
def world(kube: Kube) -> World:
    return cast(World, SimpleNamespace(kube=kube, clock=SystemClock(), report=FakeReport()))


@pytest.fixture
def group() -> str:
    """Each test has kinds of its own."""
    return f"g{uuid.uuid4().hex[:8]}.example.com"


def definition(group: str, *versions: str, spec: Object | None = None) -> Object:
    """versions: "v1*" is the one that is stored, "v1-" one that is not served. spec: the schema of "v1"'s."""
    return {
        "apiVersion": CRD[0],
        "kind": CRD[1],
        "metadata": {"name": f"things.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": "Thing", "plural": "things", "singular": "thing", "listKind": "ThingList"},
            "versions": [
                {
                    "name": name,
                    "served": "-" not in each,
                    "storage": "*" in each,
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "properties": {"spec": spec if spec and name == "v1" else ANYTHING},
                        }
                    },
                }
                for each in versions
                for name in [each.strip("*-")]
            ],
        },
    }


def step(*objects: Object) -> ManifestStep:
    return ManifestStep("things", lambda _: copy.deepcopy(objects))


def things(kube: Kube, group: str, version: str, namespace: str, count: int = COUNT) -> list[Object]:
    await_kind(kube, f"{group}/{version}", "Thing")
    return [
        kube.create(
            {
                "apiVersion": f"{group}/{version}",
                "kind": "Thing",
                "metadata": {"name": f"{version}-{number}", "namespace": namespace},
                "spec": {"size": number, "note": "kept"},
            }
        )
        for number in range(count)
    ]


def stored(kube: Kube, group: str) -> Sequence[str]:
    live = kube.get(*CRD, f"things.{group}")
    assert live
    found: Sequence[str] = live["status"]["storedVersions"]
    return found


def listed(kube: Kube, group: str, version: str, namespace: str) -> dict[str, Any]:
    await_kind(kube, f"{group}/{version}", "Thing")
    return {each["metadata"]["name"]: each["spec"] for each in kube.list(f"{group}/{version}", "Thing", namespace)}


def told(world: World, *objects: Object) -> list[Change]:
    return [change for change in step(*objects).plan(world).changes if change.verb == "migrate"]


def older(world: World, group: str, namespace: str) -> None:
    """A kind whose objects lie in two versions: some are from before the second one came."""
    step(definition(group, "v1beta1*")).apply(world)
    things(world.kube, group, "v1beta1", namespace)
    step(definition(group, "v1beta1", "v1*")).apply(world)
    assert stored(world.kube, group) == ["v1beta1", "v1"]


def test_objects_of_a_version_that_goes_are_written_back_before(world: World, group: str, namespace: str) -> None:
    older(world, group, namespace)
    wanted = definition(group, "v1*")
    [migration] = told(world, wanted)
    assert migration.what == f"Thing ({COUNT} objects): stored as v1beta1, written back as v1"
    assert stored(world.kube, group) == ["v1beta1", "v1"], "a plan changes nothing"
    step(wanted).apply(world)
    assert stored(world.kube, group) == ["v1"]
    found = listed(world.kube, group, "v1", namespace)
    assert found == {f"v1beta1-{number}": {"size": number, "note": "kept"} for number in range(COUNT)}
    assert told(world, wanted) == []


def test_without_that_the_server_refuses_the_new_definition(world: World, group: str, namespace: str) -> None:
    """What the migration is for."""
    older(world, group, namespace)
    with pytest.raises(ApiError, match="storedVersions"):
        world.kube.apply([definition(group, "v1*")])


def test_the_stored_version_is_turned_over_where_only_the_old_one_is_stored(
    world: World, group: str, namespace: str
) -> None:
    step(definition(group, "v1beta1*", "v1")).apply(world)
    things(world.kube, group, "v1beta1", namespace)
    assert stored(world.kube, group) == ["v1beta1"]
    step(definition(group, "v1*", "v2")).apply(world)
    assert stored(world.kube, group) == ["v1"]
    assert len(listed(world.kube, group, "v2", namespace)) == COUNT


def test_a_kind_without_objects_may_share_no_version_with_the_new_one(world: World, group: str) -> None:
    step(definition(group, "v1beta1*")).apply(world)
    step(definition(group, "v1*")).apply(world)
    assert stored(world.kube, group) == ["v1"]


def test_one_with_objects_is_refused_untouched(world: World, group: str, namespace: str) -> None:
    step(definition(group, "v1beta1*")).apply(world)
    things(world.kube, group, "v1beta1", namespace, 3)
    before = world.kube.get(*CRD, f"things.{group}")
    other = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "other", "namespace": namespace}}
    wanted = (definition(group, "v1*"), other)
    [refusal] = step(*wanted).plan(world).refusals
    assert "Thing has 3 objects that may be stored as v1beta1" in refusal.why
    assert f"kubectl get things.{group}" in refusal.hint
    with pytest.raises(StepError, match="3 objects"):
        step(*wanted).apply(world)
    assert world.kube.get(*CRD, f"things.{group}") == before
    assert world.kube.get("v1", "ConfigMap", "other", namespace) is None
    assert len(listed(world.kube, group, "v1beta1", namespace)) == 3


def test_a_version_that_has_no_room_for_all_is_refused_untouched(world: World, group: str, namespace: str) -> None:
    """Without a webhook the server only writes another version above the object, and drops what that one lacks."""
    step(definition(group, "v1beta1*", "v1", spec=ONLY_SIZE)).apply(world)
    things(world.kube, group, "v1beta1", namespace, 2)
    [refusal] = step(definition(group, "v1*", spec=ONLY_SIZE)).plan(world).refusals
    assert "v1 has no room for all that" in refusal.why
    assert listed(world.kube, group, "v1beta1", namespace)["v1beta1-1"]["note"] == "kept"
    assert stored(world.kube, group) == ["v1beta1"]


def test_a_new_version_of_manifests_leaves_nothing_of_the_old_one_and_all_of_the_users(
    world: World, namespace: str
) -> None:
    def config(name: str, **more: Any) -> Object:
        metadata = {"name": name, "namespace": namespace, **more}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "1", "b": "2"}}

    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "old", "namespace": namespace},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
    }
    step(config("stays"), config("old"), role).apply(world)
    live = world.kube.get("v1", "ConfigMap", "old", namespace)
    assert live
    handed_on = {key: live["metadata"][key] for key in ("labels", "annotations")}
    world.kube.create(config("copied", **handed_on))
    new = config("stays")
    del new["data"]["b"]
    part = step(new)
    assert part.plan(world).changes == (Change("change", f"ConfigMap {namespace}/stays", ("data.b",)),)
    part.apply(world)
    prune = PruneStep((part,), needs=())
    assert isinstance(prune.check(world), Pending)
    prune.apply(world)
    assert isinstance(prune.check(world), Ready)
    left = {each["metadata"]["name"] for each in world.kube.list("v1", "ConfigMap", namespace)}
    assert left == {"stays", "copied"}
    assert world.kube.list("rbac.authorization.k8s.io/v1", "Role", namespace) == []
    assert (world.kube.get("v1", "ConfigMap", "stays", namespace) or {})["data"] == {"a": "1"}
