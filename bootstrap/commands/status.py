"""`invoke status`: what is ready, what is not and why, and where everything is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bootstrap.commands import clone, runs
from bootstrap.core import constants
from bootstrap.core.errors import BootstrapError, PreconditionError
from bootstrap.core.model import Failed, Pending, Ready, Unknown, Verdict
from bootstrap.settings.registry_endpoint import place
from bootstrap.steps import graph
from bootstrap.steps.reconcile import Outcome, look
from bootstrap.world import World


def status(world: World, *, as_json: bool = False) -> int:
    """Check every step; 0 only if all are Ready."""
    outcomes = look(graph.steps(world), world, world.clock)
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
        over = next((run for run in runs.all_runs(world) if run.state.over), None)
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
            "git": clone.node_address(world, constants.GIT_NODE_PORT),
            "app": clone.node_address(world, constants.APP_NODE_PORT),
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
    port = world.engine.port(constants.registry_container(world.config.name), 5000)
    return f"127.0.0.1:{port} ({constants.REGISTRY} in the cluster)" if port else ""


def verdict_word(verdict: Verdict) -> str:
    words = {Ready: "ready", Pending: "pending", Failed: "failed", Unknown: "unknown"}
    return words[type(verdict)]
