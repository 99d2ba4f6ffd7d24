"""PipelineRuns at every moment of their life, and the names of runs."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from bootstrap.core.constants import GIT_URL
from bootstrap.core.model import Object
from bootstrap.core.paths import PROJECT
from bootstrap.incluster.run_names import (
    OWN_HOST,
    make_run_name,
    make_triggered_run_name,
    normalize_url,
    to_dns_label,
    to_label_value,
)
from bootstrap.objects.run_status import Run, RunState, parse_run, parse_runs, parse_task_run

COMMIT = "3f9c2e1" + "0" * 33
DIGEST = "sha256:" + "8" * 64
TASKS: list[dict[str, Any]] = [
    {"name": "git-clone"},
    {"name": "build-image", "runAfter": ["git-clone"]},
    {"name": "deploy", "params": [{"name": "IMAGE", "value": "$(tasks.build-image.results.image)"}]},
    {"name": "smoke", "runAfter": ["deploy"]},
]


def done(status: str, reason: str, message: str = "") -> list[dict[str, str]]:
    return [{"type": "Succeeded", "status": status, "reason": reason, "message": message}]


def pipeline_run(name: str = "run-1", created: str = "2026-01-01T10:00:00Z", **status: object) -> Object:
    return {
        "metadata": {
            "name": name,
            "namespace": "cicd",
            "creationTimestamp": created,
            "labels": {"tekton-bootstrap.dev/trigger": "push", "tekton-bootstrap.dev/branch": "main"},
        },
        "spec": {
            "params": [
                {"name": "REVISION", "value": "main"},
                {"name": "IMAGE", "value": "registry:5000/demo/go-echo:1"},
            ]
        },
        "status": {
            "startTime": "2026-01-01T10:00:01Z",
            "pipelineSpec": {"tasks": TASKS, "finally": [{"name": "notify"}]},
            **status,
        },
    }


def task_run(task: str, started: str = "2026-01-01T10:00:02Z", run: str = "run-1", **status: object) -> Object:
    labels = {"tekton.dev/pipelineRun": run, "tekton.dev/pipelineTask": task}
    return {
        "metadata": {"name": f"{run}-{task}", "labels": labels},
        "status": {"startTime": started, "podName": f"{run}-{task}-pod", **status},
    }


def step(name: str, code: int, reason: str = "Completed", **more: str) -> dict[str, Any]:
    return {"name": name, "container": f"step-{name}", "terminated": {"exitCode": code, "reason": reason}, **more}


GOOD = done("True", "Succeeded")
CLONE = task_run(
    "git-clone",
    conditions=GOOD,
    completionTime="2026-01-01T10:00:06Z",
    results=[{"name": "commit", "value": COMMIT + "\n"}],
    steps=[step("clone", 0)],
)
BROKEN = task_run(
    "build-image",
    conditions=done("False", "Failed", '"step-build" exited with code 1'),
    steps=[step("prepare", 0), step("build", 1, "Error"), step("push", 1, "Error", terminationReason="Skipped")],
)


def test_a_run_that_failed_says_where_and_what_could_not_follow() -> None:
    skipped = [
        {"name": "deploy", "reason": "PipelineRun was stopping"},
        {"name": "smoke", "reason": "PipelineRun was stopping"},
    ]
    notify = task_run("notify", conditions=GOOD)
    run = parse_run(
        pipeline_run(
            conditions=done("False", "Failed", "Tasks Completed: 2 (Failed: 1)"),
            completionTime="2026-01-01T10:00:12Z",
            skippedTasks=skipped,
        ),
        [notify, BROKEN, CLONE],
    )
    assert (run.state, run.why) == (RunState.FAILED, "failed in build-image: exit 1 in step build")
    assert [(task.name, task.state.value, task.why) for task in run.tasks] == [
        ("git-clone", "Succeeded", ""),
        ("build-image", "Failed", "exit 1 in step build"),
        ("deploy", "Skipped", "needs build-image"),
        ("smoke", "Skipped", "needs build-image"),
        ("notify", "Succeeded", ""),
    ]
    failed = run.failed_task
    assert failed is not None
    assert (failed.failed_step, failed.exit_code, failed.pod) == ("build", 1, "run-1-build-image-pod")
    assert [each.state for each in failed.steps] == [RunState.SUCCEEDED, RunState.FAILED, RunState.SKIPPED]
    assert (run.commit, run.branch, run.trigger, run.seconds) == (COMMIT, "main", "push", 11)
    assert run.image == ""


def test_a_run_that_succeeded_has_its_results() -> None:
    results = [{"name": "commit", "value": COMMIT}, {"name": "image-digest", "value": DIGEST}]
    run = parse_run(pipeline_run(conditions=done("True", "Completed"), results=results))
    assert (run.state, run.why, run.commit) == (RunState.SUCCEEDED, "", COMMIT)
    assert run.image == f"registry:5000/demo/go-echo@{DIGEST}"


def test_a_run_of_which_a_task_took_too_long_has_timed_out() -> None:
    """Tekton says of it only that a task has failed."""
    slow = done("False", "TaskRunTimeout", 'TaskRun "run-1-build-image" failed to finish within "10m0s"')
    over = pipeline_run(conditions=done("False", "Failed", "Tasks Completed: 3 (Failed: 1, Cancelled 0), Skipped: 2"))
    run = parse_run(over, [CLONE, task_run("build-image", conditions=slow), task_run("notify", conditions=GOOD)])
    assert run.state is RunState.TIMED_OUT
    assert run.why == 'timed out in build-image: TaskRun "run-1-build-image" failed to finish within "10m0s"'
    assert parse_run(over, [CLONE, BROKEN]).state is RunState.FAILED


@pytest.mark.parametrize(
    ("conditions", "told", "unsent"),
    [
        (GOOD, "sent", ""),
        (GOOD, "off", ""),
        (GOOD, "failed: HTTP 404", "failed: HTTP 404"),
        (GOOD, "held back: 20 messages in the last minute", "held back: 20 messages in the last minute"),
        (done("False", "TaskRunTimeout", "it took too long"), "", "failed: it took too long"),
        ([], "", ""),
    ],
)
def test_whether_people_heard_of_it(conditions: list[dict[str, str]], told: str, unsent: str) -> None:
    results = [{"name": "notification", "value": told}] if told else []
    assert parse_run(pipeline_run(), [task_run("notify", conditions=conditions, results=results)]).unsent == unsent
    assert parse_run(pipeline_run()).unsent == ""


def test_the_image_is_known_as_soon_as_it_was_built() -> None:
    image = f"registry:5000/demo/go-echo@{DIGEST}"
    built = task_run("build-image", conditions=GOOD, results=[{"name": "image", "value": image}])
    assert parse_run(pipeline_run(conditions=done("Unknown", "Running")), [built]).image == image


def test_a_run_that_builds_nothing_has_the_image_that_it_was_given() -> None:
    run = pipeline_run(pipelineSpec={"tasks": [{"name": "deploy"}], "finally": [{"name": "notify"}]})
    run["spec"]["params"] = [{"name": "IMAGE", "value": "r:5000/apps/orders"}, {"name": "DIGEST", "value": DIGEST}]
    run["metadata"]["annotations"] = {
        "tekton-bootstrap.dev/commit": COMMIT,
        "tekton-bootstrap.dev/image-from": "staging",
    }
    found = parse_run(run)
    assert (found.image, found.commit, found.source) == (f"r:5000/apps/orders@{DIGEST}", COMMIT, "staging")
    assert ([each.name for each in found.tasks], found.builds) == (["deploy", "notify"], False)


def test_a_run_in_the_middle() -> None:
    building = task_run("build-image", conditions=done("Unknown", "Running"), steps=[{"name": "build", "running": {}}])
    run = parse_run(pipeline_run(conditions=done("Unknown", "Running")), [building, CLONE])
    assert (run.state, run.why, run.seconds) == (RunState.RUNNING, "", None)
    assert [task.state for task in run.tasks] == [
        RunState.SUCCEEDED,
        RunState.RUNNING,
        RunState.PENDING,
        RunState.PENDING,
        RunState.PENDING,
    ]
    assert run.tasks[0].seconds == 4
    assert run.elapsed(datetime(2026, 1, 1, 10, 0, 31, tzinfo=UTC)) == 30
    clone = run.task("git-clone")
    assert clone is not None
    assert clone.results["commit"].strip() == COMMIT


@pytest.mark.parametrize(
    "run", [{}, {"metadata": {}}, {"metadata": {"name": "a"}, "status": {}}, {"status": {"conditions": []}}]
)
def test_a_run_that_has_only_been_made(run: Object) -> None:
    parsed = parse_run(run)
    assert (parsed.state, parsed.tasks, parsed.seconds, parsed.commit) == (RunState.PENDING, (), None, "")
    assert parsed.elapsed(datetime.now(UTC)) == 0
    assert parse_task_run(run).state is RunState.PENDING


@pytest.mark.parametrize(
    ("status", "reason", "expected"),
    [
        ("True", "Succeeded", RunState.SUCCEEDED),
        ("True", "Completed", RunState.SUCCEEDED),
        ("Unknown", "Running", RunState.RUNNING),
        ("Unknown", "Started", RunState.RUNNING),
        ("Unknown", "PipelineRunPending", RunState.PENDING),
        ("Unknown", "Pending", RunState.PENDING),
        ("False", "Failed", RunState.FAILED),
        ("False", "CouldntGetPipeline", RunState.FAILED),
        ("False", "Cancelled", RunState.CANCELLED),
        ("False", "CancelledRunningFinally", RunState.CANCELLED),
        ("False", "StoppedRunningFinally", RunState.CANCELLED),
        ("False", "TaskRunCancelled", RunState.CANCELLED),
        ("False", "PipelineRunTimeout", RunState.TIMED_OUT),
        ("False", "TaskRunTimeout", RunState.TIMED_OUT),
    ],
)
def test_states(status: str, reason: str, expected: RunState) -> None:
    assert parse_run(pipeline_run(conditions=done(status, reason))).state is expected


def cancelled_run(status: str = "False", reason: str = "Cancelled", **annotations: str) -> Object:
    made = pipeline_run(conditions=done(status, reason, "it was told to"))
    made["metadata"]["annotations"] = {f"tekton-bootstrap.dev/{key}": value for key, value in annotations.items()}
    return made


def test_a_cancelled_run_whose_place_another_took_was_superseded() -> None:
    made = cancelled_run(**{"superseded-by": "app-5b8ca62"})
    stopped = task_run("build-image", conditions=done("False", "TaskRunCancelled", "cancelled"))
    for run in (parse_run(made), parse_run(made, [CLONE, stopped])):
        assert (run.state, run.why, run.superseded_by) == (
            RunState.SUPERSEDED,
            "superseded by app-5b8ca62",
            "app-5b8ca62",
        )
        assert (run.state.is_over, run.state.is_bad) == (True, False)
    assert parse_run(cancelled_run(commit=COMMIT)).state is RunState.CANCELLED


@pytest.mark.parametrize(
    ("status", "reason", "expected"),
    [
        ("True", "Completed", RunState.SUCCEEDED),
        ("False", "Failed", RunState.FAILED),
        ("False", "PipelineRunTimeout", RunState.TIMED_OUT),
        ("Unknown", "Running", RunState.RUNNING),
    ],
)
def test_the_mark_says_nothing_of_a_run_that_was_not_cancelled(status: str, reason: str, expected: RunState) -> None:
    """It is made before the run is cancelled, which may have come too late."""
    run = parse_run(cancelled_run(status, reason, **{"superseded-by": "app-5b8ca62"}))
    assert (run.state, run.superseded_by) == (expected, "")


def deployed(told: str, status: str = "False", name: str = "deploy") -> Object:
    return task_run(
        name,
        conditions=done(status, "Failed", '"step-deploy" exited with code 1'),
        results=[{"name": "superseded", "value": told}] if told else [],
        steps=[step("deploy", int(status == "False"), "Error")],
    )


def test_a_run_whose_deploy_task_came_too_late_was_superseded() -> None:
    why = "superseded: web has the image of a later run (number 8, this is 7)"
    over = pipeline_run(conditions=done("False", "Failed", "Tasks Completed: 3 (Failed: 1, Cancelled 0), Skipped: 0"))
    run = parse_run(over, [CLONE, deployed(why + "\n"), task_run("notify", conditions=GOOD)])
    assert (run.state, run.why, run.superseded_by, run.failed_task) == (RunState.SUPERSEDED, why, "", None)
    task = run.task("deploy")
    assert task is not None
    assert (task.state, task.why) == (RunState.SUPERSEDED, why)


@pytest.mark.parametrize("tasks", [[deployed("")], [deployed("no")], [BROKEN, deployed("superseded: late")]])
def test_a_run_that_failed_for_another_reason_has_failed(tasks: list[Object]) -> None:
    """The pipeline's first task that went wrong tells."""
    over = pipeline_run(conditions=done("False", "Failed"))
    assert parse_run(over, [CLONE, *tasks]).state is RunState.FAILED
    assert parse_task_run(deployed("superseded: late", "True")).state is RunState.SUCCEEDED


