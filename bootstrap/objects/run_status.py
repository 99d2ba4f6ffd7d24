"""PipelineRuns and TaskRuns as plain values. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from bootstrap.core.model import Object
from bootstrap.incluster.run_names import BRANCH, COMMIT, TRIGGER
from bootstrap.objects.readiness import at, condition

PIPELINE_RUN = "tekton.dev/pipelineRun"
PIPELINE_TASK = "tekton.dev/pipelineTask"
WAYS = ("push", "poll", "hand")
"""How a run may have been started."""
SHA = re.compile(r"[0-9a-f]{7,64}")


class State(StrEnum):
    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    TIMED_OUT = "TimedOut"
    SKIPPED = "Skipped"

    @property
    def over(self) -> bool:
        return self not in (State.PENDING, State.RUNNING)

    @property
    def bad(self) -> bool:
        return self in (State.FAILED, State.CANCELLED, State.TIMED_OUT)


@dataclass(frozen=True)
class Step:
    """container: the pod's container with its log. exit_code: None while it runs."""

    name: str
    container: str
    state: State
    exit_code: int | None = None
    why: str = ""


@dataclass(frozen=True)
class TaskState:
    """One task of a run, started or not.

    why: the cause of a failure or of a wait, the reason of a skip ("needs build-image"); else "".
    seconds: from start to end, None while it is not over. pod: "" before there is one.
    failed_step: name of the first step that failed, "" if none; exit_code: that step's.
    """

    name: str
    state: State
    why: str = ""
    started: datetime | None = None
    finished: datetime | None = None
    task_run: str = ""
    pod: str = ""
    failed_step: str = ""
    exit_code: int | None = None
    steps: tuple[Step, ...] = ()
    results: Mapping[str, str] = field(default_factory=dict)

    @property
    def seconds(self) -> float | None:
        return _between(self.started, self.finished)


@dataclass(frozen=True)
class Run:
    """One PipelineRun with its tasks in the pipeline's order, those of `finally` last.

    commit: full id as far as known, "" before; branch: as asked for. trigger: push, poll or hand.
    image: "repository@sha256:..." that was built, "" if none. seconds: None while it is not over.
    """

    name: str
    namespace: str
    state: State
    created: datetime | None = None
    why: str = ""
    commit: str = ""
    branch: str = ""
    trigger: str = "hand"
    started: datetime | None = None
    finished: datetime | None = None
    image: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    results: Mapping[str, str] = field(default_factory=dict)
    tasks: tuple[TaskState, ...] = ()

    @property
    def seconds(self) -> float | None:
        return _between(self.started, self.finished)

    def elapsed(self, now: datetime) -> float:
        """Seconds since it started, up to its end if it has one; 0 before."""
        return _between(self.started, self.finished or now) or 0.0

    def task(self, name: str) -> TaskState | None:
        return next((each for each in self.tasks if each.name == name), None)

    @property
    def failed_task(self) -> TaskState | None:
        return next((each for each in self.tasks if each.state.bad), None)

    @property
    def unsent(self) -> str:
        """Why its notification did not arrive, "" if it did, or none was wanted, or it is not tried yet."""
        task = self.task("notify")
        if task is None:
            return ""
        told = task.results.get("notification", "")
        if not told and task.state.bad:
            return f"failed: {task.why or task.state.value}"
        return told if told.startswith(("failed", "held back")) else ""


def parse_runs(pipeline_runs: Iterable[Object], task_runs: Iterable[Object]) -> list[Run]:
    """Every run with its own TaskRuns (by label), newest first."""
    by_run: dict[str, list[Object]] = {}
    for each in task_runs:
        by_run.setdefault(at(each, "metadata", "labels", PIPELINE_RUN) or "", []).append(each)
    runs = [parse_run(each, by_run.get(at(each, "metadata", "name") or "", ())) for each in pipeline_runs]
    return sorted(runs, key=lambda run: run.created or datetime.min.replace(tzinfo=UTC), reverse=True)


