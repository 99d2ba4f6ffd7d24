"""After nodes were started again: until their pods are seen to run anew, what the API says of them is of before.

A node that was away for seconds is never marked as such: its node, pods and Deployments all still read
as ready, while nothing of it runs. And what is started before its node can reach the API server again says that it is
ready, and ends some seconds later; so a pod counts once it has run for a while.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from bootstrap.core import wait
from bootstrap.core.errors import ApiError
from bootstrap.core.model import Object, Pending, Ready, Verdict
from bootstrap.objects.readiness import at, label
from bootstrap.world import World

LIMIT = 150.0
SETTLED = timedelta(seconds=12)
"""Without an end since its start: then a container is not one of those that cannot reach the API server."""

ABOUT_TO_START = ("ContainerCreating", "PodInitializing")
"""Why a container waits, where it is not held back (kubelet: pkg/kubelet/kubelet_pods.go)."""


def await_pods(world: World, nodes: Iterable[str], since: datetime) -> None:
    """Wait until every pod of these nodes was started after `since`, and runs on. Raises TimedOut, with the pod."""
    names = set(nodes)

    def look() -> Verdict:
        try:
            pods = world.kube.list("v1", "Pod")
        except ApiError as error:
            return Pending(error.message)
        there = [pod for pod in pods if at(pod, "spec", "nodeName") in names]
        now = datetime.now(UTC)
        unsettled = [pod for pod in there if is_of_before(pod, since) or is_between(pod) or is_fresh(pod, now)]
        return Pending(f"{label(unsettled[0])} starts again") if unsettled else Ready()

    wait.until(look, clock=world.clock, limit=LIMIT, what="the restarted nodes")


def is_of_before(pod: Object, since: datetime) -> bool:
    """Whether a container of the pod is said to run since before `since`.

    Finished and leaving pods are not asked.
    """
    return any(started < since.replace(microsecond=0) for started in _running(pod))


def is_between(pod: Object) -> bool:
    """Whether a container of the pod ran, has ended, and is about to be started again.

    One that the kubelet holds back, because it ended too often or its image cannot be pulled, may never start:
    the step that it belongs to waits for it, and says so. So does one that never ran.
    """
    if at(pod, "spec", "restartPolicy") == "Never":
        return False
    return any(
        at(each, "state", "terminated")
        or (at(each, "lastState", "terminated") and at(each, "state", "waiting", "reason") in ABOUT_TO_START)
        for each in _containers(pod)
    )


def is_fresh(pod: Object, now: datetime) -> bool:
    """Whether a container of the pod was started only just."""
    return any(started > now - SETTLED for started in _running(pod))


def _running(pod: Object) -> list[datetime]:
    """Since when each running container runs."""
    started = (at(each, "state", "running", "startedAt") for each in _containers(pod))
    return [datetime.fromisoformat(text) for text in started if text]


def _containers(pod: Object) -> list[Object]:
    """What the API says of each container; of a pod that is over or leaves, of none."""
    if at(pod, "status", "phase") in ("Succeeded", "Failed") or at(pod, "metadata", "deletionTimestamp"):
        return []
    return at(pod, "status", "containerStatuses") or []
