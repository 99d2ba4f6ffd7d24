"""What the page shows, read from the World: documents for JSON, and logs as text. Changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from bootstrap import flows, following, running
from bootstrap.console.advice import advise
from bootstrap.console.cache import Cache
from bootstrap.console.masking import presentable
from bootstrap.converge import Outcome
from bootstrap.errors import BootstrapError, NotFound
from bootstrap.model import Object, Secret
from bootstrap.readiness import at
from bootstrap.runs import Run, State, TaskState
from bootstrap.world import World

Document = dict[str, Any]
LATEST_RUNS = 50
LOG_CHARACTERS = 200_000
"""Of one task, its end: what a page can show without becoming slow."""


class Readings:
    """look: checks every step of the environment. All texts are cleaned, and known secrets masked.

    Every method raises BootstrapError; reads are kept for a moment (see Cache).
    """

    def __init__(self, world: World, look: Callable[[], Sequence[Outcome]]) -> None:
        self._world = world
        self._look = look
        self._cache = Cache(world.clock.now)

    def status(self) -> Document:
        """{"name", "context", "kubeconfig", "supply", "endpoints", "steps", "serving", "next", "read"}.

        read: when the steps were looked at, which may be a while ago where looking takes long.
        """
        outcomes, read = self._cache.get("steps", lambda: (self._look(), datetime.now(UTC)))
        try:
            runs = self._runs()
        except BootstrapError:
            runs = None
        advice = advise(outcomes, runs, _flags(self._world))
        document = flows.describe(self._world, outcomes) | {
            "serving": self._cache.get("serving", lambda: serving(self._world)),
            "next": {"command": advice.command, "why": advice.why},
            "read": read.isoformat(timespec="seconds"),
        }
        return self._presentable(document)

    def runs(self) -> Document:
        """{"runs": [...], "left_out": int}, newest first, each as in `invoke runs --json`."""
        found, now = self._runs(), datetime.now(UTC)
        rows = [running.as_row(run, now) for run in found[:LATEST_RUNS]]
        return self._presentable({"runs": rows, "left_out": max(0, len(found) - LATEST_RUNS)})

    def run(self, name: str) -> Document:
        """The row of a run, with "tasks" and "params". Raises NotFound."""
        run, now = self._run(name), datetime.now(UTC)
        more = {"over": run.state.over, "params": run.params, "tasks": [_task(task, now) for task in run.tasks]}
        return self._presentable(running.as_row(run, now) | more)

    def log(self, name: str, task: str = "") -> str:
        """What the tasks of a run printed so far, or one of them (its end, if it is long). Raises NotFound."""
        run = self._run(name)
        if not task:
            return self._text(self._cache.get(("log", name), lambda: self._whole(run)))
        found = run.task(task)
        if found is None:
            raise NotFound(f"run {name} has no task {task}", hint=f"invoke logs --run {name}")
        text = self._cache.get(("log", name, task), lambda: "\n".join(self._lines(run, found)))
        return self._text(_end_of(text, f"invoke logs --run {name}{_flags(self._world)}"))

    def _runs(self) -> list[Run]:
        return self._cache.get("runs", lambda: running.all_runs(self._world))

    def _run(self, name: str) -> Run:
        return self._cache.get(("run", name), lambda: following.read(self._world, name))

    def _whole(self, run: Run) -> str:
        return "\n".join(f"[{task.name}] {line}" for task in run.tasks for line in self._lines(run, task))

    def _lines(self, run: Run, task: TaskState) -> Iterator[str]:
        """Step by step; those that have not started have no log to ask for."""
        steps = [step for step in task.steps if step.state not in (State.PENDING, State.SKIPPED)]
        for step in steps:
            if len(task.steps) > 1:
                yield f"--- step {step.name}"
            lines: list[str] = []
            only = replace(run, tasks=(replace(task, steps=(step,)),))
            following.log_text(self._world, only, lambda _, line: lines.append(line))  # noqa: B023
            yield from lines

    def _secrets(self) -> list[Secret]:
        config = self._world.config
        given = (config.registry.password, config.git.password, config.notify.url)
        return [*(secret for secret in given if secret), *self._world.identity.passwords()]

    def _presentable(self, document: Document) -> Document:
        found: Document = presentable(document, self._secrets())
        return found

    def _text(self, text: str) -> str:
        return str(presentable(text, self._secrets()))


def serving(world: World) -> Document:
    """{"deployment", "namespace", "answer", "image", "pods", "why"}: what the pipeline's target serves now.

    answer: the JSON of /version, {} without one; why: the reason, "" if there is an answer.
    """
    target, name = world.config.target, world.config.pipeline.deployment
    document: Document = {"deployment": name, "namespace": target.namespace}
    try:
        found = world.target.get("apps/v1", "Deployment", name, target.namespace)
        if found is None:
            return document | _nothing("it is not deployed yet")
        document |= {"image": _image(found, world.config.pipeline.container), "pods": _pods(found)}
        answer = json.loads(world.target.proxy_get(target.namespace, name, 80, "/version"))
    except BootstrapError as error:
        return _nothing(error.message) | document
    except ValueError:
        return _nothing("/version does not answer JSON") | document
    return document | {"answer": answer if isinstance(answer, dict) else {"version": answer}, "why": ""}


def _nothing(why: str) -> Document:
    return {"answer": {}, "image": "", "pods": "", "why": why}


def _image(deployment: Object, container: str) -> str:
    found = at(deployment, "spec", "template", "spec", "containers") or []
    return next((str(each.get("image", "")) for each in found if each.get("name") == container), "")


def _pods(deployment: Object) -> str:
    ready, wanted = at(deployment, "status", "readyReplicas") or 0, at(deployment, "spec", "replicas")
    return f"{ready} of {1 if wanted is None else wanted} ready"


def _task(task: TaskState, now: datetime) -> Document:
    seconds = task.seconds
    if seconds is None and task.started:
        seconds = (now - task.started).total_seconds()
    return {
        "name": task.name,
        "state": task.state.value,
        "over": task.state.over,
        "why": task.why,
        "seconds": None if seconds is None else round(seconds),
        "has_log": bool(task.pod) and any(step.state not in (State.PENDING, State.SKIPPED) for step in task.steps),
        "steps": [{"name": each.name, "state": each.state.value, "why": each.why} for each in task.steps],
        "results": dict(task.results),
    }


def _end_of(text: str, command: str) -> str:
    if len(text) <= LOG_CHARACTERS:
        return text
    end = text[-LOG_CHARACTERS:].partition("\n")[2]
    return f"(earlier lines are left out; all of them: {command})\n{end}"


def _flags(world: World) -> str:
    """What a command needs in order to mean this environment."""
    name = world.config.name
    return f" --name {name}" if world.config.origin("name").startswith("--") else ""