def parse_run(pipeline_run: Object, task_runs: Iterable[Object] = ()) -> Run:
    """task_runs: those of this run, any order; what is not there yet shows as Pending."""
    metadata, status = pipeline_run.get("metadata") or {}, pipeline_run.get("status") or {}
    params, results = _pairs(at(pipeline_run, "spec", "params")), _pairs(status.get("results"))
    tasks = _tasks(status, {each.name: each for each in map(task_state, task_runs)})
    state = _run_state(pipeline_run, tasks)
    return Run(
        name=str(metadata.get("name") or ""),
        namespace=str(metadata.get("namespace") or ""),
        state=state,
        created=_time(metadata.get("creationTimestamp")),
        why=_run_why(pipeline_run, state, tasks),
        commit=_commit(metadata, params, results, tasks),
        branch=_branch(metadata, params),
        trigger=_mark(metadata, TRIGGER) or "hand",
        started=_time(status.get("startTime")),
        finished=_time(status.get("completionTime")),
        image=_image(params, results, tasks),
        params=params,
        results=results,
        tasks=tasks,
    )


def as_row(run: Run, now: datetime) -> dict[str, Any]:
    """A run as `runs --json` and the console show it."""
    return {
        "run": run.name,
        "commit": run.commit,
        "branch": run.branch,
        "by": run.trigger,
        "state": run.state.value,
        "why": run.why,
        "seconds": round(run.elapsed(now)),
        "image": run.image,
        "created": run.created.isoformat() if run.created else "",
    }


def task_state(task_run: Object) -> TaskState:
    """The name is the pipeline's task, for a TaskRun of its own its own."""
    metadata, status = task_run.get("metadata") or {}, task_run.get("status") or {}
    steps = tuple(map(_step, status.get("steps") or ()))
    state = _state(task_run)
    failed = next((each for each in steps if each.state.bad), None)
    own = str(metadata.get("name") or "")
    return TaskState(
        name=str(at(metadata, "labels", PIPELINE_TASK) or own),
        state=state,
        why=_task_why(task_run, state, failed),
        started=_time(status.get("startTime")),
        finished=_time(status.get("completionTime")),
        task_run=own,
        pod=str(status.get("podName") or ""),
        failed_step=failed.name if failed else "",
        exit_code=failed.exit_code if failed else None,
        steps=steps,
        results=_pairs(status.get("results")),
    )


def _state(obj: Object) -> State:
    done = condition(obj, "Succeeded")
    reason = str(done.get("reason") or "")
    if done.get("status") == "True":
        return State.SUCCEEDED
    if done.get("status") == "False":
        if "Timeout" in reason:
            return State.TIMED_OUT
        return State.CANCELLED if "Cancelled" in reason or "Stopped" in reason else State.FAILED
    return State.RUNNING if at(obj, "status", "startTime") and "Pending" not in reason else State.PENDING


def _run_state(pipeline_run: Object, tasks: Sequence[TaskState]) -> State:
    """Tekton says of a run only that it failed when a task of it took longer than it may."""
    state = _state(pipeline_run)
    first = next((each for each in tasks if each.state.bad), None)
    return State.TIMED_OUT if state is State.FAILED and first and first.state is State.TIMED_OUT else state


def _step(step: Mapping[str, Any]) -> Step:
    name = str(step.get("name") or "")
    container = str(step.get("container") or f"step-{name}")
    ended = step.get("terminated")
    if ended is not None:
        code = int(ended.get("exitCode") or 0)
        reason = str(step.get("terminationReason") or ended.get("reason") or "")
        if reason == "Skipped":
            return Step(name, container, State.SKIPPED)
        return Step(name, container, State.FAILED if code else State.SUCCEEDED, code, _step_why(reason, code))
    if step.get("running") is not None:
        return Step(name, container, State.RUNNING)
    return Step(name, container, State.PENDING, why=str(at(step, "waiting", "reason") or ""))


def _step_why(reason: str, code: int) -> str:
    if not code:
        return ""
    plain = "" if reason in ("", "Error", "Completed") else f" ({reason})"
    return f"exit {code}{plain}"


def _task_why(task_run: Object, state: State, failed: Step | None) -> str:
    if state is State.SUCCEEDED:
        return ""
    if failed and state is State.FAILED:
        return f"{failed.why} in step {failed.name}"
    found = condition(task_run, "Succeeded")
    reason, message = str(found.get("reason") or ""), _line(found.get("message"))
    if state is State.RUNNING and reason in ("Running", "Started", ""):
        return ""
    return message or reason


