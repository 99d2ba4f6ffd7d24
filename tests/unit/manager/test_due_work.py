"""What is due by the clock, and what is made up for then."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from bootstrap.incluster.kube_api import ApiFailure
from bootstrap.incluster.poll import RepositoryUnreadable
from bootstrap.incluster.run_queue import Phase, Release, Supersede
from bootstrap.manager import due_work
from bootstrap.manager.cluster import ClusterFailure
from tests.unit.manager.manager_scene import A, B, C, Place, run, without_numbers


def tick(place: Place) -> list[Any]:
    before = len(place.cluster.done)
    asyncio.run(due_work.do_what_is_due(place.state))
    return place.cluster.done[before:]


@pytest.mark.parametrize("refused", ["a", "orders"])
def test_what_a_pass_left_is_done_at_the_next_tick(refused: str) -> None:
    """No event need come after it."""
    place = Place("orders")
    place.arrive(run("a"), run("b", "gone"))
    place.cluster.deny[refused] = ApiFailure(500, "no")
    place.keep_order()
    place.cluster.deny.clear()
    tick(place)
    assert place.cluster.statuses["orders"]["state"] == "building"
    assert without_numbers(place.cluster.done) == ["cancel b", "number a", Release("a")]
    assert tick(place) == []


def test_tokens_are_renewed_when_they_are_due(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place("orders", "invoices")
    place.keep_order()
    place.state.renew |= {"orders": 999.0, "invoices": 1001.0}
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    monkeypatch.setattr(due_work, "find_interval", lambda application: 0)
    assert tick(place) == ["renew orders"]
    assert place.state.renew == {"orders": 5000.0, "invoices": 1001.0}


@pytest.mark.parametrize("trouble", [ApiFailure(403, "no"), ClusterFailure("no token"), KeyError("x"), OSError("disk")])
def test_trouble_with_one_application_is_not_that_of_the_others(
    monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    place = Place("orders", "invoices")
    place.keep_order()
    place.state.renew |= {"orders": 1.0, "invoices": 1.0}
    place.cluster.deny["orders"] = trouble
    monkeypatch.setattr(due_work, "find_interval", lambda application: 0)
    assert tick(place) == ["renew invoices"]
    assert place.state.renew["orders"] == 1.0, "it is tried again"


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> Place:
    """Two applications with all that they need, whose namespaces are looked at at every tick."""
    place = Place("orders", "invoices")
    place.keep_order()
    place.state.renew |= {"orders": 1e12, "invoices": 1e12}
    place.cluster.renew_at = 2e12
    monkeypatch.setattr(due_work, "NAMESPACES_SECONDS", 0.0)
    monkeypatch.setattr(due_work, "find_interval", lambda application: 0)
    assert tick(place) == []
    return place


def test_a_namespace_that_was_deleted_comes_back_with_what_was_in_it(settled: Place) -> None:
    del settled.cluster.namespaces["orders"]
    assert tick(settled) == ["settle orders"]
    assert settled.state.renew["orders"] == 2e12, "its tokens are new"
    settled.cluster.namespaces["orders"] = "u3"
    assert tick(settled) == []


def test_a_namespace_that_somebody_made_again_is_noticed_by_its_uid(settled: Place) -> None:
    settled.cluster.namespaces["orders"] = "u3"
    settled.cluster.deny["settle"] = ApiFailure(403, "no")
    assert tick(settled) == []
    settled.cluster.deny.clear()
    assert tick(settled) == ["settle orders"], "it is tried until it succeeds"
    assert tick(settled) == []


def test_a_look_at_namespaces_that_fails_changes_nothing(settled: Place) -> None:
    settled.cluster.deny["read_namespaces"] = ApiFailure(500, "no")
    settled.cluster.namespaces.clear()
    assert tick(settled) == []


def test_one_at_fault_or_not_settled_yet_gets_no_namespace(settled: Place) -> None:
    settled.cluster.namespaces.clear()
    settled.state.faults["orders"] = ["x"]
    del settled.state.renew["invoices"]
    assert tick(settled) == []


def test_nothing_is_due_of_one_at_fault() -> None:
    place = Place("orders")
    place.keep_order()
    place.state.renew["orders"] = 1.0
    place.state.faults["orders"] = ["x"]
    assert tick(place) == []


@pytest.fixture
def polled() -> Place:
    """An application whose repository is asked at every tick, and which was looked at."""
    place = Place()
    place.declare("orders", arrive={"poll": "1m", "webhook": False})
    place.keep_order()
    place.repositories.answers = [({"main": A}, {})]
    tick(place)
    assert place.cluster.created == [], "nothing is new at the first look"
    place.state.looked.clear()
    return place


def test_a_head_that_is_new_starts_a_run(polled: Place) -> None:
    polled.repositories.answers = [({"main": B}, {})]
    tick(polled)
    [made] = polled.cluster.created
    assert made["metadata"]["name"].startswith("orders-bbbbbbbbbbbb-")
    assert made["metadata"]["labels"]["tekton-bootstrap.dev/trigger"] == "poll"
    assert made["spec"]["status"] == "PipelineRunPending"
    assert polled.cluster.statuses["orders"]["heads"] == {"main": B}
    tick(polled)  # not asked before its time: there is no further answer


def test_a_head_whose_run_was_refused_is_seen_again(polled: Place) -> None:
    polled.cluster.deny["create_run"] = ApiFailure(500, "no")
    polled.repositories.answers = [({"main": B}, {})] * 2
    tick(polled)
    assert polled.state.heads["orders"] == {"main": A}
    polled.state.looked.clear()
    polled.cluster.deny.clear()
    tick(polled)
    assert len(polled.cluster.created) == 1


def test_a_branch_that_is_gone_is_forgotten(polled: Place) -> None:
    polled.repositories.answers = [({}, {})]
    tick(polled)
    assert polled.cluster.statuses["orders"]["heads"] == {"main": None}, "as a merge patch says it"


def test_a_push_whose_event_comes_late_is_waited_for() -> None:
    place = Place("orders")
    place.keep_order()
    place.state.heads["orders"] = {"main": A}
    place.repositories.answers = [({"main": B}, {})] * 2
    tick(place)
    place.state.runs.append(run("orders-b", commit=B, branch="main"))
    place.state.looked["orders"] -= due_work.GRACE_SECONDS
    tick(place)
    assert place.repositories.answers == []
    assert place.cluster.created == []


def test_an_old_delivery_that_comes_again_deploys_nothing() -> None:
    place = Place("orders")
    place.arrive(run("new", commit=B, branch="main"))
    place.keep_order()
    place.repositories.answers = [({"main": B}, {})]
    place.arrive(run("old", commit=A, branch="main"))
    assert Supersede("old", "new", begun=False) in place.keep_order()
    assert place.repositories.answers == []


def test_a_push_whose_event_is_lost_is_made_up_for() -> None:
    place = Place("orders")
    place.keep_order()
    place.state.heads["orders"] = {"main": A}
    place.repositories.answers = [({"main": B}, {})] * 2
    tick(place)
    assert place.cluster.created == []
    place.state.looked["orders"] -= due_work.GRACE_SECONDS
    tick(place)
    assert len(place.cluster.created) == 1


@pytest.fixture
def partial() -> Place:
    """An application of which only some files are, with a run of A, whose branch was at A at the last look."""
    place = Place()
    place.declare("orders", paths=["orders/**"])
    place.arrive(run("a", branch="main", phase=Phase.OVER, arrival=1))
    place.keep_order()
    place.state.heads["orders"] = {"main": A}
    return place


def look_twice(place: Place, head: str) -> None:
    """The second look is the one after the time that the event is given."""
    place.repositories.answers = [({"main": head}, {})] * 2
    place.state.looked.clear()
    tick(place)
    place.state.looked["orders"] -= due_work.GRACE_SECONDS
    tick(place)
    assert place.repositories.answers == []


def test_a_head_that_does_not_concern_it_is_passed_over_for_good(partial: Place) -> None:
    partial.repositories.same = [(A, B)]
    look_twice(partial, B)
    assert partial.cluster.created == []
    assert partial.cluster.statuses["orders"]["heads"] == {"main": B}
    assert partial.repositories.compared == [(A, B)], "not before the event had its time"
    partial.state.looked.clear()
    partial.repositories.answers = [({"main": B}, {})]
    tick(partial)
    assert partial.repositories.compared == [(A, B)]


def test_what_was_passed_over_is_compared_with_what_was_built(partial: Place) -> None:
    """So a change whose event was lost is found, however many heads were passed over before."""
    partial.repositories.same = [(A, B)]
    look_twice(partial, B)
    look_twice(partial, C)
    assert partial.repositories.compared == [(A, B), (A, C)]
    assert len(partial.cluster.created) == 1


# -- which runs are late -----------------------------------------------------------------------------


def test_a_run_waits_for_no_newer_one_where_the_newer_commit_does_not_concern_it(partial: Place) -> None:
    partial.repositories.same = [(B, C)]
    partial.repositories.answers = [({"main": C}, {})]
    partial.arrive(run("b", commit=B, branch="main"))
    assert without_numbers(partial.keep_order()) == ["number b", Release("b")]


def test_a_run_is_late_where_the_newer_commit_concerns_it(partial: Place) -> None:
    partial.repositories.answers = [({"main": C}, {})]
    partial.arrive(run("b", commit=B, branch="main"))
    assert partial.keep_order() == [Supersede("b", "a", begun=False)]
    look_twice(partial, C)
    assert len(partial.cluster.created) == 1


def test_a_repository_that_cannot_be_read_is_told_until_it_can(polled: Place) -> None:
    polled.repositories.answers = [RepositoryUnreadable("no such host"), ({"main": A}, {})]
    tick(polled)
    tick(polled)
    polled.state.looked.clear()
    tick(polled)
    assert [each[1:] for each in polled.cluster.conditions] == [
        (
            "False",
            "Unreadable",
            "http://git.git.svc.cluster.local/orders.git cannot be read: no such host",
        ),
        ("True", "Settled", "runs start by hand; deployed to default in orders"),
    ]
