"""`invoke up`: bring every step to Ready; what an older environment would become is shown, or refused, first."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from bootstrap.commands import machine_checks
from bootstrap.commands.status import name_verdict
from bootstrap.core import constants
from bootstrap.core.errors import StepError
from bootstrap.core.model import Ready
from bootstrap.core.text import format_duration
from bootstrap.objects import apply_plan
from bootstrap.objects.kubeconfig_files import list_files, locate, read_login
from bootstrap.steps import graph
from bootstrap.steps.deploy_target import check_target
from bootstrap.steps.kind_cluster import make_configuration
from bootstrap.steps.reconcile import Outcome, Step, check_steps, converge, find_needed_steps, plan_steps
from bootstrap.world import World
from bootstrap.world.file_locks import hold_engine, lock_environment

LAST_UP = "last-up.json"
"""In the environment's folder: what the last `up` that changed something took."""


def up(world: World, *, dry_run: bool = False) -> int:
    """Bring every step to Ready; answers the exit code. After an interruption the next call goes on."""
    start = world.clock.now()
    if not world.config.context:
        make_configuration(world.config, world.project)  # its faults are told before anything is touched
    check_clusters(world)
    todo = graph.list_steps(world)
    if dry_run:
        return _show_dry_run(world.for_looking(renews=True), todo)
    if world.supply_why.startswith("auto"):
        world.report.line(f"supply {world.config.supply} ({world.supply_why})")
    if not world.config.elsewhere:
        machine_checks.check_before_up(
            world.shell, world.engine, world.config, world.paths, cold=machine_checks.is_cold(world)
        )
    with lock_environment(world, "up"), hold_engine(world):
        try:
            outcomes = _bring_all(world, todo)
        finally:  # also one that is half made keeps it
            world.identity.save_supply(world.config.supply)
    seconds = world.clock.now() - start
    changed = [outcome for outcome in outcomes if outcome.changed]
    name = world.config.name
    if not changed:
        world.report.line(
            f"environment {name} is ready ({len(outcomes)} steps checked in {seconds:.1f} s, nothing changed)"
        )
        return 0
    world.identity.write_file(LAST_UP, json.dumps(make_record(outcomes, start, seconds)).encode())
    world.report.line(f"ready in {format_duration(seconds)}.  next: invoke test-run · invoke dashboard · invoke status")
    return 0


def check_clusters(world: World) -> None:
    """Find out whether the clusters that the settings name can be used, before anything is made.

    Raises PreconditionError.
    """
    if world.config.context:
        locate(world.context)  # tells which contexts there are
        read_login(list_files(), world.context)
    check_target(world)


def _bring_all(world: World, todo: Sequence[Step[World]]) -> list[Outcome]:
    """Bring every step to Ready. First prints, or refuses, what changes in an existing environment."""
    bring = partial(converge, world=world, clock=world.clock, report=world.report, cancel=world.cancel)
    if not (world.config.context or world.kubeconfig.exists()):
        return bring(todo)
    foundation = bring(find_needed_steps(todo, "cluster"))
    if not any(outcome.changed for outcome in foundation):
        found = check_steps(todo, world, world.clock, foundation)
        if all(isinstance(outcome.verdict, Ready) for outcome in found):
            return found  # as nearly always, and then a plan would only cost time
    _review_plans(world, todo)
    return bring(todo, done=foundation)


def make_record(outcomes: Sequence[Outcome], start: float, seconds: float) -> dict[str, Any]:
    """{"ended", "seconds", "steps": [{"name", "start", "seconds", "changed"}]}; start: seconds after the first."""
    steps = [
        {"name": o.name, "start": round(o.begun - start, 2), "seconds": round(o.seconds, 2), "changed": o.changed}
        for o in outcomes
    ]
    return {"ended": datetime.now(UTC).isoformat(timespec="seconds"), "seconds": round(seconds, 1), "steps": steps}


def read_last_up(world: World) -> dict[str, Any]:
    """What the last `up` wrote by `make_record`; {} if there is none that can be read."""
    try:
        found = json.loads((world.identity.folder / LAST_UP).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _show_dry_run(world: World, todo: Sequence[Step[World]]) -> int:
    """Print what `up` would do; answers the exit code. Raises StepError for what it would refuse."""
    outcomes = check_steps(todo, world, world.clock)
    rows = [[outcome.name, name_verdict(outcome.verdict), outcome.verdict.why] for outcome in outcomes]
    world.report.table(["step", "now", "why"], rows)
    changes = [outcome.name for outcome in outcomes if not isinstance(outcome.verdict, Ready)]
    if "cluster" not in changes:
        _review_plans(world, [step for step in todo if step.name in changes])
    world.report.line(f"would apply: {', '.join(changes)}" if changes else "nothing to do")
    return 0


def _review_plans(world: World, todo: Sequence[Step[World]]) -> None:
    """Print what changes in an existing environment. Raises StepError if any of it cannot be done."""
    if not world.kube.list("v1", "Namespace", labels=constants.SELECTOR):
        return
    found = plan_steps(todo, world)
    if any(plan.there and plan.does for plan in found) or any(plan.refusals for plan in found):
        told = apply_plan.make_rows(found)
        world.report.line("plan")
        world.report.table([""] * 4, [["", *row] for row in told])
    refusals = [refusal for plan in found for refusal in plan.refusals]
    if refusals:
        raise StepError(f"nothing was changed: {refusals[0].why}", hint=refusals[0].hint)
