"""The webhook listener: a signed event that brings a commit to a watched branch becomes a run of the pipeline."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from bootstrap.core import constants
from bootstrap.core.model import Lock, Object, Ready, Verdict
from bootstrap.incluster import branch_patterns, run_names
from bootstrap.incluster.applications import fill_run
from bootstrap.incluster.run_names import APPLICATION, BRANCH, COMMIT, ENVIRONMENT, TRIGGER
from bootstrap.incluster.trigger_template import FILLED, LOGIN_SECRET, make_trigger_template
from bootstrap.objects import delivery_trace, manifests, run_spec
from bootstrap.objects.patches import Patch, Select, get_at, put, set_at
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
    listener, template = Select("EventListener"), Select("TriggerTemplate", "git-cicd")
    gates = functools.partial(_set_watch, condition=make_watch_condition(config), names=make_name_expression(config))
    patches = [
        Patch(listener, gates),
        Patch(listener, put(*REPLICAS, value=config.webhook.replicas)),
        Patch(template, put("spec", "resourcetemplates", 0, "spec", value=_make_run_spec(project, config))),
        Patch(template, delivery_trace.name_runs),
        Patch(listener, delivery_trace.leave_notes),
    ]
    if config.webhook.debug == "on":
        patches += _make_debug_patches(project)
    shared = make_trigger_template(
        _make_application_run(project, config),
        constants.RUNS,
        run_spec.make_parameters(config, "", "")["ROLLOUT_SECONDS"],
    )
    return render(lock, project / FOLDER, [shared], patches=patches)


def _set_watch(obj: Object, condition: str, names: str) -> None:
    """In each trigger that leads to runs: the condition, and how a run is named."""
    for trigger in obj["spec"]["triggers"]:
        if WATCHED in delivery_trace.list_gates(trigger):
            params = get_at(trigger, ("interceptors", WATCHED, "params"))
            set_at(params, ("filter", "value"), condition)
            [overlay] = [each for each in get_at(params, ("overlays", "value")) if each["key"] == "run"]
            overlay["expression"] = names


def make_watch_condition(config: Config) -> str:
    """A condition in CEL, true for an event of a watched branch and repository.

    The settings are `webhook.branches` and `webhook.repositories`, by default the repository of the settings.
    """
    settings, event = config.webhook, "extensions.event"
    branch = (
        f"{event}.ref.matches({_quote(f'^refs/heads/(?:{branch_patterns.build_branch_regex(settings.branches)})$')})"
    )
    addresses, names = _list_watched(config)
    lists = {"extensions.address": addresses, f"{event}.name": names}
    repository = " || ".join(f"{key} in {_quote_all(values)}" for key, values in lists.items() if values)
    return f"{branch} && ({repository})"


def make_name_expression(config: Config) -> str:
    """The name of the run of an event, in CEL: `run_names.make_triggered_run_name` for each watched repository."""
    addresses, names = _list_watched(config)
    by_address = _quote_map({each: run_names.make_run_prefix(each, names) for each in addresses})
    by_name = _quote_map({each: run_names.make_run_prefix(f"https://any/{each}", names) for each in names})
    named, addressed = f"{by_name}[extensions.event.name]", f"{by_address}[extensions.address]"
    prefix = addressed
    if names:
        prefix = f"(extensions.event.name in {_quote_all(names)} ? {named} : {addressed})" if addresses else named
    return f'{prefix} + "-" + extensions.event.commit.truncate({run_names.SHORT_COMMIT})'


def _list_watched(config: Config) -> tuple[list[str], list[str]]:
    """(addresses, names) of the repositories whose pushes start runs, each as it is compared."""
    wanted = config.webhook.repositories or (run_spec.get_repository(config),)
    addresses = dict.fromkeys(run_names.normalize_url(each) for each in wanted if "://" in each)
    return [*addresses], run_spec.list_bare_names(config)


def _quote(text: str) -> str:
    """A text as a literal of CEL, whose strings are written as in JSON."""
    return json.dumps(text, ensure_ascii=False)


def _quote_map(pairs: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{_quote(key)}: {_quote(value)}" for key, value in pairs.items()) + "}"


def _quote_all(texts: Iterable[str]) -> str:
    return f"[{', '.join(map(_quote, texts))}]"


def _make_debug_patches(project: Path) -> list[Patch]:
    """Patches for `webhook.debug`: a TaskRun that prints each event, and the right to create it."""
    [run] = manifests.load(project / FOLDER / "debug")

    def print_first(template: Object) -> None:
        template["spec"]["resourcetemplates"].insert(0, run)

    def may_print(role: Object) -> None:
        role["rules"][0]["resources"].append("taskruns")

    return [Patch(Select("TriggerTemplate", "git-cicd"), print_first), Patch(Select("Role", "starter"), may_print)]


def _make_run_spec(project: Path, config: Config) -> Object:
    [run] = manifests.load(project / run_spec.MANIFEST)
    run_spec.fill(run, config, "$(tt.params.repository)", "$(tt.params.commit)")
    spec: Object = run["spec"]
    return spec


def _make_application_run(project: Path, config: Config) -> Object:
    """The run of any application, for the TriggerTemplate that their Triggers share."""
    run = run_spec.load_template(project, config)

    def param(name: str) -> str:
        return f"$(tt.params.{name})"

    labels = {APPLICATION: "application", ENVIRONMENT: "environment", COMMIT: "commit-label", BRANCH: "branch-label"}
    run["metadata"] = {
        "name": param("run"),
        "namespace": constants.RUNS,
        "labels": {TRIGGER: "push", **{key: param(name) for key, name in labels.items()}},
        "annotations": {BRANCH: param("branch"), COMMIT: param("commit"), delivery_trace.DELIVERY: param("delivery")},
    }
    return fill_run(run, {key: param(name) for key, name in FILLED.items()}, param("target"), param(LOGIN_SECRET))


def _judge_listener(world: World) -> Verdict:
    """Whether the listener's Deployment is ready; Tekton makes it some time after the EventListener."""
    verdict = judge(world.kube.get("apps/v1", "Deployment", constants.LISTENER, constants.RUNS))
    if not isinstance(verdict, Ready):
        return verdict
    return Ready(f"pushes to {', '.join(world.config.webhook.branches)} start a run")
