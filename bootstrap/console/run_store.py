"""The runs that are known, each as small as can be: a run that is over is a small value, without its tasks until
somebody looks at it; of a run under way the objects themselves are kept. So 2,000 runs take a few MB.

Only memory: whoever feeds it asks the cluster.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from bootstrap.console.task_graph import Plan, plan_of
from bootstrap.core.model import Object
from bootstrap.objects.readiness import at
from bootstrap.objects.run_status import Run, parse_run


@dataclass
class _Live:
    """A run that is not over. tasks: its TaskRuns by name."""

    run: Object
    tasks: dict[str, Object] = field(default_factory=dict)


class KnownRuns:
    """ask: called with the name of a run whose tasks have to be read; the answer is `read`, or `unread`.

    Threads may share it.
    """

    def __init__(self, ask: Callable[[str], None]) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._asked: set[str] = set()
        self._runs: dict[str, Run] = {}
        self._whole: set[str] = set()
        self._plans: dict[str, Plan] = {}
        self._live: dict[str, _Live] = {}
        self._sorted: list[Run] | None = None

    def all(self) -> list[Run]:
        """Newest first."""
        with self._lock:
            if self._sorted is None:
                first = datetime.min.replace(tzinfo=UTC)
                self._sorted = sorted(self._runs.values(), key=lambda run: run.created or first, reverse=True)
            return self._sorted

    def get(self, name: str) -> Run | None:
        with self._lock:
            return self._runs.get(name)

    def plan(self, name: str) -> Plan:
        with self._lock:
            return self._plans.get(name, ())

    def whole(self, name: str) -> bool:
        """Whether the run's tasks are known."""
        with self._lock:
            return name in self._whole

    def want(self, wanted: Iterable[str]) -> None:
        """Have the tasks of those runs read, if that was not done yet."""
        with self._lock:
            new = [name for name in wanted if name in self._runs and name not in self._whole | self._asked]
            self._asked |= {*new}
        for name in new:
            self._ask(name)

    def want_live(self) -> None:
        """Have the tasks of all runs under way read, again if they were."""
        with self._lock:
            live = [*self._live]
            self._asked |= {*live}
        for name in live:
            self._ask(name)

    # -- what the cluster says -----------------------------------------------------------------------

    def take(self, found: Object) -> Run:
        """A PipelineRun as it is now."""
        name = str(found["metadata"]["name"])
        with self._lock:
            live = self._live.get(name)
            run = parse_run(found, live.tasks.values() if live else ())
            if run.state.over:
                run = self._ended(run, live)
            elif live:
                live.run = found
            else:
                self._live[name] = _Live(found)
                self._again(name)
            self._put(run)
            self._plans[name] = self._shared(plan_of(found))
        return run

    def take_tasks(self, name: str, found: Iterable[Object]) -> None:
        """TaskRuns of that run; nothing is done with those of a run that is over."""
        with self._lock:
            live = self._live.get(name)
            if live is None:
                return
            for each in found:
                key = str(each["metadata"]["name"])
                if _age(each) >= _age(live.tasks.get(key)):
                    live.tasks[key] = each
            self._put(parse_run(live.run, live.tasks.values()))
            self._whole.add(name)

    def read(self, name: str, found: Object | None, tasks: Iterable[Object]) -> None:
        """The answer to `ask`: the PipelineRun, None if it is gone, and its TaskRuns."""
        with self._lock:
            self._asked.discard(name)
            live = name in self._live
            if not live and found is not None and name in self._runs:
                self._put(parse_run(found, tasks))
                self._whole.add(name)
        if live:
            self.take_tasks(name, tasks)

    def unread(self, name: str) -> None:
        """They could not be read; they are asked for again when they are wanted again."""
        with self._lock:
            self._asked.discard(name)

    def keep_only(self, names: Iterable[str]) -> None:
        with self._lock:
            gone = {*self._runs} - {*names}
        for name in gone:
            self.forget(name)

    def forget(self, name: str) -> None:
        with self._lock:
            self._runs.pop(name, None)
            self._plans.pop(name, None)
            self._live.pop(name, None)
            self._whole.discard(name)
            self._sorted = None

    # -- with the lock held --------------------------------------------------------------------------

    def _ended(self, run: Run, live: _Live | None) -> Run:
        known = self._runs.get(run.name)
        self._live.pop(run.name, None)
        if live:  # the last words of its tasks may still be on their way
            self._whole.discard(run.name)
            self._again(run.name)
            return run
        if known and known.state.over and run.name in self._whole:
            return known  # a label was changed, say
        return replace(run, tasks=())

    def _again(self, name: str) -> None:
        self._asked.add(name)
        self._ask(name)

    def _put(self, run: Run) -> None:
        self._runs[run.name] = run
        self._sorted = None

    def _shared(self, plan: Plan) -> Plan:
        """One object for all runs of a pipeline."""
        return next((each for each in [*self._plans.values()][-3:] if each == plan), plan)


def _age(found: Object | None) -> int:
    """Versions of objects are numbers that grow, in every API server there is."""
    version = str(at(found, "metadata", "resourceVersion") or "")
    return int(version) if version.isdigit() else 0
