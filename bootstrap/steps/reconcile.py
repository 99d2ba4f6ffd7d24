"""Check, apply, check again: runs a graph of steps, side by side where they do not need each other."""

from __future__ import annotations

import queue
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from graphlib import TopologicalSorter
from typing import Protocol, TypeVar, runtime_checkable

from bootstrap.core import wait
from bootstrap.core.cancel import Cancel
from bootstrap.core.clock import Clock
from bootstrap.core.errors import ApiError, BootstrapError, CommandError, Interrupted, StepError, TimedOut
from bootstrap.core.model import Failed, Ready, Unknown, Verdict
from bootstrap.core.workers import Workers
from bootstrap.objects.apply_plan import Plan
from bootstrap.world.terminal import Report, StepLine

W = TypeVar("W", contravariant=True)

STOP_LIMIT = 10.0
"""Seconds that interrupted steps are given to end; what still hangs then dies with the process."""
_UNSEEN = (ApiError, CommandError, TimedOut)
"""Errors of a look that say nothing about the thing itself: it may be on its way up, or need `apply`."""


class Step(Protocol[W]):
    """One part of an environment. Any class of this shape is a step; there is nothing to inherit."""

    @property
    def name(self) -> str:
        """One word, which the user sees."""
        ...

    @property
    def needs(self) -> tuple[str, ...]:
        """The names of the steps that must be Ready before."""
        ...

    @property
    def limit(self) -> float:
        """Seconds that `check` may stay Pending after `apply`."""
        ...

    def check(self, world: W) -> Verdict:
        """Whether the part is as wanted; nothing is changed. What is absent is Pending. Raises only BootstrapError."""
        ...

    def apply(self, world: W) -> None:
        """Make the part as wanted. May be called on any half-made state, and again. Raises only BootstrapError."""
        ...

    def undo(self, world: W) -> None:
        """Remove what `apply` made, and only that. Does nothing when there is nothing."""
        ...


@runtime_checkable
class Planner(Protocol[W]):
    """A step that can tell what `apply` would do."""

    @property
    def name(self) -> str:
        """That of the step."""
        ...

    def plan(self, world: W) -> Plan:
        """What `apply` would do; nothing is changed. Raises only BootstrapError."""
        ...


@dataclass(frozen=True)
class Outcome:
    """How one step ended.

    seconds: of check and apply together. changed: whether `apply` was called. begun: when, by the clock that was given.
    """

    name: str
    verdict: Verdict
    seconds: float
    changed: bool = False
    begun: float = 0.0


def sort_steps(steps: Iterable[Step[W]]) -> list[Step[W]]:
    """The steps, each after all that it needs. Raises ValueError for an unknown need, CycleError for a cycle."""
    by_name = {step.name: step for step in steps}
    for step in by_name.values():
        unknown = set(step.needs) - set(by_name)
        if unknown:
            raise ValueError(f"step {step.name} needs {', '.join(sorted(unknown))}, which no step is called")
    graph = TopologicalSorter({name: step.needs for name, step in by_name.items()})
    return [by_name[name] for name in graph.static_order()]


def check_steps(steps: Sequence[Step[W]], world: W, clock: Clock, done: Sequence[Outcome] = ()) -> list[Outcome]:
    """Check every step, side by side where they do not need each other, and change nothing.

    A step that needs one that is not Ready is Unknown, and is not asked. done: outcomes known to be Ready.
    Raises Interrupted.
    """
    by_name = {step.name: step for step in sort_steps(steps)}
    outcomes = {outcome.name: outcome for outcome in done}
    graph = _make_graph(by_name, outcomes)
    workers: Workers[Outcome] = Workers("look")
    while graph.is_active():
        for name in graph.get_ready():
            missing = [need for need in by_name[name].needs if not isinstance(outcomes[need].verdict, Ready)]
            if missing:
                outcomes[name] = Outcome(name, Unknown(f"needs {missing[0]}"), 0.0)
                graph.done(name)
            else:
                workers.start(name, partial(_time_check, by_name[name], world, clock))
        if workers.busy:
            name, result = workers.take_result()
            if isinstance(result, BaseException):
                raise result
            outcomes[name] = result
            graph.done(name)
    return [outcomes[step.name] for step in steps]


def _make_graph(by_name: Mapping[str, Step[W]], done: Collection[str]) -> TopologicalSorter[str]:
    """The graph of the steps that are left, with those of their needs that are left; prepared."""
    graph: TopologicalSorter[str] = TopologicalSorter(
        {name: set(step.needs) - set(done) for name, step in by_name.items() if name not in done}
    )
    graph.prepare()
    return graph


def plan_steps(steps: Sequence[Step[W]], world: W) -> list[Plan]:
    """The plans of the steps that can plan, whatever they need; all are asked side by side. Raises Interrupted."""
    asked = [step for step in steps if isinstance(step, Planner)]
    workers: Workers[Plan] = Workers("plan")
    for step in asked:
        workers.start(step.name, partial(_plan_step, step, world))
    found: dict[str, Plan] = {}
    while workers.busy:
        name, result = workers.take_result()
        if isinstance(result, BaseException):
            raise result
        found[name] = result
    return [found[step.name] for step in asked]


def _plan_step(step: Planner[W], world: W) -> Plan:
    try:
        return step.plan(world)
    except Interrupted:
        raise
    except BootstrapError as error:
        return Plan(step.name, unknown=error.message)


