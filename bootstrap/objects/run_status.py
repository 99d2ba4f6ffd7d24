"""PipelineRuns and TaskRuns as plain values. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from bootstrap.core.model import Object
from bootstrap.incluster.run_names import (
    APPLICATION,
    BRANCH,
    COMMIT,
    ENVIRONMENT,
    IMAGE_FROM,
    SUPERSEDED,
    SUPERSEDED_BY,
    TRIGGER,
)
from bootstrap.objects.readiness import at, condition

PIPELINE_RUN = "tekton.dev/pipelineRun"
PIPELINE_TASK = "tekton.dev/pipelineTask"
WAYS = ("push", "poll", "hand")
"""How a run may have been started."""
SHA = re.compile(r"[0-9a-f]{7,64}")


class RunState(StrEnum):
    """The state of a run, a task or a step, as it is shown."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    TIMED_OUT = "TimedOut"
    SUPERSEDED = "Superseded"
    SKIPPED = "Skipped"

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self not in (RunState.PENDING, RunState.RUNNING)

    @property
    def is_bad(self) -> bool:
        """Whether it failed, was cancelled or timed out. Of what was superseded nobody has to see to anything."""
        return self in (RunState.FAILED, RunState.CANCELLED, RunState.TIMED_OUT)


@dataclass(frozen=True)
class TaskStep:
    """One step of a task. container: the pod's container with its log. exit_code: None while it runs."""

    name: str
    container: str
    state: RunState
    exit_code: int | None = None
    why: str = ""


@dataclass(frozen=True)
class TaskState:
    """One task of a run, started or not; of a task with a matrix, one of its combinations.

    name: of the pipeline's task, for a combination with its values: "unit (linux-amd64)". pipeline_task: without them.
    why: the cause of a failure or of a wait, the reason of a skip ("needs build-image"); else "".
    seconds: from start to end, None while it is not over. pod: "" before there is one.
    failed_step: name of the first step that failed, "" if none; exit_code: that step's.
    tries: the earlier tries of a task with retries, oldest first, each with its own pod and steps.
    """

    name: str
    state: RunState
    why: str = ""
    started: datetime | None = None
    finished: datetime | None = None
    task_run: str = ""
    pod: str = ""
    failed_step: str = ""
    exit_code: int | None = None
    steps: tuple[TaskStep, ...] = ()
    results: Mapping[str, str] = field(default_factory=dict)
    pipeline_task: str = ""
    tries: tuple[TaskState, ...] = ()

    @property
    def seconds(self) -> float | None:
        """Seconds from its start to its end, None before its end."""
        return _count_seconds(self.started, self.finished)


