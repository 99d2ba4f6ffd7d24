"""A world that the console can read: one environment with runs in every state, and nothing else."""

from __future__ import annotations

import itertools
import queue
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from bootstrap.core.errors import ApiError
from bootstrap.core.model import Object, Ready, Secret
from bootstrap.core.paths import Paths
from bootstrap.settings.config import Config
from bootstrap.steps.reconcile import Outcome
from bootstrap.world import World
from bootstrap.world.environment_store import Identity
from bootstrap.world.kube.watch import RESET, SYNCED, Event
from tests.unit.fakes import FakeClock, FakeReport

DIGEST = "sha256:81ab0c1d2e3f" + "4" * 52
COMMIT = "3f9c2e1" + "0" * 33
PASSWORD = "correct-horse-battery"
STEPS = ("engine", "images", "registry", "cluster", "credentials", "tekton", "builder", "git", "demo", "pipeline")


class Unforeseen:
    """Any use of it fails the test."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the page used .{name}, which it has no business with")


class FakeWatch:
    """A stream as `Kube.follow` gives it; `news` is what happens next, None ends it."""

    def __init__(self, there: Sequence[Object]) -> None:
        self.news: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self.there = there
        self.closed = False

    def __iter__(self) -> Iterator[Event]:
        yield RESET, {}
        yield from (("ADDED", each) for each in self.there)
        yield SYNCED, {}
        yield from iter(self.news.get, None)

    def close(self) -> None:
        self.closed = True
        self.news.put(None)


@dataclass
class FakeKube:
    """Objects by kind, logs by (pod, container). error: what every call raises, if set."""

    objects: dict[str, list[Object]] = field(default_factory=dict)
    logs: dict[tuple[str, str], str] = field(default_factory=dict)
    version: str = f'{{"commit": "{COMMIT}", "version": "1.0.0"}}'
    error: ApiError | None = None
    asked: list[str] = field(default_factory=list)
    watches: dict[str, FakeWatch] = field(default_factory=dict)

    def follow(self, api_version: str, kind: str, *_: str, from_now: bool = False, **__: str) -> FakeWatch:
        """What there is of the kind; then what a test puts into `watches[kind].news`."""
        self.asked.append(f"follow {kind}")
        there = [] if from_now else list(self.objects.get(kind, ()))
        return self.watches.setdefault(kind, FakeWatch(there))

    def list(self, api_version: str, kind: str, namespace: str = "", *, labels: str = "", fields: str = "") -> Any:
        self._ask(f"list {kind}")
        key, _, value = labels.partition("=")
        found = [each for each in self.objects.get(kind, []) if each["metadata"].get("namespace") == namespace]
        return [each for each in found if not value or each["metadata"]["labels"].get(key) == value]

    def get(self, api_version: str, kind: str, name: str, namespace: str = "") -> Object | None:
        self._ask(f"get {kind} {name}")
        return next((each for each in self.objects.get(kind, []) if each["metadata"]["name"] == name), None)

    def read_log(self, namespace: str, pod: str, container: str = "", *, tail_lines: int | None = None) -> str:
        self._ask(f"log {pod} {container}")
        if (pod, container) not in self.logs:
            raise ApiError(f'pods "{pod}" not found', status=404)
        return self.logs[pod, container]

    def get_from_service(self, namespace: str, service: str, port: int, path: str) -> str:
        self._ask(f"proxy {namespace}/{service}:{port}{path}")
        return self.version

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.error:
            raise self.error


class FakeEngine:
    def find_port(self, container: str, port: int) -> int | None:
        return {30300: 40300, 30880: 40880, 5000: 45000}[port]


def ready_steps() -> list[Outcome]:
    return [Outcome(name, Ready(f"{name} is as wanted"), 0.1) for name in STEPS]


def make_world(folder: Path, kube: FakeKube, *, report: FakeReport | None = None, clock: Any = None) -> World:
    config = Config()
    config = replace(config, git=replace(config.git, password=Secret(PASSWORD)))
    environ = {"HOME": str(folder)}
    paths = Paths.of("demo", environ)
    world = World(
        config=config,
        paths=paths,
        project=Path(__file__).resolve().parents[2],
        shell=cast(Any, Unforeseen()),
        clock=clock or FakeClock(),
        report=cast(Any, report or FakeReport()),
        make_engine=lambda: cast(Any, FakeEngine()),
        identity=Identity(paths.env, "demo"),
        make_images=lambda _: cast(Any, Unforeseen()),
    )
    world.kube = cast(Any, kube)
    world.target = cast(Any, kube)
    return world


# What the cluster holds

TASKS = [
    {"name": "git-clone"},
    {"name": "build-image", "runAfter": ["git-clone"]},
    {"name": "deploy", "runAfter": ["build-image"]},
]


def stamp(seconds_ago: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds_ago)).strftime("%Y-%m-%dT%H:%M:%SZ")


def conditions(state: str, message: str = "") -> list[dict[str, str]]:
    status = {"Succeeded": "True", "Running": "Unknown"}.get(state, "False")
    return [{"type": "Succeeded", "status": status, "reason": state, "message": message}]


def pipeline_run(
    name: str,
    state: str = "Succeeded",
    *,
    age: float = 60,
    took: float = 20,
    branch: str = "main",
    commit: str = COMMIT,
) -> Object:
    status: dict[str, Any] = {
        "startTime": stamp(age),
        "conditions": conditions(state),
        "pipelineSpec": {"tasks": TASKS, "finally": [{"name": "notify"}]},
    }
    if state != "Running":
        status["completionTime"] = stamp(age - took)
    if state == "Succeeded":
        image = f"registry.tekton.internal:5000/demo/go-echo@{DIGEST}"
        status["results"] = [{"name": "commit", "value": commit}, {"name": "image", "value": image}]
    if state == "Failed":
        status["skippedTasks"] = [{"name": "deploy", "reason": "PipelineRun was stopping"}]
    return {
        "metadata": {
            "name": name,
            "namespace": "cicd",
            "creationTimestamp": stamp(age + 1),
            "labels": {"tekton-bootstrap.dev/trigger": "hand"},
            "annotations": {"tekton-bootstrap.dev/branch": branch, "tekton-bootstrap.dev/commit": commit},
        },
        "spec": {"params": [{"name": "REPO", "value": "http://git.git.svc.cluster.local/go-echo.git"}]},
        "status": status,
    }


def task_run(
    run: str, task: str, state: str = "Succeeded", *, age: float = 60, steps: Sequence[str] = ("run",)
) -> Object:
    details: dict[str, dict[str, Any]] = {
        "Succeeded": {"terminated": {"exitCode": 0, "reason": "Completed"}},
        "Running": {"running": {}},
        "Failed": {"terminated": {"exitCode": 1, "reason": "Error"}},
    }
    status: dict[str, Any] = {
        "startTime": stamp(age),
        "podName": f"{run}-{task}-pod",
        "conditions": conditions(state),
        "steps": [{"name": step, "container": f"step-{step}", **details[state]} for step in steps],
    }
    if state != "Running":
        status["completionTime"] = stamp(age - 4)
    return {
        "metadata": {
            "name": f"{run}-{task}",
            "namespace": "cicd",
            "labels": {"tekton.dev/pipelineRun": run, "tekton.dev/pipelineTask": task},
        },
        "status": status,
    }


def deployment(image: str = f"registry.tekton.internal:5000/demo/go-echo@{DIGEST}") -> Object:
    return {
        "metadata": {"name": "go-echo", "namespace": "demo"},
        "spec": {"replicas": 2, "template": {"spec": {"containers": [{"name": "go-echo", "image": image}]}}},
        "status": {"readyReplicas": 2},
    }


def application(
    name: str, *environments: Object, ready: Object | None = None, spec: Object | None = None, **status: object
) -> Object:
    """environments: of its status; those of its spec are `spec`'s. ready: its condition, True if it is left out."""
    condition = {"type": "Ready", "status": "True", "reason": "Settled", "message": "", **(ready or {})}
    return {
        "metadata": {"name": name, "namespace": "cicd"},
        "spec": spec or {},
        "status": {"environments": [*environments], "conditions": [condition], **status},
    }


