"""Which heads of branches start a run by themselves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bootstrap.incluster.applications import Application, read_application
from bootstrap.incluster.run_queue import Phase, QueuedRun
from bootstrap.manager.branch_heads import Arrival, find_arrivals, find_base, find_interval, list_patterns

A, B = "a" * 40, "b" * 40
TWO = [
    {"name": "staging", "branches": ["main", "feature/*"]},
    {"name": "stable", "namespace": "stable", "branches": ["release/*"]},
]


def application(**spec: Any) -> Application:
    return read_application({"metadata": {"name": "orders"}, "spec": spec}, "registry:5000")


def run(commit: str, branch: str = "main", created: str = "2027-01-15T08:00:00Z", version: int = 1) -> QueuedRun:
    return QueuedRun(
        name=f"orders-{version}",
        application="orders",
        environment="default",
        commit=commit,
        by="push",
        created=created,
        version=version,
        arrival=version,
        phase=Phase.OVER,
        branch=branch,
    )


@pytest.mark.parametrize(
    ("spec", "seconds"),
    [
        ({}, 300),
        ({"arrive": {"poll": "5m"}}, 300),
        ({"arrive": {"poll": "1h", "webhook": False}}, 3600),
        ({"arrive": {"webhook": False}}, 0),
        ({"environments": [{"name": "production", "promote": True}]}, 0),
    ],
)
def test_how_often_a_repository_is_looked_at(spec: dict[str, Any], seconds: int) -> None:
    assert find_interval(application(**spec)) == seconds


def test_patterns_of_all_environments_each_once() -> None:
    assert list_patterns(application(environments=TWO)) == ["main", "feature/*", "release/*"]


def test_the_first_look_starts_nothing() -> None:
    assert find_arrivals(application(), {"main": A}, None, {}, []) == []


def test_a_head_that_moved_starts_a_run_in_the_environment_of_its_branch() -> None:
    found = application(environments=TWO)
    heads = {"main": B, "feature/x": A, "release/1": B, "other": B}
    arrivals = find_arrivals(found, heads, {"main": A, "feature/x": A}, {}, [])
    staging, stable = found.environments
    assert arrivals == [Arrival(staging, "main", B), Arrival(stable, "release/1", B)]


def test_what_was_pushed_quietly_starts_nothing() -> None:
    assert find_arrivals(application(), {"main": B}, {"main": A}, {"main": B}, []) == []


def test_a_head_that_has_its_run_starts_no_other() -> None:
    assert find_arrivals(application(), {"main": B}, {"main": A}, {}, [run(B)]) == []


def test_a_branch_that_is_set_back_starts_a_run_again() -> None:
    runs = [run(A, version=1), run(B, version=2)]
    [arrival] = find_arrivals(application(), {"main": A}, {"main": B}, {}, runs)
    assert arrival.commit == A


def test_a_run_of_another_branch_is_none_of_this_one() -> None:
    [arrival] = find_arrivals(application(), {"main": B}, {"main": A}, {}, [run(B, branch="feature/x")])
    assert arrival.branch == "main"


def test_a_new_head_is_compared_with_what_its_branch_has_started_last() -> None:
    found = application()
    arrival = Arrival(found.environments[0], "main", "c" * 40)
    assert find_base(found, arrival, None, []) == ""
    assert find_base(found, arrival, {"main": A}, []) == A
    assert find_base(found, arrival, {"other": A}, []) == ""
    built = [run(B, version=1), run(A, "other", version=2)]
    passed_by = [
        replace(run(A, version=3), by="hand"),
        replace(run(A, version=4), superseded=True),
        replace(run(A, version=5), builds=False),
    ]
    assert find_base(found, arrival, {"main": A}, built + passed_by) == B
