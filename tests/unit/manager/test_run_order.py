"""The order of runs in the cluster, with a cluster that remembers and refuses."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from bootstrap.incluster.kube_api import ApiFailure
from bootstrap.incluster.run_queue import Number, Phase, Release, Supersede
from bootstrap.manager.run_order import _merge, _note, keep_order
from tests.unit.manager.manager_scene import B, Place, run, without_numbers


def test_a_run_after_an_action() -> None:
    waiting = run("a")
    assert _note(waiting, Number("a", 7)) == replace(waiting, arrival=7)
    assert _note(waiting, Release("a")) == replace(waiting, phase=Phase.BUILDS)
    assert _note(waiting, Supersede("a", "b", begun=False)) == replace(waiting, superseded=True)


def test_what_the_watch_tells_late_does_not_undo_what_was_done() -> None:
    seen = run("a")
    done = run("a", arrival=7, phase=Phase.BUILDS)
    assert _merge(seen, None) is seen
    assert _merge(seen, done) == done, "released, though it is still told to wait"
    assert _merge(seen, run("a", superseded=True)).superseded


def test_what_the_watch_tells_of_later_counts() -> None:
    done = run("a", arrival=7, phase=Phase.BUILDS)
    over = run("a", arrival=7, phase=Phase.OVER, succeeded=True, why="x", ended="y")
    assert _merge(over, done) == over
    assert _merge(run("a", arrival=7, phase=Phase.DEPLOYS), done).phase is Phase.DEPLOYS
    assert _merge(run("a", arrival=9), run("a", arrival=7)).arrival == 9, "the cluster's number is the number"


def test_what_arrives_begins_and_is_told() -> None:
    place = Place("orders")
    place.arrive(run("a"))
    assert without_numbers(place.keep_order()) == ["number a", Release("a")]
    assert place.cluster.statuses["orders"]["state"] == "building"


def test_nothing_is_done_twice_though_the_watch_is_late() -> None:
    place = Place("orders")
    place.arrive(run("a"), run("b", commit=B))
    assert len(place.keep_order()) == 4
    assert place.keep_order() == []
    place.arrive(run("a", arrival=1, phase=Phase.BUILDS))
    assert place.keep_order() == []


def test_a_status_is_written_when_it_changes() -> None:
    place = Place("orders", "invoices")
    place.arrive(run("a"))
    place.keep_order()
    assert {*place.cluster.statuses} == {"orders", "invoices"}
    place.cluster.statuses.clear()
    place.keep_order()
    assert place.cluster.statuses == {}
    place.arrive(run("a", arrival=9, phase=Phase.DEPLOYS))
    place.keep_order()
    assert {*place.cluster.statuses} == {"orders"}


def test_a_status_that_was_refused_is_written_next_time() -> None:
    place = Place("orders", "invoices")
    place.cluster.deny["orders"] = ApiFailure(500, "no")
    place.keep_order()
    assert {*place.cluster.statuses} == {"invoices"}
    del place.cluster.deny["orders"]
    place.keep_order()
    assert {*place.cluster.statuses} == {"orders", "invoices"}


def test_a_run_whose_application_is_gone_is_cancelled() -> None:
    place = Place("orders")
    place.arrive(
        run("a", "gone"),
        run("b", "gone", Phase.BUILDS, 1),
        run("c", "gone", Phase.OVER, 2),
        run("d", "gone", Phase.BUILDS, 3, superseded=True),
        run("e"),
    )
    assert without_numbers(place.keep_order()) == ["cancel a", "cancel b", "number e", Release("e")]


def test_a_run_of_nobody_that_is_not_cancelled_keeps_nobody_else_waiting() -> None:
    place = Place("orders")
    place.arrive(run("a", "gone"), run("b", "gone"), run("e"))
    place.cluster.deny["a"] = ApiFailure(500, "no")
    assert without_numbers(place.keep_order()) == ["cancel b", "number e", Release("e")]
    assert place.cluster.statuses["orders"]["state"] == "building"
    del place.cluster.deny["a"]
    assert "cancel a" in place.keep_order()


@pytest.mark.parametrize("refused", ["a", "b", "c"])
def test_a_patch_that_fails_ends_the_pass_and_the_rest_is_done_later(refused: str) -> None:
    place = Place("orders", "invoices", "stock", builds=3)
    place.arrive(run("a", "orders"), run("b", "invoices"), run("c", "stock"))
    place.cluster.deny[refused] = ApiFailure(500, "no")
    done = place.keep_order()
    assert without_numbers(done) == [f"number {each}" for each in "abc"[: "abc".index(refused)]]
    assert not any(isinstance(each, Release) for each in done)
    del place.cluster.deny[refused]
    rest = place.keep_order()
    numbered = [each for each in done + rest if isinstance(each, Number)]
    assert [each.run for each in numbered] == ["a", "b", "c"]
    assert sorted(each.arrival for each in numbered) == [each.arrival for each in numbered]
    assert {each.run for each in rest if isinstance(each, Release)} == {"a", "b", "c"}


def test_runs_that_are_gone_are_forgotten() -> None:
    place = Place("orders")
    place.arrive(run("a"))
    place.keep_order()
    assert {*place.state.done} == {"a"}
    place.runs.clear()
    place.keep_order()
    assert place.state.done == {}


def test_two_events_at_once_do_one_thing_after_the_other() -> None:
    place = Place("orders", builds=1)
    place.arrive(run("a"), run("b", commit=B))

    async def both() -> None:
        await asyncio.gather(*(keep_order(place.state, *place.indexes) for _ in range(5)))

    asyncio.run(both())
    assert without_numbers(place.cluster.done) == [
        "number a",
        "number b",
        Supersede("a", "b", begun=False),
        Release("b"),
    ]


def test_a_run_of_nobody_is_cancelled_once() -> None:
    place = Place("orders")
    place.arrive(run("a", "gone"))
    assert place.keep_order() == ["cancel a"]
    assert place.keep_order() == []
