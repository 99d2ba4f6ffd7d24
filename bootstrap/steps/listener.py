"""The webhook listener: a signed push to the watched branch becomes a run of the pipeline."""

from __future__ import annotations

import json
from pathlib import Path

from bootstrap import composing, deliveries, manifests, names
from bootstrap.config import Config
from bootstrap.model import Lock, Object, Ready, Verdict
from bootstrap.patches import Patch, Select, put
from bootstrap.readiness import readiness
from bootstrap.runs import run_name
from bootstrap.steps.manifest import ManifestStep, render
from bootstrap.steps.tekton import certify_interceptors
from bootstrap.world import World

SHORT = 12
"""Digits of the commit in a run's name; manifests/listener/listener.yaml cuts it to as many."""
FILTER = ("spec", "triggers", "push", "interceptors", "watched", "params", "filter", "value")


def listener() -> ManifestStep:
    """Without the pipeline among its needs: nobody sends before `up` has ended, so both are made at once."""
    return ManifestStep(
        "listener",
        lambda world: objects(world.images.lock(), world.project, world.config),
        needs=("tekton", "credentials"),
        limit=90,
        prepare=certify_interceptors,
        prove=_serves,
    )


def objects(lock: Lock, project: Path, config: Config) -> list[Object]:
    """manifests/listener with the settings put in."""
    template, run = Select("TriggerTemplate"), ("spec", "resourcetemplates", 0)
    patches = [
        Patch(Select("EventListener"), put(*FILTER, value=watched(config))),
        Patch(template, put(*run, "metadata", "name", value=pushed_run_name(config, "$(tt.params.short)"))),
        Patch(template, put(*run, "spec", value=_run_spec(project, config))),
        Patch(template, deliveries.name_runs),
        Patch(Select("EventListener"), deliveries.leave_notes),
    ]
    return render(lock, project / "manifests/listener", patches=patches)


def pushed_run_name(config: Config, short: str) -> str:
    """The same for the same commit, so that one that is delivered again finds its run made. short: its first digits."""
    return run_name(config.pipeline.deployment, "", "0" * SHORT).removesuffix("0" * SHORT) + short


def watched(config: Config) -> str:
    """The condition, in CEL, that a push is to the branch and the repository of the settings."""
    settings = config.webhook
    branch = f"body.ref == {_literal(f'refs/heads/{settings.branch}')}"
    if settings.repository:
        return f"{branch} && body.repository.full_name == {_literal(settings.repository)}"
    bare = composing.repository(config).removesuffix("/").removesuffix(".git")
    addresses = ", ".join(_literal(each) for each in (f"{bare}.git", bare))
    return f"{branch} && body.repository.clone_url in [{addresses}]"


def _literal(text: str) -> str:
    """A text in CEL: its strings are written as in JSON."""
    return json.dumps(text)


def _run_spec(project: Path, config: Config) -> Object:
    [run] = manifests.load(project / composing.MANIFEST)
    composing.fill(run, config, "$(tt.params.repository)", "$(tt.params.commit)")
    spec: Object = run["spec"]
    return spec


def _serves(world: World) -> Verdict:
    """Tekton makes the Deployment some time after the EventListener."""
    verdict = readiness(world.kube.get("apps/v1", "Deployment", names.LISTENER, names.RUNS))
    if not isinstance(verdict, Ready):
        return verdict
    return Ready(f"pushes to {world.config.webhook.branch} start a run")
