"""Commands on runs: started, followed to the end, proved; and every way in which that can fail."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bootstrap.commands import follow_run, runs
from bootstrap.core import constants, terminal_layout
from bootstrap.core.errors import (
    ApiError,
    BootstrapError,
    Interrupted,
    NotFound,
    PreconditionError,
    RunFailed,
    TimedOut,
    UsageError,
)
from bootstrap.core.model import Object, Ready
from bootstrap.incluster.run_names import make_triggered_run_name
from bootstrap.objects.run_status import Run, RunState, TaskState, TaskStep, make_row
from bootstrap.settings.config import Config, GitSettings, PipelineSettings
from bootstrap.steps.deploy_target import TargetStep
from bootstrap.world import git_refs
from tests.unit.step_world import FakeKube, StepWorld, make

COMMIT, OLD = "3f9c2e1" + "0" * 33, "1111111" + "0" * 33
DIGEST = "sha256:" + "8" * 64
IMAGE = f"registry.tekton.internal:5000/demo/go-echo@{DIGEST}"
LABELS = {"app.kubernetes.io/name": "go-echo"}
ARRIVED = make_triggered_run_name(constants.GIT_URL, COMMIT)
PLAN = {"tasks": [{"name": "git-clone"}, {"name": "build-image", "runAfter": ["git-clone"]}]}


def succeeded(status: str, reason: str = "", message: str = "") -> list[dict[str, str]]:
    return [{"type": "Succeeded", "status": status, "reason": reason, "message": message}]


def task(name: str, status: str = "", code: int | None = None, **results: str) -> Object:
    """A TaskRun: under way without a status, else ended with this exit code of its only step."""
    ended = {"terminated": {"exitCode": code}} if code is not None else {"running": {}}
    return {
        "kind": "TaskRun",
        "metadata": {"name": f"r-{name}", "labels": {"tekton.dev/pipelineTask": name}},
        "status": {
            "startTime": "2026-01-01T10:00:00Z",
            "podName": f"{name}-pod",
            "steps": [{"name": "main", "container": "step-main", **ended}],
            "conditions": succeeded(status) if status else [],
            "results": [{"name": key, "value": value} for key, value in results.items()],
        },
    }


@dataclass
class RunKube(FakeKube):
    """moments: what a run looks like each time it is read, (status, TaskRuns); the last one stays.

    logs: "pod/container" -> text. versions: answers of /version. pods: of the application.
    arrived: how the commit's own run came, "" if it has none; superseded_by: the run that took its place.
    """

    moments: list[tuple[Object, list[Object]] | BaseException] = field(default_factory=list)
    logs: dict[str, str] = field(default_factory=dict)
    versions: list[str | ApiError] = field(default_factory=lambda: [json.dumps({"commit": COMMIT})])
    images: list[str] = field(default_factory=lambda: [IMAGE, IMAGE])
    task_runs: list[Object] = field(default_factory=list)
    arrived: str = ""
    superseded_by: str = ""

    def get(self, api_version: str, kind: str, name: str, namespace: str = "") -> Object | None:
        if kind != "PipelineRun":
            return super().get(api_version, kind, name, namespace)
        if name == ARRIVED and not self.arrived:
            return None
        moment = self.moments.pop(0) if len(self.moments) > 1 else self.moments[0]
        if isinstance(moment, NotFound):
            return None
        if isinstance(moment, BaseException):
            raise moment
        status, self.task_runs = moment
        made = next((each for each in self.created if each["metadata"]["name"] == name), run(name))
        if name == ARRIVED:
            made["metadata"]["labels"] = {"tekton-bootstrap.dev/trigger": self.arrived}
            made["metadata"]["annotations"] = {"tekton-bootstrap.dev/superseded-by": self.superseded_by}
        return {**copy.deepcopy(made), "status": status}

    def list(self, api_version: str, kind: str, namespace: str = "", *, labels: str = "", fields: str = "") -> Any:
        if kind == "TaskRun":
            assert labels.startswith("tekton.dev/pipelineRun")
            return self.task_runs
        if kind == "Pod":
            assert labels == "app.kubernetes.io/name=go-echo", "as the Deployment selects"
            return [pod(f"go-echo-{number}", image) for number, image in enumerate(self.images)]
        return super().list(api_version, kind, namespace)

    def follow_log(self, namespace: str, pod: str, container: str) -> Iterator[str]:
        yield from self.logs.get(f"{pod}/{container}", "").splitlines()

    def read_log(self, namespace: str, pod: str, container: str, *, tail_lines: int = 1000) -> str:
        if f"{pod}/{container}" not in self.logs:
            raise ApiError(f'pods "{pod}" not found', status=404)
        return "\n".join(self.logs[f"{pod}/{container}"].splitlines()[-tail_lines:])

    def get_from_service(self, namespace: str, service: str, port: int, path: str) -> str:
        assert (namespace, service, port, path) == ("demo", "go-echo", 80, "/version")
        answer = self.versions.pop(0) if len(self.versions) > 1 else self.versions[0]
        if isinstance(answer, ApiError):
            raise answer
        return answer

    def patch(self, api_version: str, kind: str, name: str, namespace: str = "", *, patch: Object) -> Object:
        assert (kind, namespace) == ("PipelineRun", constants.RUNS)
        self.patched.append((name, patch))
        return patch


def pod(name: str, image: str, **status: Any) -> Object:
    return {
        "kind": "Pod",
        "metadata": {"name": name},
        "status": {"phase": "Running", "containerStatuses": [{"imageID": image}], **status},
    }


def run(name: str = "go-echo-old", created: str = "2026-01-01T09:00:00Z") -> Object:
    metadata = {"name": name, "namespace": constants.RUNS, "creationTimestamp": created}
    params = [{"name": "REVISION", "value": "main"}, {"name": "REPO", "value": "https://elsewhere/x.git"}]
    return {"kind": "PipelineRun", "metadata": metadata, "spec": {"params": params}, "status": {}}


def going(*tasks: Object) -> tuple[Object, list[Object]]:
    return {"startTime": "2026-01-01T10:00:00Z", "pipelineSpec": PLAN}, list(tasks)


def ended(status: str, *tasks: Object, reason: str = "", **results: str) -> tuple[Object, list[Object]]:
    return {
        "startTime": "2026-01-01T10:00:00Z",
        "completionTime": "2026-01-01T10:00:21Z",
        "pipelineSpec": PLAN,
        "conditions": succeeded(status, reason),
        "results": [{"name": key.replace("_", "-"), "value": value} for key, value in results.items()],
    }, list(tasks)


CLONED = task("git-clone", "True", 0, commit=COMMIT)
GOOD = ended("True", CLONED, task("build-image", "True", 0), commit=COMMIT, image=IMAGE)
BAD = ended("False", CLONED, task("build-image", "False", 1), reason="Failed", commit=COMMIT)


@pytest.fixture
def kube() -> RunKube:
    found = RunKube(moments=[GOOD])
    metadata = {"name": "go-echo", "namespace": "demo"}
    template = {"spec": {"containers": [{"name": "go-echo", "image": IMAGE}]}}
    spec = {"selector": {"matchLabels": LABELS}, "template": template}
    found.put({"kind": "Deployment", "metadata": metadata, "spec": spec})
    return found


@pytest.fixture
def world(tmp_path: Path, kube: RunKube, monkeypatch: pytest.MonkeyPatch) -> StepWorld:
    """An environment whose repository has COMMIT on main, and whose target's kubeconfig is in order."""
    world = make(tmp_path)
    world.kube = kube
    monkeypatch.setattr(git_refs, "read_refs", lambda *_: {"refs/heads/main": COMMIT})
    monkeypatch.setattr(TargetStep, "check", lambda *_: Ready())
    monkeypatch.setattr("bootstrap.commands.clone.find_address", lambda world: "http://127.0.0.1:1/go-echo.git")
    monkeypatch.setattr(follow_run, "LOG_LIMIT", 1.0)
    return world


