"""The steps `manager` and `applications`: what the manager is told, and what `up` says of what is declared."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bootstrap.core.errors import ApiError, UsageError
from bootstrap.core.model import Object, Pending, Ready
from bootstrap.incluster.application_source import Source
from bootstrap.incluster.applications import API_VERSION, KIND, make_run, read_application
from bootstrap.manager.shared_state import Settings
from bootstrap.settings.config import ApplicationSettings, Config, TargetSettings
from bootstrap.steps import manager
from bootstrap.steps.manager import load_declared, make_applications_step, make_manager_step, render_objects
from tests.golden.rendered import LOCK
from tests.unit.step_world import StepWorld, make


class Images:
    """As rendered manifests need them."""

    def read_lock(self) -> Any:
        return LOCK


def make_world(home: Path, **settings: Any) -> StepWorld:
    world = make(home, replace(Config(), **settings))
    world.images = Images()  # type: ignore[assignment]
    return world


def read_settings(objects: list[Object]) -> Any:
    [found] = [each for each in objects if (each["kind"], each["metadata"]["name"]) == ("ConfigMap", "manager")]
    return json.loads(found["data"]["settings.json"])


def test_the_manager_is_told_the_settings(tmp_path: Path) -> None:
    world = make_world(tmp_path, apps=ApplicationSettings(concurrent_runs=5), target=TargetSettings(token_hours=48))
    found = read_settings(render_objects(world.open()))
    assert (found["registry"], found["builds"], found["tokenHours"]) == ("registry.tekton.internal:5000", 5, 48)


def test_runs_are_made_of_what_it_is_told(tmp_path: Path) -> None:
    found = read_settings(render_objects(make_world(tmp_path).open()))
    application = read_application({"metadata": {"name": "orders"}, "spec": {}}, found["registry"])
    run = make_run(
        found["run"],
        application,
        application.get_environment(),
        name="orders-x",
        branch="main",
        commit="a" * 40,
        by="poll",
    )
    assert (run["metadata"]["name"], run["metadata"]["namespace"]) == ("orders-x", "cicd")
    assert "generateName" not in run["metadata"]
    params = {each["name"]: each["value"] for each in run["spec"]["params"]}
    assert (params["REPO"], params["ROLLOUT_SECONDS"]) == ("http://git.git.svc.cluster.local/orders.git", "225")
    [target] = [each["secret"] for each in run["spec"]["workspaces"] if each["name"] == "target"]
    assert target == {"secretName": "target-orders.default"}


def test_the_kind_is_there_before_the_manager(tmp_path: Path) -> None:
    kinds = [each["kind"] for each in render_objects(make_world(tmp_path).open())]
    assert kinds.index("CustomResourceDefinition") < kinds.index("Deployment")


def test_one_manager_at_a_time(tmp_path: Path) -> None:
    [found] = [each for each in render_objects(make_world(tmp_path).open()) if each["kind"] == "Deployment"]
    assert (found["spec"]["replicas"], found["spec"]["strategy"]) == (1, {"type": "Recreate"})


def test_the_steps_are_one_after_the_other() -> None:
    assert make_manager_step().name == "manager"
    assert make_applications_step().name == "applications"
    assert "manager" in make_applications_step().needs


def test_what_is_declared_is_applied(tmp_path: Path) -> None:
    world = make_world(tmp_path, apps=ApplicationSettings(folder="mine"))
    world.project = tmp_path
    assert load_declared(world.open()) == []
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/orders.yaml").write_text(f"apiVersion: {API_VERSION}\nkind: {KIND}\nmetadata:\n  name: orders\n")
    [found] = load_declared(world.open())
    assert found["metadata"] == {"name": "orders", "namespace": "cicd"}
    (tmp_path / "mine/b.yaml").write_text("kind: x\n")
    with pytest.raises(UsageError):
        load_declared(world.open())


def test_the_manager_is_let_read_each_login_that_is_named_and_nothing_else(tmp_path: Path) -> None:
    world = make_world(tmp_path, apps=ApplicationSettings(folder="mine"))
    world.project = tmp_path
    (tmp_path / "mine").mkdir()
    declared = "apiVersion: {}\nkind: {}\nmetadata:\n  name: {}\nspec:\n  repository:\n    login: {}\n"
    for name, login in (("orders", "sales-git"), ("stock", "sales-git")):
        (tmp_path / f"mine/{name}.yaml").write_text(declared.format(API_VERSION, KIND, name, login))
    elsewhere = live("web", 2) | {"spec": {"repository": {"login": "web-git"}}}
    world.kube.put(elsewhere)
    found = [each for each in manager.list_objects(world.open()) if each["kind"] != KIND]
    assert [(each["kind"], each["metadata"]["name"]) for each in found] == [
        (kind, f"git-login.{login}") for login in ("sales-git", "web-git") for kind in ("Role", "RoleBinding")
    ]
    for role, binding in zip(found[::2], found[1::2], strict=True):
        [rule] = role["rules"]
        assert (rule["verbs"], rule["resources"]) == (["get"], ["secrets"])
        assert rule["resourceNames"] == [role["metadata"]["name"].removeprefix("git-login.")]
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "manager", "namespace": "cicd"}]
        assert binding["roleRef"]["name"] == role["metadata"]["name"]
        assert {each["metadata"]["namespace"] for each in (role, binding)} == {"cicd"}
    assert manager._judge_application({}, found[0]) == Ready()


def live(name: str, seen: int | None, state: str = "ready") -> Object:
    status = {} if seen is None else {"observedGeneration": seen, "state": state}
    return {"kind": KIND, "metadata": {"name": name, "generation": 2, "namespace": "cicd"}, "status": status}


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        (2, Ready()),
        (1, Pending("the manager has not looked at application orders yet")),
        (None, Pending("the manager has not looked at application orders yet")),
    ],
)
def test_one_is_ready_once_the_manager_has_looked_at_it(seen: int | None, verdict: Any) -> None:
    assert manager._judge_application({}, live("orders", seen)) == verdict


def test_one_at_fault_is_no_fault_of_the_environment(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    assert manager._describe_applications(world.open()) == Ready("0 applications")
    world.kube.put(live("orders", 2))
    assert manager._describe_applications(world.open()) == Ready("1 application")
    world.kube.put(live("stock", 2, "refused"))
    assert manager._describe_applications(world.open()) == Ready(
        "2 applications; 1 refused: stock, see invoke app-list"
    )


def test_the_manager_is_told_of_the_central_repository(tmp_path: Path) -> None:
    assert "source" not in read_settings(render_objects(make_world(tmp_path).open()))
    apps = ApplicationSettings(repository="platform", path="./apps", interval=60)
    made = render_objects(make_world(tmp_path, apps=apps).open())
    url = "http://git.git.svc.cluster.local/platform.git"
    assert read_settings(made)["source"] == {"url": url, "branch": "main", "path": "apps", "seconds": 60}
    (tmp_path / "settings.json").write_text(json.dumps(read_settings(made)))
    assert Settings.read(tmp_path / "settings.json").source == Source(url, "main", "apps", 60)


def test_what_the_repository_declares_too_is_left_to_it(tmp_path: Path) -> None:
    world = make_world(tmp_path, apps=ApplicationSettings(folder="mine", repository="https://git.example.com/p.git"))
    world.project = tmp_path
    (tmp_path / "mine").mkdir()
    for name in ("orders", "stock"):
        text = f"apiVersion: {API_VERSION}\nkind: {KIND}\nmetadata:\n  name: {name}\n"
        (tmp_path / f"mine/{name}.yaml").write_text(text)
    theirs = live("orders", 2)
    theirs["metadata"]["labels"] = {"tekton-bootstrap.dev/source": "repository"}
    theirs["metadata"]["annotations"] = {"tekton-bootstrap.dev/declared-by": "https://git.example.com/p.git main apps"}
    world.kube.put(theirs)
    assert [each["metadata"]["name"] for each in load_declared(world.open())] == ["stock"]
    assert manager._describe_applications(world.open()) == Ready("1 application, 1 of them declared by the repository")
    other = make_world(tmp_path, apps=ApplicationSettings(folder="mine"))
    other.project, other.kube = tmp_path, world.kube
    assert len(load_declared(other.open())) == 2, "the setting names it no more"


def test_without_a_cluster_the_files_are_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world(tmp_path, apps=ApplicationSettings(folder="mine", repository="platform"))
    world.project = tmp_path
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/a.yaml").write_text(f"apiVersion: {API_VERSION}\nkind: {KIND}\nmetadata:\n  name: a\n")

    def deny(*_: object) -> None:
        raise ApiError("there is no such kind", status=404)

    monkeypatch.setattr(world.kube, "list", deny)
    assert len(load_declared(world.open())) == 1