@dataclass(frozen=True)
class Run:
    """One PipelineRun with its tasks in the pipeline's order, those of `finally` last.

    commit: full id as far as known, "" before; branch: as asked for. trigger: push, poll or hand. application,
    environment: whose it is and where that is deployed to, "" of the demo.
    image: "repository@sha256:..." that was built, "" if none. seconds: None while it is not over.
    superseded_by: the run that came after it and took its place, "" if none is known.
    source: of one that builds nothing, the environment in which its image served; its image is what it deploys.
    """

    name: str
    namespace: str
    state: RunState
    created: datetime | None = None
    why: str = ""
    commit: str = ""
    branch: str = ""
    trigger: str = "hand"
    application: str = ""
    environment: str = ""
    started: datetime | None = None
    finished: datetime | None = None
    image: str = ""
    superseded_by: str = ""
    source: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    results: Mapping[str, str] = field(default_factory=dict)
    tasks: tuple[TaskState, ...] = ()

    @property
    def seconds(self) -> float | None:
        """Seconds from its start to its end, None before its end."""
        return _count_seconds(self.started, self.finished)

    def elapsed(self, now: datetime) -> float:
        """Seconds since it started, up to its end if it has one; 0 before."""
        return _count_seconds(self.started, self.finished or now) or 0.0

    @property
    def builds(self) -> bool:
        """Whether it builds an image; False of one that deploys an image which was there already."""
        return "DIGEST" not in self.params

    @property
    def author(self) -> str:
        """The commit's author, a result of the task git-clone; "" while that is not known."""
        return next((task.results["author"] for task in self.tasks if task.results.get("author")), "")

    def task(self, name: str) -> TaskState | None:
        """The task of that name, None if the run has none."""
        return next((each for each in self.tasks if each.name == name), None)

    @property
    def failed_task(self) -> TaskState | None:
        """The first task that failed, was cancelled or timed out; None if none did."""
        return next((each for each in self.tasks if each.state.is_bad), None)

    @property
    def unsent(self) -> str:
        """Why its notification did not arrive, "" if it did, or none was wanted, or it is not tried yet."""
        task = self.task("notify")
        if task is None:
            return ""
        told = task.results.get("notification", "")
        if not told and task.state.is_bad:
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
    """A run from its PipelineRun. task_runs: those of this run, in any order; a task without one is Pending."""
    metadata, status = pipeline_run.get("metadata") or {}, pipeline_run.get("status") or {}
    params, results = _read_pairs(at(pipeline_run, "spec", "params")), _read_pairs(status.get("results"))
    tasks = _list_tasks(status, _name_combinations(status, task_runs))
    state = _parse_run_state(pipeline_run, tasks)
    return Run(
        name=str(metadata.get("name") or ""),
        namespace=str(metadata.get("namespace") or ""),
        state=state,
        created=_parse_time(metadata.get("creationTimestamp")),
        why=_explain_run(pipeline_run, state, tasks),
        commit=_find_commit(metadata, params, results, tasks),
        branch=_find_branch(metadata, params),
        trigger=_read_mark(metadata, TRIGGER) or "hand",
        application=_read_mark(metadata, APPLICATION),
        environment=_read_mark(metadata, ENVIRONMENT),
        started=_parse_time(status.get("startTime")),
        finished=_parse_time(status.get("completionTime")),
        image=_find_image(params, results, tasks),
        superseded_by=_read_superseder(metadata) if state is RunState.SUPERSEDED else "",
        source=_read_mark(metadata, IMAGE_FROM),
        params=params,
        results=results,
        tasks=tasks,
    )


def make_row(run: Run, now: datetime) -> dict[str, Any]:
    """A run as JSON, as `runs --json` and the console show it."""
    return {
        "run": run.name,
        "app": run.application,
        "commit": run.commit,
        "branch": run.branch,
        "by": run.trigger,
        "state": run.state.value,
        "why": run.why,
        "seconds": round(run.elapsed(now)),
        "image": run.image,
        "created": run.created.isoformat() if run.created else "",
    }


def parse_task_run(task_run: Object) -> TaskState:
    """A task from its TaskRun. Its name is the pipeline's task; a TaskRun without a pipeline has its own."""
    metadata, status = task_run.get("metadata") or {}, task_run.get("status") or {}
    steps = tuple(map(_parse_step, status.get("steps") or ()))
    results = _read_pairs(status.get("results"))
    state, superseded = _parse_state(task_run), results.get(SUPERSEDED, "").strip()
    if state is RunState.FAILED and superseded.startswith(SUPERSEDED):
        state = RunState.SUPERSEDED
    failed = next((each for each in steps if each.state.is_bad), None)
    own = str(metadata.get("name") or "")
    return TaskState(
        name=str(at(metadata, "labels", PIPELINE_TASK) or own),
        state=state,
        why=superseded if state is RunState.SUPERSEDED else _explain_task(task_run, state, failed),
        started=_parse_time(status.get("startTime")),
        finished=_parse_time(status.get("completionTime")),
        task_run=own,
        pod=str(status.get("podName") or ""),
        failed_step=failed.name if failed else "",
        exit_code=failed.exit_code if failed else None,
        steps=steps,
        results=results,
        pipeline_task=str(at(metadata, "labels", PIPELINE_TASK) or own),
        tries=tuple(
            parse_task_run({"metadata": metadata, "status": each}) for each in status.get("retriesStatus") or ()
        ),
    )


def _name_combinations(status: Mapping[str, Any], task_runs: Iterable[Object]) -> dict[str, list[TaskState]]:
    """Pipeline's task -> its TaskRuns in the order of their names. Those of a matrix are named by its values."""
    spec = status.get("pipelineSpec") or {}
    found: dict[str, list[TaskState]] = {}
    matrices = {
        str(each.get("name")): _list_matrix_names(each["matrix"])
        for each in (*(spec.get("tasks") or ()), *(spec.get("finally") or ()))
        if each.get("matrix")
    }
    for task_run in task_runs:
        task = parse_task_run(task_run)
        given = _read_pairs(at(task_run, "spec", "params"))
        if task.pipeline_task in matrices:
            values = [given[name] for name in matrices[task.pipeline_task] if name in given]
            told = ", ".join(values) or task.task_run.rpartition("-")[2]
            task = replace(task, name=f"{task.pipeline_task} ({told})")
        found.setdefault(task.pipeline_task, []).append(task)
    return {name: sorted(each, key=_sort_key) for name, each in found.items()}