def said(world: StepWorld, kind: str = "line") -> list[Any]:
    return [each[1] for each in world.report.printed if each[0] == kind]


def line(world: StepWorld, name: str) -> list[tuple[Any, ...]]:
    return world.report.steps[name].said


# -- test-run --------------------------------------------------------------------------------------


def test_a_good_run_is_followed_and_proved(world: StepWorld, kube: RunKube) -> None:
    kube.moments = [going(), going(task("git-clone")), going(CLONED, task("build-image")), GOOD]
    kube.logs = {"git-clone-pod/step-main": "cloning\nat 3f9c2e1\n"}
    assert runs.test_run(world.open()) == 0
    [created] = kube.created
    name = created["metadata"]["name"]
    assert name.startswith("go-echo-3f9c2e1-")
    assert said(world)[0] == f"run {name} · commit 3f9c2e1 · main"
    assert said(world)[-1].endswith("/version answers 3f9c2e1")
    assert set(line(world, "git-clone")) >= {("log", "cloning"), ("log", "at 3f9c2e1"), ("ready", "3f9c2e1", True)}
    assert line(world, "build-image")[-1] == ("ready", f"demo/go-echo@{DIGEST[:19]}", True)


def test_a_run_gets_the_settings_and_the_very_commit(world: StepWorld, kube: RunKube) -> None:
    world.config = Config(pipeline=PipelineSettings(image="ghcr.io/me/app", directory="src", timeout_minutes=7))
    runs.test_run(world.open())
    [created] = kube.created
    params = {each["name"]: each["value"] for each in created["spec"]["params"]}
    assert params["REVISION"] == COMMIT
    assert (params["IMAGE"], params["CONTEXT"]) == ("ghcr.io/me/app", "src")
    assert created["spec"]["timeouts"]["pipeline"] == "7m"
    assert created["metadata"]["namespace"] == constants.RUNS
    assert created["metadata"]["labels"]["tekton-bootstrap.dev/trigger"] == "hand"
    assert created["metadata"]["labels"]["tekton-bootstrap.dev/branch"] == "main"


