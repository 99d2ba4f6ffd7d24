"""The poller: a CronJob that asks repositories for new commits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from bootstrap.core import constants
from bootstrap.core.errors import UsageError
from bootstrap.core.model import Lock, Object, Ready, Verdict
from bootstrap.incluster import poll_state
from bootstrap.objects import manifests, proxy_env, run_spec
from bootstrap.objects.patches import Patch, Select, put
from bootstrap.objects.readiness import at
from bootstrap.settings.config import Config
from bootstrap.steps.last_job import describe_last_failure
from bootstrap.steps.manifest_step import ManifestStep, render
from bootstrap.world import World

NAME, STATE = "poller", "poller-state"
FOLDER = "manifests/poller"


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

    With `poll.minutes` 0 the CronJob is suspended, and only `invoke poll` starts its Job. Raises what
    `manifest_step.render` raises, and UsageError for `poll.template`.
    """
    cron, minutes = Select("CronJob"), config.poll.minutes
    patches = [
        Patch(
            Select("ConfigMap", NAME), put("data", "settings.json", value=json.dumps(make_settings(project, config)))
        ),
        Patch(cron, put("spec", "suspend", value=minutes == 0)),
        Patch(cron, put("spec", "schedule", value=f"*/{minutes or 1} * * * *")),
        *proxy_env.make_patches(config.proxy, cron),
    ]
    return render(lock, project / FOLDER, patches=patches)


def make_settings(project: Path, config: Config) -> Mapping[str, object]:
    """The poller program's settings.json as a document; `bootstrap.incluster.poll` reads it."""
    parts = urlsplit(run_spec.get_repository(config))
    return {
        "repositories": list_repositories(config),
        "branches": list(config.poll.branches),
        "first": config.poll.first,
        "credentialsFor": f"{parts.scheme}://{parts.netloc}",
        "run": read_template(project, config),
        **({"names": names} if (names := run_spec.list_bare_names(config)) else {}),
    }


def read_template(project: Path, config: Config) -> Object:
    """The PipelineRun that the program fills in. Raises UsageError for a file that does not hold one."""
    file = config.poll.template
    if not file:
        [run] = manifests.load(project / run_spec.MANIFEST)
        run_spec.fill(run, config, "", "")
        return {**run, "metadata": {"namespace": constants.RUNS}}
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
    return Ready(f"asks {when}" + (f"; {wrong}" if wrong else ""))
