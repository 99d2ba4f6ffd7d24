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


def judge(obj: Object | None) -> Verdict:
    """Whether an object is ready.

    None (no such object) is Pending; a kind without a rule of its own is Ready when it exists.
    """
    if not obj:
        return Pending("not there yet")
    if at(obj, "metadata", "deletionTimestamp"):
        return Pending(f"{label(obj)} is being deleted")
    return _RULES.get(obj.get("kind", ""), _judge_present)(obj)


def judge_all(objects: Iterable[Object | None]) -> Verdict:
    """The worst verdict of all: the first Failed, else the first Pending, else Ready."""
    verdicts = [judge(each) for each in objects]
    failed = [each for each in verdicts if isinstance(each, Failed)]
    waiting = [each for each in verdicts if not isinstance(each, Ready | Failed)]
    return next(iter([*failed, *waiting]), Ready())


def explain_pod(pod: Object, events: Sequence[Object] = ()) -> str:
    """The best one-line reason why a pod is not ready; "" when it is. events: those of this pod, in any order."""
    if _is_true(pod, "Ready") or at(pod, "status", "phase") == "Succeeded":
        return ""
    return (
        next(filter(None, map(_explain_container, _list_containers(pod))), "")
        or _explain_scheduling(pod)
        or _explain_events(events)
        or _explain_phase(pod)
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


def _explain(found: Fields, otherwise: str) -> str:
    reason, message = found.get("reason") or "", _to_line(found.get("message") or "")
    return ": ".join(part for part in (reason, message) if part) or otherwise


def _to_line(text: str) -> str:
    return " ".join(text.split())


def _judge_present(_: Object) -> Verdict:
    return Ready()


def _is_observed(obj: Object) -> bool:
    seen = at(obj, "status", "observedGeneration")
    return seen is not None and seen >= (at(obj, "metadata", "generation") or 0)


def _get_replicas(obj: Object) -> int:
    replicas = at(obj, "spec", "replicas")
    return 1 if replicas is None else int(replicas)


def _get_count(obj: Object, field: str) -> int:
    return int(at(obj, "status", field) or 0)


def _judge_deployment(obj: Object) -> Verdict:
    if not _is_observed(obj):
        return Pending(f"{label(obj)}: not seen by its controller yet")
    progress = condition(obj, "Progressing")
    if progress.get("reason") == "ProgressDeadlineExceeded":
        return Failed(f"{label(obj)}: {_explain(progress, 'no progress')}")
    refused = condition(obj, "ReplicaFailure")
    if refused.get("status") == "True":
        return Pending(f"{label(obj)}: {_explain(refused, 'pods cannot be created')}")
    wanted, updated, available = (
        _get_replicas(obj),
        _get_count(obj, "updatedReplicas"),
        _get_count(obj, "availableReplicas"),
    )
    if updated < wanted:
        return Pending(f"{label(obj)}: {updated} of {wanted} pods made")
    if _get_count(obj, "replicas") > updated:
        return Pending(f"{label(obj)}: {_get_count(obj, 'replicas') - updated} old pods still there")
    if available < wanted:
        return Pending(f"{label(obj)}: {available} of {wanted} pods available")
    return Ready(f"{available} of {wanted} pods")


def _judge_stateful_set(obj: Object) -> Verdict:
    if not _is_observed(obj):
        return Pending(f"{label(obj)}: not seen by its controller yet")
    wanted, ready = _get_replicas(obj), _get_count(obj, "readyReplicas")
    if ready < wanted or _get_count(obj, "updatedReplicas") < wanted:
        return Pending(f"{label(obj)}: {min(ready, _get_count(obj, 'updatedReplicas'))} of {wanted} pods ready")
    return Ready(f"{ready} of {wanted} pods")


def _judge_daemon_set(obj: Object) -> Verdict:
    if not _is_observed(obj):
        return Pending(f"{label(obj)}: not seen by its controller yet")
    wanted = at(obj, "status", "desiredNumberScheduled")
    if wanted is None:
        return Pending(f"{label(obj)}: not scheduled yet")
    good = min(_get_count(obj, "numberAvailable"), _get_count(obj, "updatedNumberScheduled"))
    return Ready(f"{good} of {wanted} nodes") if good >= wanted else Pending(f"{label(obj)}: {good} of {wanted} nodes")


def _judge_job(obj: Object) -> Verdict:
    failed = condition(obj, "Failed")
    if failed.get("status") == "True":
        return Failed(f"{label(obj)}: {_explain(failed, 'failed')}")
    return Ready("complete") if _is_true(obj, "Complete") else Pending(f"{label(obj)}: running")


def _judge_pod(obj: Object) -> Verdict:
    if at(obj, "status", "phase") == "Succeeded":
        return Ready("completed")
    if at(obj, "status", "phase") == "Failed":
        return Failed(f"{label(obj)}: {explain_pod(obj) or at(obj, 'status', 'reason') or 'failed'}")
    if _is_true(obj, "Ready"):
        return Ready()
    stuck = [each for each in _list_containers(obj) if at(each, "state", "waiting", "reason") in STUCK]
    verdict = Failed if stuck else Pending
    return verdict(f"{label(obj)}: {explain_pod(obj)}")


def _judge_claim(obj: Object) -> Verdict:
    phase = at(obj, "status", "phase")
    if phase == "Bound":
        return Ready("bound")
    if phase == "Lost":
        return Failed(f"{label(obj)}: its volume is lost")
    if phase == "Pending" and not at(obj, "metadata", "annotations", "volume.kubernetes.io/selected-node"):
        # a class with WaitForFirstConsumer binds when a pod that uses the claim is scheduled, which names the node
        return Ready("waits for its first pod")
    return Pending(f"{label(obj)}: volume is being made")


def _judge_by_condition(kind: str) -> Callable[[Object], Verdict]:
    def rule(obj: Object) -> Verdict:
        if _is_true(obj, kind):
            return Ready()
        return Pending(f"{label(obj)}: {_explain(condition(obj, kind), f'not {kind} yet')}")

    return rule


def _judge_crd(obj: Object) -> Verdict:
    names = condition(obj, "NamesAccepted")
    if names.get("status") == "False":
        return Failed(f"{label(obj)}: {_explain(names, 'its names are taken')}")
    return _judge_by_condition("Established")(obj)


def _judge_namespace(obj: Object) -> Verdict:
    phase = at(obj, "status", "phase")
    return Ready() if phase == "Active" else Pending(f"{label(obj)}: {phase or 'not there yet'}")


def _judge_run(obj: Object) -> Verdict:
    done = condition(obj, "Succeeded")
    if done.get("status") == "False":
        return Failed(f"{label(obj)}: {_explain(done, 'failed')}")
    return Ready() if done.get("status") == "True" else Pending(f"{label(obj)}: {_explain(done, 'not started yet')}")


_RULES: Mapping[str, Callable[[Object], Verdict]] = {
    "APIService": _judge_by_condition("Available"),
    "CustomResourceDefinition": _judge_crd,
    "DaemonSet": _judge_daemon_set,
    "Deployment": _judge_deployment,
    "EventListener": _judge_by_condition("Ready"),
    "Job": _judge_job,
    "Namespace": _judge_namespace,
    "Node": _judge_by_condition("Ready"),
    "PersistentVolumeClaim": _judge_claim,
    "PipelineRun": _judge_run,
    "Pod": _judge_pod,
    "StatefulSet": _judge_stateful_set,
    "TaskRun": _judge_run,
}


def _list_containers(pod: Object) -> list[Fields]:
    """Container states with the init containers first: that is the order in which they hold a pod up."""
    status = at(pod, "status") or {}
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def _explain_container(container: Fields) -> str:
    waiting, ended = at(container, "state", "waiting") or {}, at(container, "state", "terminated") or {}
    reason = waiting.get("reason", "")
    if reason == "CrashLoopBackOff":
        code = at(container, "lastState", "terminated", "exitCode")
        return "CrashLoopBackOff" + (f", exit {code}" if code is not None else "")
    if reason and reason not in ("ContainerCreating", "PodInitializing"):
        return _explain(waiting, reason)
    if ended.get("exitCode"):
        return f"{container.get('name', 'container')}: {_explain(ended, 'ended')}, exit {ended['exitCode']}"
    if "running" in (container.get("state") or {}) and not container.get("ready", True):
        return f"{container.get('name', 'container')} runs, not ready yet"
    return ""


def _explain_scheduling(pod: Object) -> str:
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") != "False":
        return ""
    return "unschedulable: " + _to_line(scheduled.get("message") or scheduled.get("reason") or "no node fits")


def _explain_events(events: Sequence[Object]) -> str:
    ordered = sorted(events, key=_get_event_time)
    if not ordered:
        return ""
    last = ordered[-1]
    reason, message = last.get("reason", ""), _to_line(last.get("message") or "")
    if reason == "Pulling":
        return "pulling " + message.removeprefix("Pulling ").replace('"', "")
    warning = last.get("type") == "Warning"
    return f"{reason}: {message}" if warning else ""


def _get_event_time(event: Object) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or at(event, "metadata", "creationTimestamp") or "")


def _explain_phase(pod: Object) -> str:
    if at(pod, "status", "reason"):
        return _to_line(": ".join(filter(None, (at(pod, "status", "reason"), at(pod, "status", "message")))))
    states = [at(each, "state", "waiting", "reason") for each in _list_containers(pod)]
    if "PodInitializing" in states or "ContainerCreating" in states:
        return "containers are being created"
    return {"Pending": "waits for a node", "Running": "not ready yet"}.get(at(pod, "status", "phase") or "", "starting")