def test_two_runs_of_a_commit_have_different_names(world: StepWorld, kube: RunKube) -> None:
    runs.test_run(world.open())
    runs.test_run(world.open())
    first, second = (each["metadata"]["name"] for each in kube.created)
    assert first != second


@pytest.mark.parametrize(("trigger", "told"), [("push", "your push"), ("poll", "the poller")])
def test_a_run_that_came_by_itself_is_followed_in_place_of_a_new_one(
    world: StepWorld, kube: RunKube, trigger: str, told: str
) -> None:
    kube.arrived = trigger
    kube.moments = [going(), going(CLONED), GOOD]
    assert runs.test_run(world.open()) == 0
    assert kube.created == []
    assert said(world)[0] == f"run go-echo-3f9c2e100000 · commit 3f9c2e1 · started by {told}"
    assert said(world)[-1].endswith("/version answers 3f9c2e1")


def test_a_run_that_came_by_itself_and_fails_is_a_failure(world: StepWorld, kube: RunKube) -> None:
    kube.arrived = "push"
    kube.moments = [going(CLONED), BAD]
    with pytest.raises(RunFailed) as failure:
        runs.test_run(world.open())
    assert f"invoke logs --run {ARRIVED}" in failure.value.hint


@pytest.mark.parametrize(("trigger", "moment"), [("push", GOOD), ("push", BAD), ("hand", going())])
def test_a_run_that_is_over_or_somebodys_own_is_not_followed(
    world: StepWorld, kube: RunKube, trigger: str, moment: tuple[Object, list[Object]]
) -> None:
    kube.arrived = trigger
    kube.moments = [moment, GOOD]
    assert runs.test_run(world.open()) == 0
    [created] = kube.created
    assert created["metadata"]["name"] != ARRIVED


def test_the_run_of_a_commit_that_cannot_be_told_is_not_looked_for(world: StepWorld, kube: RunKube) -> None:
    kube.arrived = "push"
    assert runs.test_run(world.open(), revision="no-such-branch") == 0
    assert len(kube.created) == 1


def test_a_rerun_is_another_run(world: StepWorld, kube: RunKube) -> None:
    kube.arrived = "push"
    kube.moments = [going(CLONED), GOOD]
    runs.rerun(world.open(), run=ARRIVED)
    assert len(kube.created) == 1


def test_no_secret_is_in_a_run(world: StepWorld, kube: RunKube) -> None:
    world.config = Config(git=GitSettings(url="https://github.com/you/app.git"))
    runs.test_run(world.open())
    for password in world.identity.list_passwords():
        assert password.reveal() not in json.dumps(kube.created)


