"""Tables of objects as the API gives them, half-made ones included, and the verdicts on them."""

from __future__ import annotations

from typing import Any

import pytest

from bootstrap.core.model import Failed, Object, Pending, Ready, Verdict
from bootstrap.objects.readiness import explain_pod, judge, judge_all

KINDS = [
    "APIService",
    "CustomResourceDefinition",
    "DaemonSet",
    "Deployment",
    "EventListener",
    "Job",
    "Namespace",
    "Node",
    "PipelineRun",
    "Pod",
    "StatefulSet",
    "TaskRun",
]


def thing(kind: str, status: dict[str, Any] | None = None, **spec: object) -> Object:
    obj: Object = {"kind": kind, "metadata": {"name": "x", "namespace": "n", "generation": 2}, "spec": spec}
    return obj if status is None else {**obj, "status": status}


def cond(kind: str, status: str, reason: str = "", message: str = "") -> dict[str, Any]:
    return {"conditions": [{"type": kind, "status": status, "reason": reason, "message": message}]}


def done(**status: object) -> dict[str, Any]:
    return {"observedGeneration": 2, **status}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [None, {}, {"conditions": None}, {"conditions": []}, {"conditions": [{}]}])
def test_a_status_that_is_not_there_yet_is_pending(kind: str, status: dict[str, Any] | None) -> None:
    verdict = judge(thing(kind, status))
    assert isinstance(verdict, Pending)
    assert verdict.why


@pytest.mark.parametrize("kind", [*KINDS, "PersistentVolumeClaim", "ConfigMap"])
def test_what_is_being_deleted_is_pending(kind: str) -> None:
    leaving = thing(kind)
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert judge(leaving) == Pending(f"{kind} n/x is being deleted")


def test_nothing_is_pending_and_an_unknown_kind_is_ready() -> None:
    assert isinstance(judge(None), Pending)
    assert isinstance(judge({}), Pending)
    assert judge({"kind": "ConfigMap"}) == Ready()
    assert judge(thing("Service")) == Ready()


FULL = done(replicas=2, updatedReplicas=2, availableReplicas=2, readyReplicas=2)


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (thing("Deployment", FULL, replicas=2), Ready("2 of 2 pods")),
        (thing("Deployment", {**FULL, "observedGeneration": 1}, replicas=2), Pending),
        (thing("Deployment", {**FULL, "updatedReplicas": 1}, replicas=2), Pending),
        (thing("Deployment", {**FULL, "replicas": 3}, replicas=2), Pending),
        (thing("Deployment", {**FULL, "availableReplicas": 1}, replicas=2), Pending),
        (thing("Deployment", done(), replicas=0), Ready("0 of 0 pods")),
        (thing("Deployment", done()), Pending),  # replicas absent means 1
        (thing("Deployment", done(**cond("Progressing", "False", "ProgressDeadlineExceeded", "too slow"))), Failed),
        (
            thing(
                "Deployment",
                {"observedGeneration": 1, **cond("Progressing", "False", "ProgressDeadlineExceeded")},
            ),
            Pending,  # that failure was of the generation before
        ),
        (thing("Deployment", done(**cond("ReplicaFailure", "True", "FailedCreate", "exceeded quota"))), Pending),
        (thing("StatefulSet", FULL, replicas=2), Ready("2 of 2 pods")),
        (thing("StatefulSet", {**FULL, "readyReplicas": 1}, replicas=2), Pending),
        (thing("StatefulSet", {**FULL, "observedGeneration": 1}, replicas=2), Pending),
        (thing("DaemonSet", done()), Pending),
        (
            thing("DaemonSet", done(desiredNumberScheduled=2, numberAvailable=2, updatedNumberScheduled=2)),
            Ready("2 of 2 nodes"),
        ),
        (thing("DaemonSet", done(desiredNumberScheduled=2, numberAvailable=2, updatedNumberScheduled=1)), Pending),
        (thing("DaemonSet", done(desiredNumberScheduled=0)), Ready("0 of 0 nodes")),
        (thing("Job", cond("Complete", "True")), Ready("complete")),
        (thing("Job", cond("Failed", "True", "BackoffLimitExceeded")), Failed),
        (thing("Pod", cond("Ready", "True")), Ready()),
        (thing("Pod", {"phase": "Succeeded"}), Ready("completed")),
        (
            thing("Pod", {"phase": "Failed", "reason": "Evicted", "message": "disk full"}),
            Failed("Pod n/x: Evicted: disk full"),
        ),
        (thing("PersistentVolumeClaim", {"phase": "Bound"}), Ready("bound")),
        (thing("PersistentVolumeClaim", {"phase": "Pending"}), Ready("waits for its first pod")),
        (thing("PersistentVolumeClaim", {"phase": "Lost"}), Failed),
        (thing("PersistentVolumeClaim", {}), Pending),
        (thing("CustomResourceDefinition", cond("Established", "True")), Ready()),
        (thing("CustomResourceDefinition", cond("NamesAccepted", "False", "PluralConflict")), Failed),
        (thing("APIService", cond("Available", "True")), Ready()),
        (
            thing("APIService", cond("Available", "False", "MissingEndpoints", "none")),
            Pending("APIService n/x: MissingEndpoints: none"),
        ),
        (thing("Namespace", {"phase": "Active"}), Ready()),
        (thing("Namespace", {"phase": "Terminating"}), Pending("Namespace n/x: Terminating")),
        (thing("Node", cond("Ready", "True")), Ready()),
        (thing("Node", cond("Ready", "Unknown", "NodeStatusUnknown")), Pending),
        (thing("EventListener", cond("Ready", "True")), Ready()),
        (thing("EventListener", cond("Available", "True")), Pending),
        (thing("PipelineRun", cond("Succeeded", "True", "Succeeded")), Ready()),
        (thing("PipelineRun", cond("Succeeded", "Unknown", "Running")), Pending),
        (thing("TaskRun", cond("Succeeded", "False", "Failed", "exit 1")), Failed("TaskRun n/x: Failed: exit 1")),
    ],
)
def test_verdicts(obj: Object, expected: Verdict | type) -> None:
    verdict = judge(obj)
    if isinstance(expected, type):
        assert isinstance(verdict, expected)
    else:
        assert verdict == expected


