"""Our manifests on a real API server: what it makes of them is no drift, what a hand makes of them is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from bootstrap.core.clock import SystemClock
from bootstrap.core.model import Pending
from bootstrap.steps.manifest_step import ManifestStep
from bootstrap.world import World
from bootstrap.world.kube.client import Kube
from tests.golden.rendered import rendered

pytestmark = pytest.mark.integration

FOLDERS = ("namespaces", "builder", "git", "demo", "go-echo")
"""Those of built-in kinds: no controller of Tekton's runs here."""


def _step() -> ManifestStep:
    return ManifestStep("all", lambda _: [each for name in FOLDERS for each in rendered(name)])


@pytest.fixture(scope="module")
def world(kube: Kube) -> World:
    world = cast(World, SimpleNamespace(kube=kube, clock=SystemClock()))
    _step().apply(world)
    return world


def _generations(kube: Kube) -> list[tuple[str, str]]:
    kinds = (("apps/v1", "Deployment"), ("v1", "Service"), ("v1", "ConfigMap"), ("v1", "PersistentVolumeClaim"))
    found = [each["metadata"] for kind in kinds for each in kube.list(*kind)]
    return [(each["name"], each["resourceVersion"]) for each in found]


def test_what_the_server_fills_in_is_no_drift_and_nothing_is_applied_again(kube: Kube, world: World) -> None:
    verdict = _step().check(world)
    assert isinstance(verdict, Pending)
    assert "not seen by its controller yet" in verdict.why
    before = _generations(kube)
    _step().apply(world)
    assert _generations(kube) == before


@pytest.mark.parametrize(
    ("kind", "name", "patch", "path"),
    [
        (("apps/v1", "Deployment"), ("go-echo", "demo"), {"spec": {"replicas": 5}}, "spec.replicas"),
        (
            ("v1", "Service"),
            ("git", "git"),
            [{"op": "replace", "path": "/spec/ports/0/targetPort", "value": 9}],
            "spec.ports[80].targetPort",
        ),
        (
            ("rbac.authorization.k8s.io/v1", "Role"),
            ("deployer", "demo"),
            [{"op": "add", "path": "/rules/0/verbs/-", "value": "delete"}],
            "rules[0].verbs",
        ),
        (
            ("v1", "ServiceAccount"),
            ("buildkitd", "cicd-build"),
            {"automountServiceAccountToken": None},
            "automountServiceAccountToken",
        ),
    ],
)
def test_an_edit_by_hand_is_seen_and_repaired(
    kube: Kube, world: World, kind: tuple[str, str], name: tuple[str, str], patch: Any, path: str
) -> None:
    kube.patch(*kind, *name, patch=patch)
    only = ManifestStep("one", lambda _: [each for each in _step().objects(world) if _is(each, kind, name)])
    assert only.check(world) == Pending(f"{kind[1]} {name[1]}/{name[0]} differs at {path}")
    _step().apply(world)
    assert f"differs at {path}" not in only.check(world).why


def _is(obj: dict[str, Any], kind: tuple[str, str], name: tuple[str, str]) -> bool:
    metadata = obj["metadata"]
    return (obj["apiVersion"], obj["kind"]) == kind and (metadata["name"], metadata.get("namespace")) == name