def _sort_key(task: TaskState) -> tuple[str, int]:
    """Of "run-unit-10": after "run-unit-9"."""
    head, _, number = task.task_run.rpartition("-")
    return (head, int(number)) if number.isdigit() else (task.task_run, 0)


def _list_matrix_names(matrix: Mapping[str, Any]) -> list[str]:
    """The parameters that a matrix varies; each combination of `include` has some of its own."""
    listed = [*(matrix.get("params") or ())]
    listed += [param for each in matrix.get("include") or () for param in each.get("params") or ()]
    return list(dict.fromkeys(str(each.get("name")) for each in listed))


def _parse_state(obj: Object) -> RunState:
    done = condition(obj, "Succeeded")
    reason = str(done.get("reason") or "")
    if done.get("status") == "True":
        return RunState.SUCCEEDED
    if done.get("status") == "False":
        if "Timeout" in reason:
            return RunState.TIMED_OUT
        return RunState.CANCELLED if "Cancelled" in reason or "Stopped" in reason else RunState.FAILED
    return RunState.RUNNING if at(obj, "status", "startTime") and "Pending" not in reason else RunState.PENDING


def _parse_run_state(pipeline_run: Object, tasks: Sequence[TaskState]) -> RunState:
    """Tekton says of a run only that it failed when a task of it took longer than it may, or was superseded.

    Of a run that another has taken the place of, it says that it was cancelled.
    """
    state = _parse_state(pipeline_run)
    if state is RunState.CANCELLED:
        return RunState.SUPERSEDED if _read_superseder(pipeline_run.get("metadata") or {}) else state
    first = next((each.state for each in tasks if each.state.is_bad or each.state is RunState.SUPERSEDED), None)
    return first if state is RunState.FAILED and first in (RunState.TIMED_OUT, RunState.SUPERSEDED) else state


def _parse_step(step: Mapping[str, Any]) -> TaskStep:
    name = str(step.get("name") or "")
    container = str(step.get("container") or f"step-{name}")
    ended = step.get("terminated")
    if ended is not None:
        code = int(ended.get("exitCode") or 0)
        reason = str(step.get("terminationReason") or ended.get("reason") or "")
        if reason == "Skipped":
            return TaskStep(name, container, RunState.SKIPPED)
        return TaskStep(
            name, container, RunState.FAILED if code else RunState.SUCCEEDED, code, _explain_step(reason, code)
        )
    if step.get("running") is not None:
        return TaskStep(name, container, RunState.RUNNING)
    return TaskStep(name, container, RunState.PENDING, why=str(at(step, "waiting", "reason") or ""))


def _explain_step(reason: str, code: int) -> str:
    if not code:
        return ""
    plain = "" if reason in ("", "Error", "Completed") else f" ({reason})"
    return f"exit {code}{plain}"


def _explain_task(task_run: Object, state: RunState, failed: TaskStep | None) -> str:
    if state is RunState.SUCCEEDED:
        return ""
    if failed and state is RunState.FAILED:
        return f"{failed.why} in step {failed.name}"
    found = condition(task_run, "Succeeded")
    reason, message = str(found.get("reason") or ""), _to_line(found.get("message"))
    if state is RunState.RUNNING and reason in ("Running", "Started", ""):
        return ""
    return message or reason


def _explain_run(pipeline_run: Object, state: RunState, tasks: Sequence[TaskState]) -> str:
    if state in (RunState.SUCCEEDED, RunState.RUNNING):
        return ""
    if state is RunState.SUPERSEDED:
        name = _read_superseder(pipeline_run.get("metadata") or {})
        told = next((each.why for each in tasks if each.state is RunState.SUPERSEDED), SUPERSEDED)
        return f"superseded by {name}" if name else told
    failed = next((each for each in tasks if each.state.is_bad), None)
    if failed and state is RunState.FAILED:
        return f"failed in {failed.name}: {failed.why}"
    if failed and failed.state is RunState.TIMED_OUT:
        return f"timed out in {failed.name}: {failed.why}"
    found = condition(pipeline_run, "Succeeded")
    return ": ".join(filter(None, (str(found.get("reason") or ""), _to_line(found.get("message")))))