def test_a_claim_whose_pod_is_scheduled_is_pending() -> None:
    claim = thing("PersistentVolumeClaim", {"phase": "Pending"})
    claim["metadata"]["annotations"] = {"volume.kubernetes.io/selected-node": "worker"}
    assert judge(claim) == Pending("PersistentVolumeClaim n/x: volume is being made")


def test_the_worst_verdict_counts() -> None:
    good, slow, bad = thing("Service"), thing("Namespace", {}), thing("Job", cond("Failed", "True"))
    assert isinstance(judge_all([good, slow, bad]), Failed)
    assert isinstance(judge_all([good, slow]), Pending)
    assert isinstance(judge_all([good, None]), Pending)
    assert judge_all([good]) == Ready()
    assert judge_all([]) == Ready()


def pod(*containers: dict[str, Any], **status: object) -> Object:
    return thing("Pod", {"phase": "Pending", "containerStatuses": list(containers), **status})


def waiting(reason: str, message: str = "", **more: object) -> dict[str, Any]:
    return {"name": "c", "ready": False, "state": {"waiting": {"reason": reason, "message": message}}, **more}


def event(reason: str, message: str, kind: str = "Normal", when: str = "2026-01-01T00:00:00Z") -> Object:
    return {"reason": reason, "message": message, "type": kind, "lastTimestamp": when}


PULLING = event("Pulling", 'Pulling image "registry:5000/a@sha256:1"')


@pytest.mark.parametrize(
    ("obj", "events", "expected"),
    [
        (thing("Pod", cond("Ready", "True")), [], ""),
        (thing("Pod"), [], "starting"),
        (pod(), [], "waits for a node"),
        (pod(waiting("ContainerCreating")), [], "containers are being created"),
        (pod(waiting("ContainerCreating")), [PULLING], "pulling image registry:5000/a@sha256:1"),
        (pod(waiting("ImagePullBackOff", "Back-off\n  pulling")), [PULLING], "ImagePullBackOff: Back-off pulling"),
        (
            pod(waiting("CrashLoopBackOff", lastState={"terminated": {"exitCode": 3}})),
            [],
            "CrashLoopBackOff, exit 3",
        ),
        (pod(waiting("CrashLoopBackOff")), [], "CrashLoopBackOff"),
        (
            pod(**cond("PodScheduled", "False", "Unschedulable", "0/2 nodes are available: 2 Insufficient cpu.")),
            [],
            "unschedulable: 0/2 nodes are available: 2 Insufficient cpu.",
        ),
        (
            pod(waiting("ContainerCreating")),
            [PULLING, event("FailedMount", "no secret", "Warning", "2026-01-01T00:00:09Z")],
            "FailedMount: no secret",
        ),
        (
            pod(waiting("ContainerCreating")),
            [event("FailedMount", "no secret", "Warning", "2025-01-01T00:00:00Z"), PULLING],
            "pulling image registry:5000/a@sha256:1",
        ),
        (
            pod({"name": "c", "ready": False, "state": {"running": {}}}, phase="Running"),
            [],
            "c runs, not ready yet",
        ),
        (
            pod({"name": "c", "ready": False, "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}),
            [],
            "c: OOMKilled, exit 137",
        ),
        (
            pod(waiting("PodInitializing"), initContainerStatuses=[waiting("ErrImagePull", "not found")]),
            [],
            "ErrImagePull: not found",
        ),
        (pod(phase="Running"), [], "not ready yet"),
    ],
)
def test_pod_cause(obj: Object, events: list[Object], expected: str) -> None:
    assert explain_pod(obj, events) == expected


def test_a_pod_that_cannot_start_has_failed() -> None:
    assert judge(pod(waiting("InvalidImageName", "bad"))) == Failed("Pod n/x: InvalidImageName: bad")
    assert isinstance(judge(pod(waiting("ImagePullBackOff"))), Pending)
