"""The history of deployments: what was given to which environment, how, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bootstrap.commands import deployments
from bootstrap.core import constants
from bootstrap.core.errors import NotFound
from bootstrap.core.model import Object
from bootstrap.core.terminal_layout import format_table
from bootstrap.incluster.applications import read_application
from bootstrap.objects.deployment_history import Deployed, list_deployed
from bootstrap.objects.run_status import parse_runs
from tests.unit.application_scene import (
    ENVIRONMENTS,
    ONE,
    THREE,
    TWO,
    application,
    deployment,
    ended,
    image,
    record,
    run,
    without_commit,
)
from tests.unit.step_world import FakeKube, StepWorld, make

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def at(minute: int) -> dict[str, str]:
    return {"when": f"2026-01-01T10:{minute:02}:30+00:00"}


def named(made: Object) -> str:
    return str(made["metadata"]["name"])


def moved(commit: str, env: str, minute: int, source: str, status: Object | None = None) -> Object:
    """A run that built nothing."""
    made = run(commit, env, minute, status, **{"image-from": source})
    made["status"].pop("results")
    made["spec"]["params"].append({"name": "DIGEST", "value": image(commit).partition("@")[2]})
    return made


def cloned(made: Object, author: str) -> Object:
    labels = {"tekton.dev/pipelineRun": named(made), "tekton.dev/pipelineTask": "git-clone"}
    results = [{"name": "author", "value": author}]
    return {
        "kind": "TaskRun",
        "metadata": {"name": f"{named(made)}-clone", "namespace": constants.RUNS, "labels": labels},
        "status": {"results": results},
    }


def told(live: dict[str, Object | None], *runs: Object, task_runs: tuple[Object, ...] = ()) -> list[tuple[str, ...]]:
    """(environment, commit, by, how, what became of it), newest first."""
    orders = read_application(application(), "registry.tekton.internal:5000")
    rows = list_deployed(orders, live, parse_runs(runs, task_runs))
    return [(each.environment, each.commit, each.by, each.how, each.became) for each in rows]


def test_of_each_environment_the_newest_serves_and_the_others_were_replaced() -> None:
    first, second, third = run(ONE, minute=1), run(TWO, minute=2), moved(ONE, "production", 3, "staging")
    live: dict[str, Object | None] = {
        "staging": deployment(
            TWO, records=[record(TWO, run=named(second), **at(2)), record(ONE, run=named(first), **at(1))]
        ),
        "production": deployment(ONE, records=[record(ONE, run=named(third), **at(3))]),
    }
    assert told(live, first, second, third, task_runs=(cloned(first, "Ann <a@x>"), cloned(second, "Ben <b@x>"))) == [
        ("production", ONE, "Ann <a@x>", "promoted from staging", "serves"),
        ("staging", TWO, "Ben <b@x>", f"run {named(second)}", "serves"),
        ("staging", ONE, "Ann <a@x>", f"run {named(first)}", f"replaced by {TWO[:7]}"),
    ]


def test_a_run_that_failed_and_what_it_went_back_to() -> None:
    good, bad = run(ONE, minute=1), run(TWO, minute=2, status=ended("False", "Failed"))
    records = [
        record(ONE, "undo", **at(3)),
        record(TWO, run=named(bad), **at(2)),
        record(ONE, run=named(good), **at(1)),
    ]
    assert told({"staging": deployment(ONE, records=records)}, good, bad) == [
        ("staging", ONE, "", "undone", "serves"),
        ("staging", TWO, "", f"run {named(bad)}", "failed"),
        ("staging", ONE, "", f"run {named(good)}", "deployed again"),
    ]


def test_a_superseded_run_names_what_came_in_its_place() -> None:
    later = run(TWO, minute=2)
    names = {"superseded-by": named(later)}
    gone = run(THREE, minute=3, status=ended("False", "Cancelled"), **{"superseded-by": "deleted"})
    runs = [run(ONE, minute=1, status=ended("False", "Cancelled"), **names), later, gone]
    assert [each[4] for each in told({"staging": deployment(TWO)}, *runs)] == [
        "superseded",
        "serves",
        f"superseded by {TWO[:7]}",
    ]


def test_a_rollback_by_command_and_by_a_person() -> None:
    first, second = run(ONE, "production", 1), run(TWO, "production", 2)
    by_command = moved(ONE, "production", 3, "production")
    records = [
        record(TWO, "rollback", by="kim", **at(4)),
        record(ONE, run=named(by_command), **at(3)),
        record(TWO, run=named(second), **at(2)),
        record(ONE, run=named(first), **at(1)),
    ]
    assert told({"production": deployment(TWO, records=records)}, first, second, by_command) == [
        ("production", TWO, "kim", "rollback", "serves"),
        ("production", ONE, "", "rollback", f"replaced by {TWO[:7]}"),
        ("production", TWO, "", f"run {named(second)}", f"replaced by {ONE[:7]}"),
        ("production", ONE, "", f"run {named(first)}", f"replaced by {TWO[:7]}"),
    ]


def test_records_tell_of_runs_that_are_deleted() -> None:
    records = [record(TWO, run="deleted-2", **at(2)), without_commit(ONE) | at(1)]
    assert told({"staging": deployment(TWO, records=records)}, moved(ONE, "production", 3, "staging")) == [
        ("production", ONE, "", "promoted from staging", "gone"),
        ("staging", TWO, "", "run deleted-2", "serves"),
        ("staging", ONE, "", "run", f"replaced by {TWO[:7]}"),
    ]


def test_what_serves_serves_until_the_next_one_is_ready() -> None:
    next_one = run(TWO, minute=2, status={"startTime": "2026-01-01T10:02:01Z"})
    assert [each[4] for each in told({"staging": deployment(TWO)}, run(ONE, minute=1), next_one)] == [
        "under way",
        "serves",
    ]


def test_an_image_that_somebody_set_by_hand_has_replaced_it() -> None:
    assert [each[4] for each in told({"staging": deployment(THREE)}, run(ONE, minute=1))] == ["replaced"]


def test_an_environment_that_is_no_longer_declared_keeps_its_runs() -> None:
    assert told({}, run(ONE, "former", 1)) == [("former", ONE, "", f"run {named(run(ONE, 'former', 1))}", "gone")]


@dataclass
class HistoryKube(FakeKube):
    asked: int = 0

    def get(self, api_version: str, kind: str, name: str, namespace: str = "") -> Object | None:
        assert kind == "Deployment"
        self.asked += 1
        return super().get(api_version, kind, name, namespace)

    def list(self, api_version: str, kind: str, namespace: str = "", *, labels: str = "", fields: str = "") -> Any:
        self.asked += 1
        if kind == "TaskRun":
            assert labels.startswith("tekton.dev/pipelineRun,tekton-bootstrap.dev/application")
            labels = ""
        return super().list(api_version, kind, namespace, labels=labels)


@pytest.fixture
def world(tmp_path: Path) -> StepWorld:
    made = make(tmp_path)
    made.kube = HistoryKube()
    made.kube.put(application())
    return made


def printed(world: StepWorld) -> Any:
    [one] = world.report.printed
    return one


def test_the_command_shows_a_table_and_json(world: StepWorld) -> None:
    made = run(ONE, minute=1)
    world.kube.put(made, cloned(made, "Ann <a@x>"), deployment(ONE, "sales-staging"))
    assert deployments.deployments(world.open(), app="orders") == 0
    _, columns, [row] = printed(world)
    assert columns == ["when", "env", "commit", "by", "how", "what became of it"]
    assert row[1:4] == ["staging", ONE[:7], "Ann"]
    assert (row[4].startswith("run orders-"), row[5]) == (True, "serves")
    world.report.printed.clear()
    assert deployments.deployments(world.open(), as_json=True) == 0
    [row] = printed(world)[1]
    assert row == {
        "when": "2026-01-01T10:01:00+00:00",
        "app": "orders",
        "environment": "staging",
        "commit": ONE,
        "by": "Ann <a@x>",
        "how": f"run {named(made)}",
        "run": named(made),
        "image": image(ONE),
        "became": "serves",
    }


def test_many_applications_take_few_requests_and_one_at_fault_hides_no_other(world: StepWorld) -> None:
    broken = application([{"name": "staging", "rollout": "soon"}])
    broken["metadata"]["name"] = "broken"
    second = application(ENVIRONMENTS)
    second["metadata"]["name"] = "invoices"
    world.kube.put(broken, second, run(ONE, minute=1))
    assert deployments.deployments(world.open()) == 0
    _, columns, [row] = printed(world)
    assert (columns[1], row[1]) == ("app", "orders")
    assert world.kube.asked == 4  # type: ignore[attr-defined]


def test_without_anything_the_next_command_is_told(world: StepWorld) -> None:
    assert deployments.deployments(world.open()) == 0
    assert printed(world) == ("line", "nothing was deployed yet.  next: invoke test-run --app orders")
    with pytest.raises(NotFound) as caught:
        deployments.deployments(world.open(), app="order")
    assert caught.value.message == "there is no application order; did you mean orders?"


@pytest.mark.parametrize("with_app", [True, False])
def test_the_table_fits_80_columns(*, with_app: bool) -> None:
    long = Deployed(
        when="2026-01-01T11:15:00+00:00",
        app="a-service-with-a-long-name-of-its-own",
        environment="an-environment-of-the-company",
        commit=ONE,
        by="Somebody With A Long Name <x@y>",
        how="run a-service-with-a-long-name-of-its-own-1a1a1a1a1a1a-12345678",
        run="",
        image="",
        became=f"superseded by {TWO[:7]}",
    )
    short = Deployed("", "orders", "staging", "", "", "undone", "", "", "serves")
    columns, *rows = deployments.make_table([long, short], NOW, with_app=with_app)
    lines = format_table(columns, rows)
    assert max(map(len, lines)) <= 80
    assert (lines[1].startswith("45 min"), f"superseded by {TWO[:7]}" in lines[1]) == (True, True)
    assert lines[2].split() == ["-", *(["orders"] if with_app else []), "staging", "-", "undone", "serves"]