def test_a_refused_run_shows_tektons_message() -> None:
    run = parse_run(pipeline_run(conditions=done("False", "ParameterMissing", "lacks  REPO"), pipelineSpec=None))
    assert run.why == "ParameterMissing: lacks REPO"


def test_a_step_killed_for_memory_says_so() -> None:
    killed = task_run("build-image", conditions=done("False", "Failed"), steps=[step("build", 137, "OOMKilled")])
    assert parse_task_run(killed).why == "exit 137 (OOMKilled) in step build"


def test_a_task_that_cannot_start_says_why() -> None:
    pulling = task_run("git-clone", conditions=done("False", "TaskRunImagePullFailed", "image x not found"))
    assert parse_task_run(pulling).why == "image x not found"


def test_tasks_of_an_unresolved_pipeline_are_ordered_by_start() -> None:
    late, early = task_run("b", "2026-01-01T10:00:09Z"), task_run("a", "2026-01-01T10:00:02Z")
    run = parse_run(pipeline_run(pipelineSpec=None), [late, early, {"metadata": {"name": "c"}}])
    assert [task.name for task in run.tasks] == ["a", "b", "c"]


def test_a_when_expression_keeps_its_own_reason() -> None:
    skipped = [{"name": "git-clone", "reason": "When Expressions evaluated to false"}]
    run = parse_run(pipeline_run(skippedTasks=skipped))
    assert run.tasks[0].why == "When Expressions evaluated to false"


