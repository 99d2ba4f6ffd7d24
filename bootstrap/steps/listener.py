"""The webhook listener: a signed event that brings a commit to a watched branch becomes a run of the pipeline."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from bootstrap.core import constants
from bootstrap.core.model import Lock, Object, Ready, Verdict
from bootstrap.incluster import branch_patterns
from bootstrap.objects import delivery_trace, manifests, run_spec
from bootstrap.objects.patches import Patch, Select, put
from bootstrap.objects.readiness import judge
from bootstrap.settings.config import Config
from bootstrap.steps.manifest_step import ManifestStep, render
from bootstrap.steps.tekton import certify_interceptors
from bootstrap.world import World

FOLDER = "manifests/listener"
HOSTS = ("github", "gitea", "gitlab")
REPLICAS = ("spec", "resources", "kubernetesResource", "replicas")


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
    listener, template = Select("EventListener"), Select("TriggerTemplate")
    condition = watched(config)
    patches = [
        *(Patch(listener, put(*_gate(host, "watched"), value=condition)) for host in HOSTS),
        Patch(listener, put(*REPLICAS, value=config.webhook.replicas)),
        Patch(template, put("spec", "resourcetemplates", 0, "spec", value=_run_spec(project, config))),
        Patch(template, delivery_trace.name_runs),
        Patch(listener, delivery_trace.leave_notes),
    ]
    if config.webhook.debug == "on":
        patches += _debug(project)
    return render(lock, project / FOLDER, patches=patches)


def _gate(trigger: str, interceptor: str) -> tuple[str, ...]:
    return ("spec", "triggers", trigger, "interceptors", interceptor, "params", "filter", "value")


def watched(config: Config) -> str:
    """The condition, in CEL, that an event is of a branch and a repository of the settings."""
    settings, event = config.webhook, "extensions.event"
    branch = (
        f"{event}.ref.matches({_literal(f'^refs/heads/(?:{branch_patterns.build_branch_regex(settings.branches)})$')})"
    )
    wanted = settings.repositories or (run_spec.get_repository(config),)
    bare = [each.rstrip("/").removesuffix(".git") for each in wanted if "://" in each]
    addresses = [address for each in bare for address in (f"{each}.git", each)]
    lists = {"url": addresses, "name": [each for each in wanted if "://" not in each]}
    repository = " || ".join(f"{event}.{key} in {_literals(values)}" for key, values in lists.items() if values)
    return f"{branch} && ({repository})"


def _literal(text: str) -> str:
    """A text in CEL: its strings are written as in JSON."""
    return json.dumps(text, ensure_ascii=False)


def _literals(texts: Iterable[str]) -> str:
    return f"[{', '.join(map(_literal, texts))}]"


def _debug(project: Path) -> list[Patch]:
    """What it takes to print each event."""
    [run] = manifests.load(project / FOLDER / "debug")

    def print_first(template: Object) -> None:
        template["spec"]["resourcetemplates"].insert(0, run)

    def may_print(role: Object) -> None:
        role["rules"][0]["resources"].append("taskruns")

    return [Patch(Select("TriggerTemplate"), print_first), Patch(Select("Role", "starter"), may_print)]


def _run_spec(project: Path, config: Config) -> Object:
    [run] = manifests.load(project / run_spec.MANIFEST)
    run_spec.fill(run, config, "$(tt.params.repository)", "$(tt.params.commit)")
    spec: Object = run["spec"]
    return spec


def _serves(world: World) -> Verdict:
    """Tekton makes the Deployment some time after the EventListener."""
    verdict = judge(world.kube.get("apps/v1", "Deployment", constants.LISTENER, constants.RUNS))
    if not isinstance(verdict, Ready):
        return verdict
    return Ready(f"pushes to {', '.join(world.config.webhook.branches)} start a run")
