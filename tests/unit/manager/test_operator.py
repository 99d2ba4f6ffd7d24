"""The manager's handlers, with a cluster that remembers and refuses; kopf itself is not run."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, cast

import kopf
import pytest

from bootstrap.incluster.kube_api import ApiFailure
from bootstrap.incluster.run_queue import Release
from bootstrap.manager import operator
from bootstrap.manager.cluster import ClusterFailure
from bootstrap.manager.shared_state import Settings
from tests.unit.manager.manager_scene import REGISTRY, RUN, A, Place, run, without_numbers

HANDLERS: Any = operator
"""As kopf calls them: its types ask for every argument that it has."""


def test_the_settings_are_those_that_up_writes(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({"registry": REGISTRY, "builds": 3, "tokenHours": 24, "run": RUN}))
    assert Settings.read(file) == Settings(REGISTRY, 3, 24, RUN)


@pytest.fixture(autouse=True)
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The messages of Events."""
    said: list[str] = []
    monkeypatch.setattr(HANDLERS.kopf, "info", lambda body, *, reason, message: said.append(message))
    return said


def settle(place: Place, body: kopf.Body) -> None:
    applications, runs = place.indexes
    asyncio.run(HANDLERS.settle_application(body, memo=place.memo, applications=applications, runs=runs))


def test_an_application_is_settled(events: list[str]) -> None:
    place = Place()
    settle(place, place.declare("orders", status={"heads": {"main": A}}))
    text = "pushes to main start runs; deployed to default in orders"
    assert place.cluster.done == ["settle orders"]
    assert place.cluster.conditions == [("orders", "True", "Settled", text)]
    assert place.cluster.statuses["orders"]["observedGeneration"] == 1
    assert events == [text]
    assert place.state.renew == {"orders": 5000.0}
    assert place.state.heads == {"orders": {"main": A}}, "what a manager before this one had seen"


@pytest.mark.parametrize(
    ("trouble", "why"),
    [(ApiFailure(403, "HTTP 403"), "HTTP 403"), (ClusterFailure("git does not answer"), "git does not answer")],
)
def test_what_cannot_be_made_is_told_and_tried_again(trouble: Exception, why: str, events: list[str]) -> None:
    place = Place()
    place.cluster.deny["settle"] = trouble
    with pytest.raises(kopf.TemporaryError, match=why):
        settle(place, place.declare("orders"))
    assert place.cluster.conditions == [("orders", "False", "Unsettled", why)]
    assert events == []


def test_of_two_that_claim_one_thing_the_first_has_it() -> None:
    place = Place()
    claim = {"environments": [{"name": "a", "namespace": "sales", "deployment": "web"}]}
    younger = place.declare("invoices", "2027-01-15T08:00:01Z", **claim)
    older = place.declare("orders", "2027-01-15T08:00:00Z", **claim)
    settle(place, older)
    with pytest.raises(kopf.TemporaryError, match="Deployment sales/web is application orders's"):
        settle(place, younger)
    assert place.cluster.done == ["settle orders", "refuse invoices"]
    assert place.cluster.conditions[-1][1:3] == ("False", "Refused")
    assert place.cluster.statuses["invoices"]["state"] == "refused"
    del place.applications["orders"]
    settle(place, younger)
    assert place.cluster.done[-1] == "settle invoices"
    assert place.cluster.statuses["invoices"]["state"] == "new"


def test_of_two_of_one_second_the_name_decides() -> None:
    place = Place()
    [a, b] = [place.declare(name, build={"image": "hub.test/x"}) for name in ("a", "b")]
    settle(place, a)
    with pytest.raises(kopf.TemporaryError, match=r"image hub.test/x is application a's"):
        settle(place, b)


def test_one_that_cannot_be_understood_is_refused_for_good() -> None:
    place = Place()
    body = place.declare("orders", arrive={"poll": "soon"})
    [[(_, found)]] = place.applications.values()
    assert found is None, "it is there, though nobody can read it: its runs are not cancelled"
    with pytest.raises(kopf.PermanentError, match='"soon" is not a time'):
        settle(place, body)
    assert place.cluster.conditions[-1][:3] == ("orders", "False", "Refused")


def test_a_condition_that_is_not_written_ends_nothing() -> None:
    place = Place()
    place.cluster.deny["write_status"] = ApiFailure(500, "no")
    settle(place, place.declare("orders"))
    assert place.cluster.done == ["settle orders"]


def test_a_long_message_is_cut_before_it_is_a_condition() -> None:
    place = Place()
    place.cluster.deny["settle"] = ClusterFailure("x" * 5000)
    with pytest.raises(kopf.TemporaryError):
        settle(place, place.declare("orders"))
    assert len(place.cluster.conditions[0][3]) == 1000


@pytest.mark.parametrize(("kind", "left"), [("DELETED", set()), ("MODIFIED", {"orders"}), (None, {"orders"})])
def test_one_that_is_deleted_takes_its_runs_and_what_is_held_of_it(kind: Any, left: set[str]) -> None:
    place = Place()
    settle(place, place.declare("orders"))
    place.arrive(run("a"))
    if kind == "DELETED":
        place.applications.clear()
    applications, runs = place.indexes
    event = cast(kopf.RawEvent, {"type": kind})
    asyncio.run(
        HANDLERS.watch_applications(event, name="orders", memo=place.memo, applications=applications, runs=runs)
    )
    assert {*place.state.told} == {*place.state.renew} == left
    assert ("cancel a" in place.cluster.done) == (kind == "DELETED")


def test_runs_are_indexed_by_name() -> None:
    body = kopf.Body({"metadata": {"name": "r", "namespace": "cicd"}, "spec": {}})
    assert [*HANDLERS.runs(body)] == ["r"]


def test_an_event_of_a_run_keeps_the_order() -> None:
    place = Place("orders")
    place.arrive(run("a"))
    applications, runs = place.indexes
    asyncio.run(HANDLERS.order_runs(place.memo, applications=applications, runs=runs))
    assert without_numbers(place.cluster.done) == ["number a", Release("a")]


def test_the_generation_that_was_looked_at_is_told_when_all_is_there() -> None:
    place = Place()
    body = place.declare("orders")
    place.keep_order()
    assert "observedGeneration" not in place.cluster.statuses["orders"], "whoever waits for it may go on"
    settle(place, body)
    assert place.cluster.statuses["orders"]["observedGeneration"] == 1


def test_a_clean_end_leaves_nothing_that_kopf_would_wait_for() -> None:
    place = Place()

    async def run() -> None:
        place.state.ticking = asyncio.create_task(asyncio.sleep(60))
        place.state.watching = asyncio.create_task(asyncio.sleep(60))
        place.memo.stop = asyncio.Event()
        await HANDLERS.stop(memo=place.memo)
        await asyncio.wait([place.state.ticking, place.state.watching], timeout=5)
        assert place.state.ticking.cancelled()
        assert place.state.watching.cancelled()
        assert place.memo.stop.is_set()

    asyncio.run(run())
