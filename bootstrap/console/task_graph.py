"""The graph of a run's tasks: which needs which, and in which column each one stands. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bootstrap.core.model import Object
from bootstrap.objects.readiness import at

_RESULT = re.compile(r"\$\(tasks\.([a-z0-9-]+)\.(?:results|outputs)\b")


@dataclass(frozen=True)
class Planned:
    """A task as its pipeline has it. needs: tasks that must end before. last: it is one of `finally`."""

    name: str
    needs: tuple[str, ...] = ()
    last: bool = False


Plan = tuple[Planned, ...]


def plan_of(pipeline_run: Object) -> Plan:
    """In the pipeline's order, `finally` last; () as long as Tekton has not resolved the pipeline."""
    spec = at(pipeline_run, "status", "pipelineSpec") or {}
    tasks, last = spec.get("tasks") or (), spec.get("finally") or ()
    names = {str(each.get("name")) for each in tasks}
    made = [Planned(str(each.get("name") or ""), _needs(each, names)) for each in tasks]
    return (*made, *(Planned(str(each.get("name") or ""), (), True) for each in last))


def columns(plan: Sequence[Planned], others: Iterable[str] = ()) -> list[list[str]]:
    """Names from left to right: each task in the first column that is right of all it needs, `finally` at the end.

    others: tasks that the plan does not have; they come first, for nothing is known of them.
    """
    depth: dict[str, int] = {}
    by_name = {each.name: each for each in plan if not each.last}

    def deep(name: str, path: frozenset[str]) -> int:
        if name not in depth:
            before = [each for each in by_name[name].needs if each in by_name and each not in path]
            depth[name] = 1 + max((deep(each, path | {name}) for each in before), default=-1)
        return depth[name]

    for name in by_name:
        deep(name, frozenset())
    known = {each.name for each in plan}
    found = [[name for name in by_name if depth[name] == level] for level in range(max(depth.values(), default=-1) + 1)]
    unknown = [each for each in others if each not in known]
    last = [each.name for each in plan if each.last]
    return [column for column in ([*unknown, *(found[0] if found else [])], *found[1:], last) if column]


def _needs(task: Mapping[str, Any], names: set[str]) -> tuple[str, ...]:
    needed = [*(str(each) for each in task.get("runAfter") or ()), *_RESULT.findall(str(task))]
    return tuple(name for name in dict.fromkeys(needed) if name in names and name != task.get("name"))
