"""Runs the Job of a CronJob now: commands that do by hand what the cluster does by the clock."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from copy import deepcopy

from bootstrap.core import constants
from bootstrap.core.errors import ApiError, PreconditionError
from bootstrap.core.model import Failed, Object, Pending, Ready, Verdict
from bootstrap.core.wait import until
from bootstrap.objects.readiness import at, judge
from bootstrap.steps.cleanup import IMAGE_CLEANUP, NAME, WORKSPACE_CLEANUP, make_image_variables, make_variables
from bootstrap.world import World

START_LIMIT = 180.0
KEPT = 600
"""Seconds that the Job stays after its end, for a look."""


def poll(world: World) -> int:
    """One poll now. 1 if a repository could not be read."""
    return run_now(world, "poller", {})


def cleanup(world: World, *, dry_run: bool = False) -> int:
    """One cleanup of runs now, one of their folders, and one of images, by the settings of this call.

    Answers 1 if something stayed that was to go. Raises PreconditionError where there is no cleanup, or no volume for
    the archive that is wanted.
    """
    forced = {"DRY_RUN": "on"} if dry_run else {}
    environ = make_variables(world.config) | forced
    writes = environ["DRY_RUN"] == "off"
    code = run_now(world, NAME, environ, mount=environ["ARCHIVE"] if writes else "")
    code = run_now(world, WORKSPACE_CLEANUP, environ) or code
    if world.config.elsewhere:
        return code
    return run_now(world, IMAGE_CLEANUP, make_image_variables(world.config) | forced) or code


def run_now(world: World, name: str, environ: Mapping[str, str], mount: str = "") -> int:
    """Run it to its end, with these variables changed, and print what it prints; its exit code.

    mount: a folder that it must have, "" for none. Raises PreconditionError where there is no such CronJob,
    TimedOut if its pod does not come to run.
    """
    cron = world.kube.get("batch/v1", "CronJob", name, constants.RUNS)
    if cron is None:
        raise PreconditionError(f"environment {world.config.name} has no {name}", hint="invoke up")
    if mount and not any(each["mountPath"] == mount for each in _list_mounts(cron)):
        raise PreconditionError(f"{name} has no volume {mount} yet", hint="invoke up, with the same settings")
    job = make_job(cron, f"{name}-{secrets.token_hex(3)}", environ)
    world.kube.create(job)
    pod = _await_pod(world, job["metadata"]["name"])
    for line in world.kube.follow_log(constants.RUNS, pod["metadata"]["name"], pod["spec"]["containers"][0]["name"]):
        world.report.line(line)
    return 0 if _await_success(world, job["metadata"]["name"]) else 1


def _list_mounts(cron: Object) -> list[Object]:
    containers = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    return [mount for container in containers for mount in container.get("volumeMounts") or ()]


def make_job(cron: Object, name: str, environ: Mapping[str, str]) -> Object:
    """The Job that the CronJob would start, called `name`."""
    spec = deepcopy(cron["spec"]["jobTemplate"]["spec"])
    spec["ttlSecondsAfterFinished"] = KEPT
    for container in spec["template"]["spec"]["containers"]:
        kept = [each for each in container.get("env") or () if each["name"] not in environ]
        container["env"] = [*kept, *({"name": key, "value": value} for key, value in environ.items())]
    metadata: Object = {"name": name, "namespace": constants.RUNS}
    metadata |= {key: at(cron, "spec", "jobTemplate", "metadata", key) or {} for key in ("labels", "annotations")}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def _await_pod(world: World, job: str) -> Object:
    """The Job's pod, once it runs or has ended. Raises TimedOut."""
    pod: Object = {}

    def probe() -> Verdict:
        nonlocal pod
        found = world.kube.list("v1", "Pod", constants.RUNS, labels=f"batch.kubernetes.io/job-name={job}")
        if not found:
            return Pending(f"{job} has no pod yet")
        pod = found[0]
        phase = at(pod, "status", "phase") or "Pending"
        return Ready() if phase in ("Running", "Succeeded", "Failed") else Pending(f"{job} is {phase}")

    until(probe, clock=world.clock, limit=START_LIMIT, what=job, every=0.3)
    return pod


def _await_success(world: World, job: str) -> bool:
    """Whether the Job succeeded, once it is over, so that `status` says the same right after: the log ends a moment
    before.
    """

    def probe() -> Verdict:
        try:
            live = world.kube.get("batch/v1", "Job", job, constants.RUNS)
        except ApiError as error:
            return Pending(error.message)
        return judge(live) if live else Failed(f"{job} was deleted")

    return isinstance(until(probe, clock=world.clock, limit=START_LIMIT, what=job, every=0.3), Ready)
