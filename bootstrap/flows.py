"""What each command does: the graph of steps, read top-down, and nothing clever."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from bootstrap import cloning, doctor, names, plans, running
from bootstrap.converge import Outcome, Step, below, converge, dismantle, look
from bootstrap.converge import plans as plans_of
from bootstrap.errors import BootstrapError, PreconditionError, StepError
from bootstrap.locks import engine_in_use, environment_lock
from bootstrap.model import Failed, Pending, Ready, Unknown, Verdict
from bootstrap.places import place
from bootstrap.steps.cleanup import cleanup
from bootstrap.steps.cluster import KindCluster, configuration
from bootstrap.steps.credentials import CredentialsStep
from bootstrap.steps.dashboard import DashboardStep
from bootstrap.steps.elsewhere import ClusterElsewhere, MirrorStep, ServedStep
from bootstrap.steps.engine import EngineStep
from bootstrap.steps.existing import ExistingCluster
from bootstrap.steps.images import ImagesStep
from bootstrap.steps.listener import listener
from bootstrap.steps.parts import builder, demo, git, namespaces, pipeline
from bootstrap.steps.poller import poller
from bootstrap.steps.preload import PreloadStep
from bootstrap.steps.prune import Part, PruneStep
from bootstrap.steps.registry import RegistryStep
from bootstrap.steps.target import TargetStep
from bootstrap.steps.tekton import tekton
from bootstrap.text import duration
from bootstrap.world import World, host

LAST_UP = "last-up.json"
"""In the environment's folder: what the last `up` that changed something took."""


def steps(world: World) -> list[Step[World]]:
    """The whole of `up`, in the order to read it; `needs` say what may run side by side."""
    todo: list[Step[World]] = [
        *ground(world),
        namespaces(),
        CredentialsStep(),
        tekton(),
        builder(world),
        git(),
        demo(),
        TargetStep(),
        pipeline(),
        listener(),
        poller(),
        cleanup(),
        *([] if world.config.supply == "source" else [DashboardStep()]),
    ]
    parts = tuple(step for step in todo if isinstance(step, Part))
    return [*todo, PruneStep(parts, needs=tuple(step.name for step in todo))]


def ground(world: World) -> list[Step[World]]:
    """What an environment stands on: a cluster, and a registry that it can reach."""
    if world.config.elsewhere:
        return [ImagesStep(needs=()), MirrorStep(), ClusterElsewhere(), ServedStep()]
    cluster = ExistingCluster() if world.config.context else KindCluster()
    return [EngineStep(), ImagesStep(), RegistryStep(), cluster, PreloadStep()]


def up(world: World, *, dry_run: bool = False) -> int:
    """Bring everything to Ready. Interrupted anywhere, the next one goes on."""
    start = world.clock.now()
    if not world.config.context:
        configuration(world.config, world.project)  # its faults are told before anything is touched
    todo = steps(world)
    if dry_run:
        return _dry_run(world, todo)
    if world.supply_why.startswith("auto"):
        world.report.line(f"supply {world.config.supply} ({world.supply_why})")
    if not world.config.elsewhere:
        doctor.preflight(world.shell, world.engine, world.config, world.paths, cold=is_cold(world))
    with environment_lock(world, "up"), engine_in_use(world):
        try:
            outcomes = _brought(world, todo)
        finally:  # also one that is half made keeps it
            world.identity.remember_supply(world.config.supply)
    seconds = world.clock.now() - start
    changed = [outcome for outcome in outcomes if outcome.changed]
    name = world.config.name
    if not changed:
        world.report.line(
            f"environment {name} is ready ({len(outcomes)} steps checked in {seconds:.1f} s, nothing changed)"
        )
        return 0
    world.identity.write(LAST_UP, json.dumps(record(outcomes, start, seconds)).encode())
    world.report.line(f"ready in {duration(seconds)}.  next: invoke test-run · invoke dashboard · invoke status")
    return 0


