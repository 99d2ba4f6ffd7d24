"""A console as a process of its own, over a made-up cluster in which every page has much to show; see console_process.

argv: as of console_process, whose words on stdin it knows too, and: scale, as a rollout goes on.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from bootstrap.console.queries import Queries
from bootstrap.console.server import Console
from bootstrap.core.clock import SystemClock
from bootstrap.core.errors import ApiError
from bootstrap.core.model import Failed, Object, Pending
from bootstrap.incluster.application_source import REFUSED, STATE, SourceState
from bootstrap.settings.central_repository import find_source
from bootstrap.settings.config import ApplicationSettings
from bootstrap.steps.reconcile import Outcome
from bootstrap.world.kube.watch import BACK, LOST
from bootstrap.world.listen import listen
from tests.unit import page_world as stage

LIVE, BAD, CANCELLED, GOOD, LONG = "live-run", "bad-run", "cancelled-run", "good-run", "long-branch-run"
LONG_BRANCH = "feature/" + "a-branch-whose-name-is-as-long-as-git-hosts-allow-" * 4
TELLING = "./main.go:31:7: syntax error: unexpected name at end of statement"
BAD_LINES, TELLING_LINE = 5516, 5495
FAULT = "apps/web.yaml:4: web is declared in apps/orders.yaml already"
LONG_APP = "a-service-whose-name-has-forty-character"
IMAGES = [f"registry.tekton.internal:5000/demo/go-echo@sha256:{digit * 64}" for digit in "abc"]
PRINTED: list[str] = []
NEWS = threading.Condition()


class SceneLog:
    """The log of a container: `lines`, and for the run under way what is PRINTED until it is closed."""

    def __init__(self, lines: list[str], *, live: bool) -> None:
        self._lines, self._live, self._closed = lines, live, False

    def __enter__(self) -> Iterator[str]:
        yield from self._lines
        given = 0
        while self._live and not self._closed:
            with NEWS:
                while not self._closed and len(PRINTED) == given:
                    NEWS.wait()
                more = PRINTED[given:]
            yield from more
            given += len(more)

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with NEWS:
            self._closed = True
            NEWS.notify_all()


def open_log(_: str, pod: str, container: str = "", **__: object) -> SceneLog:
    if pod.startswith(f"{LIVE}-build-image"):
        return SceneLog([f"live line {number}" for number in range(1, 1201)], live=True)
    if pod.startswith(f"{BAD}-build-image"):
        lines = [f"\x1b[32mok\x1b[0m line {number}" for number in range(1, BAD_LINES + 1)]
        lines[TELLING_LINE - 9] = "a long word list: " + "word " * 600
        lines[TELLING_LINE - 1] = TELLING
        lines[100] = "\x1b[38;5;208morange\x1b[0m and \x1b[38;2;0;128;255mblue\x1b[0m, \x1b[48;5;22mon green\x1b[0m"
        return SceneLog(lines, live=False)
    if pod.startswith(CANCELLED):
        return SceneLog([], live=False)
    if pod.endswith("notify-pod"):
        return SceneLog(["notifications are off"], live=False)
    return SceneLog([f"{pod} {container} line {number}" for number in range(1, 40)], live=False)


def make_runs() -> tuple[list[Object], list[Object]]:
    good = stage.pipeline_run(GOOD, age=900)
    good["status"]["results"][1]["value"] = IMAGES[2]
    runs = [
        stage.pipeline_run(LIVE, "Running", age=40, branch="feature/greeting"),
        stage.pipeline_run(BAD, "Failed", age=300),
        stage.pipeline_run(CANCELLED, "Cancelled", age=600),
        good,
        stage.pipeline_run(LONG, age=1200, branch=LONG_BRANCH),
        *(stage.pipeline_run(f"go-echo-b8a6dd0{number:05}", age=2000 + 60 * number) for number in range(40)),
    ]
    for run in runs[::9]:
        run["metadata"]["labels"] |= {
            "tekton-bootstrap.dev/application": "orders",
            "tekton-bootstrap.dev/environment": "default",
        }
    tasks = [
        stage.task_run(LIVE, "git-clone", age=38),
        stage.task_run(LIVE, "build-image", "Running", age=30, steps=("prepare", "build")),
        stage.task_run(BAD, "git-clone", age=300),
        stage.task_run(BAD, "build-image", "Failed", age=290),
        stage.task_run(BAD, "notify", age=280),
        stage.task_run(CANCELLED, "git-clone", "Failed", age=600),
        *(stage.task_run(GOOD, task, age=900 - 10 * at) for at, task in enumerate(("git-clone", "build-image"))),
        stage.task_run(GOOD, "deploy", age=880),
        stage.task_run(GOOD, "notify", age=870),
    ]
    tasks[5]["status"]["conditions"] = stage.conditions("TaskRunCancelled", "cancelled by hand")
    author = [{"name": "author", "value": "Augusta Ada King, Countess of Lovelace <ada.lovelace@example.com>"}]
    for each in tasks:
        each["status"].setdefault("results", author if "git-clone" in each["metadata"]["name"] else [])
    return runs, tasks


def make_rollout() -> dict[str, list[Object]]:
    deployment = stage.deployment(IMAGES[2])
    labels = {"app": "go-echo"}
    deployment["metadata"] |= {"uid": "u1", "generation": 3}
    deployment["spec"]["selector"] = {"matchLabels": labels}
    deployment["status"] = {
        "observedGeneration": 3,
        "replicas": 2,
        "updatedReplicas": 2,
        "availableReplicas": 2,
        "readyReplicas": 2,
    }
    sets = [
        {
            "metadata": {
                "name": f"go-echo-{number}",
                "namespace": "demo",
                "creationTimestamp": stage.stamp(4000 - 1000 * number),
                "ownerReferences": [{"uid": "u1"}],
                "annotations": {"deployment.kubernetes.io/revision": str(number + 1)},
            },
            "spec": {"template": {"spec": {"containers": [{"name": "go-echo", "image": image}]}}},
        }
        for number, image in enumerate(IMAGES)
    ]
    pods = [
        {
            "metadata": {
                "name": f"go-echo-2-7c9d8b5f6d-{name}",
                "namespace": "demo",
                "labels": labels,
                "creationTimestamp": stage.stamp(60),
            },
            "spec": {"nodeName": f"demo-worker-{name}", "containers": [{"name": "go-echo", "image": IMAGES[2]}]},
            "status": {
                "startTime": stage.stamp(60),
                "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [{"restartCount": 0}],
            },
        }
        for name in ("x8k2p", "q9m4t")
    ]
    return {"Deployment": [deployment], "ReplicaSet": sets, "Pod": pods}


def make_applications() -> list[Object]:
    """One in every state, and names as long as they may be."""
    serves = {"commit": stage.COMMIT, "since": stage.stamp(7200), "run": GOOD}
    why = f"failed in build-image: {TELLING} " * 2
    refused = f"Deployment {LONG_APP}/{LONG_APP} is application {LONG_APP}'s"
    states: list[Object] = [
        {"state": "new"},
        {"state": "queued", "waits": 12, **serves},
        {"state": "building", **serves},
        {"state": "deploying", **serves, "commit": ""},
        {"state": "failed", "why": why, **serves, "run": BAD},
    ]
    names = ["dev", "staging", "canary", "stable", "with-a-name-that-l"]
    places = [{"name": name, "namespace": f"{LONG_APP}-{name}"[:50]} for name in names]
    url = f"https://git.example.com/{'group-of-services/' * 4}{LONG_APP}.git"
    return [
        stage.application(
            LONG_APP,
            *(place | state for place, state in zip(places, states, strict=True)),
            spec={"environments": places, "repository": {"url": url}},
            commit=stage.COMMIT[:7],
            branch=LONG_BRANCH,
        ),
        stage.application("orders", {"name": "default", "state": "ready", **serves}),
        stage.application("other", ready={"status": "False", "reason": "Refused", "message": refused}),
        {"metadata": {"name": "unseen", "namespace": "cicd"}},
    ]


def make_events() -> list[Object]:
    message = "Container image registry.tekton.internal:5000/tekton/entrypoint@sha256:0123 already present on machine"
    plain = {"type": "Normal", "reason": "Pulled", "message": message, "count": 1}
    bad = {"type": "Warning", "reason": "FailedScheduling", "message": f"Error: {message}", "count": 3}
    return [
        {
            "metadata": {"name": f"e{at}", "namespace": "cicd"},
            "involvedObject": {"kind": "Pod", "name": f"{BAD}-build-image-pod"},
            "lastTimestamp": stage.stamp(200 - at),
            **(bad if at == 3 else plain),
        }
        for at in range(12)
    ]


def make_source_state(mark: str) -> Object:
    """A central repository whose newest commit is refused, for reasons as long as they may be."""
    faults = (f"apps/{'folder/' * 12}orders.yaml:9: {'.spec.environments[0].' * 12}: field not declared", FAULT)
    state = SourceState(mark, REFUSED, "b" * 40, stage.COMMIT, stage.stamp(7200), 3, faults)
    return {"metadata": {"name": STATE, "namespace": "cicd"}, "data": state.to_data()}


class SceneQueries(Queries):
    """Answers for what is read from the cluster, the engine and this machine."""

    def examine_machine(self) -> list[dict[str, Any]]:
        what = "2.1 GB are free on the disk of /var/lib/docker; a build may need 6 GB"
        return [{"level": "warn", "name": "disk", "what": what, "fix": "docker system prune"}]

    def read_last_up(self) -> dict[str, Any]:
        steps = [
            {"name": name, "start": 4.0 * at, "seconds": 0.02 if at % 3 else 7.0, "changed": at % 3 == 0}
            for at, name in enumerate(stage.STEPS)
        ]
        return {"seconds": 60.0, "ended": stage.stamp(7200), "steps": steps}

    def list_images(self) -> list[dict[str, Any]]:
        names = ("tekton-pipelines-controller", "tekton-triggers-eventlistenersink", "buildkit", "git-server")
        return [
            {"name": name, "digest": f"sha256:{'0123456789abcdef' * 4}", "size": "12.3 MB", "aliases": f"local/{name}"}
            for name in names
        ]

    def measure_resources(self) -> list[dict[str, Any]]:
        cpu = {"all": 2.0, "requests": 1.4, "limits": 26.0, "used": 0.7}
        memory = {"all": 8.0 * 2**30, "requests": 3.0 * 2**30, "limits": 20.0 * 2**30, "used": 4.0 * 2**30}
        return [{"name": "demo-control-plane", "pods": 31, "cpu": cpu, "memory": memory}]

    def list_deliveries(self) -> dict[str, Any]:
        rows = [
            self._delivery("run", "", GOOD, "refs/heads/main"),
            self._delivery("run", "", LONG, f"refs/heads/{LONG_BRANCH}"),
            self._delivery("exists", f"the commit has its run; for another one: invoke rerun --run {GOOD}", GOOD),
            self._delivery("deleted", "it became a run, which was deleted since"),
            self._delivery("watched", "refs/heads/x of http://git.example.com/team/application.git is not watched"),
            self._delivery("signed", "its signature was made with another secret, or its body was changed on the way"),
            self._delivery("unsent", "connection refused"),
        ]
        return {"rows": rows, "strangers": ["a request without an id"]}

    @staticmethod
    def _delivery(outcome: str, why: str, run: str = "", ref: str = "refs/heads/x") -> dict[str, Any]:
        return {
            "when": stage.stamp(120),
            "stage": outcome,
            "why": why,
            "run": run,
            "event": "push",
            "ref": ref,
            "commit": stage.COMMIT,
            "repository": "http://git.git.svc.cluster.local/team/go-echo.git",
        }

    def list_polls(self) -> dict[str, Any]:
        rows = [
            {"repository": "http://git.example.com/a.git", "branches": {"main": stage.COMMIT}, "why": "", "seen": True},
            {"repository": "http://git.example.com/b.git", "branches": {}, "why": "no route to host", "seen": True},
        ]
        return {"minutes": 5, "rows": rows}

    def list_interceptors(self) -> list[tuple[str, str]]:
        return []

    def list_parameters(self) -> list[dict[str, Any]]:
        about = {
            "REPO": "Repository to clone",
            "REVISION": "Branch, tag or commit",
            "IMAGE": "Repository in the registry that the image is pushed to, without tag and digest (HOST/PATH)",
            "NAMESPACE": "Namespace of the Deployment",
            "NAME": "Name of the Deployment",
            "CONTAINER": "Container of the Deployment that gets the image",
            "DOCKERFILE": "Path of the Dockerfile within the repository, which has to be below the context's folder",
            "CONTEXT": "Folder within the repository that the build sees",
            "ROLLOUT_SECONDS": "How long the rollout may take",
        }
        values = {"REVISION": "main", "REPO": "http://git.git.svc.cluster.local/go-echo.git"}
        return [{"name": name, "about": text, "value": values.get(name, "")} for name, text in about.items()]


def check_steps() -> list[Outcome]:
    ready = stage.ready_steps()
    waiting = Outcome("poller", Pending("it is not there"), 0.0)
    return [*ready, waiting, Outcome("doctor", Failed("it is broken", hint="invoke doctor"), 0.2)]


def main(folder: Path, _: int, longer: float) -> None:
    runs, tasks = make_runs()
    kube = stage.kube(*runs, tasks=tasks)
    kube.objects |= make_rollout() | {"Event": make_events(), "Application": make_applications()}
    world = stage.make_world(folder, kube, clock=SystemClock())
    world.config = replace(world.config, apps=ApplicationSettings(repository="https://git.example.com/platform.git"))
    source = find_source(world.config)
    assert source
    kube.objects["ConfigMap"] = [make_source_state(source.mark)]
    console = Console(world, listen(0), check_steps)
    console.queries = SceneQueries(world, check_steps)

    def obey() -> None:
        for line in sys.stdin:
            word, _, text = line.strip().partition(" ")
            if word == "print":
                with NEWS:
                    PRINTED.append(text)
                    NEWS.notify_all()
            elif word == "lose":
                kube.watches["PipelineRun"].news.put((LOST, {"message": "connection refused"}))
            elif word == "back":
                kube.watches["PipelineRun"].news.put((BACK, {}))

    load = console._load

    def slowly() -> Any:
        time.sleep(longer)
        return load()

    def refuse(*_: Any, **__: Any) -> Any:
        time.sleep(0.3)  # as an API server takes its time: the dialog is gone by then
        raise ApiError("the API server refuses it", status=403)

    fake = cast(Any, kube)
    cast(Any, console)._load = slowly
    fake.follow_log, fake.patch, fake.create = open_log, refuse, refuse
    threading.Thread(target=obey, daemon=True).start()
    sys.stdout.write(console.url + "\n")
    sys.stdout.flush()
    console.serve()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