def _list_tasks(status: Mapping[str, Any], started: Mapping[str, Sequence[TaskState]]) -> tuple[TaskState, ...]:
    """The pipeline's order; before Tekton has resolved the pipeline, the order of their start."""
    spec = status.get("pipelineSpec") or {}
    planned = [*(spec.get("tasks") or ()), *(spec.get("finally") or ())]
    skipped = {each.get("name"): str(each.get("reason") or "") for each in status.get("skippedTasks") or ()}
    made: dict[str, Sequence[TaskState]] = {}
    for task in planned:
        name = str(task.get("name") or "")
        if name in started:
            made[name] = started[name]
        elif name in skipped:
            made[name] = [TaskState(name, RunState.SKIPPED, _explain_skip(task, made) or skipped[name])]
        else:
            made[name] = [TaskState(name, RunState.PENDING)]
    last = datetime.max.replace(tzinfo=UTC)
    unplanned = [each for name, tasks in started.items() if name not in made for each in tasks]
    others = sorted(unplanned, key=lambda task: task.started or last)
    return (*(each for tasks in made.values() for each in tasks), *others)


def _explain_skip(task: Mapping[str, Any], earlier: Mapping[str, Sequence[TaskState]]) -> str:
    """ "needs build-image" for a task that could not follow; "" for another reason."""
    needed = [*(task.get("runAfter") or ()), *re.findall(r"\$\(tasks\.([a-z0-9-]+)\.results", str(task))]
    for name in needed:
        before = next((each for each in earlier.get(name, ()) if each.state is not RunState.SUCCEEDED), None)
        if before and before.state is RunState.SKIPPED and before.why.startswith("needs "):
            return before.why
        if before:
            return f"needs {name}"
    return ""


def _find_commit(
    metadata: Mapping[str, Any], params: Mapping[str, str], results: Mapping[str, str], tasks: Sequence[TaskState]
) -> str:
    """The pipeline's result, else what a task has found out already, else what was asked for if it is an id."""
    found = [
        results.get("commit", ""),
        *(each.results.get("commit", "") for each in tasks),
        _read_mark(metadata, COMMIT),
    ]
    asked = params.get("REVISION", "")
    return next(filter(None, found), asked if SHA.fullmatch(asked) else "").strip()


def _find_branch(metadata: Mapping[str, Any], params: Mapping[str, str]) -> str:
    asked = params.get("REVISION", "").removeprefix("refs/heads/")
    return _read_mark(metadata, BRANCH) or ("" if SHA.fullmatch(asked) else asked)


def _find_image(params: Mapping[str, str], results: Mapping[str, str], tasks: Sequence[TaskState]) -> str:
    for each in (results, *(task.results for task in tasks)):
        if "@sha256:" in each.get("image", ""):
            return each["image"].strip()
        digest = (each.get("image-digest") or each.get("digest") or "").strip()
        if digest.startswith("sha256:") and params.get("IMAGE"):
            return f"{_strip_tag(params['IMAGE'])}@{digest}"
    given = params.get("DIGEST", "")
    return f"{_strip_tag(params.get('IMAGE', ''))}@{given}" if given.startswith("sha256:") else ""


def _strip_tag(image: str) -> str:
    """Without tag and digest; a registry's port stays."""
    path, _, last = image.partition("@")[0].rpartition("/")
    return f"{path}/{last.partition(':')[0]}" if path else last.partition(":")[0]


def _read_superseder(metadata: Mapping[str, Any]) -> str:
    return str(at(metadata, "annotations", SUPERSEDED_BY) or "")


def _read_mark(metadata: Mapping[str, Any], key: str) -> str:
    """An annotation, else the label of that name: labels may have been shortened."""
    return str(at(metadata, "annotations", key) or at(metadata, "labels", key) or "")


def _read_pairs(entries: Iterable[Mapping[str, Any]] | None) -> dict[str, str]:
    return {str(each["name"]): str(each.get("value", "")) for each in entries or () if "name" in each}


def _to_line(text: object) -> str:
    return " ".join(str(text or "").split())


def _parse_time(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text)) if text else None
    except ValueError:
        return None


def _count_seconds(start: datetime | None, end: datetime | None) -> float | None:
    return (end - start).total_seconds() if start and end else None
