"""The runs that the console knows, in memory. The watch cache reads them from the cluster.

A run that is over is kept as a small value, without its tasks until somebody looks at it. Of a run under way the
objects themselves are kept. 2,000 runs take a few MB.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from bootstrap.console.task_graph import Plan, read_plan
from bootstrap.core.model import Object
from bootstrap.objects.readiness import at
from bootstrap.objects.run_status import Run, parse_run


@dataclass
class _Live:
    """A run that is not over. tasks: its TaskRuns by name."""

    run: Object
    tasks: dict[str, Object] = field(default_factory=dict)


class RunStore:
    """Runs by name. Threads may share it.

    ask: called with the name of a run whose tasks have to be read. It must not block; the answer comes later by
    `accept_answer`, or `accept_failure`.
    """

    def __init__(self, ask: Callable[[str], None]) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._requested: set[str] = set()
        self._runs: dict[str, Run] = {}
        self._complete: set[str] = set()
        self._plans: dict[str, Plan] = {}
        self._live: dict[str, _Live] = {}
        self._sorted: list[Run] | None = None

    def list_runs(self) -> list[Run]:
        """All runs, newest first. Callers must not change the list."""
        with self._lock:
            if self._sorted is None:
                first = datetime.min.replace(tzinfo=UTC)
                self._sorted = sorted(self._runs.values(), key=lambda run: run.created or first, reverse=True)
            return self._sorted

    def get_run(self, name: str) -> Run | None:
        """The run, without tasks unless `has_tasks`; None if there is none of that name."""
        with self._lock:
            return self._runs.get(name)

    def get_plan(self, name: str) -> Plan:
        """The tasks that the run's pipeline has; () as long as that is not known."""
        with self._lock:
            return self._plans.get(name, ())

    def has_tasks(self, name: str) -> bool:
        """Whether the run's tasks are known."""
        with self._lock:
            return name in self._complete

    def request_tasks(self, wanted: Iterable[str]) -> None:
        """Ask for the tasks of these runs, unless they are known or were asked for."""
        with self._lock:
            new = [name for name in wanted if name in self._runs and name not in self._complete | self._requested]
            self._requested |= {*new}
        for name in new:
            self._ask(name)

    def request_live_tasks(self) -> None:
        """Ask for the tasks of all runs under way, also if they are known."""
        with self._lock:
            live = [*self._live]
            self._requested |= {*live}
        for name in live:
            self._ask(name)

    # -- what the cluster answers -----------------------------------------------------------------------

    def apply_run(self, pipeline_run: Object) -> Run:
        """Store a PipelineRun as it is now, and return it as a Run."""
        name = str(pipeline_run["metadata"]["name"])
        with self._lock:
            live = self._live.get(name)
            run = parse_run(pipeline_run, live.tasks.values() if live else ())
            if run.state.is_over:
                run = self._finish_run(run, live)
            elif live:
                live.run = pipeline_run
            else:
                self._live[name] = _Live(pipeline_run)
                self._request_again(name)
            self._store(run)
            self._plans[name] = self._share_plan(read_plan(pipeline_run))
        return run

    def apply_tasks(self, name: str, task_runs: Iterable[Object]) -> None:
        """Store TaskRuns of a run under way, each unless a newer version of it is known; ignored for any other run."""
        with self._lock:
            live = self._live.get(name)
            if live is None:
                return
            for task_run in task_runs:
                key = str(task_run["metadata"]["name"])
                if _read_version(task_run) >= _read_version(live.tasks.get(key)):
                    live.tasks[key] = task_run
            self._store(parse_run(live.run, live.tasks.values()))
            self._complete.add(name)

    def accept_answer(self, name: str, pipeline_run: Object | None, tasks: Iterable[Object]) -> None:
        """Take the answer to `ask`: the PipelineRun, or None if it is gone, and its TaskRuns."""
        with self._lock:
            self._requested.discard(name)
            live = name in self._live
            if not live and pipeline_run is not None and name in self._runs:
                self._store(parse_run(pipeline_run, tasks))
                self._complete.add(name)
        if live:
            self.apply_tasks(name, tasks)

    def accept_failure(self, name: str) -> None:
        """Note that the answer to `ask` could not be read; the next `request_tasks` asks again."""
        with self._lock:
            self._requested.discard(name)

    def keep_only(self, names: Iterable[str]) -> None:
        """Forget all other runs."""
        with self._lock:
            gone = {*self._runs} - {*names}
        for name in gone:
            self.forget(name)

    def forget(self, name: str) -> None:
        """Remove a run that was deleted; nothing happens if it is not known."""
        with self._lock:
            self._runs.pop(name, None)
            self._plans.pop(name, None)
            self._live.pop(name, None)
            self._complete.discard(name)
            self._sorted = None

    # -- with the lock held --------------------------------------------------------------------------

    def _finish_run(self, run: Run, live: _Live | None) -> Run:
        known = self._runs.get(run.name)
        self._live.pop(run.name, None)
        if live:  # the last words of its tasks may still be on their way
            self._complete.discard(run.name)
            self._request_again(run.name)
            return run
        if known and known.state.is_over and run.name in self._complete:
            return known  # a label was changed, say
        return replace(run, tasks=())

    def _request_again(self, name: str) -> None:
        self._requested.add(name)
        self._ask(name)

    def _store(self, run: Run) -> None:
        self._runs[run.name] = run
        self._sorted = None

    def _share_plan(self, plan: Plan) -> Plan:
        """One object for all runs of a pipeline."""
        return next((each for each in [*self._plans.values()][-3:] if each == plan), plan)


def _read_version(document: Object | None) -> int:
    """resourceVersion as a number, 0 for none. In every known API server it is a number that grows."""
    version = str(at(document, "metadata", "resourceVersion") or "")
    return int(version) if version.isdigit() else 0
