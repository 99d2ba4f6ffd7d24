"""What the status of an Application tells of its runs."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from bootstrap.core.paths import PROJECT
from bootstrap.incluster.applications import Application, read_application
from bootstrap.incluster.run_queue import Phase, QueuedRun
from bootstrap.manager.application_status import WHY_LENGTH, describe_settled, make_status

A, B = "84a81d2" + "a" * 33, "1f0e2aa" + "b" * 33


def declare(name: str = "orders", **spec: Any) -> Application:
    return read_application({"metadata": {"name": name}, "spec": spec}, "registry:5000")


def run(name: str, arrival: int, phase: Phase = Phase.OVER, **more: Any) -> QueuedRun:
    given: dict[str, Any] = {"environment": "default", "commit": A, "branch": "main", "application": "orders"} | more
    return QueuedRun(name=name, by="push", created="", version=0, arrival=arrival, phase=phase, **given)


def test_one_that_nothing_was_deployed_of() -> None:
    assert make_status(declare(), [], []) == {
        "repository": "(own server)",
        "state": "new",
        "commit": "",
        "branch": "",
        "where": "orders",
        "environments": [
            {
                "name": "default",
                "namespace": "orders",
                "state": "new",
                "commit": "",
                "run": "",
                "since": "",
                "why": "",
                "waits": 0,
            }
        ],
    }


def test_the_schema_has_every_field_of_it() -> None:
    """A field that it does not have would be dropped without a word."""
    crd = yaml.safe_load((PROJECT / "manifests/manager/application-crd.yaml").read_text())
    [version] = crd["spec"]["versions"]
    fields = version["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]
    status = make_status(declare(), [run("a", 1, succeeded=True)], ["x"])
    assert status.keys() <= fields.keys()
    assert status["environments"][0].keys() <= fields["environments"]["items"]["properties"].keys()


@pytest.mark.parametrize(
    ("phase", "succeeded", "state"),
    [
        (Phase.WAITS, False, "queued"),
        (Phase.BUILDS, False, "building"),
        (Phase.DEPLOYS, False, "deploying"),
        (Phase.OVER, False, "failed"),
        (Phase.OVER, True, "ready"),
    ],
)
def test_the_state_is_that_of_the_newest_arrival(phase: Phase, state: str, *, succeeded: bool) -> None:
    good = run("a", 1, succeeded=True, ended="2027-01-15T08:00:00Z")
    newest = run("b", 2, phase, commit=B, succeeded=succeeded, ended="2027-01-15T09:00:00Z", why="task build failed")
    status = make_status(declare(), [newest, good], [])
    [told] = status["environments"]
    assert (status["state"], told["state"], told["run"]) == (state, state, "b")
    assert told["commit"] == (B if succeeded else A), "what became ready last serves"
    assert status["commit"] == told["commit"][:7]
    assert told["why"] == ("task build failed" if state == "failed" else "")
    assert told["waits"] == (1 if state == "queued" else 0)
    assert told["since"] == f"2027-01-15T0{9 if succeeded else 8}:00:00Z"


def test_what_repeats_the_newest_arrival_is_not_told() -> None:
    again = run("b", 0, superseded=True)
    [told] = make_status(declare(), [run("a", 1, succeeded=True), again], [])["environments"]
    assert (told["run"], told["state"]) == ("a", "ready")


def test_the_place_in_the_queue_is_among_all_applications() -> None:
    others = [run(f"x{each}", each, Phase.WAITS, application=f"x{each}") for each in (1, 3, 4)]
    [told] = make_status(declare(), [run("a", 2, Phase.WAITS), *others], [])["environments"]
    assert told["waits"] == 3


def test_of_several_environments_the_first_that_is_not_ready_is_told() -> None:
    found = declare(
        repository={"url": "https://git.example.com/sales/orders.git"},
        environments=[
            {"name": "staging", "namespace": "sales-staging"},
            {"name": "stable", "namespace": "sales", "branches": ["stable"]},
            {"name": "other", "namespace": "sales", "deployment": "x", "branches": []},
        ],
    )
    staging = run("a", 1, environment="staging", succeeded=True)
    status = make_status(found, [staging, run("b", 2, Phase.BUILDS, environment="stable")], [])
    assert (status["state"], status["commit"], status["branch"]) == ("building", A[:7], "main")
    assert (status["repository"], status["where"]) == (
        "https://git.example.com/sales/orders.git",
        "sales-staging, sales",
    )
    assert make_status(found, [staging], [])["state"] == "ready", "one that nothing goes to yet is no trouble"
    stable = run("b", 2, environment="stable", commit=B, branch="stable", succeeded=True)
    status = make_status(found, [stable], [])
    assert (status["state"], status["commit"], status["branch"]) == ("ready", B[:7], "stable")


def test_one_at_fault_is_refused_whatever_its_runs_do() -> None:
    assert make_status(declare(), [run("a", 1, Phase.BUILDS)], ["image x is application y's"])["state"] == "refused"


def test_a_long_reason_is_cut() -> None:
    [told] = make_status(declare(), [run("a", 1, why="x" * 5000)], [])["environments"]
    assert len(told["why"]) == WHY_LENGTH


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({}, "pushes to main start runs; deployed to default in orders"),
        ({"arrive": {"webhook": False}}, "runs start by hand; deployed to default in orders"),
        ({"environments": [{"name": "a", "promote": True}]}, "runs start by hand; deployed to a in orders"),
        (
            {
                "environments": [
                    {"name": "a", "namespace": "x", "branches": ["main", "release/*"]},
                    {"name": "b", "namespace": "y", "promote": True},
                ]
            },
            "pushes to main, release/* start runs; deployed to a in x, b in y",
        ),
    ],
)
def test_an_application_in_one_sentence(spec: Any, text: str) -> None:
    assert describe_settled(declare(**spec)) == text
