"""After nodes were started again: until their pods are seen to run anew, what the API says of them is of before.

A node that was away for seconds is never marked as such: its node, pods and Deployments all still read
as ready, while nothing of it runs.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from bootstrap import wait
from bootstrap.errors import ApiError
from bootstrap.model import Object, Pending, Ready, Verdict
from bootstrap.readiness import at, label
from bootstrap.world import World

LIMIT = 150.0


def await_pods(world: World, nodes: Iterable[str], since: datetime) -> None:
    """Wait until every pod of these nodes was started after `since`. Raises TimedOut with the pod that was not."""
    names = set(nodes)

    def look() -> Verdict:
        try:
            pods = world.kube.list("v1", "Pod")
        except ApiError as error:
            return Pending(error.message)
        old = [pod for pod in pods if at(pod, "spec", "nodeName") in names and is_of_before(pod, since)]
        return Pending(f"{label(old[0])} has not started again") if old else Ready()

    wait.until(look, clock=world.clock, limit=LIMIT, what="the restarted nodes")


def is_of_before(pod: Object, since: datetime) -> bool:
    """Whether a container of the pod is said to run since before `since`.

    Finished and leaving pods are not asked; what waits to be started is for its own step to wait for.
    """
    if at(pod, "status", "phase") in ("Succeeded", "Failed") or at(pod, "metadata", "deletionTimestamp"):
        return False
    started = (at(each, "state", "running", "startedAt") for each in at(pod, "status", "containerStatuses") or ())
    return any(datetime.fromisoformat(text) < since.replace(microsecond=0) for text in started if text)
