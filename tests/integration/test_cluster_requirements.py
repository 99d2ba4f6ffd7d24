"""Real API servers that refuse: each is judged before anything is made, and the judgement says why."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from bootstrap.core import constants
from bootstrap.core.model import Failed, Object, Ready, Verdict
from bootstrap.objects import cluster_requirements, kubeconfig
from bootstrap.settings.config import Config, MirrorSettings
from bootstrap.steps.remote_cluster import RemoteCluster
from bootstrap.world.kube.client import Kube
from tests.integration.control_plane import ControlPlane
from tests.unit.step_world import make

pytestmark = pytest.mark.integration
STORAGE = "storage.k8s.io/v1", "StorageClass"
POLICIES = "admissionregistration.k8s.io/v1"
MESSAGE = "namespaces must not be privileged"


def storage_class(default: str) -> Object:
    return {
        "apiVersion": STORAGE[0],
        "kind": STORAGE[1],
        "metadata": {"name": "standard", "annotations": {cluster_requirements.DEFAULT_CLASS: default}},
        "provisioner": "nobody.example/none",
    }


@pytest.fixture
def classes(kube: Kube) -> Iterator[Kube]:
    """With a default storage class."""
    kube.apply([storage_class("true")])
    yield kube
    kube.delete(*STORAGE, "standard")


def judged(kube: Kube, home: Path) -> Verdict:
    world = make(home, Config(context="far", supply="mirror", mirror=MirrorSettings(registry="mirror.example")))
    world.kube = cast(Any, kube)
    return RemoteCluster().check(world.open())


def test_one_that_fits(classes: Kube, tmp_path: Path) -> None:
    verdict = judged(classes, tmp_path)
    assert isinstance(verdict, Ready)
    assert verdict.why == f"far, Kubernetes {classes.read_version()[1:]}"


def test_without_a_default_class(classes: Kube, tmp_path: Path) -> None:
    classes.apply([storage_class("false")])
    verdict = judged(classes, tmp_path)
    assert isinstance(verdict, Failed)
    assert "no storage class is the default, and volumes name none (there is standard)" in verdict.why


def test_a_user_without_rights(classes: Kube, plane: ControlPlane, namespace: str, tmp_path: Path) -> None:
    account: Object = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "a", "namespace": namespace}}
    classes.apply([account])
    document = kubeconfig.make_with_token(
        plane.server, plane.ca, classes.request_token(namespace, "a", 600), namespace=namespace
    )
    path = tmp_path / "kubeconfig"
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(document))
    verdict = judged(Kube(path, "target"), tmp_path)
    assert isinstance(verdict, Failed)
    assert "may not create namespaces, create secrets" in verdict.why
    assert "create customresourcedefinitions.apiextensions.k8s.io" in verdict.why
    assert verdict.hint == "kubectl --context far auth can-i --list"


@pytest.fixture
def forbidding(classes: Kube) -> Iterator[Kube]:
    """With a policy against the namespace that BuildKit needs."""
    name = f"no-privileged-{uuid.uuid4().hex[:6]}"
    level = "object.metadata.?labels['pod-security.kubernetes.io/enforce'].orValue('')"
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["namespaces"]}
    policy: Object = {
        "apiVersion": POLICIES,
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": f"{level} != 'privileged'", "message": MESSAGE}],
        },
    }
    binding: Object = {
        "apiVersion": POLICIES,
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    }
    classes.apply([policy, binding])
    yield classes
    for each in (binding, policy):
        classes.delete(POLICIES, each["kind"], name)


def test_a_policy_against_one_of_the_namespaces(forbidding: Kube, tmp_path: Path) -> None:
    if forbidding.get("v1", "Namespace", constants.BUILD) is not None:
        pytest.skip("another test has made that namespace, and without controllers it does not go")
    end = time.monotonic() + 30
    verdict = judged(forbidding, tmp_path)
    while isinstance(verdict, Ready) and time.monotonic() < end:  # it holds a moment after it was made
        time.sleep(0.2)
        verdict = judged(forbidding, tmp_path)
    assert isinstance(verdict, Failed)
    assert f"far refuses the namespace {constants.BUILD}" in verdict.why
    assert MESSAGE in verdict.why
    assert forbidding.get("v1", "Namespace", constants.BUILD) is None