def test_a_token_about_to_end_is_renewed_first(
    world: StepWorld, kube: RunKube, monkeypatch: pytest.MonkeyPatch
) -> None:
    applied: list[int] = []
    monkeypatch.setattr(TargetStep, "check", lambda *_: None)
    monkeypatch.setattr(TargetStep, "apply", lambda *_: applied.append(len(kube.created)))
    runs.test_run(world.open())
    assert applied == [0]


def test_a_failed_run_says_where_and_with_what_last_words(world: StepWorld, kube: RunKube) -> None:
    kube.moments = [BAD]
    kube.versions = [json.dumps({"commit": OLD})]
    kube.logs = {"build-image-pod/step-main": "\n".join(f"line {number}" for number in range(100))}
    with pytest.raises(RunFailed) as failure:
        runs.test_run(world.open())
    error = failure.value
    assert error.exit_code == 1
    assert error.message == "failed in 21 s: failed in build-image: exit 1 in step main. go-echo still serves 1111111"
    assert error.evidence.splitlines()[-1] == "line 99"
    assert len(error.evidence.splitlines()) == follow_run.TAIL
    assert kube.created[0]["metadata"]["name"] in error.hint
    assert line(world, "build-image")[-1] == ("failed", "exit 1 in step main")


def test_a_failure_is_told_even_if_nothing_else_can_be(world: StepWorld, kube: RunKube) -> None:
    kube.moments = [BAD]
    kube.versions = [ApiError("no endpoints", status=503)]
    with pytest.raises(RunFailed) as failure:
        runs.test_run(world.open())
    assert failure.value.message == "failed in 21 s: failed in build-image: exit 1 in step main"
    assert failure.value.evidence == ""


@pytest.mark.parametrize(
    ("reason", "kind", "code"), [("PipelineRunTimeout", TimedOut, 124), ("Cancelled", RunFailed, 1)]
)
def test_a_run_that_tekton_ended(
    world: StepWorld, kube: RunKube, reason: str, kind: type[BootstrapError], code: int
) -> None:
    kube.moments = [ended("False", CLONED, reason=reason)]
    with pytest.raises(kind) as failure:
        runs.test_run(world.open())
    assert failure.value.exit_code == code


def test_a_run_that_was_superseded_is_told_as_that(world: StepWorld, kube: RunKube) -> None:
    """Exit code 1: the commit that was asked for does not serve. No log, for nothing is wrong with it."""
    why = "superseded: go-echo has the image of a later run (number 8, this is 7)"
    late = task("build-image", "False", 1, superseded=why)
    kube.moments = [ended("False", CLONED, late, reason="Failed", commit=COMMIT)]
    kube.logs = {"build-image-pod/step-main": why}
    with pytest.raises(RunFailed) as failure:
        runs.test_run(world.open())
    name = kube.created[0]["metadata"]["name"]
    assert failure.value.message == f"run {name} was {why}"
    assert (failure.value.exit_code, failure.value.evidence, failure.value.hint) == (1, "", "invoke runs")
    assert line(world, "build-image")[-1] == ("skipped", why)


def test_of_one_that_was_cancelled_for_another_the_other_is_named(world: StepWorld, kube: RunKube) -> None:
    kube.arrived = "push"
    kube.superseded_by = "go-echo-5b8ca62"
    kube.moments = [going(CLONED), ended("False", CLONED, reason="Cancelled")]
    with pytest.raises(RunFailed) as failure:
        runs.test_run(world.open())
    assert failure.value.message == f"run {ARRIVED} was superseded by go-echo-5b8ca62"
    assert failure.value.hint == "invoke logs --run go-echo-5b8ca62"


def test_a_run_that_takes_too_long_goes_on_without_us(world: StepWorld, kube: RunKube) -> None:
    kube.moments = [going(task("git-clone"))]
    with pytest.raises(TimedOut) as failure:
        runs.test_run(world.open(), minutes=2)
    assert failure.value.exit_code == 124
    assert failure.value.evidence == "git-clone"
    assert "invoke cancel" in failure.value.hint
    assert sum(world.clock.slept) == pytest.approx(120)


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), Interrupted("stopped")])
def test_an_interrupted_follower_says_that_the_run_goes_on(
    world: StepWorld, kube: RunKube, stop: BaseException
) -> None:
    kube.moments = [going(), stop]
    with pytest.raises(Interrupted) as failure:
        runs.test_run(world.open())
    assert failure.value.exit_code == 130
    assert failure.value.hint.startswith("it goes on: invoke logs")


