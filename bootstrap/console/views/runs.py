"""The list of runs, and one run with its tasks and steps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from bootstrap.console.task_graph import Plan, columns
from bootstrap.console.views.times import length
from bootstrap.objects.run_status import Run, State, Step, TaskState, as_row

Document = dict[str, Any]
STATES = (State.RUNNING, State.PENDING, State.SUCCEEDED, State.FAILED, State.CANCELLED, State.TIMED_OUT)
ICONS = {
    State.RUNNING: "sync",
    State.PENDING: "schedule",
    State.SUCCEEDED: "check_circle",
    State.FAILED: "error",
    State.CANCELLED: "block",
    State.TIMED_OUT: "timer_off",
    State.SKIPPED: "skip_next",
}
"""Of the icon font that the library ships. A state is never told by its colour alone."""
COLUMNS = {
    "state": "State",
    "run": "Run",
    "commit": "Commit",
    "branch": "Branch",
    "author": "Author",
    "by": "Started by",
    "length": "Time",
    "image": "Image",
    "when": "When",
}
"""Of the list."""
SIZE = 25
"""Rows of a page of it."""


@dataclass(frozen=True)
class Filter:
    """What a list of runs is narrowed to; "" does not narrow. text: found anywhere in a row."""

    text: str = ""
    state: str = ""
    by: str = ""
    branch: str = ""

    def lets(self, run: Run) -> bool:
        if self.state and run.state.value != self.state:
            return False
        if (self.by and run.trigger != self.by) or (self.branch and run.branch != self.branch):
            return False
        if not self.text:
            return True
        wanted = self.text.lower()
        return any(
            wanted in each.lower() for each in (run.name, run.commit, run.branch, run.image, run.why, author(run))
        )


def author(run: Run) -> str:
    """Who made the commit, as git-clone told; "" while that is not known."""
    return next((task.results["author"] for task in run.tasks if task.results.get("author")), "")


def branches(runs: Iterable[Run]) -> list[str]:
    return sorted({run.branch for run in runs if run.branch})


def run_rows(runs: Sequence[Run], wanted: Filter, page: int, size: int, now: datetime) -> tuple[list[Document], int]:
    """The rows of one page (0 is the first), newest first, and how many there are on all pages."""
    found = [run for run in runs if wanted.lets(run)]
    return [run_row(run, now) for run in found[page * size : (page + 1) * size]], len(found)


def run_row(run: Run, now: datetime) -> Document:
    row = as_row(run, now)
    return (
        row
        | {
            "key": run.name,
            "short": run.commit[:7],
            "author": author(run),
            "why": run.why if run.state is State.FAILED else "",  # of other ends the state says it all
            "over": run.state.over,
            "icon": ICONS[run.state],
            "digest": run.image.rpartition("@")[2].removeprefix("sha256:")[:12],
            "length": length(row["seconds"]) if run.started else "",
        }
    )


def run_page(run: Run, plan: Plan, now: datetime) -> Document:
    """All of a run but its logs and events: its row, "tasks", "columns" (names), "params", "results"."""
    tasks = {task.name: task_box(_settled(task, run), now) for task in run.tasks}
    for planned in plan:
        if planned.last and planned.name in tasks:
            tasks[planned.name]["last"] = True
    return run_row(run, now) | {
        "tasks": tasks,
        "columns": [[name for name in column if name in tasks] for column in columns(plan, tasks)],
        "params": dict(run.params),
        "results": dict(run.results),
    }


def _settled(task: TaskState, run: Run) -> TaskState:
    """In a run that is over nothing waits any more."""
    return replace(task, state=State.SKIPPED) if run.state.over and task.state is State.PENDING else task


def task_box(task: TaskState, now: datetime) -> Document:
    seconds = task.seconds
    if seconds is None and task.started:
        seconds = (now - task.started).total_seconds()
    return {
        "name": task.name,
        "state": task.state.value,
        "icon": ICONS[task.state],
        "why": task.why,
        "over": task.state.over,
        "last": False,
        "length": "" if seconds is None else length(seconds),
        "results": dict(task.results),
        "steps": [step_row(task, each) for each in task.steps],
    }


def step_row(task: TaskState, step: Step) -> Document:
    started = task.pod and step.state not in (State.PENDING, State.SKIPPED)
    return {
        "name": step.name,
        "container": step.container,
        "state": step.state.value,
        "icon": ICONS[step.state],
        "why": step.why,
        "pod": task.pod if started else "",
    }


def steps_to_show(run: Run) -> tuple[str, str]:
    """(task, step) whose log a reader wants first: what failed, else what runs, else the last that has one."""
    bad = run.failed_task
    if bad and bad.failed_step:
        return bad.name, bad.failed_step
    logged = [(task, step) for task in run.tasks for step in task.steps if step_row(task, step)["pod"]]
    under_way = [(task, step) for task, step in logged if step.state is State.RUNNING]
    task, step = next(iter(under_way), None) or (logged[-1] if logged else (None, None))
    return (task.name, step.name) if task and step else ("", "")
