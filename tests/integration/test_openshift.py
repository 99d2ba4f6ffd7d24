"""A real API server that has OpenShift's group: it is seen, and what its admission wants is made and removed."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from copy import deepcopy
from types import SimpleNamespace
from typing import cast

import pytest

from bootstrap.core.clock import SystemClock
from bootstrap.core.model import Object, Ready
from bootstrap.objects import openshift_scc
from bootstrap.steps.manifest_step import ManifestStep
from bootstrap.world import World
from bootstrap.world.kube.client import Kube
from tests.integration.control_plane import CONTEXT, ControlPlane

pytestmark = pytest.mark.integration
GROUP = "security.openshift.io"
CRD: Object = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": f"securitycontextconstraints.{GROUP}"},
    "spec": {
        "group": GROUP,
        "scope": "Cluster",
        "names": {
            "kind": "SecurityContextConstraints",
            "listKind": "SecurityContextConstraintsList",
            "plural": "securitycontextconstraints",
            "singular": "securitycontextconstraints",
        },
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}


@pytest.fixture
def opened(kube: Kube, plane: ControlPlane) -> Iterator[Kube]:
    """A door that has not looked at the cluster before it had that group; the group goes again."""
    assert not kube.serves(openshift_scc.SECURITY)
    kube.apply([CRD])
    yield Kube(plane.kubeconfig, CONTEXT)
    kube.delete("apiextensions.k8s.io/v1", "CustomResourceDefinition", CRD["metadata"]["name"])


def test_it_is_seen_and_what_is_made_is_ready_and_goes_again(opened: Kube, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"test-{uuid.uuid4().hex[:8]}"
    opened.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}])
    accounts: list[Object] = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": each, "namespace": name}}
        for each in ("listener", "buildkitd")
    ]
    monkeypatch.setattr(openshift_scc, "BUILDER", ("buildkitd", name))
    given = deepcopy(accounts)
    step = ManifestStep("accounts", lambda _: given)
    world = cast(World, SimpleNamespace(kube=opened, clock=SystemClock()))
    step.apply(world)
    assert isinstance(step.check(world), Ready)
    assert given == accounts
    scc = opened.get(openshift_scc.SECURITY, "SecurityContextConstraints", openshift_scc.SCC)
    assert scc is not None
    assert scc["allowedCapabilities"] == ["SETUID", "SETGID"]
    roles = {
        each["metadata"]["name"]: each["roleRef"]["name"]
        for each in opened.list("rbac.authorization.k8s.io/v1", "RoleBinding", name)
    }
    assert roles == {"listener-scc": openshift_scc.NONROOT, "buildkitd-scc": openshift_scc.SCC}
    step.undo(world)
    assert opened.get(openshift_scc.SECURITY, "SecurityContextConstraints", openshift_scc.SCC) is None
    assert opened.get("rbac.authorization.k8s.io/v1", "ClusterRole", openshift_scc.SCC) is None
    assert opened.list("rbac.authorization.k8s.io/v1", "RoleBinding", name) == []