def test_runs_are_newest_first_and_have_their_own_tasks() -> None:
    old, new = pipeline_run("old", "2026-01-01T09:00:00Z"), pipeline_run("new", "2026-01-01T11:00:00Z")
    runs = parse_runs([old, new], [task_run("git-clone", run="old", conditions=GOOD)])
    assert [run.name for run in runs] == ["new", "old"]
    assert [run.tasks[0].state for run in runs] == [RunState.PENDING, RunState.SUCCEEDED]


def test_an_id_as_revision_is_the_commit_and_no_branch() -> None:
    run = parse_run({"spec": {"params": [{"name": "REVISION", "value": COMMIT}]}})
    assert (run.commit, run.branch, run.trigger) == (COMMIT, "", "hand")


ODD = [
    "",
    "-",
    "a",
    "9lives",
    "Größe XXL",
    "x" * 200,
    "a-" * 100,
    "/../..",
    "日本語",
    "UPPER_case.v1",
    "-lead",
    "trail-",
]


@pytest.mark.parametrize("app", ODD)
@pytest.mark.parametrize("commit", ["", COMMIT, "refs/heads/main"])
@pytest.mark.parametrize("suffix", ["x7k2p", "S" * 80])
def test_run_names_are_dns_labels(app: str, commit: str, suffix: str) -> None:
    name = make_run_name(app, commit, suffix)
    assert re.fullmatch(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", name)
    assert name.endswith(suffix.lower()[:20]) or len(name) == 63


BASE = "https://git.example.org/platform-engineering/backend-services"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (f"{BASE}/service-orders.git", f"{BASE}/service-invoices.git"),
        (f"{BASE}/service-orders.git", f"{BASE}/service-orders-archive.git"),
        ("https://git.example.org/team-a/b.git", "https://git.example.org/team/a-b.git"),
        ("https://git.example.org/team/a_b.git", "https://git.example.org/team/a-b.git"),
        ("https://git.example.org/team/app.git", "https://mirror.example.org/team/app.git"),
        ("https://git.example.org/go-echo.git", "http://git.git.svc.cluster.local/go-echo.git"),
        ("https://git.example.org/Team/app.git", "https://git.example.org/team/app.git"),
    ],
)
def test_two_repositories_never_share_the_run_of_a_commit(one: str, other: str) -> None:
    names = [make_triggered_run_name(url, COMMIT) for url in (one, other)]
    assert names[0] != names[1]
    assert all(name == to_dns_label(name) for name in names)
    assert all(name.endswith(f"-{COMMIT[:12]}") for name in names)