def test_a_run_that_was_deleted_is_a_failure(world: StepWorld, kube: RunKube) -> None:
    kube.moments = [going(task("git-clone")), NotFound("gone")]
    with pytest.raises(RunFailed, match="was deleted"):
        runs.test_run(world.open())


def test_an_api_server_away_for_a_moment_does_not_end_it(world: StepWorld, kube: RunKube) -> None:
    kube.moments = [going(), ApiError("the API server does not answer", status=0), GOOD]
    assert runs.test_run(world.open()) == 0


def test_a_task_that_was_skipped_is_shown_as_such(world: StepWorld, kube: RunKube) -> None:
    status, tasks = ended("False", task("git-clone", "False", 128), reason="Failed")
    status["skippedTasks"] = [{"name": "build-image", "reason": "Parent Tasks Skipped"}]
    kube.moments = [(status, tasks)]
    with pytest.raises(RunFailed):
        runs.test_run(world.open())
    assert line(world, "build-image") == [("skipped", "needs git-clone")]


# -- the proof -------------------------------------------------------------------------------------


def finished(**values: Any) -> Run:
    return replace(Run("r", constants.RUNS, RunState.SUCCEEDED, commit=COMMIT, image=IMAGE), **values)


def test_pods_may_take_a_while_to_follow(world: StepWorld, kube: RunKube) -> None:
    kube.images = [IMAGE, "registry/demo/go-echo@sha256:" + "0" * 64]

    def follow(_: float) -> None:
        if len(world.clock.slept) == 5:
            kube.images = [IMAGE, IMAGE]

    world.clock.on_sleep = follow
    follow_run.prove_deployment(world.open(), finished())
    assert len(world.clock.slept) == 5


@pytest.mark.parametrize(
    ("change", "evidence"),
    [
        (lambda kube: setattr(kube, "images", [IMAGE, "other@sha256:0"]), "pod go-echo-1 still runs another image"),
        (lambda kube: setattr(kube, "images", []), "no pod runs"),
        (
            lambda kube: setattr(kube, "versions", [json.dumps({"commit": OLD})]),
            "/version answers 1111111, not 3f9c2e1",
        ),
        (lambda kube: setattr(kube, "versions", [ApiError("no endpoints", status=503)]), "/version: no endpoints"),
    ],
)
def test_a_run_whose_version_does_not_serve_has_failed(
    world: StepWorld, kube: RunKube, change: Callable[[RunKube], None], evidence: str
) -> None:
    change(kube)
    with pytest.raises(RunFailed, match="does not serve") as failure:
        follow_run.prove_deployment(world.open(), finished())
    assert failure.value.evidence == evidence
    assert sum(world.clock.slept) == pytest.approx(follow_run.SERVED_LIMIT)


def test_another_application_is_told_at_once(world: StepWorld, kube: RunKube) -> None:
    kube.versions = ["<html>"]
    with pytest.raises(RunFailed, match="does not answer JSON"):
        follow_run.prove_deployment(world.open(), finished())
    del kube.objects["Deployment", "demo", "go-echo"]
    with pytest.raises(RunFailed, match="no Deployment go-echo"):
        follow_run.prove_deployment(world.open(), finished())
    assert world.clock.slept == []


def test_another_image_in_the_deployment_is_told_at_once(world: StepWorld, kube: RunKube) -> None:
    containers = [{"name": "go-echo", "image": "registry/demo/go-echo@sha256:" + "0" * 64}]
    kube.objects["Deployment", "demo", "go-echo"]["spec"]["template"] = {"spec": {"containers": containers}}
    with pytest.raises(RunFailed, match="has another image by now"):
        follow_run.prove_deployment(world.open(), finished())
    assert world.clock.slept == []
    containers[0]["image"] = IMAGE
    follow_run.prove_deployment(world.open(), finished())


def test_a_run_without_an_image_proves_nothing(world: StepWorld) -> None:
    with pytest.raises(RunFailed, match="which image"):
        follow_run.prove_deployment(world.open(), finished(image=""))


def test_pods_that_go_or_were_evicted_do_not_count() -> None:
    deleted = pod("a", "old")
    deleted["metadata"]["deletionTimestamp"] = "now"
    evicted = pod("b", "old", phase="Failed")
    assert follow_run._find_other_images([deleted, evicted, pod("c", IMAGE)], finished()) == ""
    assert follow_run._find_other_images([deleted, evicted], finished()) == "no pod runs"


