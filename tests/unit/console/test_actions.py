"""What the buttons do to the cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast
from unittest.mock import ANY

import pytest

from bootstrap.commands import follow_run, runs
from bootstrap.console import actions
from bootstrap.core.errors import NotFound, UsageError
from bootstrap.core.model import Object
from bootstrap.incluster import rollout
from bootstrap.incluster.rollout import HISTORY, LAST_GOOD
from bootstrap.objects.run_status import parse_run
from bootstrap.world import World
from tests.unit import page_world as stage
from tests.unit.page_world import COMMIT, DIGEST, FakeKube

IMAGE = f"registry.tekton.internal:5000/demo/go-echo@{DIGEST}"
OTHER = IMAGE.replace("81ab", "77cd")


class Writing(FakeKube):
    """Remembers what is written."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.created: list[Object] = []
        self.patched: list[tuple[str, str, Any]] = []

    def create(self, wanted: Object) -> Object:
        self.created.append(wanted)
        return wanted

    def patch(self, api_version: str, kind: str, name: str, namespace: str, *, patch: Any) -> Object:
        self.patched.append((kind, name, patch))
        return {}


def cluster() -> Writing:
    deployment = stage.deployment(OTHER)
    deployment["metadata"]["uid"] = "u1"
    containers = deployment["spec"]["template"]["spec"]["containers"]
    deployment["spec"]["template"]["spec"]["containers"] = [{"name": "sidecar", "image": "x"}, *containers]
    template = {"spec": {"containers": [{"name": "go-echo", "image": IMAGE}]}}
    own = {
        "metadata": {"name": "a", "namespace": "demo", "ownerReferences": [{"uid": "u1"}]},
        "spec": {"template": template},
    }
    return Writing({"Deployment": [deployment], "ReplicaSet": [own], "PipelineRun": [stage.pipeline_run("r1")]})


@pytest.fixture
def kube() -> Writing:
    return cluster()


