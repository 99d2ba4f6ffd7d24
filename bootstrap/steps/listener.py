"""The webhook listener: a signed event that brings a commit to a watched branch becomes a run of the pipeline."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from pathlib import Path

from bootstrap.core import constants
from bootstrap.core.model import Lock, Object, Ready, Verdict
from bootstrap.incluster import branch_patterns
from bootstrap.objects import delivery_trace, manifests, run_spec
from bootstrap.objects.patches import Patch, Select, put, set_at
from bootstrap.objects.readiness import judge
from bootstrap.settings.config import Config
from bootstrap.steps.manifest_step import ManifestStep, render
from bootstrap.steps.tekton import certify_interceptors
from bootstrap.world import World

FOLDER = "manifests/listener"
WATCHED = "watched"
"""The interceptor that asks for branch and repository; each trigger that leads to runs has it."""
REPLICAS = ("spec", "resources", "kubernetesResource", "replicas")


def make_listener_step() -> ManifestStep:
    """The step `listener`.

    It does not need the step `pipeline`: no event arrives before `up` has ended, so both are applied at once.
    """
    return ManifestStep(
        "listener",
        lambda world: render_objects(world.images.read_lock(), world.project, world.config),
        needs=("tekton", "credentials"),
        limit=90,
        prepare=certify_interceptors,
        prove=_judge_listener,
    )


def render_objects(lock: Lock, project: Path, config: Config) -> list[Object]:
    """The objects of manifests/listener with the settings in them, images by the digests of `lock`.

    Raises what `manifest_step.render` raises.
    """
    listener, template = Select("EventListener"), Select("TriggerTemplate")
    patches = [
        Patch(listener, functools.partial(_set_watch_condition, condition=make_watch_condition(config))),
        Patch(listener, put(*REPLICAS, value=config.webhook.replicas)),
        Patch(template, put("spec", "resourcetemplates", 0, "spec", value=_make_run_spec(project, config))),
        Patch(template, delivery_trace.name_runs),
        Patch(listener, delivery_trace.leave_notes),
    ]
    if config.webhook.debug == "on":
        patches += _make_debug_patches(project)
    return render(lock, project / FOLDER, patches=patches)


def _set_watch_condition(obj: Object, condition: str) -> None:
    for trigger in obj["spec"]["triggers"]:
        if WATCHED in delivery_trace.list_gates(trigger):
            set_at(trigger, ("interceptors", WATCHED, "params", "filter", "value"), condition)


def make_watch_condition(config: Config) -> str:
    """A condition in CEL, true for an event of a watched branch and repository.

    The settings are `webhook.branches` and `webhook.repositories`, by default the repository of the settings.
    """
    settings, event = config.webhook, "extensions.event"
    branch = (
        f"{event}.ref.matches({_quote(f'^refs/heads/(?:{branch_patterns.build_branch_regex(settings.branches)})$')})"
    )
    wanted = settings.repositories or (run_spec.get_repository(config),)
    bare = [each.rstrip("/").removesuffix(".git") for each in wanted if "://" in each]
    addresses = [address for each in bare for address in (f"{each}.git", each)]
    lists = {"url": addresses, "name": [each for each in wanted if "://" not in each]}
    repository = " || ".join(f"{event}.{key} in {_quote_all(values)}" for key, values in lists.items() if values)
    return f"{branch} && ({repository})"


def _quote(text: str) -> str:
    """A text as a literal of CEL, whose strings are written as in JSON."""
    return json.dumps(text, ensure_ascii=False)


def _quote_all(texts: Iterable[str]) -> str:
    return f"[{', '.join(map(_quote, texts))}]"


def _make_debug_patches(project: Path) -> list[Patch]:
    """Patches for `webhook.debug`: a TaskRun that prints each event, and the right to create it."""
    [run] = manifests.load(project / FOLDER / "debug")

    def print_first(template: Object) -> None:
        template["spec"]["resourcetemplates"].insert(0, run)

    def may_print(role: Object) -> None:
        role["rules"][0]["resources"].append("taskruns")

    return [Patch(Select("TriggerTemplate"), print_first), Patch(Select("Role", "starter"), may_print)]


def _make_run_spec(project: Path, config: Config) -> Object:
    [run] = manifests.load(project / run_spec.MANIFEST)
    run_spec.fill(run, config, "$(tt.params.repository)", "$(tt.params.commit)")
    spec: Object = run["spec"]
    return spec


def _judge_listener(world: World) -> Verdict:
    """Whether the listener's Deployment is ready; Tekton makes it some time after the EventListener."""
    verdict = judge(world.kube.get("apps/v1", "Deployment", constants.LISTENER, constants.RUNS))
    if not isinstance(verdict, Ready):
        return verdict
    return Ready(f"pushes to {', '.join(world.config.webhook.branches)} start a run")
