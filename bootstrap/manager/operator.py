"""The manager's handlers. Watching, retries and Events are kopf's; what is to be done stands in the other modules.

It keeps nothing of its own: what it knows is in the Applications and runs, so it may be killed at any point. It puts no
finalizer on Applications, so that one can be deleted while the manager is away; what was derived from it goes by
ownerReferences.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
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
    read_application,
)
from bootstrap.incluster.kube_api import Api, ApiFailure
from bootstrap.incluster.run_names import APPLICATION
from bootstrap.incluster.run_queue import read_run
from bootstrap.manager.application_status import describe_settled
from bootstrap.manager.cluster import Cluster, ClusterFailure
from bootstrap.manager.due_work import work_by_the_clock
from bootstrap.manager.repositories import Repositories
from bootstrap.manager.repository_watch import RepositoryWatch, watch_repository
from bootstrap.manager.run_order import keep_order
from bootstrap.manager.shared_state import Settings, SharedState, list_values, write_condition

RUNS = ("tekton.dev", "v1", "pipelineruns")
APPLICATIONS = (GROUP, VERSION, PLURAL)
OF_APPLICATIONS = {APPLICATION: kopf.PRESENT}
RETRY_SECONDS, REFUSED_SECONDS = 10.0, 60.0


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
    memo.state = SharedState(found, cluster, Repositories(os.environ, cluster.read_login))
    memo.state.ticking = asyncio.create_task(work_by_the_clock(memo.state))
    watch = RepositoryWatch(cluster, memo.state.repositories, found.source, namespace, found.registry)
    memo.state.watching = asyncio.create_task(watch_repository(watch, memo.state))


@kopf.on.cleanup()
async def stop(memo: kopf.Memo, **_: Any) -> None:
    """End the work by the clock, and whoever waits to be told to stop: kopf waits some seconds for what goes on."""
    memo.state.ticking.cancel()
    memo.state.watching.cancel()
    memo.stop.set()


@kopf.index(*APPLICATIONS)
def applications(body: kopf.Body, memo: kopf.Memo, **_: Any) -> Mapping[str, Any]:
    """Name -> (when it was created, the Application, or None for one that cannot be read)."""
    name, created = str(body.metadata.name), str(body.metadata.creation_timestamp or "")
    try:
        return {name: (created, read_application(body, memo.state.settings.registry))}
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
    state: SharedState = memo.state
    generation = int(body["metadata"].get("generation") or 0)
    try:
        application = read_application(body, state.settings.registry)
        faults = find_faults(application, _list_older(applications, body))
    except ApplicationFault as error:
        await write_condition(state, str(body.metadata.name), "Refused", str(error), generation)
        raise kopf.PermanentError(str(error)) from None
    state.faults[application.name] = faults
    if application.name not in state.heads and isinstance(body.status.get("heads"), Mapping):
        state.heads[application.name] = dict(body.status["heads"])
    if faults:
        await asyncio.to_thread(state.cluster.refuse, application)
        await write_condition(state, application.name, "Refused", "; ".join(faults), generation)
        await keep_order(state, applications, runs)
        # what it claims may be given up by the other one
        raise kopf.TemporaryError("; ".join(faults), delay=REFUSED_SECONDS)
    try:
        state.renew[application.name] = await asyncio.to_thread(state.cluster.settle, application)
    except (ClusterFailure, ApiFailure) as error:
        why = error.strerror if isinstance(error, ApiFailure) else str(error)
        await write_condition(state, application.name, "Unsettled", str(why), generation)
        raise kopf.TemporaryError(str(why), delay=RETRY_SECONDS) from None
    await write_condition(state, application.name, "Settled", describe_settled(application), generation)
    kopf.info(body, reason="Settled", message=describe_settled(application))
    await keep_order(state, applications, runs)


def _list_older(index: kopf.Index[str, Any], body: kopf.Body) -> list[Application]:
    """The Applications that were there before: of two that claim one thing, the first has it."""
    created = (str(body.metadata.creation_timestamp or ""), str(body.metadata.name))
    return [found for when, found in list_values(index) if found and (when, found.name) < created]


@kopf.on.event(*RUNS, labels=OF_APPLICATIONS)  # type: ignore[arg-type]
async def order_runs(memo: kopf.Memo, applications: kopf.Index[str, Any], runs: kopf.Index[str, Any], **_: Any) -> None:
    """Something happened to a run: number, release and supersede."""
    await keep_order(memo.state, applications, runs)


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
        state: SharedState = memo.state
        for held in (state.told, state.renew, state.faults, state.heads, state.looked, state.missed, state.conditions):
            held.pop(name, None)
        state.unreadable.discard(name)
        await keep_order(state, applications, runs)