def _run_why(pipeline_run: Object, state: State, tasks: Sequence[TaskState]) -> str:
    if state in (State.SUCCEEDED, State.RUNNING):
        return ""
    failed = next((each for each in tasks if each.state.bad), None)
    if failed and state is State.FAILED:
        return f"failed in {failed.name}: {failed.why}"
    if failed and failed.state is State.TIMED_OUT:
        return f"timed out in {failed.name}: {failed.why}"
    found = condition(pipeline_run, "Succeeded")
    return ": ".join(filter(None, (str(found.get("reason") or ""), _line(found.get("message")))))


def _tasks(status: Mapping[str, Any], started: Mapping[str, TaskState]) -> tuple[TaskState, ...]:
    """The pipeline's order; before Tekton has resolved the pipeline, the order of their start."""
    spec = status.get("pipelineSpec") or {}
    planned = [*(spec.get("tasks") or ()), *(spec.get("finally") or ())]
    skipped = {each.get("name"): str(each.get("reason") or "") for each in status.get("skippedTasks") or ()}
    made: dict[str, TaskState] = {}
    for task in planned:
        name = str(task.get("name") or "")
        if name in started:
            made[name] = started[name]
        elif name in skipped:
            made[name] = TaskState(name, State.SKIPPED, _skip_why(task, made) or skipped[name])
        else:
            made[name] = TaskState(name, State.PENDING)
    last = datetime.max.replace(tzinfo=UTC)
    others = sorted((each for each in started.values() if each.name not in made), key=lambda task: task.started or last)
    return (*made.values(), *others)


def _skip_why(task: Mapping[str, Any], earlier: Mapping[str, TaskState]) -> str:
    """ "needs build-image" for what could not follow; "" when the reason is another."""
    needed = [*(task.get("runAfter") or ()), *re.findall(r"\$\(tasks\.([a-z0-9-]+)\.results", str(task))]
    for name in needed:
        before = earlier.get(name)
        if before and before.state is State.SKIPPED and before.why.startswith("needs "):
            return before.why
        if before and before.state is not State.SUCCEEDED:
            return f"needs {name}"
    return ""


def _commit(
    metadata: Mapping[str, Any], params: Mapping[str, str], results: Mapping[str, str], tasks: Sequence[TaskState]
) -> str:
    """The pipeline's result, else what a task has found out already, else what was asked for if it is an id."""
    found = [results.get("commit", ""), *(each.results.get("commit", "") for each in tasks), _mark(metadata, COMMIT)]
    asked = params.get("REVISION", "")
    return next(filter(None, found), asked if SHA.fullmatch(asked) else "").strip()


def _branch(metadata: Mapping[str, Any], params: Mapping[str, str]) -> str:
    asked = params.get("REVISION", "").removeprefix("refs/heads/")
    return _mark(metadata, BRANCH) or ("" if SHA.fullmatch(asked) else asked)


def _image(params: Mapping[str, str], results: Mapping[str, str], tasks: Sequence[TaskState]) -> str:
    for each in (results, *(task.results for task in tasks)):
        if "@sha256:" in each.get("image", ""):
            return each["image"].strip()
        digest = (each.get("image-digest") or each.get("digest") or "").strip()
        if digest.startswith("sha256:") and params.get("IMAGE"):
            return f"{_repository(params['IMAGE'])}@{digest}"
    return ""


def _repository(image: str) -> str:
    """Without tag and digest; a registry's port stays."""
    path, _, last = image.partition("@")[0].rpartition("/")
    return f"{path}/{last.partition(':')[0]}" if path else last.partition(":")[0]


def _mark(metadata: Mapping[str, Any], key: str) -> str:
    """An annotation, else the label of that name: labels may have been shortened."""
    return str(at(metadata, "annotations", key) or at(metadata, "labels", key) or "")


def _pairs(entries: Iterable[Mapping[str, Any]] | None) -> dict[str, str]:
    return {str(each["name"]): str(each.get("value", "")) for each in entries or () if "name" in each}


def _line(text: object) -> str:
    return " ".join(str(text or "").split())


def _time(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text)) if text else None
    except ValueError:
        return None


def _between(start: datetime | None, end: datetime | None) -> float | None:
    return (end - start).total_seconds() if start and end else None