@pytest.fixture
def world(tmp_path: Path, kube: Writing, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("LOGNAME", "ada")
    monkeypatch.setattr(runs, "_renew_target", lambda _: None)
    monkeypatch.setattr(follow_run, "resolve_commit", lambda _, revision: COMMIT if revision == "main" else "")
    monkeypatch.setattr(follow_run, "list_branches", lambda _: [])
    return stage.make_world(tmp_path, cast(Any, kube))


def params(run: Object) -> dict[str, str]:
    return {each["name"]: each["value"] for each in run["spec"]["params"]}


def test_a_run_is_started_with_what_the_form_says(world: World, kube: Writing) -> None:
    name = actions.start_run(world, {"REVISION": " main ", "DOCKERFILE": "other/Dockerfile", "NAME": ""})
    [run] = kube.created
    assert run["metadata"]["name"] == name
    assert params(run)["REVISION"] == COMMIT
    assert params(run)["DOCKERFILE"] == "other/Dockerfile"
    assert params(run)["NAME"] == "go-echo"
    assert run["metadata"]["labels"]["tekton-bootstrap.dev/branch"] == "main"


def test_what_the_settings_know_nothing_of_is_handed_over_too(world: World, kube: Writing) -> None:
    actions.start_run(world, {"REVISION": "main", "PORT": "3000"})
    actions.start_run(world, {"REVISION": "main", "PORT": ""})
    assert [params(run).get("PORT") for run in kube.created] == ["3000", None]


def test_a_run_of_another_repository_is_not_given_a_commit_of_ours(world: World, kube: Writing) -> None:
    actions.start_run(world, {"REPO": " https://git.example.com/other.git ", "REVISION": "main"})
    given = params(kube.created[0])
    assert (given["REPO"], given["REVISION"]) == ("https://git.example.com/other.git", "main")


@pytest.mark.parametrize(
    "repository", ["https://x y/", "https://user:word@git.example.com/a.git", "git.example.com/a", "ssh://git@x/y"]
)
def test_what_is_no_address_or_has_a_password_in_it_starts_nothing(
    world: World, kube: Writing, repository: str
) -> None:
    with pytest.raises(UsageError, match="REPO") as raised:
        actions.start_run(world, {"REPO": repository, "REVISION": "main"})
    assert "word@" not in raised.value.message
    assert kube.created == []


def test_a_branch_that_is_not_there_starts_nothing_if_the_repository_says_so(
    world: World, kube: Writing, monkeypatch: pytest.MonkeyPatch
) -> None:
    actions.start_run(world, {"REVISION": "unknown"})  # the server does not answer
    assert params(kube.created[0])["REVISION"] == "unknown"
    monkeypatch.setattr(follow_run, "list_branches", lambda _: ["main", "release"])
    with pytest.raises(UsageError, match="'mian' is not there; the branches are main, release"):
        actions.start_run(world, {"REVISION": "mian"})
    assert len(kube.created) == 1


def test_a_branch_with_a_slash_keeps_it(world: World, kube: Writing) -> None:
    actions.start_run(world, {"REVISION": "ui/long-log"})
    assert kube.created[0]["metadata"]["labels"]["tekton-bootstrap.dev/branch"] == "ui-long-log"
    assert parse_run(kube.created[0]).branch == "ui/long-log"


@pytest.mark.parametrize("revision", ["", "--upload-pack=x", "a..b", "$(x)", "a b"])
def test_what_is_no_revision_starts_nothing(world: World, kube: Writing, revision: str) -> None:
    with pytest.raises(UsageError, match="REVISION"):
        actions.start_run(world, {"REVISION": revision})
    assert kube.created == []


def test_a_rerun_is_of_the_same_commit_and_a_cancel_lets_finally_run(world: World, kube: Writing) -> None:
    actions.rerun(world, "r1")
    assert params(kube.created[0])["REVISION"] == COMMIT
    assert params(kube.created[0])["REPO"] == "http://git.git.svc.cluster.local/go-echo.git"
    actions.cancel_run(world, "r1")
    assert kube.patched == [("PipelineRun", "r1", {"spec": {"status": "CancelledRunFinally"}})]
    with pytest.raises(NotFound):
        actions.cancel_run(world, "no-such-run")


def test_going_back_sets_the_image_of_that_container_alone_and_makes_it_the_last_good_one(
    world: World, kube: Writing
) -> None:
    actions.roll_back(world, IMAGE)
    [(kind, name, patch)] = kube.patched
    assert (kind, name) == ("Deployment", "go-echo")
    assert patch == [
        {"op": "test", "path": "/spec/template/spec/containers/1/name", "value": "go-echo"},
        {"op": "replace", "path": "/spec/template/spec/containers/1/image", "value": IMAGE},
        {"op": "add", "path": "/metadata/annotations", "value": {HISTORY: ANY, LAST_GOOD: f"go-echo={IMAGE}"}},
    ]
    [record] = rollout.read_history({"metadata": {"annotations": patch[2]["value"]}})
    assert (record["image"], record["how"], record["by"]) == (IMAGE, "rollback", "ada")
    kube.objects["Deployment"][0]["metadata"]["annotations"] = {"a": "b"}
    actions.roll_back(world, IMAGE)
    assert [each["path"] for each in kube.patched[1][2][2:]] == [
        "/metadata/annotations/tekton-bootstrap.dev~1rollouts",
        "/metadata/annotations/tekton-bootstrap.dev~1last-good-image",
    ]


def test_going_back_to_what_never_ran_is_refused(world: World, kube: Writing) -> None:
    for image in ("evil.example/x@sha256:1", "", OTHER):
        with pytest.raises(NotFound):
            actions.roll_back(world, image)
    kube.objects["Deployment"] = []
    with pytest.raises(NotFound):
        actions.roll_back(world, IMAGE)
    assert kube.patched == []