def find_needed_steps(steps: Sequence[Step[W]], name: str) -> list[Step[W]]:
    """The step of that name and all that it needs, in the given order. Raises KeyError."""
    by_name = {step.name: step for step in steps}
    found: set[str] = set()
    todo = [name]
    while todo:
        each = todo.pop()
        if each not in found:
            found.add(each)
            todo += by_name[each].needs
    return [step for step in steps if step.name in found]


def converge(
    steps: Sequence[Step[W]],
    world: W,
    clock: Clock,
    report: Report,
    cancel: Cancel | None = None,
    done: Sequence[Outcome] = (),
) -> list[Outcome]:
    """Bring every step to Ready, each as soon as what it needs is Ready.

    After the first failure no step is started; those that run may end, and then the failure is raised.
    cancel: the switch that the world's shell and clock listen to; an interruption of this thread requests it.
    done: outcomes that this command has brought to Ready before.
    Raises StepError, Interrupted, or the BootstrapError of the step itself (TimedOut, PreconditionError...).
    """
    by_name = {step.name: step for step in sort_steps(steps)}
    outcomes = {outcome.name: outcome for outcome in done}
    graph = _make_graph(by_name, outcomes)
    failure: BaseException | None = None
    workers: Workers[Outcome] = Workers("step")
    try:
        while graph.is_active() and not (failure and not workers.busy):
            for name in () if failure else graph.get_ready():
                workers.start(name, partial(_bring_to_ready, by_name[name], world, clock, report))
            name, result = workers.take_result()
            if isinstance(result, Outcome):
                outcomes[name] = result
                graph.done(name)
            else:
                failure = failure or result
    except KeyboardInterrupt:
        raise _stop_workers(workers, cancel or Cancel()) from None
    if failure:
        raise failure
    return [outcomes[step.name] for step in steps]


def dismantle(steps: Sequence[Step[W]], wanted: Collection[str], world: W, report: Report) -> list[BootstrapError]:
    """Undo those of the steps that are `wanted`, each after all that need it, the others side by side.

    A failure is shown as a warning, does not keep other steps from being undone, and is returned. Raises Interrupted.
    """
    by_name = {step.name: step for step in sort_steps(steps)}
    graph: TopologicalSorter[str] = TopologicalSorter(dict.fromkeys(by_name, ()))
    for step in by_name.values():
        for need in step.needs:
            graph.add(need, step.name)
    graph.prepare()
    failures: list[BootstrapError] = []
    workers: Workers[None] = Workers("undo")
    while graph.is_active():
        for name in graph.get_ready():
            workers.start(name, partial(by_name[name].undo if name in wanted else _do_nothing, world))
        name, error = workers.take_result()
        if isinstance(error, BootstrapError) and not isinstance(error, Interrupted):
            report.warn(f"{name}: {error.message}")
            failures.append(error)
        elif error is not None:
            raise error
        graph.done(name)
    return failures


def _do_nothing(_: object) -> None:
    """The undo of a step that stays."""


def _stop_workers(workers: Workers[Outcome], cancel: Cancel) -> Interrupted:
    """Request the end of what runs, and wait STOP_LIMIT seconds for it. A second interruption ends the wait."""
    running = ", ".join(sorted(workers.busy))
    cancel.request()
    end = time.monotonic() + STOP_LIMIT
    try:
        while workers.busy:
            workers.take_result(max(0.0, end - time.monotonic()))
    except (queue.Empty, KeyboardInterrupt):
        pass
    what = f"stopped during {running}" if running else "stopped"
    return Interrupted(what, hint="invoke up goes on from here · invoke down removes it")


def _time_check(step: Step[W], world: W, clock: Clock) -> Outcome:
    start = clock.now()
    return Outcome(step.name, _check_step(step, world), clock.now() - start)


def _check_step(step: Step[W], world: W) -> Verdict:
    try:
        return step.check(world)
    except Interrupted:
        raise
    except BootstrapError as error:
        return Unknown(error.message)


def _bring_to_ready(step: Step[W], world: W, clock: Clock, report: Report) -> Outcome:
    start = clock.now()
    line = report.step(step.name)
    try:
        ready, changed = _make_ready(step, world, clock, line)
    except Interrupted as error:
        line.end_skipped(error.message)
        raise
    except BaseException as error:
        line.end_failed((str(error) or type(error).__name__).removeprefix(f"{step.name}: "))
        raise
    line.end_ready(ready.why, changed=changed)
    return Outcome(step.name, ready, clock.now() - start, changed, start)


def _make_ready(step: Step[W], world: W, clock: Clock, line: StepLine) -> tuple[Ready, bool]:
    """The Ready verdict, and whether `apply` was called on the way."""
    verdict = _check_while_starting(step, world)
    if isinstance(verdict, Ready):
        return verdict, False
    line.show_cause(verdict.why)
    step.apply(world)
    verdict = wait.until(
        lambda: _check_while_starting(step, world),
        clock=clock,
        limit=step.limit,
        what=step.name,
        on_change=lambda news: line.show_cause(news.why),
    )
    if isinstance(verdict, Failed):
        raise StepError(f"{step.name}: {verdict.why}", hint=verdict.hint)
    return verdict, True


def _check_while_starting(step: Step[W], world: W) -> Verdict:
    """A check during `up`: an API or program that does not answer is Unknown, any other error is raised."""
    try:
        return step.check(world)
    except _UNSEEN as error:
        return Unknown(error.message)
