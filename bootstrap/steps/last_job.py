"""What became of the newest Job of a CronJob: nobody watches those, so `status` has to say it."""

from __future__ import annotations

from bootstrap.core import constants
from bootstrap.core.model import Failed, Object, Ready
from bootstrap.incluster.text import one_line
from bootstrap.objects.readiness import at, judge
from bootstrap.world import World


def last_failure(world: World, name: str) -> str:
    """Of the newest Job labelled `name` that is over, in its pod's last words; "" if it went well."""
    jobs = world.kube.list("batch/v1", "Job", constants.RUNS, labels=f"app.kubernetes.io/name={name}")
    over = [job for job in jobs if isinstance(judge(job), Ready | Failed)]
    last = max(over, key=lambda job: str(at(job, "metadata", "creationTimestamp")), default=None)
    verdict = judge(last) if last else Ready()
    if last is None or not isinstance(verdict, Failed):
        return ""
    job = last["metadata"]["name"]
    pods = world.kube.list("v1", "Pod", constants.RUNS, labels=f"batch.kubernetes.io/job-name={job}")
    words = [at(each, "state", "terminated", "message") for pod in pods for each in _statuses(pod)]
    said = one_line("".join(str(each) for each in words if each).strip().rpartition("\n")[2])
    return f"{job} failed: {said or verdict.why}"


def _statuses(pod: Object) -> list[Object]:
    return at(pod, "status", "containerStatuses") or []
