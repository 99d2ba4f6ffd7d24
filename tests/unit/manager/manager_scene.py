"""A manager's shared state over a cluster that remembers and refuses; kopf itself is not run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import kopf

from bootstrap.incluster.applications import Application
from bootstrap.incluster.poll import RepositoryUnreadable
from bootstrap.incluster.run_queue import Action, Number, Phase, QueuedRun
from bootstrap.manager import operator
from bootstrap.manager.cluster import Cluster
from bootstrap.manager.repositories import Repositories
from bootstrap.manager.run_order import keep_order
from bootstrap.manager.shared_state import Settings, SharedState

A, B, C = "a" * 40, "b" * 40, "c" * 40
REGISTRY = "registry:5000"
RUN = {
    "metadata": {"generateName": "x-", "namespace": "cicd"},
    "spec": {"params": [], "workspaces": [{"name": "target", "secret": {"secretName": "x"}}]},
}


@dataclass
class FakeCluster:
    """done: what it was told, in order. deny: what is raised, by what it was told to do, or by the name of what."""

    done: list[Any] = field(default_factory=list)
    deny: dict[str, Exception] = field(default_factory=dict)
    statuses: dict[str, Any] = field(default_factory=dict)
    conditions: list[tuple[str, str, str, str]] = field(default_factory=list)
    created: list[Any] = field(default_factory=list)
    renew_at: float = 5000.0
    namespaces: dict[str, str] = field(default_factory=lambda: {"orders": "u1", "invoices": "u2"})

    def act(self, action: Action) -> None:
        self._deny("act", action.run)
        self.done.append(action)

    def cancel(self, run: str) -> None:
        self._deny("cancel", run)
        self.done.append(f"cancel {run}")

    def settle(self, application: Application) -> float:
        self._deny("settle")
        self.done.append(f"settle {application.name}")
        return self.renew_at

    def read_namespaces(self) -> dict[str, str]:
        self._deny("read_namespaces")
        return dict(self.namespaces)

    def refuse(self, application: Application) -> None:
        self._deny("refuse")
        self.done.append(f"refuse {application.name}")

    def renew_tokens(self, application: Application) -> float:
        self._deny("renew_tokens", application.name)
        self.done.append(f"renew {application.name}")
        return self.renew_at

    def create_run(self, run: Any) -> bool:
        self._deny("create_run")
        self.created.append(run)
        return True

    def write_status(self, application: str, status: Any) -> None:
        self._deny("write_status", application)
        for each in status.get("conditions") or ():
            self.conditions.append((application, each["status"], each["reason"], each["message"]))
        self.statuses.setdefault(application, {}).update(status)

    def _deny(self, *words: str) -> None:
        for word in words:
            if word in self.deny:
                raise self.deny[word]


@dataclass
class FakeRepositories:
    """answers: what is read one after the other, or raised. same: pairs of commits whose difference concerns nobody.

    compared: what was compared.
    """

    answers: list[Any] = field(default_factory=list)
    same: list[tuple[str, str]] = field(default_factory=list)
    compared: list[tuple[str, str]] = field(default_factory=list)

    def read_heads(self, application: Application) -> Any:
        if not self.answers:
            raise RepositoryUnreadable("nobody answers")
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def concerns(self, application: Application, before: str, after: str) -> bool:
        self.compared.append((before, after))
        return (before, after) not in self.same


class Place:
    """A manager's desk, and what its indexes hold."""

    def __init__(self, *names: str, builds: int = 2) -> None:
        self.cluster = FakeCluster()
        self.repositories = FakeRepositories()
        self.applications: dict[str, Any] = {}
        self.runs: dict[str, QueuedRun] = {}
        self.state = SharedState(
            Settings(REGISTRY, builds, 24, RUN), cast(Cluster, self.cluster), cast(Repositories, self.repositories)
        )
        self.memo = cast(kopf.Memo, SimpleNamespace(state=self.state))
        for name in names:
            self.declare(name)

    def declare(self, name: str, created: str = "2027-01-15T08:00:00Z", **spec: Any) -> kopf.Body:
        body = make_body(name, created, **spec)
        found = cast(Any, operator).applications(body, memo=self.memo)
        self.applications |= {key: [value] for key, value in found.items()}
        return body

    def arrive(self, *runs: QueuedRun) -> None:
        self.runs |= {each.name: each for each in runs}

    @property
    def indexes(self) -> tuple[Any, Any]:
        return self.applications, {name: [run] for name, run in self.runs.items()}

    def keep_order(self) -> list[Any]:
        """What was done in this pass."""
        before = len(self.cluster.done)
        asyncio.run(keep_order(self.state, *self.indexes))
        return self.cluster.done[before:]


def make_body(name: str, created: str = "2027-01-15T08:00:00Z", *, status: Any = None, **spec: Any) -> kopf.Body:
    metadata = {"name": name, "namespace": "cicd", "uid": f"u-{name}", "generation": 1, "creationTimestamp": created}
    return kopf.Body(cast(Any, {"metadata": metadata, "spec": spec, "status": status or {}}))


def run(name: str, application: str = "orders", phase: Phase = Phase.WAITS, arrival: int = 0, **more: Any) -> QueuedRun:
    made = QueuedRun(name, application, "default", A, "push", "2027-01-15T08:00:00Z", ord(name[-1]), arrival, phase)
    return replace(made, **more)


def without_numbers(done: Iterable[Any]) -> list[Any]:
    return [f"number {each.run}" if isinstance(each, Number) else each for each in done]
