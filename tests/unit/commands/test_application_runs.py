"""Runs of applications: `test-run --app`, `rerun` and `runs --app`. What becomes of one is test_runs.py's subject."""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from bootstrap.commands import follow_run, runs
from bootstrap.core import constants
from bootstrap.core.errors import NotFound, PreconditionError, UsageError
from bootstrap.core.model import Object, Secret
from bootstrap.incluster.applications import API_VERSION, KIND, read_application
from bootstrap.settings.config import GitSettings
from bootstrap.world import git_refs
from bootstrap.world.shell import Output
from tests.unit.fake_shell import FakeShell
from tests.unit.step_world import FakeKube, StepWorld, make

COMMIT, OLD = "84a81d2f01d3" + "0" * 28, "1" * 40
PREFIX = "tekton-bootstrap.dev/"


@dataclass
class LabelKube(FakeKube):
    """Which takes selectors of several labels."""

    def list(self, api_version: str, kind: str, namespace: str = "", *, labels: str = "", fields: str = "") -> Any:
        wanted = dict(each.split("=", 1) for each in labels.split(",") if "=" in each)
        found = super().list(api_version, kind, namespace)
        return [each for each in found if wanted.items() <= (each["metadata"].get("labels") or {}).items()]


def declare(name: str = "orders", **spec: Any) -> Object:
    metadata = {"name": name, "namespace": constants.RUNS}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec}


def pipeline_run(name: str, by: str = "push", commit: str = COMMIT, status: Any = None, **more: str) -> Object:
    whose = {"application": "orders", "environment": "default"} | more
    labels = {f"{PREFIX}{key}": value for key, value in (whose | {"trigger": by, "commit": commit}).items()}
    annotations = {f"{PREFIX}commit": commit, f"{PREFIX}branch": "main"}
    return {
        "kind": "PipelineRun",
        "metadata": {
            "name": name,
            "namespace": constants.RUNS,
            "labels": labels,
            "annotations": annotations,
            "creationTimestamp": "2027-01-15T08:00:00Z",
        },
        "spec": {"params": [{"name": "REVISION", "value": commit}]},
        "status": status or {},
    }


OVER = {"conditions": [{"type": "Succeeded", "status": "True", "reason": "Succeeded"}]}


@pytest.fixture
def world(tmp_path: Path) -> StepWorld:
    made = make(tmp_path)
    made.kube = LabelKube()
    several = [
        {"name": "default", "namespace": "sales-staging", "branches": ["release/*", "stable"]},
        {"name": "other", "namespace": "sales", "branches": ["feature/*"]},
    ]
    made.kube.put(declare(), declare("several", environments=several))
    return made


@pytest.fixture
def followed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """(run, what is told of it) of each run that was followed; every branch is at COMMIT."""
    found: list[tuple[str, str]] = []

    def follow(world: Any, name: str, commit: str, about: str, minutes: int, begun: float) -> int:
        found.append((name, about))
        return 0

    monkeypatch.setattr(runs, "follow_to_end", follow)
    monkeypatch.setattr(follow_run, "resolve_commit", lambda *given: COMMIT)
    return found


def get_labels(run: Object) -> dict[str, str]:
    return {key.removeprefix(PREFIX): value for key, value in run["metadata"]["labels"].items()}


def test_a_run_by_hand_waits_for_the_manager(world: StepWorld, followed: list[tuple[str, str]]) -> None:
    assert runs.test_run(world.open(), app="orders") == 0
    [made] = world.kube.created
    name = made["metadata"]["name"]
    assert name.startswith("orders-84a81d2f01d3-")
    assert followed == [(name, "orders to orders")]
    assert made["spec"]["status"] == "PipelineRunPending"
    assert get_labels(made) == {
        "application": "orders",
        "environment": "default",
        "trigger": "hand",
        "commit": COMMIT,
        "branch": "main",
    }
    assert made["metadata"]["annotations"][f"{PREFIX}branch"] == "main"


@pytest.mark.usefixtures("followed")
@pytest.mark.parametrize(
    ("env", "revision", "branch"),
    [("", "", "stable"), ("default", "", "stable"), ("other", "", "main"), ("other", "feature/1", "feature/1")],
)
def test_the_branch_is_one_that_goes_there(world: StepWorld, env: str, revision: str, branch: str) -> None:
    runs.test_run(world.open(), app="several", env=env, revision=revision)
    [made] = world.kube.created
    assert made["metadata"]["annotations"][f"{PREFIX}branch"] == branch
    assert get_labels(made)["environment"] == (env or "default")


