"""The manager's handlers. Watching, retries and Events are kopf's; what is to be done stands in the other modules.

It keeps nothing of its own: what it knows is in the Applications and runs, so it may be killed at any point. It puts no
finalizer on Applications, so that one can be deleted while the manager is away; what was derived from it goes by
ownerReferences.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import kopf

from bootstrap.incluster.applications import (
    GROUP,
    PLURAL,
    VERSION,
    Application,
    ApplicationFault,
    find_faults,
    make_run,
    make_run_name,
    read_application,
)
from bootstrap.incluster.json_object import Object
from bootstrap.incluster.kube_api import Api, ApiFailure
from bootstrap.incluster.poll import RepositoryUnreadable
from bootstrap.incluster.run_names import APPLICATION
from bootstrap.incluster.run_queue import Action, Number, Phase, QueuedRun, Release, plan_queue, read_run
from bootstrap.manager.application_status import make_status
from bootstrap.manager.branch_heads import Arrival, find_arrivals, find_interval
from bootstrap.manager.cluster import Cluster, ClusterFailure
from bootstrap.manager.derived_objects import list_namespaces
from bootstrap.manager.repositories import Repositories

RUNS = ("tekton.dev", "v1", "pipelineruns")
APPLICATIONS = (GROUP, VERSION, PLURAL)
OF_APPLICATIONS = {APPLICATION: kopf.PRESENT}
RETRY_SECONDS, REFUSED_SECONDS = 10.0, 60.0
TICK_SECONDS = 5.0
HEAD_SECONDS = 5.0
"""Limit for the look at a branch whose push has just arrived."""
NAMESPACES_SECONDS = 10.0
"""How often it is looked whether the namespaces of applications are still there."""
GRACE_SECONDS = 15.0
"""How long the event of a push has to start its run, before the manager does."""
LOG = logging.getLogger("manager")


@dataclass(frozen=True)
class Settings:
    """registry: HOST[:PORT][/PATH] of images. builds: how many runs go on at a time. token_hours: life of a token.

    run: a PipelineRun with the environment's settings in it.
    """

    registry: str
    builds: int
    token_hours: int
    run: Object

    @staticmethod
    def read(path: Path) -> Settings:
        """From the JSON document that `up` writes."""
        found = json.loads(path.read_text())
        return Settings(found["registry"], found["builds"], found["tokenHours"], found["run"])


@dataclass
class Desk:
    """What the handlers share.

    done: what was done with runs of which the watch has not told yet. told: Application -> the status that was written
    last. renew: Application -> when its tokens are to be renewed, seconds since the epoch. heads: Application -> branch
    -> commit, as last looked at; looked: when that was. runs: all, as of the last event. unreadable: Applications whose
    repository was not read at the last look. missed: Application -> heads that had no run at the last look. left: the
    indexes, if something of the last pass is to be done again. namespaces: name -> uid, as of the last look, which was
    at namespaces_looked.
    """

    settings: Settings
    cluster: Cluster
    repositories: Repositories
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    done: dict[str, QueuedRun] = field(default_factory=dict)
    told: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    renew: dict[str, float] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=dict)
    heads: dict[str, Mapping[str, str]] = field(default_factory=dict)
    looked: dict[str, float] = field(default_factory=dict)
    runs: list[QueuedRun] = field(default_factory=list)
    known: dict[str, Application] = field(default_factory=dict)
    unreadable: set[str] = field(default_factory=set)
    missed: dict[str, list[Arrival]] = field(default_factory=dict)
    namespaces: dict[str, str] = field(default_factory=dict)
    namespaces_looked: float = 0.0
    left: tuple[kopf.Index[str, Any], kopf.Index[str, Any]] | None = None
    ticking: asyncio.Task[None] | None = None


@kopf.on.startup()
async def start(settings: kopf.OperatorSettings, memo: kopf.Memo, **_: Any) -> None:
    """Read the settings, and let kopf keep its notes under our own prefix."""
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=GROUP, key="last-handled")
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
    settings.posting.loggers = False  # Events are what we say, not each step of the framework
    settings.scanning.disabled = True  # no kind and no namespace comes later
    settings.watching.server_timeout = 300
    settings.execution.max_workers = 4
    for name in ("aiohttp.access", "kopf.objects"):  # each probe, and each handler that had nothing to do
        logging.getLogger(name).setLevel(logging.WARNING)
    namespace = os.environ["NAMESPACE"]
    found = Settings.read(Path(os.environ["SETTINGS"]))
    login = Path(os.environ["CREDENTIALS"])
    cluster = Cluster(Api.from_environ(os.environ), namespace, token_seconds=found.token_hours * 3600, login=login)
    memo.desk = Desk(found, cluster, Repositories(os.environ))
    memo.desk.ticking = asyncio.create_task(_tick(memo.desk))


@kopf.index(*APPLICATIONS)
def applications(body: kopf.Body, memo: kopf.Memo, **_: Any) -> Mapping[str, Any]:
    """Name -> (when it was created, the Application, or None for one that cannot be read)."""
    name, created = str(body.metadata.name), str(body.metadata.creation_timestamp or "")
    try:
        return {name: (created, read_application(body, memo.desk.settings.registry))}
    except ApplicationFault:
        return {name: (created, None)}


@kopf.index(*RUNS, labels=OF_APPLICATIONS)
def runs(body: kopf.Body, **_: Any) -> Mapping[str, Any]:
    """Name -> the run."""
    found = read_run(body)
    return {found.name: found}


@kopf.on.resume(*APPLICATIONS)
@kopf.on.create(*APPLICATIONS)
@kopf.on.update(*APPLICATIONS, field="spec")  # type: ignore[arg-type]
async def settle_application(
    body: kopf.Body, memo: kopf.Memo, applications: kopf.Index[str, Any], runs: kopf.Index[str, Any], **_: Any
) -> None:
    """Make what an Application needs, or say why that cannot be."""
    desk: Desk = memo.desk
    generation = int(body["metadata"].get("generation") or 0)
    try:
        application = read_application(body, desk.settings.registry)
        faults = find_faults(application, _list_older(applications, body))
    except ApplicationFault as error:
        await _write_condition(desk, str(body.metadata.name), "Refused", str(error), generation)
        raise kopf.PermanentError(str(error)) from None
    desk.faults[application.name] = faults
    if application.name not in desk.heads and isinstance(body.status.get("heads"), Mapping):
        desk.heads[application.name] = dict(body.status["heads"])
    if faults:
        await asyncio.to_thread(desk.cluster.refuse, application)
        await _write_condition(desk, application.name, "Refused", "; ".join(faults), generation)
        await keep_order(desk, applications, runs)
        # what it claims may be given up by the other one
        raise kopf.TemporaryError("; ".join(faults), delay=REFUSED_SECONDS)
    try:
        desk.renew[application.name] = await asyncio.to_thread(desk.cluster.settle, application)
    except (ClusterFailure, ApiFailure) as error:
        why = error.strerror if isinstance(error, ApiFailure) else str(error)
        await _write_condition(desk, application.name, "Unsettled", str(why), generation)
        raise kopf.TemporaryError(str(why), delay=RETRY_SECONDS) from None
    await _write_condition(desk, application.name, "Settled", describe(application), generation)
    kopf.info(body, reason="Settled", message=describe(application))
    await keep_order(desk, applications, runs)


def describe(application: Application) -> str:
    """What an Application has got, in one sentence."""
    places = ", ".join(f"{each.name} in {each.namespace}" for each in application.environments)
    branches = ", ".join(dict.fromkeys(branch for each in application.environments for branch in each.branches))
    starts = f"pushes to {branches} start runs" if application.webhook and branches else "runs start by hand"
    return f"{starts}; deployed to {places}"


def _list_older(index: kopf.Index[str, Any], body: kopf.Body) -> list[Application]:
    """The Applications that were there before: of two that claim one thing, the first has it."""
    created = (str(body.metadata.creation_timestamp or ""), str(body.metadata.name))
    return [found for when, found in _values(index) if found and (when, found.name) < created]


def _values(index: kopf.Index[str, Any]) -> list[Any]:
    return [value for store in index.values() for value in store]


@kopf.on.event(*RUNS, labels=OF_APPLICATIONS)  # type: ignore[arg-type]
async def order_runs(memo: kopf.Memo, applications: kopf.Index[str, Any], runs: kopf.Index[str, Any], **_: Any) -> None:
    """Something happened to a run: number, release and supersede."""
    await keep_order(memo.desk, applications, runs)


@kopf.on.event(*APPLICATIONS)  # type: ignore[arg-type]
async def watch_applications(
    event: kopf.RawEvent,
    name: str,
    memo: kopf.Memo,
    applications: kopf.Index[str, Any],
    runs: kopf.Index[str, Any],
    **_: Any,
) -> None:
    """An Application that is deleted takes its unfinished runs with it."""
    if event["type"] == "DELETED":
        desk: Desk = memo.desk
        for held in (desk.told, desk.renew, desk.faults, desk.heads, desk.looked, desk.missed):
            held.pop(name, None)
        desk.unreadable.discard(name)
        await keep_order(desk, applications, runs)


async def _tick(desk: Desk) -> None:
    """What is due by the clock. Timers of kopf's would put a finalizer on every Application."""
    while True:
        await asyncio.sleep(TICK_SECONDS)
        await _do_what_is_due(desk)


