"""Look, act, look again: runs a graph of steps, those that do not need each other side by side."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Protocol, TypeVar

from bootstrap import wait as waiting
from bootstrap.errors import BootstrapError, StepError
from bootstrap.model import Failed, Pending, Ready, Unknown, Verdict
from bootstrap.world.clock import Clock
from bootstrap.world.report import Report

W = TypeVar("W", contravariant=True)


class Step(Protocol[W]):
    """One part of an environment. Nothing to inherit: anything of this shape is a step.

    name: one word, as shown. needs: names of steps that must be Ready before. limit: seconds that
    `check` may stay Pending after `apply`.
    """

    @property
    def name(self) -> str: ...
    @property
    def needs(self) -> tuple[str, ...]: ...
    @property
    def limit(self) -> float: ...

    def check(self, world: W) -> Verdict:
        """Look, change nothing. Absent means Pending. Raises only BootstrapError."""
        ...

    def apply(self, world: W) -> None:
        """Make it so; may be called on any half-made state, and again."""
        ...

    def undo(self, world: W) -> None:
        """Remove what `apply` made, and only that; fine when there is nothing."""
        ...


@dataclass(frozen=True)
class Outcome:
    """What became of one step. changed: `apply` was called. seconds: monotonic, check and apply."""

    name: str
    verdict: Verdict
    seconds: float
    changed: bool = False


def order(steps: Iterable[Step[W]]) -> list[Step[W]]:
    """The steps, each after all it needs. Raises ValueError for an unknown need, CycleError for a cycle."""
    by_name = {step.name: step for step in steps}
    for step in by_name.values():
        unknown = set(step.needs) - set(by_name)
        if unknown:
            raise ValueError(f"step {step.name} needs {', '.join(sorted(unknown))}, which no step is called")
    graph = TopologicalSorter({name: step.needs for name, step in by_name.items()})
    return [by_name[name] for name in graph.static_order()]


def look(steps: Sequence[Step[W]], world: W, clock: Clock) -> list[Outcome]:
    """Check every step, change nothing. What needs a step that is not Ready is Unknown, unasked."""
    outcomes: dict[str, Outcome] = {}
    for step in order(steps):
        missing = [need for need in step.needs if not isinstance(outcomes[need].verdict, Ready)]
        start = clock.now()
        verdict = Unknown(f"needs {missing[0]}") if missing else _check(step, world)
        outcomes[step.name] = Outcome(step.name, verdict, clock.now() - start)
    return [outcomes[step.name] for step in steps]


def converge(steps: Sequence[Step[W]], world: W, clock: Clock, report: Report) -> list[Outcome]:
    """Bring every step to Ready, each as soon as what it needs is.

    The first failure lets the steps already running end, starts no new one, and is raised.
    Raises StepError, or the BootstrapError of the step itself (TimedOut, PreconditionError...).
    """
    by_name = {step.name: step for step in steps}
    graph = TopologicalSorter({step.name: step.needs for step in order(steps)})
    graph.prepare()
    outcomes: dict[str, Outcome] = {}
    failure: BaseException | None = None
    with ThreadPoolExecutor(max_workers=len(steps) or 1, thread_name_prefix="step") as pool:
        running: dict[Future[Outcome], str] = {}
        try:
            while graph.is_active() and not (failure and not running):
                for name in () if failure else graph.get_ready():
                    running[pool.submit(_bring, by_name[name], world, clock, report)] = name
                done, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
                for future in done:
                    name = running.pop(future)
                    error = future.exception()
                    if error is None:
                        outcomes[name] = future.result()
                        graph.done(name)
                    else:
                        failure = failure or error
        except BaseException:
            _stopping.set()
            raise
        finally:
            _forget_when_done(running)
    if failure:
        raise failure
    return [outcomes[step.name] for step in steps]


_stopping = threading.Event()
"""Set when the main thread was interrupted: waits in other threads end at their next look."""


def _forget_when_done(running: Iterable[Future[Outcome]]) -> None:
    for future in running:
        future.cancel()


def _check(step: Step[W], world: W) -> Verdict:
    try:
        return step.check(world)
    except BootstrapError as error:
        return Unknown(error.message)


def _bring(step: Step[W], world: W, clock: Clock, report: Report) -> Outcome:
    start = clock.now()
    line = report.step(step.name)
    try:
        verdict = step.check(world)
        changed = not isinstance(verdict, Ready)
        if changed:
            line.cause(_why(verdict))
            step.apply(world)
            verdict = waiting.until(
                _unless_stopping(lambda: step.check(world)),
                clock=clock,
                limit=step.limit,
                what=step.name,
                on_change=lambda v: line.cause(v.why),
            )
        if isinstance(verdict, Failed):
            raise StepError(f"{step.name}: {verdict.why}", hint=verdict.hint)
    except BootstrapError as error:
        line.failed(error.message)
        raise
    seconds = clock.now() - start
    line.ready(_why(verdict), changed=changed)
    return Outcome(step.name, verdict, seconds, changed)


def _unless_stopping(probe: Callable[[], Verdict]) -> Callable[[], Verdict]:
    def asked() -> Verdict:
        return Failed("interrupted") if _stopping.is_set() else probe()

    return asked


def _why(verdict: Ready | Failed | Pending | Unknown) -> str:
    return verdict.why
