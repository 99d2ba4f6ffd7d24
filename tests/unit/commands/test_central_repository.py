"""What commands say of the central repository, and of Applications that it declares."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bootstrap.commands import applications, status
from bootstrap.commands.central_repository import read_state
from bootstrap.core.errors import ApiError, UsageError
from bootstrap.core.model import Object
from bootstrap.incluster.application_source import APPLIED, REFUSED, STATE, SourceState
from bootstrap.incluster.applications import API_VERSION, KIND
from bootstrap.settings.config import ApplicationSettings, Config
from bootstrap.steps import graph
from tests.unit.step_world import StepWorld, make

URL = "https://git.example.com/platform.git"
MARK = f"{URL} main apps"
GOOD = SourceState(MARK, APPLIED, "a" * 40, "a" * 40, "2027-01-15T08:00:00Z", 1)
BAD = replace(GOOD, state=REFUSED, commit="b" * 40, faults=("apps/web.yaml:7: .spec.foo: field not declared",))
SAID = "bbbbbbb changes nothing: apps/web.yaml:7: .spec.foo: field not declared; aaaaaaa stays applied"


@pytest.fixture
def world(tmp_path: Path) -> StepWorld:
    made = make(tmp_path, replace(Config(), apps=ApplicationSettings(repository=URL)))
    made.project = tmp_path
    metadata = {
        "name": "orders",
        "namespace": "cicd",
        "labels": {"tekton-bootstrap.dev/source": "repository"},
        "annotations": {
            "tekton-bootstrap.dev/declared-by": MARK,
            "tekton-bootstrap.dev/declared-in": "apps/orders.yaml",
        },
    }
    made.kube.put({"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": {}})
    return made


def tell(world: StepWorld, state: SourceState) -> None:
    world.kube.put(make_state(state.to_data()))


def make_state(data: Any) -> Object:
    metadata = {"name": STATE, "namespace": "cicd"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def list_said(world: StepWorld, kind: str) -> list[str]:
    return [str(said[1]) for said in world.report.printed if said[0] == kind]


def test_the_list_says_which_commit_is_applied(world: StepWorld) -> None:
    tell(world, GOOD)
    assert applications.app_list(world.open()) == 0
    assert list_said(world, "line") == [f"repository {MARK}: aaaaaaa is applied: 1 application"]


def test_the_list_warns_of_what_is_wrong(world: StepWorld) -> None:
    tell(world, BAD)
    applications.app_list(world.open())
    assert list_said(world, "warn") == [f"repository {MARK}: {SAID}"]


def test_without_the_setting_there_is_no_line(world: StepWorld) -> None:
    tell(world, GOOD)
    world.config = Config()
    applications.app_list(world.open())
    assert (list_said(world, "line"), list_said(world, "warn")) == ([], [])


def test_what_another_repository_left_is_not_told(world: StepWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = SourceState(MARK)
    assert read_state(world.open()) == nothing
    tell(world, replace(GOOD, mark="https://git.example.com/other.git main apps"))
    assert read_state(world.open()) == nothing
    world.kube.put(make_state(None))
    assert read_state(world.open()) == nothing

    def deny(*_: object) -> None:
        raise ApiError("it does not answer", status=0)

    monkeypatch.setattr(world.kube, "get", deny)
    assert read_state(world.open()) == nothing


@pytest.mark.parametrize(("state", "kind", "said"), [(GOOD, "line", "aaaaaaa is applied"), (BAD, "warn", SAID)])
def test_the_status_tells_it(
    world: StepWorld, monkeypatch: pytest.MonkeyPatch, state: SourceState, kind: str, said: str
) -> None:
    monkeypatch.setattr(graph, "list_steps", lambda _: ())
    tell(world, state)
    status.status(world.open())
    assert any(said in each for each in list_said(world, kind))
    status.status(world.open(), as_json=True)
    [document] = [said[1] for said in world.report.printed if said[0] == "json"]
    assert document["appsRepository"] == state.to_data()


def test_what_the_repository_declares_is_removed_there(world: StepWorld) -> None:
    with pytest.raises(UsageError) as caught:
        applications.app_remove(world.open(), app="orders")
    told = f"application orders is declared by the repository {URL}, in apps/orders.yaml of branch main"
    assert (caught.value.message, caught.value.hint) == (told, "change or remove apps/orders.yaml there, and push")
    assert (KIND, "cicd", "orders") in world.kube.objects
    with pytest.raises(UsageError, match="is declared by the repository"):
        applications.app_add(world.open(), source="orders")
    assert not (world.project / "apps").exists()


def test_what_an_earlier_repository_declared_can_be_removed(world: StepWorld) -> None:
    world.config = replace(Config(), apps=ApplicationSettings(repository="platform"))
    assert applications.app_remove(world.open(), app="orders") == 0
    assert (KIND, "cicd", "orders") not in world.kube.objects


def test_the_file_is_shown(world: StepWorld) -> None:
    applications.app_show(world.open(), app="orders")
    assert "declared   in apps/orders.yaml of the central repository" in list_said(world, "line")