async def _do_what_is_due(desk: Desk) -> None:
    if desk.left:
        await keep_order(desk, *desk.left)
    if time.time() >= desk.namespaces_looked + NAMESPACES_SECONDS:
        desk.namespaces_looked = time.time()
        await _replace_lost_namespaces(desk)
    for application in [*desk.known.values()]:
        if desk.faults.get(application.name):
            continue
        try:
            if time.time() >= desk.renew.get(application.name, float("inf")):
                desk.renew[application.name] = await asyncio.to_thread(desk.cluster.renew_tokens, application)
            await _look_at_heads(desk, application)
        except RepositoryUnreadable as error:
            await _tell_unreadable(desk, application, str(error))
        except ApiFailure as error:
            LOG.warning("application %s: %s", application.name, error.strerror)
        except Exception:  # the tokens of all others are renewed here
            LOG.exception("application %s", application.name)


async def _replace_lost_namespaces(desk: Desk) -> None:
    """Settle again what was settled in a namespace that was deleted since: with it account and rights are gone."""
    try:
        found = await asyncio.to_thread(desk.cluster.read_namespaces)
    except ApiFailure as error:
        LOG.warning("namespaces: %s", error.strerror)
        return
    failed: set[str] = set()
    for application in [*desk.known.values()]:
        needed = list_namespaces(application)
        lost = [each for each in needed if each not in found or desk.namespaces.get(each, found[each]) != found[each]]
        if not lost or application.name not in desk.renew or desk.faults.get(application.name):
            continue
        try:
            desk.renew[application.name] = await asyncio.to_thread(desk.cluster.settle, application)
            LOG.info("application %s: namespace %s was deleted, and is made again", application.name, ", ".join(lost))
        except (ClusterFailure, ApiFailure) as error:
            LOG.warning("application %s: %s", application.name, error)
            failed |= set(lost)
    desk.namespaces = {name: desk.namespaces.get(name, uid) if name in failed else uid for name, uid in found.items()}