def _brought(world: World, todo: Sequence[Step[World]]) -> list[Outcome]:
    """All of it ready. What another version may have made is told of, or refused, before any of it is touched."""
    bring = partial(converge, world=world, clock=world.clock, report=world.report, cancel=world.cancel)
    if not (world.config.context or world.kubeconfig.exists()):
        return bring(todo)
    foundation = bring(below(todo, "cluster"))
    if not any(outcome.changed for outcome in foundation):
        found = look(todo, world, world.clock, foundation)
        if all(isinstance(outcome.verdict, Ready) for outcome in found):
            return found  # as nearly always, and then a plan would only cost time
    _review(world, todo)
    return bring(todo, done=foundation)


def record(outcomes: Sequence[Outcome], start: float, seconds: float) -> dict[str, Any]:
    """{"ended", "seconds", "steps": [{"name", "start", "seconds", "changed"}]}; start: seconds after the first."""
    steps = [
        {"name": o.name, "start": round(o.begun - start, 2), "seconds": round(o.seconds, 2), "changed": o.changed}
        for o in outcomes
    ]
    return {"ended": datetime.now(UTC).isoformat(timespec="seconds"), "seconds": round(seconds, 1), "steps": steps}


def last_up(world: World) -> dict[str, Any]:
    """What `record` wrote last; {} if there is none that can be read."""
    try:
        found = json.loads((world.identity.folder / LAST_UP).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def is_cold(world: World) -> bool:
    """Whether images have to be built first, which wants more disk and a network."""
    if world.config.supply != "source":
        return False
    if not host.has_apt():
        return True  # `doctor` says that it cannot be built here
    try:
        return not isinstance(world.images.check(), Ready)
    except BootstrapError:  # no engine answers: none was ever there, or it is stopped
        pass
    try:
        return not world.images.kept()
    except BootstrapError:  # what everything is made from is missing, see the findings
        return True


def _dry_run(world: World, todo: Sequence[Step[World]]) -> int:
    """Raises StepError for what `up` would refuse."""
    outcomes = look(todo, world, world.clock)
    rows = [[outcome.name, verdict_word(outcome.verdict), outcome.verdict.why] for outcome in outcomes]
    world.report.table(["step", "now", "why"], rows)
    changes = [outcome.name for outcome in outcomes if not isinstance(outcome.verdict, Ready)]
    if "cluster" not in changes:
        _review(world, [step for step in todo if step.name in changes])
    world.report.line(f"would apply: {', '.join(changes)}" if changes else "nothing to do")
    return 0


def _review(world: World, todo: Sequence[Step[World]]) -> None:
    """Print what becomes of an environment that is there. Raises StepError if any of it cannot be done."""
    if not world.kube.list("v1", "Namespace", labels=names.SELECTOR):
        return
    found = plans_of(todo, world)
    if any(plan.there and plan.does for plan in found) or any(plan.refusals for plan in found):
        told = plans.rows(found)
        world.report.line("plan")
        world.report.table([""] * 4, [["", *row] for row in told])
    refusals = [refusal for plan in found for refusal in plan.refusals]
    if refusals:
        raise StepError(f"nothing was changed: {refusals[0].why}", hint=refusals[0].hint)


def status(world: World, *, as_json: bool = False) -> int:
    """Check every step; 0 only if all are Ready."""
    outcomes = look(steps(world), world, world.clock)
    ready = all(isinstance(outcome.verdict, Ready) for outcome in outcomes)
    if as_json:
        world.report.json(describe(world, outcomes))
        return 0 if ready else 1
    rows = [[verdict_word(o.verdict), o.name, o.verdict.why, f"{o.seconds:.1f} s"] for o in outcomes]
    world.report.table(["", "step", "", ""], rows)
    unsent = unsent_notification(world, outcomes)
    if unsent:
        world.report.warn(f"notification: {unsent}")
    addresses = {"supply": f"{world.config.supply} ({world.supply_why})", **endpoints(world)}
    for name, address in addresses.items():
        world.report.line(f"  {name:<10} {address}")
    return 0 if ready else 1


def describe(world: World, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The document of `status --json`. An unsent notification is told in the why of the pipeline."""
    unsent = unsent_notification(world, outcomes)
    told = {"pipeline": f"; notification {unsent}"} if unsent else {}
    return {
        "name": world.config.name,
        "context": world.context,
        "kubeconfig": str(_kubeconfig(world)),
        "supply": world.config.supply,
        "endpoints": endpoints(world),
        "steps": [
            {
                "name": o.name,
                "verdict": verdict_word(o.verdict),
                "why": o.verdict.why + told.get(o.name, ""),
                "seconds": round(o.seconds, 2),
            }
            for o in outcomes
        ],
    }


def unsent_notification(world: World, outcomes: Sequence[Outcome]) -> str:
    """Why nobody heard of the newest run that is over, "" if all is well. It makes nothing less ready."""
    if not any(o.name == "pipeline" and isinstance(o.verdict, Ready) for o in outcomes):
        return ""
    try:
        over = next((run for run in running.all_runs(world) if run.state.over), None)
    except BootstrapError:
        return ""
    told = over.unsent if over else ""
    return f"{told} (run {over.name})" if over and told else ""


def _kubeconfig(world: World) -> str:
    try:
        return str(world.kubeconfig)
    except PreconditionError:
        return ""


def endpoints(world: World) -> dict[str, str]:
    """Where things are on this machine; what does not run is left out."""
    try:
        found = {
            "git": cloning.node_address(world, names.GIT_NODE_PORT),
            "app": cloning.node_address(world, names.APP_NODE_PORT),
            "registry": _registry_here(world),
        }
    except BootstrapError:
        return {}
    shown = {
        "git": world.config.git.url or f"http://{found['git']}/go-echo.git",
        "app": f"http://{found['app']}",
        "registry": found["registry"],
    }
    return {name: text for name, text in shown.items() if found[name]}


def _registry_here(world: World) -> str:
    if world.config.elsewhere:
        return place(world.config).root
    port = world.engine.port(names.registry_container(world.config.name), 5000)
    return f"127.0.0.1:{port} ({names.REGISTRY} in the cluster)" if port else ""


def verdict_word(verdict: Verdict) -> str:
    words = {Ready: "ready", Pending: "pending", Failed: "failed", Unknown: "unknown"}
    return words[type(verdict)]


def down(world: World, *, purge: bool = False) -> int:
    """Undo every step, last first. On nothing: nothing, and exit 0.

    What cannot be removed does not keep the rest from being; the first such error is raised at the end.
    """
    start = world.clock.now()
    what = f"environment {world.config.name} is gone"
    with environment_lock(world, "down", last=True), engine_in_use(world) as alone:
        local = not world.config.elsewhere
        failures = _undo(world, engine=local and world.engine.revive(lambda _: None))
        world.identity.forget()
        last = alone()
        if last and local:
            world.engine.stop_if_idle()
        if purge and not failures:
            what += _purge(world, last)
    world.paths.tidy()
    if failures:
        raise failures[0]
    hint = "" if purge else "; caches stay: invoke down --purge"
    world.report.line(f"{what} ({world.clock.now() - start:.1f} s){hint}")
    return 0


def _purge(world: World, alone: bool) -> str:
    """Delete caches and private engine, unless another environment lives on them, or another command uses them."""
    others = world.paths.others() or ([] if alone else ["another command"])
    if others:
        world.report.warn(f"caches and engine stay, for they are also those of {', '.join(others)}")
        return ""
    if not world.engine.managed and isinstance(world.engine.check(), Ready):
        world.engine.images_remove()
    world.engine.purge()
    world.paths.purge()
    return ", and so are the caches"


def _undo(world: World, *, engine: bool) -> list[BootstrapError]:
    """A cluster of our own goes as a whole; from one that exists each step removes what it made.

    engine: whether it can be asked; if not, nothing of ours is in it.
    """
    if world.config.elsewhere and not isinstance(world.images.check(), Ready):
        world.images.provide(world.report.step("images"))  # what is to go is rendered first, as for `up`
    todo = steps(world)
    outside = {"engine", "images", "registry", "cluster"}
    inside = {step.name for step in todo} - outside
    wanted = (outside if engine else set()) | (inside if world.config.context else set())
    return dismantle(todo, wanted, world, world.report)
