"""How pushes are sent and counted by the benchmark `webhook`: against an API server and a listener of our own."""

from __future__ import annotations

import hashlib
import hmac
import json
import queue
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bootstrap.commands import webhook
from bootstrap.core import constants
from bootstrap.core.clock import SystemClock
from bootstrap.core.errors import ApiError, TimedOut
from bootstrap.core.model import Object, Secret
from bootstrap.devtools import bench_webhook
from bootstrap.incluster.run_names import COMMIT
from bootstrap.world import World, webhook_sender


class Stream:
    """A watch that tells what is put into it, until it is closed."""

    def __init__(self) -> None:
        self.events: queue.Queue[Any] = queue.Queue()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.events.get, None)

    def close(self) -> None:
        self.events.put(None)


@dataclass
class Kube:
    """Runs, Tekton's controller and its pods. scaled: what its size was set to, in order."""

    runs: dict[str, Object] = field(default_factory=dict)
    stream: Stream = field(default_factory=Stream)
    scaled: list[int] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)

    def run(self, name: str, commit: str) -> None:
        run = {"metadata": {"name": name, "labels": {COMMIT: commit}}}
        self.runs[name] = run
        self.stream.events.put(("ADDED", run))

    def list(self, api_version: str, kind: str, namespace: str, *, labels: str = "") -> list[Object]:
        if kind == "Pod":
            assert (namespace, labels) == (constants.TEKTON, bench_webhook.CONTROLLER_PODS)
            return [] if self.scaled[-1] == 0 else [{}]
        assert (kind, namespace) == ("PipelineRun", constants.RUNS)
        return [*self.runs.values()]

    def watch(self, api_version: str, kind: str, namespace: str, *, seconds: float) -> Stream:
        for run in self.runs.values():  # those that are there come first
            self.stream.events.put(("ADDED", run))
        return self.stream

    def patch(self, *address: str, patch: Mapping[str, Any]) -> None:
        assert address == bench_webhook.CONTROLLER
        self.scaled.append(patch["spec"]["replicas"])

    def get(self, *address: str) -> Object:
        assert address == bench_webhook.CONTROLLER
        status = {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}
        metadata = {"name": address[2], "generation": 1}
        return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {}, "status": status}

    def delete(self, api_version: str, kind: str, name: str, namespace: str) -> None:
        assert (kind, namespace) == ("PipelineRun", constants.RUNS)
        self.deleted.append(name)


class Forward:
    local_port = 1

    def __init__(self, *_: Any) -> None:
        pass

    def __enter__(self) -> Forward:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@dataclass
class Listener:
    """Answers 202 whatever it does. Loses and doubles the pushes of these numbers, counted from 1."""

    kube: Kube
    lost: set[int] = field(default_factory=set)
    doubled: set[int] = field(default_factory=set)
    status: int = 202
    heard: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, str]:
        wanted = "sha256=" + hmac.new(b"open sesame", body, hashlib.sha256).hexdigest()
        assert headers["X-Hub-Signature-256"] == wanted
        event = json.loads(body)
        assert (event["ref"], event["repository"]["clone_url"]) == ("refs/heads/main", constants.GIT_URL)
        with self.lock:
            self.heard += 1
            if self.heard not in self.lost:
                self.kube.run(f"go-echo-{event['after'][:12]}", event["after"])
            if self.heard in self.doubled:
                self.kube.run(f"go-echo-{event['after'][:12]}-2", event["after"])
        return self.status, "{}"


@pytest.fixture
def kube(monkeypatch: pytest.MonkeyPatch) -> Kube:
    monkeypatch.setattr(bench_webhook, "Forward", Forward)
    monkeypatch.setattr(webhook, "read_secret", lambda _: Secret("open sesame"))
    monkeypatch.setattr(bench_webhook, "LOST_AFTER", 0.3)
    kube = Kube()
    kube.run("of-before", "1" * 40)
    return kube


def measure(kube: Kube, listener: Listener, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, float]]:
    monkeypatch.setattr(webhook_sender, "post_webhook", listener.post)
    return bench_webhook.measure(cast(World, SimpleNamespace(kube=kube, clock=SystemClock())), 1)


def test_every_push_is_counted_and_every_run_removed(kube: Kube, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = Listener(kube)
    found = measure(kube, listener, monkeypatch)
    assert listener.heard == 1 + 10 + 50
    assert set(kube.deleted) == set(kube.runs) - {"of-before"}
    assert kube.scaled == [0, 1]
    for part in ("one", "burst"):
        figures = found[part]
        assert (figures.pop("lost"), figures.pop("doubled")) == (0, 0)
        assert list(figures) == ["p50", "p95", "max"]
        assert 0 <= figures["p50"] <= figures["p95"] <= figures["max"]
    assert [row[0] for row in bench_webhook.make_rows(found)][:2] == ["webhook one p50", "webhook one p95"]


def test_what_is_lost_or_doubled_is_told(kube: Kube, monkeypatch: pytest.MonkeyPatch) -> None:
    found = measure(kube, Listener(kube, lost={3, 20, 30}, doubled={4, 5, 40}), monkeypatch)
    assert [(found[part]["lost"], found[part]["doubled"]) for part in ("one", "burst")] == [(1, 2), (2, 1)]


@pytest.mark.parametrize(
    ("listener", "error"),
    [({"status": 500}, ApiError), ({"lost": {*range(100)}}, TimedOut)],
    ids=["not accepted", "all lost"],
)
def test_what_is_no_measurement_fails_and_leaves_nothing_behind(
    kube: Kube, monkeypatch: pytest.MonkeyPatch, listener: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        measure(kube, Listener(kube, **listener), monkeypatch)
    assert kube.scaled == [0, 1]
    assert set(kube.deleted) == set(kube.runs) - {"of-before"}


@pytest.mark.parametrize(
    ("part", "wanted"), [(0.0, 1.0), (0.5, 10.0), (0.9, 18.0), (0.95, 19.0), (0.951, 20.0), (1.0, 20.0)]
)
def test_a_rank_is_a_value_that_was_seen(part: float, wanted: float) -> None:
    assert bench_webhook.find_percentile([float(each) for each in range(1, 21)], part) == wanted
