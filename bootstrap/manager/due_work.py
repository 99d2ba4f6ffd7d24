"""What is due by the clock: tokens, namespaces that are gone, heads of branches without a run."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping

from bootstrap.incluster.applications import Application, make_run, make_run_name
from bootstrap.incluster.kube_api import ApiFailure
from bootstrap.incluster.poll import RepositoryUnreadable
from bootstrap.manager.application_status import describe_settled
from bootstrap.manager.branch_heads import find_arrivals, find_base, find_interval
from bootstrap.manager.cluster import ClusterFailure
from bootstrap.manager.derived_objects import list_namespaces
from bootstrap.manager.run_order import keep_order
from bootstrap.manager.shared_state import SharedState, write_condition

LOG = logging.getLogger("manager")
TICK_SECONDS = 5.0
NAMESPACES_SECONDS = 10.0
"""How often it is looked whether the namespaces of applications are still there."""
GRACE_SECONDS = 15.0
"""How long the event of a push has to start its run, before the manager does."""


async def work_by_the_clock(state: SharedState) -> None:
    """What is due by the clock. Timers of kopf's would put a finalizer on every Application."""
    while True:
        await asyncio.sleep(TICK_SECONDS)
        begun = time.monotonic()
        try:
            await do_what_is_due(state)
        except Exception:  # the next pass is to come all the same
            LOG.exception("the work by the clock")
            state.failures += 1
        state.passed = time.monotonic() - begun


async def do_what_is_due(state: SharedState) -> None:
    if state.left:
        await keep_order(state, *state.left)
    if time.time() >= state.namespaces_looked + NAMESPACES_SECONDS:
        state.namespaces_looked = time.time()
        await _replace_lost_namespaces(state)
    for application in [*state.known.values()]:
        if state.faults.get(application.name):
            continue
        try:
            if time.time() >= state.renew.get(application.name, float("inf")):
                state.renew[application.name] = await asyncio.to_thread(state.cluster.renew_tokens, application)
            await _look_at_heads(state, application)
        except RepositoryUnreadable as error:
            state.failures += 1
            await _tell_unreadable(state, application, str(error))
        except ApiFailure as error:
            state.failures += 1
            LOG.warning("application %s: %s", application.name, error.strerror)
        except Exception:  # the tokens of all others are renewed here
            state.failures += 1
            LOG.exception("application %s", application.name)


async def _replace_lost_namespaces(state: SharedState) -> None:
    """Settle again what was settled in a namespace that was deleted since: with it account and rights are gone."""
    try:
        found = await asyncio.to_thread(state.cluster.read_namespaces)
    except ApiFailure as error:
        state.failures += 1
        LOG.warning("namespaces: %s", error.strerror)
        return
    failed: set[str] = set()
    for application in [*state.known.values()]:
        needed = list_namespaces(application)
        lost = [each for each in needed if each not in found or state.namespaces.get(each, found[each]) != found[each]]
        if not lost or application.name not in state.renew or state.faults.get(application.name):
            continue
        try:
            state.renew[application.name] = await asyncio.to_thread(state.cluster.settle, application)
            LOG.info("application %s: namespace %s was deleted, and is made again", application.name, ", ".join(lost))
        except (ClusterFailure, ApiFailure) as error:
            state.failures += 1
            LOG.warning("application %s: %s", application.name, error)
            failed |= set(lost)
    state.namespaces = {name: state.namespaces.get(name, uid) if name in failed else uid for name, uid in found.items()}


async def _look_at_heads(state: SharedState, application: Application) -> None:
    """Start runs for heads that have none. Raises ApiFailure, RepositoryUnreadable."""
    interval = find_interval(application)
    if not interval or time.time() < state.looked.get(application.name, 0) + interval:
        return
    state.looked[application.name] = time.time()
    heads, quiet = await asyncio.to_thread(state.repositories.read_heads, application)
    if application.name in state.unreadable:
        state.unreadable.discard(application.name)
        await write_condition(state, application.name, "Settled", describe_settled(application))
    known = state.heads.get(application.name)
    arrivals = find_arrivals(application, heads, known, quiet, state.runs)
    if application.webhook and arrivals and arrivals != state.missed.get(application.name):
        state.missed[application.name] = arrivals  # their event may be under way
        state.looked[application.name] = time.time() - interval + GRACE_SECONDS
        return
    state.missed.pop(application.name, None)
    for each in arrivals:
        base = find_base(application, each, known, state.runs)
        if not await asyncio.to_thread(state.repositories.concerns, application, base, each.commit):
            LOG.info("%s of %s is at %s: no change concerns it", each.branch, application.name, each.commit[:12])
            continue
        name = make_run_name(application, each.environment, each.commit, f"{int(time.time() * 1000):x}"[-8:])
        by = "poll" if application.poll else "push"
        run = make_run(
            state.settings.run,
            application,
            each.environment,
            name=name,
            branch=each.branch,
            commit=each.commit,
            by=by,
        )
        await asyncio.to_thread(state.cluster.create_run, run)
        LOG.info("%s is at %s: run %s", each.branch, each.commit[:12], name)
    state.heads[application.name] = heads
    if heads != known:
        await asyncio.to_thread(
            state.cluster.write_status, application.name, {"heads": _make_heads_patch(heads, known)}
        )


def _make_heads_patch(heads: Mapping[str, str], known: Mapping[str, str] | None) -> dict[str, str | None]:
    """A merge patch: branches that are gone are set to null."""
    return {**dict.fromkeys(known or ()), **heads}


async def _tell_unreadable(state: SharedState, application: Application, why: str) -> None:
    LOG.warning("%s cannot be read: %s", application.url, why)
    state.unreadable.add(application.name)
    await write_condition(state, application.name, "Unreadable", f"{application.url} cannot be read: {why}")
