"""What a cluster of somebody else must have."""

from __future__ import annotations

import pytest

from bootstrap.core.model import Failed, Object, Ready
from bootstrap.objects import cluster_requirements

WANTED = {"Pipelines": "v1.9.0", "Triggers": "v0.35.0"}


@pytest.mark.parametrize("version", ["v1.31.0", "v1.36.3", "v1.33.1-eks-12ab", "v2.0.0"])
def test_kubernetes_that_will_do(version: str) -> None:
    assert cluster_requirements.check_kubernetes(version) == Ready()


@pytest.mark.parametrize("version", ["v1.30.9", "v0.99.0", "v1.9.0", "", "nonsense"])
def test_kubernetes_that_will_not(version: str) -> None:
    verdict = cluster_requirements.check_kubernetes(version)
    assert isinstance(verdict, Failed)
    assert "1.31" in verdict.why


def test_missing_rights_are_all_told() -> None:
    assert cluster_requirements.check_rights([], "kind-x") == Ready()
    verdict = cluster_requirements.check_rights(
        [("create", "", "secrets"), ("create", "apps", "deployments")], "kind-x"
    )
    assert isinstance(verdict, Failed)
    assert verdict.why == "the user of kind-x may not create secrets, create deployments.apps"
    assert "kind-x" in verdict.hint


def storage_class(name: str, default: str = "") -> Object:
    annotations = {cluster_requirements.DEFAULT_CLASS: default} if default else {}
    return {"metadata": {"name": name, "annotations": annotations}}


@pytest.mark.parametrize(
    ("classes", "there"),
    [
        ([storage_class("a"), storage_class("b", "true")], None),
        ([], "none at all"),
        ([storage_class("a"), storage_class("b", "false")], "a, b"),
        ([{"metadata": {"name": "bare"}}], "bare"),
    ],
)
def test_a_default_storage_class(classes: list[Object], there: str | None) -> None:
    verdict = cluster_requirements.check_storage(classes)
    if there is None:
        assert verdict == Ready()
    else:
        assert isinstance(verdict, Failed)
        assert f"there is {there}" in verdict.why


@pytest.mark.parametrize(
    ("pipelines", "triggers", "fits"),
    [
        ("v1.9.0", "v0.35.0", True),
        ("v1.9.3", "v0.36.0", True),
        ("v1.10.0", "v0.35.1", True),
        ("v1.8.4", "v0.35.0", False),
        ("v2.0.0", "v0.35.0", False),
        ("v1.9.0", "v1.0.0", False),
        ("v1.9.0", "", False),
        ("devel", "v0.35.0", False),
    ],
)
def test_an_installed_tekton(pipelines: str, triggers: str, fits: bool) -> None:
    verdict = cluster_requirements.check_installed(
        WANTED, {"Pipelines": pipelines, "Triggers": triggers}, {cluster_requirements.CONTEXTS: "true"}
    )
    assert isinstance(verdict, Ready if fits else Failed)
    if isinstance(verdict, Failed):
        for word in (pipelines, triggers or "missing", *WANTED.values()):
            assert word in verdict.why


def test_an_installed_tekton_whose_pods_would_be_refused() -> None:
    verdict = cluster_requirements.check_installed(WANTED, WANTED, {})
    assert isinstance(verdict, Failed)
    assert "set-security-context" in verdict.hint


@pytest.mark.parametrize(
    ("found", "older"),
    [
        ({}, ""),
        ({"Pipelines": "", "Triggers": ""}, ""),
        (WANTED, ""),
        ({"Pipelines": "v1.8.2", "Triggers": "v0.34.0"}, ""),
        ({"Pipelines": "v1.9.3", "Triggers": "v0.35.1"}, ""),
        ({"Pipelines": "devel", "Triggers": "v0.35.0"}, ""),
        ({"Pipelines": "v1.10.0", "Triggers": "v0.35.0"}, "Pipelines v1.10.0 runs here and v1.9.0 is wanted"),
        ({"Pipelines": "v1.9.0", "Triggers": "v1.0.0"}, "Triggers v1.0.0 runs here and v0.35.0 is wanted"),
    ],
)
def test_an_older_minor_version_does_not_take_over(found: dict[str, str], older: str) -> None:
    verdict = cluster_requirements.refuse_older(found, WANTED)
    assert (verdict.why.partition(":")[0] if verdict else "") == older
