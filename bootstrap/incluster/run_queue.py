"""The order of runs: of each application and environment the newest arrival wins, and so many build at a time. Pure.

A run of an application is created pending. It is given a number when it is first seen; whatever was created later has a
larger one. From then on its number decides, not which run is quicker.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from bootstrap.incluster.applications import IMAGE_PIPELINE
from bootstrap.incluster.run_names import APPLICATION, ARRIVAL, COMMIT, ENVIRONMENT, SUPERSEDED_BY, TRIGGER

DEPLOY = "deploy"
"""The task of the pipeline from which on a run is no longer ended by a newer one."""


class Phase(Enum):
    """What a run is at."""

    WAITS = "waits"
    BUILDS = "builds"
    DEPLOYS = "deploys"
    OVER = "over"


@dataclass(frozen=True)
class QueuedRun:
    """A run as far as its order is concerned.

    created: RFC 3339, to the second. version: the resource version when it was first seen, which orders those of one
    second. arrival: 0 until it has a number. by: push, poll or hand. succeeded: meaningful when it is over. builds:
    False of one that deploys an image which is there already.
    """

    name: str
    application: str
    environment: str
    commit: str
    by: str
    created: str
    version: int
    arrival: int
    phase: Phase
    superseded: bool = False
    succeeded: bool = False
    branch: str = ""
    ended: str = ""
    why: str = ""
    builds: bool = True

    @property
    def place(self) -> tuple[str, str]:
        """(application, environment)."""
        return self.application, self.environment


@dataclass(frozen=True)
class Number:
    """Give a run its number."""

    run: str
    arrival: int


@dataclass(frozen=True)
class Release:
    """Let a waiting run begin."""

    run: str


@dataclass(frozen=True)
class Supersede:
    """End a run because of another one. same: that one is of the same commit, so nothing is lost. begun: it builds."""

    run: str
    by: str
    begun: bool
    same: bool = False


Action = Number | Release | Supersede


def read_run(obj: Mapping[str, Any]) -> QueuedRun:
    """What a PipelineRun of an application says about its order."""
    metadata, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    condition: Mapping[str, Any] = next(
        (each for each in status.get("conditions") or () if each["type"] == "Succeeded"), {}
    )
    begun = {each.get("pipelineTaskName") for each in status.get("childReferences") or ()}
    if condition.get("status") in ("True", "False"):
        phase = Phase.OVER
    elif spec.get("status") == "PipelineRunPending":
        phase = Phase.WAITS
    else:
        phase = Phase.DEPLOYS if DEPLOY in begun else Phase.BUILDS
    return QueuedRun(
        name=metadata["name"],
        application=labels.get(APPLICATION, ""),
        environment=labels.get(ENVIRONMENT, ""),
        commit=annotations.get(COMMIT) or labels.get(COMMIT, ""),
        by=labels.get(TRIGGER, ""),
        created=metadata.get("creationTimestamp") or "",
        version=int(metadata.get("resourceVersion") or 0),
        arrival=int(annotations.get(ARRIVAL) or 0),
        phase=phase,
        superseded=bool(annotations.get(SUPERSEDED_BY)),
        succeeded=condition.get("status") == "True",
        branch=annotations.get("tekton-bootstrap.dev/branch", ""),
        ended=status.get("completionTime") or "",
        why=str(condition.get("message") or ""),
        builds=(spec.get("pipelineRef") or {}).get("name") != IMAGE_PIPELINE,
    )


def plan_queue(
    runs: Iterable[QueuedRun], builds: int, now: int, moved: Mapping[str, str] | None = None
) -> list[Action]:
    """What is to be done now, in this order. builds: how many may build at a time. now: milliseconds since 1970.

    moved: runs whose branch is at another commit by now, with that commit: their event came late, or came again.

    Doing it and planning again ends with an empty list.
    """
    known = {each.name: each for each in runs}
    actions = [*_number(known, now, moved or {})]
    actions += _supersede(known)
    actions += _release(known, builds)
    return actions


def _number(known: dict[str, QueuedRun], now: int, moved: Mapping[str, str]) -> Iterable[Action]:
    """Number what has none, in the order of creation.

    What repeats the newest arrival is not numbered but ended, and so is what came late, unless nothing else is there.
    What was promoted or gone back to is no arrival of a commit: a webhook that is sent again, of the commit that was
    left, would undo it.
    """
    last = max((each.arrival for each in known.values()), default=0)
    fresh = [each for each in known.values() if not each.arrival and each.phase is Phase.WAITS and not each.superseded]
    for run in sorted(fresh, key=lambda each: (each.name in moved, each.created, each.version)):
        newest = find_newest(known.values(), run.place)
        built = find_newest([each for each in known.values() if each.builds], run.place)
        same = built is not None and run.by != "hand" and built.commit == run.commit
        later = built if same else newest if run.name in moved else None
        if later:
            known[run.name] = replace(run, superseded=True, phase=Phase.OVER)
            yield Supersede(run.name, later.name, begun=False, same=same)
            continue
        last = max(last + 1, now)
        known[run.name] = replace(run, arrival=last)
        yield Number(run.name, last)


def _supersede(known: dict[str, QueuedRun]) -> Iterable[Action]:
    arrived = [each for each in known.values() if each.arrival and not each.superseded]
    for run in [each for each in arrived if each.phase in (Phase.WAITS, Phase.BUILDS)]:
        newest = find_newest(known.values(), run.place)
        if newest and run.arrival < newest.arrival:
            yield Supersede(run.name, newest.name, begun=run.phase is Phase.BUILDS)
            known[run.name] = replace(run, superseded=True, phase=Phase.OVER)


def _release(known: Mapping[str, QueuedRun], builds: int) -> Iterable[Action]:
    """What builds nothing does not wait for those that do: who rolls back is in a hurry."""
    busy = sum(each.builds and each.phase in (Phase.BUILDS, Phase.DEPLOYS) for each in known.values())
    free = max(0, builds - busy)
    for run in list_waiting(known.values()):
        if run.builds and not free:
            continue
        free -= run.builds
        yield Release(run.name)


def list_waiting(runs: Iterable[QueuedRun]) -> list[QueuedRun]:
    """The queue: runs that have a number and wait, the newest first."""
    waiting = [each for each in runs if each.arrival and each.phase is Phase.WAITS and not each.superseded]
    return sorted(waiting, key=lambda each: -each.arrival)


def find_newest(runs: Iterable[QueuedRun], place: tuple[str, str]) -> QueuedRun | None:
    """The newest arrival of an application and environment; None if nothing has arrived."""
    arrived = [each for each in runs if each.place == place and each.arrival]
    return max(arrived, key=lambda each: each.arrival, default=None)
