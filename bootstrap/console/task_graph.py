"""The graph of a run's tasks: which task needs which, and in which column each is drawn. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bootstrap.core.model import Object
from bootstrap.objects.readiness import at

_RESULT = re.compile(r"\$\(tasks\.([a-z0-9-]+)\.(?:results|outputs)\b")


@dataclass(frozen=True)
class PlannedTask:
    """A task of a pipeline. needs: names of the tasks that must end before it starts. last: whether it is a task of
    `finally`."""

    name: str
    needs: tuple[str, ...] = ()
    last: bool = False


Plan = tuple[PlannedTask, ...]


def read_plan(pipeline_run: Object) -> Plan:
    """The tasks of a PipelineRun in the pipeline's order, `finally` last; () until Tekton has resolved the pipeline."""
    spec = at(pipeline_run, "status", "pipelineSpec") or {}
    tasks, last = spec.get("tasks") or (), spec.get("finally") or ()
    names = {str(each.get("name")) for each in tasks}
    ordinary = [PlannedTask(str(each.get("name") or ""), _needs(each, names)) for each in tasks]
    return (*ordinary, *(PlannedTask(str(each.get("name") or ""), (), True) for each in last))


def arrange_columns(plan: Sequence[PlannedTask], others: Iterable[str] = ()) -> list[list[str]]:
    """Names of tasks, column by column from left to right.

    Each task stands in the first column to the right of all that it needs; `finally` is the last column. others: tasks
    that the plan does not have (they stand in the first column, since what they need is not known).
    """
    depth: dict[str, int] = {}
    by_name = {each.name: each for each in plan if not each.last}

    def measure_depth(name: str, path: frozenset[str]) -> int:
        if name not in depth:
            before = [each for each in by_name[name].needs if each in by_name and each not in path]
            depth[name] = 1 + max((measure_depth(each, path | {name}) for each in before), default=-1)
        return depth[name]

    for name in by_name:
        measure_depth(name, frozenset())
    known = {each.name for each in plan}
    levels = range(max(depth.values(), default=-1) + 1)
    by_depth = [[name for name in by_name if depth[name] == level] for level in levels]
    unknown = [each for each in others if each not in known]
    last = [each.name for each in plan if each.last]
    return [column for column in ([*unknown, *(by_depth[0] if by_depth else [])], *by_depth[1:], last) if column]


def _needs(task: Mapping[str, Any], names: set[str]) -> tuple[str, ...]:
    needed = [*(str(each) for each in task.get("runAfter") or ()), *_RESULT.findall(str(task))]
    return tuple(name for name in dict.fromkeys(needed) if name in names and name != task.get("name"))
