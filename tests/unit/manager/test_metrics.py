"""The metrics, as Prometheus reads them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from bootstrap.incluster.kube_api import ApiFailure
from bootstrap.incluster.run_queue import Phase
from bootstrap.manager import due_work
from bootstrap.manager.metrics import PREFIX, make_registry
from bootstrap.manager.shared_state import write_condition
from tests.unit.manager.manager_scene import B, Place, run


def read(place: Place) -> dict[str, float]:
    """Name, without what all have in common, and labels -> value."""
    text = generate_latest(make_registry(lambda: True, lambda: place.state)).decode()
    samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
    return {
        " ".join([each.name.removeprefix(f"{PREFIX}_"), *each.labels.values()]): each.value
        for each in samples
        if each.name.startswith(PREFIX)
    }


def test_before_anything_happened_all_are_there() -> None:
    assert read(Place()) == {
        "leads": 1,
        "applications Settled": 0,
        "applications Unsettled": 0,
        "applications Refused": 0,
        "applications Unreadable": 0,
        "runs waiting": 0,
        "runs going_on": 0,
        "runs_superseded_total": 0,
        "clock_pass_seconds": 0,
        "clock_failures_total": 0,
    }


def test_applications_are_counted_by_their_condition() -> None:
    place = Place("orders", "invoices", "shop")
    for name, reason in (("orders", "Settled"), ("invoices", "Settled"), ("shop", "Settled"), ("shop", "Refused")):
        asyncio.run(write_condition(place.state, name, reason, "x"))
    found = read(place)
    assert (found["applications Settled"], found["applications Refused"]) == (2, 1)


def test_runs_are_counted_as_they_are_after_the_pass() -> None:
    place = Place("orders", "invoices", "shop", builds=1)
    place.arrive(run("a"), run("b", commit=B), run("c", "invoices"), run("d", "shop", Phase.DEPLOYS, 3))
    place.keep_order()
    found = read(place)
    assert (found["runs waiting"], found["runs going_on"], found["runs_superseded_total"]) == (2, 1, 1)
    place.keep_order()
    assert read(place) == found


@pytest.mark.parametrize(("trouble", "failures"), [(None, 0), (ApiFailure(500, "no"), 1), (KeyError("x"), 1)])
def test_the_work_by_the_clock_is_timed_and_its_failures_counted(
    monkeypatch: pytest.MonkeyPatch, trouble: Any, failures: int
) -> None:
    """Also what nobody foresaw: the next pass comes all the same."""
    place = Place()
    monkeypatch.setattr(due_work, "TICK_SECONDS", 0.01)
    if trouble:
        place.cluster.deny["read_namespaces"] = trouble

    async def work() -> None:
        ticking = asyncio.create_task(due_work.work_by_the_clock(place.state))
        await asyncio.sleep(0.2)
        assert not ticking.done()
        ticking.cancel()

    asyncio.run(work())
    found = read(place)
    assert found["clock_failures_total"] == failures
    assert found["clock_pass_seconds"] > 0
