"""The order of runs: what the queue asks for is done in the cluster, and what became of it is written down."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import kopf

from bootstrap.incluster.applications import Application
from bootstrap.incluster.kube_api import ApiFailure
from bootstrap.incluster.poll import RepositoryUnreadable
from bootstrap.incluster.run_queue import Action, Number, Phase, QueuedRun, Release, Supersede, plan_queue
from bootstrap.manager.application_status import make_status
from bootstrap.manager.shared_state import SharedState, list_values

LOG = logging.getLogger("manager")
HEAD_SECONDS = 5.0
"""Limit for the look at a branch whose push has just arrived."""


async def keep_order(state: SharedState, applications: kopf.Index[str, Any], runs: kopf.Index[str, Any]) -> None:
    """Do what the queue asks for now, and write what became of it into the Applications."""
    async with state.lock:
        state.left = None
        known = {found.name: found for _, found in list_values(applications) if found}
        there = {str(name) for name in applications}
        state.known = known
        seen = {each.name: _merge(each, state.done.get(each.name)) for each in list_values(runs)}
        state.done = {name: done for name, done in state.done.items() if name in seen}
        for run in seen.values():
            if run.application not in there and run.phase is not Phase.OVER and not run.superseded:
                try:
                    await asyncio.to_thread(state.cluster.cancel, run.name)
                except ApiFailure as error:
                    LOG.warning("run %s: %s", run.name, error.strerror)
                    state.left = applications, runs
                    continue
                state.done[run.name] = replace(run, superseded=True)
        state.runs = [*seen.values()]
        wanted = [each for each in seen.values() if each.application in known]
        moved = await _find_moved(state, wanted)
        for action in plan_queue(wanted, state.settings.builds, int(time.time() * 1000), moved):
            try:
                await asyncio.to_thread(state.cluster.act, action)
            except ApiFailure as error:
                LOG.warning("run %s: %s", action.run, error.strerror)
                state.left = applications, runs
                break  # the order of what follows depends on it; the next event or tick goes on
            seen[action.run] = state.done[action.run] = _note(seen[action.run], action)
            state.superseded += isinstance(action, Supersede)
            LOG.info("%s", action)
        state.runs = [*seen.values()]
        if not await _write_statuses(state, known, [*seen.values()]):
            state.left = applications, runs


async def _find_moved(state: SharedState, runs: list[QueuedRun]) -> dict[str, str]:
    """New runs of pushes whose branch is at another commit by now, with that commit.

    A delivery may wait for hours, and a git host sends an old one again when asked to: neither may deploy over what
    came later. A repository that does not answer soon is not waited for. A commit that came since and does not concern
    the application has no run, so the branch has not moved for it; where that cannot be told, it has: what is passed
    over wrongly then, the next look at the heads brings.
    """

    async def read_head(run: QueuedRun) -> str:
        application = state.known[run.application]
        try:
            reading = asyncio.to_thread(state.repositories.read_heads, application)
            heads, _ = await asyncio.wait_for(reading, HEAD_SECONDS)
        except (RepositoryUnreadable, TimeoutError):
            return run.commit
        head = str(heads.get(run.branch, run.commit))
        if head == run.commit or not application.paths:
            return head
        comparing = asyncio.to_thread(state.repositories.concerns, application, run.commit, head)
        try:
            return head if await asyncio.wait_for(comparing, HEAD_SECONDS) else run.commit
        except TimeoutError:
            return head

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


async def _write_statuses(state: SharedState, known: Mapping[str, Application], runs: list[QueuedRun]) -> bool:
    """Whether all that changed were written."""
    done = True
    for name, application in known.items():
        status = make_status(application, runs, state.faults.get(name, []))
        if state.told.get(name) == status:
            continue
        try:
            await asyncio.to_thread(state.cluster.write_status, name, status)
        except ApiFailure as error:
            LOG.warning("the status of %s is not written: %s", name, error.strerror)
            done = False
            continue
        state.told[name] = status
    return done
