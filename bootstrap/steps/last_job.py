"""How the newest Job of a CronJob ended. Nobody watches these Jobs, so `status` names a failure."""

from __future__ import annotations

from bootstrap.core import constants
from bootstrap.core.model import Failed, Object, Ready
from bootstrap.incluster.text import one_line
from bootstrap.objects.readiness import at, judge
from bootstrap.world import World


def describe_last_failure(world: World, name: str) -> str:
    """ "JOB failed: CAUSE" for the newest finished Job labelled `name`, "" if it succeeded or there is none.

    The cause is the last line of its pod's termination message, or else the Job's condition.
    """
    jobs = world.kube.list("batch/v1", "Job", constants.RUNS, labels=f"app.kubernetes.io/name={name}")
    over = [job for job in jobs if isinstance(judge(job), Ready | Failed)]
    last = max(over, key=lambda job: str(at(job, "metadata", "creationTimestamp")), default=None)
    verdict = judge(last) if last else Ready()
    if last is None or not isinstance(verdict, Failed):
        return ""
    job = last["metadata"]["name"]
    pods = world.kube.list("v1", "Pod", constants.RUNS, labels=f"batch.kubernetes.io/job-name={job}")
    words = [at(each, "state", "terminated", "message") for pod in pods for each in _list_statuses(pod)]
    said = one_line("".join(str(each) for each in words if each).strip().rpartition("\n")[2])
    return f"{job} failed: {said or verdict.why}"


def _list_statuses(pod: Object) -> list[Object]:
    return at(pod, "status", "containerStatuses") or []
