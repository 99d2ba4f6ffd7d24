"""What each command does: the graph of steps, read top-down, and nothing clever."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bootstrap import cloning, doctor, names, running
from bootstrap.converge import Outcome, Step, converge, dismantle, look
from bootstrap.errors import BootstrapError, PreconditionError
from bootstrap.locks import engine_in_use, environment_lock
from bootstrap.model import Failed, Pending, Ready, Unknown, Verdict
from bootstrap.steps.cleanup import cleanup
from bootstrap.steps.cluster import KindCluster, PreloadStep, configuration
from bootstrap.steps.credentials import CredentialsStep
from bootstrap.steps.engine import EngineStep
from bootstrap.steps.existing import ExistingCluster
from bootstrap.steps.images import ImagesStep
from bootstrap.steps.listener import listener
from bootstrap.steps.parts import builder, demo, git, namespaces, pipeline
from bootstrap.steps.poller import poller
from bootstrap.steps.registry import RegistryStep
from bootstrap.steps.target import TargetStep
from bootstrap.steps.tekton import tekton
from bootstrap.text import duration
from bootstrap.world import World


def steps(world: World) -> list[Step[World]]:
    """The whole of `up`, in the order to read it; `needs` say what may run side by side."""
    return [
        EngineStep(),
        ImagesStep(),
        RegistryStep(),
        ExistingCluster() if world.config.context else KindCluster(),
        PreloadStep(),
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
    ]


def up(world: World, *, dry_run: bool = False) -> int:
    """Bring everything to Ready. Interrupted anywhere, the next one goes on."""
    start = world.clock.now()
    if not world.config.context:
        configuration(world)  # its faults are told before anything is touched
    todo = steps(world)
    if dry_run:
        return _plan(world, look(todo, world, world.clock))
    doctor.preflight(world.shell, world.engine, world.config, world.paths, cold=is_cold(world))
    with environment_lock(world, "up"), engine_in_use(world):
        outcomes = converge(todo, world, world.clock, world.report, world.cancel)
    seconds = world.clock.now() - start
    changed = [outcome for outcome in outcomes if outcome.changed]
    name = world.config.name
    if not changed:
        world.report.line(
            f"environment {name} is ready ({len(outcomes)} steps checked in {seconds:.1f} s, nothing changed)"
        )
        return 0
    world.report.line(f"ready in {duration(seconds)}.  next: invoke test-run · invoke dashboard · invoke status")
    return 0


def is_cold(world: World) -> bool:
    """Whether images have to be built first, which wants more disk and a network."""
    if world.config.supply != "source":
        return False
    try:
        return not isinstance(world.images.check(), Ready)
    except BootstrapError:  # no engine answers: none was ever there, or it is stopped
        return not world.images.kept()


def _plan(world: World, outcomes: Sequence[Outcome]) -> int:
    rows = [[outcome.name, verdict_word(outcome.verdict), outcome.verdict.why] for outcome in outcomes]
    world.report.table(["step", "now", "why"], rows)
    changes = [outcome.name for outcome in outcomes if not isinstance(outcome.verdict, Ready)]
    world.report.line(f"would apply: {', '.join(changes)}" if changes else "nothing to do")
    return 0


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
    for name, address in endpoints(world).items():
        world.report.line(f"  {name:<10} {address}")
    return 0 if ready else 1


def describe(world: World, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The document of `status --json`."""
    return {
        "name": world.config.name,
        "context": world.context,
        "kubeconfig": str(_kubeconfig(world)),
        "supply": world.config.supply,
        "endpoints": endpoints(world),
        "notification": unsent_notification(world, outcomes),
        "steps": [
            {"name": o.name, "verdict": verdict_word(o.verdict), "why": o.verdict.why, "seconds": round(o.seconds, 2)}
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
    task = over.task("notify") if over else None
    told = task.results.get("notification", "") if task else ""
    return f"{told} (run {over.name})" if over and told.startswith(("failed", "held back")) else ""


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
            "registry": world.engine.port(names.registry_container(world.config.name), 5000),
        }
    except BootstrapError:
        return {}
    shown = {
        "git": world.config.git.url or f"http://{found['git']}/go-echo.git",
        "app": f"http://{found['app']}",
        "registry": f"127.0.0.1:{found['registry']} ({names.REGISTRY} in the cluster)",
    }
    return {name: text for name, text in shown.items() if found[name]}


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
        failures = _undo(world, engine=world.engine.revive(lambda _: None))
        world.identity.forget()
        last = alone()
        if last:
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
    todo = steps(world)
    outside = {"engine", "images", "registry", "cluster"}
    inside = {step.name for step in todo} - outside
    wanted = (outside if engine else set()) | (inside if world.config.context else set())
    return dismantle(todo, wanted, world, world.report)