async def _look_at_heads(desk: Desk, application: Application) -> None:
    """Start runs for heads that have none. Raises ApiFailure, RepositoryUnreadable."""
    interval = find_interval(application)
    if not interval or time.time() < desk.looked.get(application.name, 0) + interval:
        return
    desk.looked[application.name] = time.time()
    heads, quiet = await asyncio.to_thread(desk.repositories.read_heads, application)
    if application.name in desk.unreadable:
        desk.unreadable.discard(application.name)
        await _write_condition(desk, application.name, "Settled", describe(application))
    known = desk.heads.get(application.name)
    arrivals = find_arrivals(application, heads, known, quiet, desk.runs)
    if application.webhook and arrivals and arrivals != desk.missed.get(application.name):
        desk.missed[application.name] = arrivals  # their event may be under way
        desk.looked[application.name] = time.time() - interval + GRACE_SECONDS
        return
    desk.missed.pop(application.name, None)
    for each in arrivals:
        name = make_run_name(application, each.environment, each.commit, f"{int(time.time() * 1000):x}"[-8:])
        by = "poll" if application.poll else "push"
        run = make_run(
            desk.settings.run,
            application,
            each.environment,
            name=name,
            branch=each.branch,
            commit=each.commit,
            by=by,
        )
        await asyncio.to_thread(desk.cluster.create_run, run)
        LOG.info("%s is at %s: run %s", each.branch, each.commit[:12], name)
    desk.heads[application.name] = heads
    if heads != known:
        await asyncio.to_thread(desk.cluster.write_status, application.name, {"heads": _make_heads_patch(heads, known)})


def _make_heads_patch(heads: Mapping[str, str], known: Mapping[str, str] | None) -> dict[str, str | None]:
    """A merge patch: branches that are gone are set to null."""
    return {**dict.fromkeys(known or ()), **heads}


async def _tell_unreadable(desk: Desk, application: Application, why: str) -> None:
    LOG.warning("%s cannot be read: %s", application.url, why)
    desk.unreadable.add(application.name)
    await _write_condition(desk, application.name, "Unreadable", f"{application.url} cannot be read: {why}")