@pytest.mark.parametrize("by", ["push", "poll"])
def test_a_run_of_that_commit_that_came_by_itself_is_followed(
    world: StepWorld, followed: list[tuple[str, str]], by: str
) -> None:
    world.kube.put(
        pipeline_run("over", status=OVER),
        pipeline_run("elsewhere", environment="production"),
        pipeline_run("other", application="several"),
        pipeline_run("old", commit=OLD),
        pipeline_run("hand", by="hand"),
        pipeline_run("it", by),
    )
    runs.test_run(world.open(), app="orders")
    assert followed == [("it", runs.ARRIVED[by])]
    assert world.kube.created == []


def test_an_environment_that_is_not(world: StepWorld, followed: list[tuple[str, str]]) -> None:
    with pytest.raises(UsageError, match="--env: several has no environment prod; it has default, other"):
        runs.test_run(world.open(), app="several", env="prod")
    with pytest.raises(NotFound, match=r"no application order; did you mean orders\?"):
        runs.test_run(world.open(), app="order")
    assert followed == []


def test_one_that_is_refused_is_not_run(world: StepWorld, followed: list[tuple[str, str]]) -> None:
    ready = {"type": "Ready", "status": "False", "reason": "Refused", "message": "image x is application a's"}
    world.kube.put({**declare("thief"), "status": {"conditions": [ready]}})
    with pytest.raises(PreconditionError, match="application thief is refused: image x is application a's"):
        runs.test_run(world.open(), app="thief")
    assert (followed, world.kube.created) == ([], [])


def test_a_repository_without_that_branch(world: StepWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow_run, "resolve_commit", lambda *given: "")
    with pytest.raises(PreconditionError, match=r"orders.git has no branch main, or does not answer") as caught:
        runs.test_run(world.open(), app="orders")
    assert caught.value.hint == "invoke clone --app orders, and push"
    world.kube.put(declare(repository={"url": "https://git.example.com/a/b"}))
    with pytest.raises(PreconditionError, match=r"https://git.example.com/a/b has no branch main") as caught:
        runs.test_run(world.open(), app="orders")
    assert "clone" not in caught.value.hint
    assert world.kube.created == []


BY_SSH, URL = "ssh://git@git.example.com/sales/orders.git", "https://git.example.com/sales/orders.git"


def login(url: str, **data: str) -> Object:
    """A Secret that opens a repository at git.example.com by https."""
    metadata = {"name": "sales-git", "namespace": "cicd", "annotations": {"tekton.dev/git-0": url}}
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    return {"kind": "Secret", "type": "kubernetes.io/basic-auth", "metadata": metadata, "data": encoded}


def test_by_ssh_the_branch_is_asked_for_with_the_users_own_keys(world: StepWorld) -> None:
    found = read_application(declare(repository={"url": BY_SSH, "login": "x"}), "registry:5000")
    world.shell = FakeShell({f"git ls-remote -- {BY_SSH}": f"{COMMIT}\trefs/heads/main\n"})
    assert follow_run.resolve_commit(world.open(), "main", found) == COMMIT
    world.shell = FakeShell({"git": Output(128, "", "Permission denied")})
    assert follow_run.resolve_commit(world.open(), "main", found) == ""


