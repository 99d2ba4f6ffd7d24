"""The poller and the reconciler: two CronJobs that ask repositories for new commits."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from bootstrap.core import constants
from bootstrap.core.errors import UsageError
from bootstrap.core.model import Lock, Object, Ready, Verdict
from bootstrap.incluster import poll_state
from bootstrap.objects import manifests, proxy_env, run_spec
from bootstrap.objects.cron_jobs import copy_cron_job
from bootstrap.objects.patches import Patch, Select, put
from bootstrap.objects.readiness import at
from bootstrap.settings.config import Config
from bootstrap.steps.last_job import describe_last_failure
from bootstrap.steps.manifest_step import ManifestStep, render
from bootstrap.world import World

NAME, STATE, RECONCILER = "poller", "poller-state", "reconciler"
FOLDER = "manifests/poller"
GRACE = 15
"""Seconds that the event of a push has to start its run, before the reconciler does."""


def make_poller_step() -> ManifestStep:
    """The step `poller`."""
    return ManifestStep(
        NAME,
        lambda world: render_objects(world.images.read_lock(), world.project, world.config),
        needs=("tekton", "credentials"),
        limit=60,
        prove=_describe_poll,
    )


def render_objects(lock: Lock, project: Path, config: Config) -> list[Object]:
    """The objects of manifests/poller with the settings in them, images by the digests of `lock`.

    With `poll.minutes` 0 the CronJob is suspended, and only `invoke poll` starts its Job. The reconciler is the same
    program with the repositories whose pushes are announced. Raises what `manifest_step.render` raises, and UsageError
    for `poll.template`.
    """
    cron, given = Select("CronJob"), Select("ConfigMap", NAME)
    patches = [
        Patch(given, put("data", "settings.json", value=json.dumps(make_settings(project, config)))),
        Patch(given, put("data", "reconciler.json", value=json.dumps(make_reconciler_settings(project, config)))),
        Patch(cron, _set_schedule(config.poll.minutes)),
        *proxy_env.make_patches(config.proxy, cron),
    ]
    objects = render(lock, project / FOLDER, patches=patches)
    [poller] = [each for each in objects if each["kind"] == "CronJob"]
    minutes = config.webhook.reconcile_minutes if list_reconciled(config) else 0
    settings = {"SETTINGS": "/etc/poller/reconciler.json"}
    return [*objects, copy_cron_job(poller, RECONCILER, settings, _set_schedule(minutes))]


def _set_schedule(minutes: int) -> Callable[[Object], None]:
    """An edit of a CronJob: it runs every so many minutes, 0: never by itself."""

    def edit(cron: Object) -> None:
        cron["spec"] |= {"suspend": minutes == 0, "schedule": f"*/{minutes or 1} * * * *"}

    return edit


def make_settings(project: Path, config: Config) -> Mapping[str, object]:
    """The poller program's settings.json as a document; `bootstrap.incluster.poll` reads it."""
    return {
        "repositories": list_repositories(config),
        "branches": list(config.poll.branches),
        "first": config.poll.first,
        "run": read_template(project, config, config.poll.template),
        **_make_common_settings(config),
    }


def make_reconciler_settings(project: Path, config: Config) -> Mapping[str, object]:
    """The same for the reconciler: what a push starts, for pushes whose event was lost."""
    return {
        "repositories": list_reconciled(config),
        "branches": list(config.webhook.branches),
        "first": "remember",
        "run": run_spec.load_template(project, config),
        "quiet": [constants.GIT_URL],
        "grace": GRACE,
        "optional": True,
        "trigger": "push",
        **_make_common_settings(config),
    }


def _make_common_settings(config: Config) -> Mapping[str, object]:
    parts = urlsplit(run_spec.get_repository(config))
    names = run_spec.list_bare_names(config)
    return {"credentialsFor": f"{parts.scheme}://{parts.netloc}", **({"names": names} if names else {})}


def read_template(project: Path, config: Config, file: str) -> Object:
    """The PipelineRun that the program fills in. file: from the project's folder, "" for that of test-run.

    Raises UsageError for a file that does not hold one.
    """
    if not file:
        return run_spec.load_template(project, config)
    hint = f"poll.template: such as {run_spec.MANIFEST}"
    found = manifests.load_outside(project / file)
    if [each["kind"] for each in found] != ["PipelineRun"]:
        raise UsageError(f"{file} is not one PipelineRun", hint=hint)
    [run] = found
    if not {each.get("name") for each in at(run, "spec", "params") or ()} & {*poll_state.FILLED}:
        raise UsageError(f"{file} has none of the parameters {', '.join(poll_state.FILLED)}", hint=hint)
    return {**run, "metadata": {**run["metadata"], "namespace": constants.RUNS}}


def list_repositories(config: Config) -> list[str]:
    """The addresses of the repositories that are polled."""
    return list(config.poll.repositories) or [run_spec.get_repository(config)]


def list_reconciled(config: Config) -> list[str]:
    """The addresses whose pushes are announced and start runs, and that are not polled for the same branches anyway.

    A repository that the settings know as OWNER/NAME has no address, so nobody can ask it.
    """
    wanted = config.webhook.repositories or (run_spec.get_repository(config),)
    told = [each for each in wanted if "://" in each and (each != constants.GIT_URL or config.git.webhook == "on")]
    if not config.poll.minutes or not set(config.webhook.branches) <= set(config.poll.branches):
        return told
    return [each for each in told if each not in list_repositories(config)]


def _describe_poll(world: World) -> Verdict:
    """Ready in any case, because a repository's answer is not the environment's fault; the text names what failed.

    That is a repository with an error, or else the cause that ended the last poll.
    """
    minutes, wanted = world.config.poll.minutes, list_repositories(world.config)
    kept = at(world.kube.get("v1", "ConfigMap", STATE, constants.RUNS) or {}, "data") or {}
    states = {url: poll_state.load_state(kept.get(poll_state.make_key(url))) for url in wanted}
    bad = [f"{url}: {state.why or rubbish}" for url, (state, rubbish) in states.items() if state.why or rubbish]
    when = f"every {minutes} min" if minutes else "only by hand (invoke poll)"
    wrong = f"{len(bad)} of {len(wanted)} failed: {bad[0]}" if bad else describe_last_failure(world, NAME)
    wrong = wrong or describe_last_failure(world, RECONCILER)
    return Ready(f"asks {when}" + (f"; {wrong}" if wrong else ""))