def kube(*runs: Object, tasks: Sequence[Object] = (), logs: dict[tuple[str, str], str] | None = None) -> FakeKube:
    objects = {"PipelineRun": [*runs], "TaskRun": [*tasks], "Deployment": [deployment()]}
    return FakeKube(objects, logs or {})


def busy_kube() -> FakeKube:
    """A run under way, one that failed, a cancelled one and good ones, with logs."""
    now, bad = "go-echo-9ab01cd-m2x8q", "go-echo-5d1e0aa-q8w2z"
    other = "9ab01cd" + "1" * 33
    old = [pipeline_run(f"go-echo-{i}c0ffee-old{i}x", age=4000 * i, took=20 + i) for i in range(1, 4)]
    runs = [
        pipeline_run(now, "Running", age=9, branch="feature/greeting", commit=other),
        pipeline_run(bad, "Failed", age=600, took=11, commit="5d1e0aa" + "2" * 33),
        pipeline_run("go-echo-77aa001-c4nce", "Cancelled", age=1300, took=3, commit="77aa001" + "2" * 33),
        *old,
    ]
    tasks = [
        task_run(now, "git-clone", age=9),
        task_run(now, "build-image", "Running", age=5, steps=("prepare", "build")),
        task_run(bad, "git-clone", age=600),
        task_run(bad, "build-image", "Failed", age=596),
        task_run(bad, "notify", age=590),
        *itertools.chain(*([task_run(str(r["metadata"]["name"]), t) for t in ("git-clone", "deploy")] for r in old)),
    ]
    tasks[0]["status"]["results"] = [{"name": "commit", "value": other}, {"name": "author", "value": "Ada Lovelace"}]
    build = "".join(f"#{i} [build {i}/9] RUN go build ./...\n" for i in range(1, 60))
    logs = {
        (f"{now}-git-clone-pod", "step-run"): "HEAD is now at 9ab01cd Greet people by name\n",
        (f"{now}-build-image-pod", "step-prepare"): "cache: 9 of 11 layers\n",
        (f"{now}-build-image-pod", "step-build"): build,
        (f"{bad}-build-image-pod", "step-run"): "#7 RUN go build\nmain.go:14:2: undefined: fmt.Printn\nerror: exit 1\n",
    }
    return kube(*runs, tasks=tasks, logs=logs)
