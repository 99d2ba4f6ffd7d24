"""Is this object ready, and if not, why? Pure: an object as the API gives it goes in, a Verdict comes out.

A field that is not there yet means Pending, never an error. A Failed counts only once the
controller has seen the current generation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from bootstrap.core.model import Failed, Object, Pending, Ready, Verdict

Fields = Mapping[str, Any]

STUCK = {"ErrImageNeverPull", "InvalidImageName", "CreateContainerConfigError"}
"""Reasons why a container waits that waiting does not cure."""


def readiness(obj: Object | None) -> Verdict:
    """None (no such object) is Pending; a kind without a rule of its own is Ready when it is there."""
    if not obj:
        return Pending("not there yet")
    if at(obj, "metadata", "deletionTimestamp"):
        return Pending(f"{label(obj)} is being deleted")
    return _RULES.get(obj.get("kind", ""), _present)(obj)


def readiness_all(objects: Iterable[Object | None]) -> Verdict:
    """The worst of all: the first Failed, else the first Pending, else Ready."""
    verdicts = [readiness(each) for each in objects]
    failed = [each for each in verdicts if isinstance(each, Failed)]
    waiting = [each for each in verdicts if not isinstance(each, Ready | Failed)]
    return next(iter([*failed, *waiting]), Ready())


def pod_cause(pod: Object, events: Sequence[Object] = ()) -> str:
    """One line that says best why the pod is not ready; "" when it is. events: those of this pod, any order."""
    if _is_true(pod, "Ready") or at(pod, "status", "phase") == "Succeeded":
        return ""
    return (
        next(filter(None, map(_container_cause, _containers(pod))), "")
        or _scheduling_cause(pod)
        or _event_cause(events)
        or _phase_cause(pod)
    )


def label(obj: Object) -> str:
    """ "Deployment git/git", for messages."""
    names = [at(obj, "metadata", "namespace"), at(obj, "metadata", "name")]
    return f"{obj.get('kind', 'object')} " + "/".join(str(name) for name in names if name)


def at(obj: object, *keys: str) -> Any:
    """The value below those keys, None as soon as one is missing or not a mapping."""
    for key in keys:
        if not isinstance(obj, Mapping):
            return None
        obj = obj.get(key)
    return obj


def condition(obj: Object, kind: str) -> Fields:
    """status.conditions[type=kind], empty when absent."""
    conditions = at(obj, "status", "conditions") or []
    return next((each for each in conditions if each.get("type") == kind), {})


def _is_true(obj: Object, kind: str) -> bool:
    return condition(obj, kind).get("status") == "True"


def _why(found: Fields, otherwise: str) -> str:
    reason, message = found.get("reason") or "", _line(found.get("message") or "")
    return ": ".join(part for part in (reason, message) if part) or otherwise


def _line(text: str) -> str:
    return " ".join(text.split())


def _present(_: Object) -> Verdict:
    return Ready()


def _caught_up(obj: Object) -> bool:
    seen = at(obj, "status", "observedGeneration")
    return seen is not None and seen >= (at(obj, "metadata", "generation") or 0)


def _wants(obj: Object) -> int:
    replicas = at(obj, "spec", "replicas")
    return 1 if replicas is None else int(replicas)


def _count(obj: Object, field: str) -> int:
    return int(at(obj, "status", field) or 0)


def _deployment(obj: Object) -> Verdict:
    if not _caught_up(obj):
        return Pending(f"{label(obj)}: not seen by its controller yet")
    progress = condition(obj, "Progressing")
    if progress.get("reason") == "ProgressDeadlineExceeded":
        return Failed(f"{label(obj)}: {_why(progress, 'no progress')}")
    refused = condition(obj, "ReplicaFailure")
    if refused.get("status") == "True":
        return Pending(f"{label(obj)}: {_why(refused, 'pods cannot be created')}")
    wanted, updated, available = _wants(obj), _count(obj, "updatedReplicas"), _count(obj, "availableReplicas")
    if updated < wanted:
        return Pending(f"{label(obj)}: {updated} of {wanted} pods made")
    if _count(obj, "replicas") > updated:
        return Pending(f"{label(obj)}: {_count(obj, 'replicas') - updated} old pods still there")
    if available < wanted:
        return Pending(f"{label(obj)}: {available} of {wanted} pods available")
    return Ready(f"{available} of {wanted} pods")


def _stateful_set(obj: Object) -> Verdict:
    if not _caught_up(obj):
        return Pending(f"{label(obj)}: not seen by its controller yet")
    wanted, ready = _wants(obj), _count(obj, "readyReplicas")
    if ready < wanted or _count(obj, "updatedReplicas") < wanted:
        return Pending(f"{label(obj)}: {min(ready, _count(obj, 'updatedReplicas'))} of {wanted} pods ready")
    return Ready(f"{ready} of {wanted} pods")


def _daemon_set(obj: Object) -> Verdict:
    if not _caught_up(obj):
        return Pending(f"{label(obj)}: not seen by its controller yet")
    wanted = at(obj, "status", "desiredNumberScheduled")
    if wanted is None:
        return Pending(f"{label(obj)}: not scheduled yet")
    good = min(_count(obj, "numberAvailable"), _count(obj, "updatedNumberScheduled"))
    return Ready(f"{good} of {wanted} nodes") if good >= wanted else Pending(f"{label(obj)}: {good} of {wanted} nodes")


def _job(obj: Object) -> Verdict:
    failed = condition(obj, "Failed")
    if failed.get("status") == "True":
        return Failed(f"{label(obj)}: {_why(failed, 'failed')}")
    return Ready("complete") if _is_true(obj, "Complete") else Pending(f"{label(obj)}: running")


def _pod(obj: Object) -> Verdict:
    if at(obj, "status", "phase") == "Succeeded":
        return Ready("completed")
    if at(obj, "status", "phase") == "Failed":
        return Failed(f"{label(obj)}: {pod_cause(obj) or at(obj, 'status', 'reason') or 'failed'}")
    if _is_true(obj, "Ready"):
        return Ready()
    stuck = [each for each in _containers(obj) if at(each, "state", "waiting", "reason") in STUCK]
    verdict = Failed if stuck else Pending
    return verdict(f"{label(obj)}: {pod_cause(obj)}")


def _claim(obj: Object) -> Verdict:
    phase = at(obj, "status", "phase")
    if phase == "Bound":
        return Ready("bound")
    if phase == "Lost":
        return Failed(f"{label(obj)}: its volume is lost")
    if phase == "Pending" and not at(obj, "metadata", "annotations", "volume.kubernetes.io/selected-node"):
        # a class with WaitForFirstConsumer binds when a pod that uses the claim is scheduled, which names the node
        return Ready("waits for its first pod")
    return Pending(f"{label(obj)}: volume is being made")


def _conditioned(kind: str) -> Callable[[Object], Verdict]:
    def rule(obj: Object) -> Verdict:
        if _is_true(obj, kind):
            return Ready()
        return Pending(f"{label(obj)}: {_why(condition(obj, kind), f'not {kind} yet')}")

    return rule


def _crd(obj: Object) -> Verdict:
    names = condition(obj, "NamesAccepted")
    if names.get("status") == "False":
        return Failed(f"{label(obj)}: {_why(names, 'its names are taken')}")
    return _conditioned("Established")(obj)


def _namespace(obj: Object) -> Verdict:
    phase = at(obj, "status", "phase")
    return Ready() if phase == "Active" else Pending(f"{label(obj)}: {phase or 'not there yet'}")


def _run(obj: Object) -> Verdict:
    done = condition(obj, "Succeeded")
    if done.get("status") == "False":
        return Failed(f"{label(obj)}: {_why(done, 'failed')}")
    return Ready() if done.get("status") == "True" else Pending(f"{label(obj)}: {_why(done, 'not started yet')}")


_RULES: Mapping[str, Callable[[Object], Verdict]] = {
    "APIService": _conditioned("Available"),
    "CustomResourceDefinition": _crd,
    "DaemonSet": _daemon_set,
    "Deployment": _deployment,
    "EventListener": _conditioned("Ready"),
    "Job": _job,
    "Namespace": _namespace,
    "Node": _conditioned("Ready"),
    "PersistentVolumeClaim": _claim,
    "PipelineRun": _run,
    "Pod": _pod,
    "StatefulSet": _stateful_set,
    "TaskRun": _run,
}


def _containers(pod: Object) -> list[Fields]:
    """Container states with the init containers first: that is the order in which they hold a pod up."""
    status = at(pod, "status") or {}
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def _container_cause(container: Fields) -> str:
    waiting, ended = at(container, "state", "waiting") or {}, at(container, "state", "terminated") or {}
    reason = waiting.get("reason", "")
    if reason == "CrashLoopBackOff":
        code = at(container, "lastState", "terminated", "exitCode")
        return "CrashLoopBackOff" + (f", exit {code}" if code is not None else "")
    if reason and reason not in ("ContainerCreating", "PodInitializing"):
        return _why(waiting, reason)
    if ended.get("exitCode"):
        return f"{container.get('name', 'container')}: {_why(ended, 'ended')}, exit {ended['exitCode']}"
    if "running" in (container.get("state") or {}) and not container.get("ready", True):
        return f"{container.get('name', 'container')} runs, not ready yet"
    return ""


def _scheduling_cause(pod: Object) -> str:
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") != "False":
        return ""
    return "unschedulable: " + _line(scheduled.get("message") or scheduled.get("reason") or "no node fits")


def _event_cause(events: Sequence[Object]) -> str:
    ordered = sorted(events, key=_when)
    if not ordered:
        return ""
    last = ordered[-1]
    reason, message = last.get("reason", ""), _line(last.get("message") or "")
    if reason == "Pulling":
        return "pulling " + message.removeprefix("Pulling ").replace('"', "")
    warning = last.get("type") == "Warning"
    return f"{reason}: {message}" if warning else ""


def _when(event: Object) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or at(event, "metadata", "creationTimestamp") or "")


def _phase_cause(pod: Object) -> str:
    if at(pod, "status", "reason"):
        return _line(": ".join(filter(None, (at(pod, "status", "reason"), at(pod, "status", "message")))))
    states = [at(each, "state", "waiting", "reason") for each in _containers(pod)]
    if "PodInitializing" in states or "ContainerCreating" in states:
        return "containers are being created"
    return {"Pending": "waits for a node", "Running": "not ready yet"}.get(at(pod, "status", "phase") or "", "starting")