async def keep_order(desk: Desk, applications: kopf.Index[str, Any], runs: kopf.Index[str, Any]) -> None:
    """Do what the queue asks for now, and write what became of it into the Applications."""
    async with desk.lock:
        desk.left = None
        known = {found.name: found for _, found in _values(applications) if found}
        there = {str(name) for name in applications}
        desk.known = known
        seen = {each.name: _merge(each, desk.done.get(each.name)) for each in _values(runs)}
        desk.done = {name: done for name, done in desk.done.items() if name in seen}
        for run in seen.values():
            if run.application not in there and run.phase is not Phase.OVER and not run.superseded:
                try:
                    await asyncio.to_thread(desk.cluster.cancel, run.name)
                except ApiFailure as error:
                    LOG.warning("run %s: %s", run.name, error.strerror)
                    desk.left = applications, runs
                    continue
                desk.done[run.name] = replace(run, superseded=True)
        desk.runs = [*seen.values()]
        wanted = [each for each in seen.values() if each.application in known]
        moved = await _find_moved(desk, wanted)
        for action in plan_queue(wanted, desk.settings.builds, int(time.time() * 1000), moved):
            try:
                await asyncio.to_thread(desk.cluster.act, action)
            except ApiFailure as error:
                LOG.warning("run %s: %s", action.run, error.strerror)
                desk.left = applications, runs
                break  # the order of what follows depends on it; the next event or tick goes on
            seen[action.run] = desk.done[action.run] = _note(seen[action.run], action)
            LOG.info("%s", action)
        if not await _write_statuses(desk, known, [*seen.values()]):
            desk.left = applications, runs


async def _find_moved(desk: Desk, runs: list[QueuedRun]) -> dict[str, str]:
    """New runs of pushes whose branch is at another commit by now, with that commit.

    A delivery may wait for hours, and a git host sends an old one again when asked to: neither may deploy over what
    came later. A repository that does not answer soon is not waited for.
    """

    async def read_head(run: QueuedRun) -> str:
        application = desk.known[run.application]
        try:
            reading = asyncio.to_thread(desk.repositories.read_heads, application)
            heads, _ = await asyncio.wait_for(reading, HEAD_SECONDS)
        except (RepositoryUnreadable, TimeoutError):
            return run.commit
        return str(heads.get(run.branch, run.commit))

    fresh = [
        each
        for each in runs
        if each.by == "push" and each.phase is Phase.WAITS and not each.arrival and not each.superseded
    ]
    heads = await asyncio.gather(*map(read_head, fresh))
    return {run.name: head for run, head in zip(fresh, heads, strict=True) if head != run.commit}


def _note(run: QueuedRun, action: Action) -> QueuedRun:
    """The run as it is after the action."""
    if isinstance(action, Number):
        return replace(run, arrival=action.arrival)
    if isinstance(action, Release):
        return replace(run, phase=Phase.BUILDS)
    return replace(run, superseded=True)


def _merge(seen: QueuedRun, done: QueuedRun | None) -> QueuedRun:
    """A run as the watch tells it, with what was done since."""
    if done is None:
        return seen
    phase = done.phase if seen.phase is Phase.WAITS else seen.phase
    return replace(
        seen, arrival=seen.arrival or done.arrival, phase=phase, superseded=seen.superseded or done.superseded
    )


async def _write_statuses(desk: Desk, known: Mapping[str, Application], runs: list[QueuedRun]) -> bool:
    """Whether all that changed were written."""
    done = True
    for name, application in known.items():
        status = make_status(application, runs, desk.faults.get(name, []))
        if desk.told.get(name) == status:
            continue
        try:
            await asyncio.to_thread(desk.cluster.write_status, name, status)
        except ApiFailure as error:
            LOG.warning("the status of %s is not written: %s", name, error.strerror)
            done = False
            continue
        desk.told[name] = status
    return done


async def _write_condition(desk: Desk, name: str, reason: str, message: str, generation: int = 0) -> None:
    """Write the condition `Ready`. generation: of the spec that was looked at, 0 where it is another matter."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    condition = {
        "type": "Ready",
        "status": "True" if reason == "Settled" else "False",
        "reason": reason,
        "message": message[:1000],
        "lastTransitionTime": now,
    }
    seen = {"observedGeneration": generation} if generation else {}
    try:
        await asyncio.to_thread(desk.cluster.write_status, name, {"conditions": [condition], **seen})
    except ApiFailure as error:
        LOG.warning("the condition of %s is not written: %s", name, error.strerror)