def test_by_https_it_is_asked_for_with_the_login_of_its_host_alone(
    world: StepWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []

    def read(url: str, username: str = "", password: Secret | None = None) -> dict[str, str]:
        asked.append((username, password.reveal() if password else ""))
        return {"refs/heads/main": COMMIT}

    monkeypatch.setattr(git_refs, "read_refs", read)
    world.kube.put(login("https://git.example.com", username="ada", password="sesame"))
    plain, own = (
        read_application(declare(repository={"url": URL, "login": each}), "registry:5000") for each in ("", "sales-git")
    )
    settings = GitSettings(url="https://git.example.com/a/b.git", username="me", password=Secret("mine"))
    elsewhere = replace(settings, url="https://git.example.org/a/b.git")
    for config, application in ((settings, plain), (elsewhere, plain), (settings, own)):
        world.config = replace(world.config, git=config)
        assert follow_run.resolve_commit(world.open(), "main", application) == COMMIT
    assert asked == [("me", "mine"), ("", ""), ("ada", "sesame")]


@pytest.mark.parametrize(
    ("secret", "why"),
    [
        (None, "application orders: Secret sales-git is not there"),
        (
            login("https://git.example.org", username="a", password="b"),
            "does not say that it is for https://git.example",
        ),
    ],
)
def test_no_run_is_made_with_a_login_that_is_none(
    world: StepWorld, followed: list[tuple[str, str]], secret: Any, why: str
) -> None:
    world.kube.put(declare(repository={"url": URL, "login": "sales-git"}), pipeline_run("orders-old", status=OVER))
    world.kube.put(*([secret] if secret else []))
    with pytest.raises(PreconditionError, match=why) as caught:
        runs.test_run(world.open(), app="orders")
    assert caught.value.hint.startswith("kubectl -n cicd")
    with pytest.raises(PreconditionError, match=why):
        runs.rerun(world.open(), run="orders-old")
    assert (world.kube.created, followed) == ([], [])


@pytest.mark.usefixtures("followed")
def test_a_run_by_hand_is_given_the_login(world: StepWorld) -> None:
    world.kube.put(declare(repository={"url": URL, "login": "sales-git"}), pipeline_run("orders-old", status=OVER))
    world.kube.put(login("https://git.example.com", username="ada", password="sesame"))
    runs.test_run(world.open(), app="orders")
    runs.rerun(world.open(), run="orders-old")
    for made in world.kube.created:
        [bound] = [each["secret"] for each in made["spec"]["workspaces"] if each["name"] == "git-login"]
        assert bound == {"secretName": "sales-git", "optional": True}
        assert {"name": "LOGIN", "value": "sales-git"} in made["spec"]["params"]
    assert len(world.kube.created) == 2


def test_by_ssh_a_branch_that_cannot_be_asked_for_is_told_with_what_helps(
    world: StepWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow_run, "resolve_commit", lambda *given: "")
    monkeypatch.setattr(runs, "require_login", lambda *given: None)
    world.kube.put(declare(repository={"url": BY_SSH, "login": "x"}))
    with pytest.raises(PreconditionError, match="has no branch main, or does not answer") as caught:
        runs.test_run(world.open(), app="orders")
    assert f"git ls-remote {BY_SSH} has to work" in caught.value.hint
    assert "--revision COMMIT" in caught.value.hint


def test_a_run_again_is_an_arrival_by_hand_of_the_same(world: StepWorld, followed: list[tuple[str, str]]) -> None:
    world.kube.put(pipeline_run("orders-old", commit=OLD, status=OVER))
    assert runs.rerun(world.open(), run="orders-old") == 0
    [made] = world.kube.created
    assert get_labels(made) == {
        "application": "orders",
        "environment": "default",
        "trigger": "hand",
        "commit": OLD,
        "branch": "main",
    }
    assert followed == [(made["metadata"]["name"], "main")]


@pytest.mark.usefixtures("followed")
def test_a_run_again_of_what_is_gone(world: StepWorld) -> None:
    world.kube.put(pipeline_run("a", environment="production"), pipeline_run("b", application="stock"))
    with pytest.raises(PreconditionError, match="orders has no environment production; it has default") as caught:
        runs.rerun(world.open(), run="a")
    assert caught.value.hint == "invoke app-show orders"
    with pytest.raises(NotFound, match="there is no application stock"):
        runs.rerun(world.open(), run="b")
    assert world.kube.created == []


def test_runs_of_one_application(world: StepWorld) -> None:
    world.kube.put(
        pipeline_run("orders-a"), pipeline_run("several-b", application="several"), pipeline_run("orders-c", by="hand")
    )
    runs.runs(world.open(), app="orders", as_json=True)
    [(_, rows)] = world.report.printed
    assert {row["run"] for row in rows} == {"orders-a", "orders-c"}
    world.report.printed.clear()
    runs.runs(world.open(), app="orders", by="hand", as_json=True)
    [(_, rows)] = world.report.printed
    assert [row["run"] for row in rows] == ["orders-c"]
    with pytest.raises(NotFound, match=r"no application order; did you mean orders\?"):
        runs.runs(world.open(), app="order")


def test_the_newest_run_of_an_application_is_meant(world: StepWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world.kube.put(pipeline_run("orders-x", status=OVER), pipeline_run("other-y", status=OVER, application="several"))
    assert runs.cancel(world.open(), app="orders") == 0
    assert world.report.printed[-1] == ("line", "run orders-x is over already: Succeeded")
    with pytest.raises(NotFound, match=r"no application order; did you mean orders\?"):
        runs.logs(world.open(), app="order")
    with pytest.raises(UsageError, match="--run and --app"):
        runs.logs(world.open(), run="orders-x", app="orders")


def test_an_application_without_a_run_says_how_to_start_one(world: StepWorld) -> None:
    with pytest.raises(PreconditionError, match="there is no run of several yet") as caught:
        runs.logs(world.open(), app="several")
    assert caught.value.hint == "invoke test-run --app several"
