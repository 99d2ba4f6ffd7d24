"""Tekton Dashboard as it is applied: confined, and without a right to change anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from bootstrap.core.errors import BootstrapError
from bootstrap.core.model import LockedImage, Object, Ready
from bootstrap.settings.config import Config
from bootstrap.steps.graph import list_steps
from bootstrap.steps.prune import PruneStep
from bootstrap.steps.tekton_dashboard import DashboardStep, render_objects
from bootstrap.supply.tekton_releases import DASHBOARD, PART_OF
from tests.unit.step_world import PAUSE, StepWorld, make

IMAGE = LockedImage(DASHBOARD, "registry/tekton-dashboard", f"sha256:{'d' * 64}", in_node=False)
LABELS = {PART_OF: DASHBOARD}


def release(**more: Any) -> list[Object]:
    rules = [
        {"apiGroups": ["tekton.dev"], "resources": ["taskruns"], "verbs": ["get", "list", "watch", "create", "delete"]},
        {"apiGroups": [""], "resources": ["pods/log", "secrets"], "verbs": ["get"]},
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
        {"apiGroups": ["security.openshift.io"], "resources": ["securitycontextconstraints"], "verbs": ["use"]},
    ]
    container = {"name": DASHBOARD, "image": f"image.local/{DASHBOARD}", "args": ["--port=9097", "--read-only=false"]}
    place = {"name": DASHBOARD, "namespace": "tekton-pipelines", "labels": LABELS}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "tekton-pipelines", "labels": LABELS}},
        {"apiVersion": "rbac/v1", "kind": "ClusterRole", "metadata": {"name": "a", "labels": LABELS}, "rules": rules},
        {"apiVersion": "rbac/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "a", "labels": LABELS}}
        | {"roleRef": {"name": "a"}, **more},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": place}
        | {"spec": {"template": {"spec": {"containers": [container]}}}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "other", "labels": {}}},
    ]


def world_with(tmp_path: Path, given: list[Object]) -> StepWorld:
    world = make(tmp_path, Config(supply="upstream"))
    world.images.images = {"pause": PAUSE, DASHBOARD: IMAGE}
    cast(Any, world.images).list_tekton_objects = lambda: given
    return world


def test_it_may_only_read(tmp_path: Path) -> None:
    done = {each["kind"]: each for each in render_objects(world_with(tmp_path, release()).open())}
    assert set(done) == {"ClusterRole", "ClusterRoleBinding", "Deployment"}, "its own, and no namespace"
    assert done["ClusterRole"]["rules"] == [
        {"apiGroups": ["tekton.dev"], "resources": ["taskruns"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
    ]
    [container] = done["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["--port=9097", "--read-only=true"]
    assert container["image"] == IMAGE.reference
    security = container["securityContext"]
    assert security["runAsNonRoot"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert security["allowPrivilegeEscalation"] is False


def test_a_release_that_wants_everything_is_refused(tmp_path: Path) -> None:
    world = world_with(tmp_path, release(roleRef={"name": "cluster-admin"}))
    with pytest.raises(BootstrapError, match="wants cluster-admin"):
        render_objects(world.open())


def test_there_is_none_where_the_supply_has_none(tmp_path: Path) -> None:
    world = make(tmp_path, Config(supply="bundle"))
    assert DashboardStep().check(world.open()) == Ready("none: supply bundle does not have it")
    DashboardStep().undo(world.open())
    assert world.kube.objects == {}


def test_what_is_left_over_of_earlier_versions_is_not_the_dashboard(tmp_path: Path) -> None:
    world = world_with(tmp_path, release())
    [prune] = [each for each in list_steps(world.open()) if isinstance(each, PruneStep)]
    [dashboard] = [each for each in prune.steps if isinstance(each, DashboardStep)]
    kinds = {kind for _, kind, _, _ in dashboard.list_keys(world.open())}
    assert kinds == {"ClusterRole", "ClusterRoleBinding", "Deployment"}


@pytest.mark.parametrize(
    ("supply", "there"), [("source", False), ("upstream", True), ("mirror", True), ("bundle", True)]
)
def test_it_is_a_step_where_it_can_be(tmp_path: Path, supply: str, there: bool) -> None:
    names = [step.name for step in list_steps(make(tmp_path, Config(supply=supply)).open())]
    assert ("dashboard" in names) == there
