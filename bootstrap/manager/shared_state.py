"""What the parts of the manager share: its settings, and what it knows of Applications and runs.

All of it is read again after a new start.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import kopf

from bootstrap.incluster.application_source import Source
from bootstrap.incluster.applications import Application
from bootstrap.incluster.json_object import Object
from bootstrap.incluster.kube_api import ApiFailure
from bootstrap.incluster.run_queue import QueuedRun
from bootstrap.manager.branch_heads import Arrival
from bootstrap.manager.cluster import Cluster
from bootstrap.manager.repositories import Repositories

LOG = logging.getLogger("manager")
CONDITIONS = ("Settled", "Unsettled", "Refused", "Unreadable")
"""The reasons of the condition `Ready`, of which the first is that it is true."""


@dataclass(frozen=True)
class Settings:
    """registry: HOST[:PORT][/PATH] of images. builds: how many runs go on at a time. token_hours: life of a token.

    run: a PipelineRun with the environment's settings in it. source: the repository that declares Applications.
    """

    registry: str
    builds: int
    token_hours: int
    run: Object
    source: Source | None = None

    @staticmethod
    def read(path: Path) -> Settings:
        """From the JSON document that `up` writes."""
        found = json.loads(path.read_text())
        source = Source(**found["source"]) if found.get("source") else None
        return Settings(found["registry"], found["builds"], found["tokenHours"], found["run"], source)


@dataclass
class SharedState:
    """What the handlers share.

    done: what was done with runs of which the watch has not told yet. told: Application -> the status that was written
    last. renew: Application -> when its tokens are to be renewed, seconds since the epoch. heads: Application -> branch
    -> commit, as last looked at; looked: when that was. runs: all, as of the last event. unreadable: Applications whose
    repository was not read at the last look. missed: Application -> heads that had no run at the last look. left: the
    indexes, if something of the last pass is to be done again. namespaces: name -> uid, as of the last look, which was
    at namespaces_looked. conditions: Application -> the reason of its condition `Ready`.

    superseded: how many runs were ended as superseded. passed: seconds of the last pass of the work by the clock.
    failures: what failed in that work, since the start.
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
    conditions: dict[str, str] = field(default_factory=dict)
    superseded: int = 0
    passed: float = 0.0
    failures: int = 0
    left: tuple[kopf.Index[str, Any], kopf.Index[str, Any]] | None = None
    ticking: asyncio.Task[None] | None = None
    watching: asyncio.Task[None] | None = None


def list_values(index: kopf.Index[str, Any]) -> list[Any]:
    return [value for store in index.values() for value in store]


async def write_condition(state: SharedState, name: str, reason: str, message: str, generation: int = 0) -> None:
    """Write the condition `Ready`. generation: of the spec that was looked at, 0 where it is another matter."""
    state.conditions[name] = reason
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    condition = {
        "type": "Ready",
        "status": "True" if reason == CONDITIONS[0] else "False",
        "reason": reason,
        "message": message[:1000],
        "lastTransitionTime": now,
    }
    seen = {"observedGeneration": generation} if generation else {}
    try:
        await asyncio.to_thread(state.cluster.write_status, name, {"conditions": [condition], **seen})
    except ApiFailure as error:
        LOG.warning("the condition of %s is not written: %s", name, error.strerror)
