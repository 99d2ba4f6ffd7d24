"""Runs the parts that are missing, each after those it needs, and shows the progress.

Compilers use every core by themselves, so only one runs at a time; what mostly waits for the network or the disk
(package downloads, packing) runs beside it. Of the parts that could start, the one with the longest chain of parts
behind it goes first (critical path), so that little is left to do when the last compiler ends.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from graphlib import TopologicalSorter

from bootstrap.core.clock import Clock
from bootstrap.core.workers import Workers
from bootstrap.world.terminal import StepLine

WORKERS = 3
"""Parts at the same time; the one that compiles may come on top."""
STOP_LIMIT = 8.0
"""Seconds that the other parts are given to end after one has failed."""
BEAT = 60.0
"""Seconds of silence after which it is told how long the parts under way run already."""
PRIOR = 30.0
"""Seconds of the listed costs that the first measured parts are weighed against."""


@dataclass(frozen=True)
class Task:
    """One part to make. label: as shown to the user. cost: expected seconds. compiles: uses all cores.

    done: whether the part is made. build: makes it; its argument shows a text while it runs.
    """

    name: str
    label: str
    cost: int
    needs: tuple[str, ...]
    done: Callable[[], bool]
    build: Callable[[Callable[[str], None]], None]
    compiles: bool = False


def find_missing(tasks: Mapping[str, Task], roots: Iterable[str]) -> dict[str, Task]:
    """The tasks that have to run so that `roots` are done, by name. What a finished task needs is not looked at."""
    found: dict[str, Task] = {}
    stack = list(roots)
    while stack:
        task = tasks[stack.pop()]
        if task.name not in found and not task.done():
            found[task.name] = task
            stack += task.needs
    return found


def compute_critical_paths(tasks: Mapping[str, Task]) -> dict[str, int]:
    """Expected seconds from the start of each task to the end of the longest chain of tasks that need it, by name."""
    needed_by: dict[str, list[str]] = {name: [] for name in tasks}
    for task in tasks.values():
        for need in task.needs:
            if need in tasks:
                needed_by[need].append(task.name)
    lengths: dict[str, int] = {}
    for name in TopologicalSorter(needed_by).static_order():  # those that need it come before it
        lengths[name] = tasks[name].cost + max((lengths[later] for later in needed_by[name]), default=0)
    return lengths


class Progress:
    """The text of the progress line, from the tasks' costs and from how fast this machine has been so far."""

    def __init__(self, tasks: Mapping[str, Task], clock: Clock, line: StepLine) -> None:
        self._tasks = tasks
        self._clock = clock
        self._line = line
        self._lock = threading.Lock()
        self._detail: dict[str, str] = {}
        self._since: dict[str, float] = {}
        self._took: dict[str, float] = {}

    def start_task(self, task: Task) -> None:
        """Show the task as running."""
        with self._lock:
            self._since[task.name] = self._clock.now()
        self.set_detail(task, "")

    def set_detail(self, task: Task, text: str) -> None:
        """Show what the task is doing."""
        with self._lock:
            self._detail[task.name] = text
            self._show()

    def finish_task(self, task: Task) -> None:
        """Show the task as finished, and count its time."""
        with self._lock:
            self._detail.pop(task.name)
            self._took[task.name] = self._clock.now() - self._since.pop(task.name)
            self._show()

    def refresh(self) -> None:
        """Show the line again when only time has passed."""
        with self._lock:
            self._show()

    def _show(self) -> None:
        now = ", ".join(self._format_label(name, text) for name, text in self._detail.items())
        parts = f"{len(self._took)} of {len(self._tasks)} parts"
        self._line.show_cause(f"{parts}, about {format_minutes(self.estimate_remaining())} left")
        self._line.show_progress(now)

    def _format_label(self, name: str, text: str) -> str:
        """ "tekton (building pipeline/cmd/events) for 3m"."""
        whole = int((self._clock.now() - self._since[name]) / 60)
        label = self._tasks[name].label
        if text:
            label += f" ({text})"
        if whole:
            label += f" for {whole}m"
        return label

    def estimate_remaining(self) -> float:
        """Seconds to go: the costs left, at the pace of what is finished, less the time that running parts have taken.

        Parts that compile come one after the other; of the cost of the others half counts, because they run beside
        them.
        """
        known = sum(self._tasks[name].cost for name in self._took)
        pace = (PRIOR + sum(self._took.values())) / (PRIOR + known)
        return sum(self._estimate_left(task, pace) for name, task in self._tasks.items() if name not in self._took)

    def _estimate_left(self, task: Task, pace: float) -> float:
        whole = task.cost * pace * (1 if task.compiles else 0.5)
        spent = self._clock.now() - self._since.get(task.name, self._clock.now())
        return max(whole - spent, whole * 0.1)


def format_minutes(seconds: float) -> str:
    """ "5m" from 90 seconds on, else seconds in steps of five: "45s"."""
    return f"{round(seconds / 60)}m" if seconds >= 90 else f"{max(5, round(seconds / 5) * 5)}s"


def run_tasks(tasks: Mapping[str, Task], clock: Clock, line: StepLine, stop: Callable[[], None]) -> None:
    """Run these tasks; needs outside of them count as done.

    The first error is raised as soon as it comes: no task is started any more, and `stop` is called to end the programs
    of those that run.
    """
    progress = Progress(tasks, clock, line)
    workers: Workers[None] = Workers("build")
    ready: list[Task] = []
    compiling = ""
    graph = TopologicalSorter({name: [need for need in task.needs if need in tasks] for name, task in tasks.items()})
    graph.prepare()
    lengths = compute_critical_paths(tasks)
    while graph.is_active():
        ready += [tasks[name] for name in graph.get_ready()]
        ready.sort(key=lambda task: lengths[task.name], reverse=True)
        for task in list(ready):
            if not (compiling if task.compiles else len(workers.busy) >= WORKERS):
                ready.remove(task)
                workers.start(task.name, partial(_run_task, task, progress))
                compiling = task.name if task.compiles else compiling
        name, error = _await_next(workers, progress)
        if error is not None:
            _abandon(workers, stop)
            raise error
        compiling = "" if name == compiling else compiling
        graph.done(name)


def _run_task(task: Task, progress: Progress) -> None:
    progress.start_task(task)
    task.build(partial(progress.set_detail, task))
    progress.finish_task(task)


def _await_next(workers: Workers[None], progress: Progress) -> tuple[str, BaseException | None]:
    """The next task to end, by name, and what it raised."""
    while True:
        try:
            return workers.take_result(BEAT)
        except queue.Empty:
            progress.refresh()


def _abandon(workers: Workers[None], stop: Callable[[], None]) -> None:
    """Call `stop`, and give running tasks STOP_LIMIT seconds to end."""
    stop()
    end = time.monotonic() + STOP_LIMIT
    with contextlib.suppress(queue.Empty):
        while workers.busy:
            workers.take_result(max(0.0, end - time.monotonic()))
