"""On a healthy environment `up` only looks."""

from __future__ import annotations

import json

import pytest

from bootstrap.core.constants import SELECTOR
from bootstrap.core.model import Object
from bootstrap.world import World
from tests.e2e.product import Product

pytestmark = pytest.mark.e2e
KINDS = (
    ("v1", "Namespace"),
    ("v1", "ServiceAccount"),
    ("v1", "Service"),
    ("v1", "ConfigMap"),
    ("v1", "Secret"),
    ("apps/v1", "Deployment"),
    ("batch/v1", "Job"),
    ("rbac.authorization.k8s.io/v1", "Role"),
    ("rbac.authorization.k8s.io/v1", "ClusterRole"),
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
    ("tekton.dev/v1", "Pipeline"),
    ("tekton.dev/v1", "Task"),
)


def _state(obj: Object) -> object:
    """What changes when somebody writes to the object; of what has a status, the generation."""
    meta = obj["metadata"]
    return meta.get("generation") or meta["resourceVersion"]


def _picture(world: World) -> dict[str, object]:
    found = {
        f"{kind} {obj['metadata'].get('namespace', '')}/{obj['metadata']['name']}": _state(obj)
        for api_version, kind in KINDS
        for obj in world.kube.list(api_version, kind, labels=SELECTOR)
    }
    for pod in world.kube.list("v1", "Pod"):
        restarts = sum(each["restartCount"] for each in pod["status"].get("containerStatuses", ()))
        found[f"Pod {pod['metadata']['namespace']}/{pod['metadata']['name']}"] = (pod["metadata"]["uid"], restarts)
    return found


def test_nothing_is_applied_and_no_pod_restarts(product: Product, world: World) -> None:
    before = _picture(world)
    assert len(before) > 100
    answer = product.run("up")
    assert "nothing changed" in answer.last
    assert len(answer.out.splitlines()) == 1
    assert _picture(world) == before


def test_a_dry_run_finds_nothing_to_do(product: Product, world: World) -> None:
    assert product.run("up", "--dry-run").last == "nothing to do"


def test_images_are_pinned(product: Product, world: World) -> None:
    rows = json.loads(product.run("images", "--json").last)
    assert {"toolbox", "buildkit", "git-server", "go-echo"} <= {row["name"] for row in rows}
    assert all(row["digest"].startswith("sha256:") and row["reference"].endswith(row["digest"]) for row in rows)


def test_config_says_where_a_value_came_from_and_masks_secrets(product: Product, world: World) -> None:
    answer = product.run("config", "--json")
    rows = {row["key"]: row for row in json.loads(answer.last)}
    assert rows["name"]["origin"] == "--name"
    assert rows["registry.password"]["origin"] == "INVOKE_REGISTRY_PASSWORD"
    assert product.registry_password not in answer.text
