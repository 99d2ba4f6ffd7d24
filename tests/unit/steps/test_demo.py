"""The demo's step: what a run has deployed may be broken without `up` failing for it."""

from __future__ import annotations

import copy

import pytest

from bootstrap.core.model import Failed, Object, Pending, Ready
from bootstrap.objects.patches import set_at
from bootstrap.steps.manifest_catalog import DEMO_IMAGE, make_demo_step

WANTED: Object = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "go-echo", "namespace": "demo", "generation": 2},
    "spec": {"replicas": 2, "template": {"spec": {"containers": [{"name": "go-echo", "image": "first"}]}}},
}
LATE = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "has timed out"}


def live(image: str, available: int, *conditions: Object) -> Object:
    found = copy.deepcopy(WANTED)
    set_at(found, DEMO_IMAGE, image)
    numbers = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), available)
    found["status"] = {"observedGeneration": 2, **numbers, "replicas": 2, "conditions": list(conditions)}
    return found


def test_a_version_that_a_run_deployed_and_that_does_not_serve_is_told_and_fails_nothing() -> None:
    verdict = make_demo_step().step.judge_live(WANTED, live("second", 0, LATE))
    assert isinstance(verdict, Ready)
    assert "the version that was deployed does not serve" in verdict.why
    assert "ProgressDeadlineExceeded" in verdict.why


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        (live("first", 0, LATE), Failed),
        (live("second", 1), Pending),
        (live("second", 2), Ready),
    ],
    ids=["the environment's own image", "a rollout goes on", "it serves"],
)
def test_all_else_is_judged_as_ever(found: Object, kind: type) -> None:
    assert isinstance(make_demo_step().step.judge_live(WANTED, found), kind)
