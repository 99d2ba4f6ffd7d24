"""The list of runs, and one run with its tasks and steps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from bootstrap.console.task_graph import Plan, arrange_columns
from bootstrap.console.views.times import format_duration
from bootstrap.objects.run_status import Run, RunState, TaskState, TaskStep, make_row

Document = dict[str, Any]
STATES = (
    RunState.RUNNING,
    RunState.PENDING,
    RunState.SUCCEEDED,
    RunState.FAILED,
    RunState.CANCELLED,
    RunState.TIMED_OUT,
    RunState.SUPERSEDED,
)
ICONS = {
    RunState.RUNNING: "sync",
    RunState.PENDING: "schedule",
    RunState.SUCCEEDED: "check_circle",
    RunState.FAILED: "error",
    RunState.CANCELLED: "block",
    RunState.TIMED_OUT: "timer_off",
    RunState.SUPERSEDED: "fast_forward",
    RunState.SKIPPED: "skip_next",
}
"""Icon of each state, in the font that NiceGUI brings along. A state must not differ by its colour alone."""
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
"""Columns of the list of runs: key -> title, in English."""
SIZE = 25
"""Rows of one page of the list."""


@dataclass(frozen=True)
class Filter:
    """Which runs a list shows; "" stands for any.

    text: found anywhere in a row, in upper or lower case. state: a State's value. by: how it was started (push, poll,
    hand). app: an application.
    """

    text: str = ""
    state: str = ""
    by: str = ""
    branch: str = ""
    app: str = ""

    def matches(self, run: Run) -> bool:
        if self.state and run.state.value != self.state:
            return False
        if (self.by and run.trigger != self.by) or (self.branch and run.branch != self.branch):
            return False
        if self.app and run.application != self.app:
            return False
        if not self.text:
            return True
        wanted = self.text.lower()
        texts = (run.name, run.application, run.commit, run.branch, run.image, run.why, run.author)
        return any(wanted in each.lower() for each in texts)


def list_branches(runs: Iterable[Run]) -> list[str]:
    """The branches that have runs, sorted."""
    return sorted({run.branch for run in runs if run.branch})


def list_applications(runs: Iterable[Run]) -> list[str]:
    """The applications that have runs, sorted; the demo is none."""
    return sorted({run.application for run in runs if run.application})


def list_rows(runs: Sequence[Run], wanted: Filter, page: int, size: int, now: datetime) -> tuple[list[Document], int]:
    """The rows of one page of the list, and how many rows there are on all its pages.

    runs: newest first. page: 0 is the first. size: rows of a page. now: for the time of runs that are not over.
    """
    matching = [run for run in runs if wanted.matches(run)]
    return [describe_run(run, now) for run in matching[page * size : (page + 1) * size]], len(matching)


def describe_run(run: Run, now: datetime) -> Document:
    """The row of `invoke runs --json` with "key" (the name), "short" (of the commit), "author", "why" (of a run that
    failed or was superseded), "over", "icon", "digest" (its first 12 characters) and "length" ("6m12s", "" before its
    start)."""
    row = make_row(run, now)
    return row | {
        "key": run.name,
        "short": run.commit[:7],
        "author": run.author,
        # of other ends the state says it all
        "why": run.why if run.state in (RunState.FAILED, RunState.SUPERSEDED) else "",
        "over": run.state.is_over,
        "icon": ICONS[run.state],
        "digest": run.image.rpartition("@")[2].removeprefix("sha256:")[:12],
        "length": format_duration(row["seconds"]) if run.started else "",
    }


def describe_run_page(run: Run, plan: Plan, now: datetime) -> Document:
    """All of a run but its logs and events: its row with "tasks" (by name), "columns" (names, see `task_graph`),
    "params" and "results"."""
    tasks = {task.name: describe_task(_mark_skipped(task, run), now) for task in run.tasks}
    for planned in plan:
        if planned.last and planned.name in tasks:
            tasks[planned.name]["last"] = True
    return describe_run(run, now) | {
        "tasks": tasks,
        "columns": [[name for name in column if name in tasks] for column in arrange_columns(plan, tasks)],
        "params": dict(run.params),
        "results": dict(run.results),
    }


def _mark_skipped(task: TaskState, run: Run) -> TaskState:
    """A task that is still pending in a run that is over was skipped."""
    return replace(task, state=RunState.SKIPPED) if run.state.is_over and task.state is RunState.PENDING else task


def describe_task(task: TaskState, now: datetime) -> Document:
    """A task with its steps. "last": whether it is one of `finally`; `describe_run_page` sets that."""
    seconds = task.seconds
    if seconds is None and task.started:
        seconds = (now - task.started).total_seconds()
    return {
        "name": task.name,
        "state": task.state.value,
        "icon": ICONS[task.state],
        "why": task.why,
        "over": task.state.is_over,
        "last": False,
        "length": "" if seconds is None else format_duration(seconds),
        "results": dict(task.results),
        "steps": [describe_step(task, each) for each in task.steps],
    }


def describe_step(task: TaskState, step: TaskStep) -> Document:
    """A step. "pod": the pod that has its log, "" before the step has started."""
    started = task.pod and step.state not in (RunState.PENDING, RunState.SKIPPED)
    return {
        "name": step.name,
        "container": step.container,
        "state": step.state.value,
        "icon": ICONS[step.state],
        "why": step.why,
        "pod": task.pod if started else "",
    }


def choose_step(run: Run, plan: Plan = ()) -> tuple[str, str]:
    """(task, step) of the log to show first: the one that failed, else one that is running, else the last one with a
    log, of `finally` only if no other task has one; ("", "") if no step has a log."""
    bad = run.failed_task
    if bad and bad.failed_step:
        return bad.name, bad.failed_step
    logged = [(task, step) for task in run.tasks for step in task.steps if describe_step(task, step)["pod"]]
    under_way = [(task, step) for task, step in logged if step.state is RunState.RUNNING]
    last = {each.name for each in plan if each.last}
    ordinary = [(task, step) for task, step in logged if task.name not in last] or logged
    task, step = next(iter(under_way), None) or (ordinary[-1] if ordinary else (None, None))
    return (task.name, step.name) if task and step else ("", "")