# -- the other commands ----------------------------------------------------------------------------


def test_what_a_revision_names(world: StepWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> dict[str, str]:
        raise PreconditionError("the git server does not answer")

    assert follow_run.resolve_commit(world.open(), "main") == COMMIT
    assert follow_run.resolve_commit(world.open(), "gone") == ""
    monkeypatch.setattr(git_refs, "read_refs", refuse)
    assert follow_run.resolve_commit(world.open(), "main") == ""
    assert follow_run.resolve_commit(world.open(), COMMIT.upper()) == COMMIT, "an id needs no server"


def test_a_rerun_takes_repository_and_commit_of_the_earlier_one(world: StepWorld, kube: RunKube) -> None:
    kube.put(run("go-echo-a", "2026-01-01T09:00:00Z"), run("go-echo-b", "2026-01-02T09:00:00Z"))
    assert runs.rerun(world.open()) == 0
    params = {each["name"]: each["value"] for each in kube.created[0]["spec"]["params"]}
    assert (params["REPO"], params["REVISION"]) == ("https://elsewhere/x.git", COMMIT)


def test_without_a_run_there_is_nothing_to_show(world: StepWorld, kube: RunKube) -> None:
    assert runs.runs(world.open()) == 0
    assert said(world) == ["no run yet.  next: invoke test-run"]
    with pytest.raises(PreconditionError, match="no run yet"):
        runs.logs(world.open())
    kube.moments = [NotFound("gone")]
    with pytest.raises(NotFound, match="no run nope"):
        runs.logs(world.open(), run="nope")


def test_runs_are_listed_newest_first(world: StepWorld, kube: RunKube) -> None:
    kube.put(run("old", "2026-01-01T09:00:00Z"), run("new", "2026-01-02T09:00:00Z"))
    assert runs.runs(world.open(), limit=1, as_json=True) == 0
    [[row]] = said(world, "json")
    assert row["run"] == "new"
    assert set(row) == {"run", "app", "commit", "branch", "by", "state", "why", "seconds", "image", "created"}
    assert runs.runs(world.open()) == 0
    assert said(world, "table")[0][:2] == ["run", "commit"]


MANY = [
    ("go-echo-aaaaaaaaaaaa", "push", "True", "main"),
    ("go-echo-bbbbbbbbbbbb", "poll", "False", "main"),
    ("go-echo-ccccccc-x7k2p", "hand", "True", "feature/x"),
]
LATE = ("go-echo-dddddddddddd", "push", "False", "late")


def arrived(name: str, way: str, status: str, branch: str) -> Object:
    made = run(name)
    made["metadata"]["labels"] = {"tekton-bootstrap.dev/trigger": way, "tekton-bootstrap.dev/branch": branch}
    return {**made, "status": {"conditions": succeeded(status, "Failed" if status == "False" else "")}}


@pytest.mark.parametrize(
    ("filters", "digits"),
    [
        ({}, "abcd"),
        ({"state": "failed"}, "b"),
        ({"state": "Succeeded"}, "ac"),
        ({"branch": "main"}, "ab"),
        ({"by": "PUSH"}, "ad"),
        ({"by": "hand", "branch": "feature/x", "state": "succeeded"}, "c"),
        ({"branch": "main", "limit": 1}, "a"),
        ({"state": "superseded"}, "d"),
        ({"state": "cancelled"}, ""),
    ],
)
def test_runs_are_filtered_before_they_are_counted(
    world: StepWorld, kube: RunKube, filters: dict[str, Any], digits: str
) -> None:
    late = arrived(*LATE)
    late["metadata"]["annotations"] = {"tekton-bootstrap.dev/superseded-by": MANY[0][0]}
    late["status"]["conditions"][0]["reason"] = "Cancelled"
    late["metadata"]["creationTimestamp"] = "2025-01-01T09:00:00Z"
    kube.put(*(arrived(*each) for each in MANY), late)
    assert runs.runs(world.open(), **filters) == 0
    tables = [each for each in world.report.printed if each[0] == "table"]
    assert "".join(row[0][8] for table in tables for row in table[2]) == digits


@pytest.mark.parametrize(
    ("filters", "words"),
    [
        ({"state": "fialed"}, "--state: fialed is none of pending, running, succeeded, failed"),
        ({"state": "Succeded"}, "did you mean Succeeded?"),
        ({"by": "cron"}, "--by: cron is none of push, poll, hand"),
    ],
)
def test_a_filter_that_matches_nothing_ever_is_refused(
    world: StepWorld, kube: RunKube, filters: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError) as caught:
        runs.runs(world.open(), **filters)
    assert words in caught.value.message


def test_a_filter_may_find_nothing_now(world: StepWorld, kube: RunKube) -> None:
    kube.put(arrived(*MANY[0]))
    assert runs.runs(world.open(), branch="gone") == 0
    assert said(world) == ["no such run.  next: invoke runs"]


@pytest.mark.parametrize("branch", ["main", "release/2026.11", "feature/a-branch-whose-name-does-not-end"])
@pytest.mark.parametrize("name", ["go-echo-3f9c2e100000", "r", "somebody-my-application-3f9c2e1000"])
def test_a_row_fits_80_columns(name: str, branch: str) -> None:
    values = finished(name=name, branch=branch, trigger="push", started=None)
    row = make_row(values, datetime.now(UTC)) | {"seconds": 1234, "state": "Succeeded"}
    columns, *rows = runs.table([row, row | {"branch": "main"}])
    lines = terminal_layout.format_table(columns, rows)
    assert max(map(len, lines)) <= 80
    assert name in lines[1]
    assert branch[:7] in lines[1]
    assert ("888888888888" in lines[1]) == (len(name) < 34)


@pytest.mark.parametrize("command", [runs.logs, runs.rerun, runs.cancel])
def test_an_unknown_run_brings_the_one_that_may_be_meant(
    world: StepWorld, kube: RunKube, command: Callable[..., int]
) -> None:
    kube.put(run("go-echo-3f9c2e100000"))
    kube.moments = [NotFound("gone")]
    with pytest.raises(NotFound) as caught:
        command(world.open(), run="go-echo-3f9c2e10000")
    assert caught.value.message == "there is no run go-echo-3f9c2e10000; did you mean go-echo-3f9c2e100000?"


def test_a_row_is_json(world: StepWorld) -> None:
    now = datetime(2026, 1, 1, 10, 1, tzinfo=UTC)
    row = make_row(finished(started=datetime(2026, 1, 1, 10, tzinfo=UTC)), now)
    assert json.loads(json.dumps(row))["seconds"] == 60


def test_logs_of_every_task_in_order(world: StepWorld, kube: RunKube) -> None:
    kube.moments = [BAD]
    kube.logs = {"build-image-pod/step-main": "no such file\n"}
    assert runs.logs(world.open(), run="go-echo-x") == 0
    assert said(world) == [
        '[git-clone] (no log: pods "git-clone-pod" not found)',
        "[build-image] no such file",
    ]


def test_a_run_under_way_is_cancelled_and_its_notification_still_sent(world: StepWorld, kube: RunKube) -> None:
    kube.moments = [going(task("git-clone"))]
    assert runs.cancel(world.open(), run="go-echo-x") == 0
    assert kube.patched == [("go-echo-x", {"spec": {"status": "CancelledRunFinally"}})]
    kube.moments = [GOOD]
    assert runs.cancel(world.open(), run="go-echo-x") == 0
    assert len(kube.patched) == 1
    assert said(world)[-1] == "run go-echo-x is over already: Succeeded"


def test_logs_have_every_try_of_a_task(world: StepWorld) -> None:
    class Pods(FakeKube):
        def read_log(self, namespace: str, pod: str, container: str = "") -> str:
            return f"{pod} {container}"

    world.kube = Pods()
    step = TaskStep("test", "step-test", RunState.FAILED)
    first = TaskState("unit", RunState.FAILED, pod="pod-1", steps=(step,))
    task = TaskState("unit", RunState.SUCCEEDED, pod="pod-2", steps=(step,), tries=(first,))
    lines: list[tuple[str, str]] = []
    run = Run("x", "cicd", RunState.SUCCEEDED, tasks=(task,))
    follow_run.read_logs(world.open(), run, lambda name, line: lines.append((name, line)))
    assert lines == [("unit", "pod-1 step-test"), ("unit", "pod-2 step-test")]
