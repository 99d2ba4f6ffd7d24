"""Waits, after nodes were started again, until their pods have started anew.

A node that was away for seconds is never marked as such: the node, its pods and Deployments still read as ready while
nothing of them runs. And a container that starts before its node can reach the API server reads as ready, and ends
some seconds later. So a pod counts once it has run for a while.
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
"""A container that runs this long is not one of those that end because they cannot reach the API server."""

ABOUT_TO_START = ("ContainerCreating", "PodInitializing")
"""Why a container waits, where it is not held back (kubelet: pkg/kubelet/kubelet_pods.go)."""


def await_pods(world: World, nodes: Iterable[str], since: datetime) -> None:
    """Wait until every pod of these nodes was started after `since` and has run for a while.

    Raises TimedOut, which names a pod that is not.
    """
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
    """Whether the API says that a container of the pod runs since before `since`.

    Pods that are finished or being deleted are not looked at.
    """
    return any(started < since.replace(microsecond=0) for started in _list_start_times(pod))


def is_between(pod: Object) -> bool:
    """Whether a container of the pod ran, has ended, and is about to be started again.

    A container that the kubelet holds back, because it ended too often or its image cannot be pulled, may never start.
    Like one that never ran, it is left to the step that it belongs to, which waits for it and names it.
    """
    if at(pod, "spec", "restartPolicy") == "Never":
        return False
    return any(
        at(each, "state", "terminated")
        or (at(each, "lastState", "terminated") and at(each, "state", "waiting", "reason") in ABOUT_TO_START)
        for each in _list_containers(pod)
    )


def is_fresh(pod: Object, now: datetime) -> bool:
    """Whether a container of the pod was started less than SETTLED before `now`."""
    return any(started > now - SETTLED for started in _list_start_times(pod))


def _list_start_times(pod: Object) -> list[datetime]:
    """When each running container was started."""
    started = (at(each, "state", "running", "startedAt") for each in _list_containers(pod))
    return [datetime.fromisoformat(text) for text in started if text]


def _list_containers(pod: Object) -> list[Object]:
    """The status of each container; [] for a pod that is finished or being deleted."""
    if at(pod, "status", "phase") in ("Succeeded", "Failed") or at(pod, "metadata", "deletionTimestamp"):
        return []
    return at(pod, "status", "containerStatuses") or []
