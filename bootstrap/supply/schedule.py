"""Runs the parts that are missing, each after those it needs, and tells how far it is.

Compilers use every core by themselves, so only one runs at a time; what mostly waits for the network
or the disk (package downloads, packing) runs beside it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from graphlib import TopologicalSorter

from bootstrap.world.clock import Clock
from bootstrap.world.report import StepLine

WORKERS = 3


@dataclass(frozen=True)
class Task:
    """One part to make. label: as shown. cost: expected seconds. compiles: takes all cores.

    done() looks; build(say) makes it, `say` shows what it is at.
    """

    name: str
    label: str
    cost: int
    needs: tuple[str, ...]
    done: Callable[[], bool]
    build: Callable[[Callable[[str], None]], None]
    compiles: bool = False


def missing(tasks: Mapping[str, Task], roots: Iterable[str]) -> dict[str, Task]:
    """The tasks that have to run so that `roots` are done; what a finished task needs is not looked at."""
    found: dict[str, Task] = {}
    stack = list(roots)
    while stack:
        task = tasks[stack.pop()]
        if task.name not in found and not task.done():
            found[task.name] = task
            stack += task.needs
    return found


class Progress:
    """Text of the progress line, from costs and from how fast this machine has been so far."""

    def __init__(self, tasks: Mapping[str, Task], clock: Clock, line: StepLine) -> None:
        self._tasks = tasks
        self._clock = clock
        self._line = line
        self._lock = threading.Lock()
        self._start = clock.now()
        self._finished: list[Task] = []
        self._detail: dict[str, str] = {}

    def started(self, task: Task) -> None:
        self.says(task, "")

    def says(self, task: Task, text: str) -> None:
        with self._lock:
            self._detail[task.name] = text
            self._show()

    def finished(self, task: Task) -> None:
        with self._lock:
            self._detail.pop(task.name, None)
            self._finished.append(task)
            self._show()

    def _show(self) -> None:
        total = len(self._tasks)
        now = ", ".join(
            f"{self._tasks[name].label}{f' ({text})' if text else ''}" for name, text in self._detail.items()
        )
        elapsed = self._clock.now() - self._start
        self._line.cause(f"{len(self._finished)} of {total} parts, about {minutes(self.remaining(elapsed))} left")
        self._line.progress(now or "packing")

    def remaining(self, elapsed: float) -> float:
        """Seconds to go: the costs left, at the pace of what is finished (at the listed pace before that)."""
        done = sum(task.cost for task in self._finished)
        left = max(0, sum(task.cost for task in self._tasks.values()) - done)
        pace = elapsed / done if done >= 30 else 1.0
        return left * min(max(pace, 0.2), 5.0)


def minutes(seconds: float) -> str:
    return f"{round(seconds / 60)}m" if seconds >= 90 else f"{max(5, round(seconds / 5) * 5)}s"


def run(tasks: Mapping[str, Task], clock: Clock, line: StepLine) -> None:
    """Run these tasks; needs outside of them count as done. The first error stops and is raised."""
    progress = Progress(tasks, clock, line)
    compiler = threading.Lock()
    graph = TopologicalSorter({name: [n for n in task.needs if n in tasks] for name, task in tasks.items()})
    graph.prepare()

    def make(task: Task) -> None:
        def work() -> None:
            progress.started(task)
            task.build(lambda text: progress.says(task, text))
            progress.finished(task)

        if not task.compiles:
            work()
            return
        with compiler:
            work()

    # Tasks that wait for the compiler hold a worker each, so there are as many workers as compilers wait.
    workers = WORKERS + sum(task.compiles for task in tasks.values())
    with ThreadPoolExecutor(workers, thread_name_prefix="build") as pool:
        running: dict[Future[None], str] = {}
        while graph.is_active():
            for name in graph.get_ready():
                running[pool.submit(make, tasks[name])] = name
            done, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
            for future in done:
                name = running.pop(future)
                if future.exception():
                    pool.shutdown(wait=True, cancel_futures=True)
                future.result()
                graph.done(name)