def test_one_repository_has_one_name_however_it_is_spelt() -> None:
    spellings = ("https://git.test/You/app.git", "https://GIT.test:443/You/app", "https://u:p@git.test/You/app.git//")
    assert len({make_triggered_run_name(url, COMMIT) for url in spellings}) == 1
    assert normalize_url("http://Git.test:443/a") == "http://git.test:443/a"


def test_a_repository_that_is_watched_by_its_name_has_one_name_at_every_host() -> None:
    urls = ("https://git.test/you/app.git", "https://mirror.test/you/app")
    assert len({make_triggered_run_name(url, COMMIT, ["you/app"]) for url in urls}) == 1
    assert len({make_triggered_run_name(url, COMMIT) for url in urls}) == 2


def test_the_environments_own_server_is_known_by_its_host() -> None:
    assert urlsplit(GIT_URL).hostname == OWN_HOST
    assert make_triggered_run_name(GIT_URL, COMMIT) == f"go-echo-{COMMIT[:12]}"


def test_the_run_name_people_see() -> None:
    assert make_run_name("go-echo", COMMIT, "x7k2p") == "go-echo-3f9c2e1-x7k2p"
    assert make_run_name("", "", "") == "run"


@pytest.mark.parametrize("text", [*ODD, "feature/login", "_x_", "a" * 62 + "/b"])
def test_label_values_are_accepted(text: str) -> None:
    value = to_label_value(text)
    assert re.fullmatch(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?", value)
    assert len(value) <= 63


def test_a_good_label_value_stays() -> None:
    assert to_label_value("release-1.2_x") == "release-1.2_x"
    assert to_label_value("feature/login") == "feature-login"
    assert to_dns_label("Go_Echo") == "go-echo"


EVENTS = yaml.safe_load((PROJECT / "tests/events.yaml").read_text())


@pytest.mark.parametrize(
    ("address", "wanted"),
    [(each["says"], each["is"]) for each in EVENTS["ssh"] if each["says"] and isinstance(each["says"], str)],
)
def test_addresses_for_ssh_are_the_same_as_in_the_listener(address: str, wanted: str) -> None:
    """images/tekton/listener_test.go asks the listener of the same table."""
    assert normalize_url(address) == wanted


@pytest.mark.parametrize(("url", "wanted"), EVENTS["names"].items())
def test_what_arrives_is_named_after_repository_and_commit(url: str, wanted: str) -> None:
    found = make_triggered_run_name(url, EVENTS["commit"])
    assert found == wanted
    assert found == to_dns_label(found)


MATRIX = {"params": [{"name": "PLATFORM", "value": ["amd64", "arm64", "s390x"]}]}


def combination(number: int, code: int, platform: str, **status: Any) -> Object:
    name = f"x-unit-{number}"
    return {
        "metadata": {"name": name, "labels": {"tekton.dev/pipelineTask": "unit"}},
        "spec": {"params": [{"name": "PLATFORM", "value": platform}]},
        "status": {
            "podName": f"{name}-pod",
            "startTime": "2026-11-30T08:00:01Z",
            "completionTime": "2026-11-30T08:00:08Z",
            "steps": [{"name": "test", "container": "step-test", "terminated": {"exitCode": code}}],
            "conditions": [{"type": "Succeeded", "status": "False" if code else "True"}],
            **status,
        },
    }


def matrix_run(*task_runs: Object) -> Run:
    spec = {"tasks": [{"name": "unit", "matrix": MATRIX}, {"name": "after", "runAfter": ["unit"]}]}
    status = {
        "pipelineSpec": spec,
        "skippedTasks": [{"name": "after", "reason": "Parent Tasks were skipped"}],
        "conditions": [{"type": "Succeeded", "status": "False", "reason": "Failed"}],
    }
    return parse_run({"metadata": {"name": "x"}, "status": status}, task_runs)


def test_each_combination_of_a_matrix_is_a_task_and_the_one_that_failed_is_named() -> None:
    """Of three pods the last was kept, and no task counted as failed."""
    run = matrix_run(combination(1, 0, "arm64"), combination(0, 1, "amd64"), combination(2, 0, "s390x"))
    assert [(task.name, task.pod) for task in run.tasks] == [
        ("unit (amd64)", "x-unit-0-pod"),
        ("unit (arm64)", "x-unit-1-pod"),
        ("unit (s390x)", "x-unit-2-pod"),
        ("after", ""),
    ]
    assert run.failed_task is not None
    assert run.failed_task.name == "unit (amd64)"
    assert run.why == "failed in unit (amd64): exit 1 in step test"
    assert run.tasks[-1].why == "needs unit"


def test_the_earlier_tries_of_a_task_are_kept_with_their_pods() -> None:
    first = {**combination(0, 1, "amd64")["status"], "podName": "x-unit-0-pod-first"}
    [task, _] = matrix_run(combination(0, 0, "amd64", retriesStatus=[first])).tasks
    assert task.state is RunState.SUCCEEDED
    [earlier] = task.tries
    assert (earlier.pod, earlier.state, earlier.exit_code) == ("x-unit-0-pod-first", RunState.FAILED, 1)
