"""Taking, renewing and giving back a Lease that others write as well."""

from __future__ import annotations

from typing import Any

import pytest

from bootstrap.incluster.kube_api import ApiFailure
from bootstrap.incluster.lease_holder import ApiLeases, LeaseHolder, Lost, Met
from tests.unit.incluster.lease_server import LeaseServer, make_lease
from tests.unit.manager.fake_api import FakeApi


class Place:
    """A holder called me, and a clock."""

    def __init__(self, *live: str) -> None:
        self.server = LeaseServer()
        self.time = 1000.0
        for holder in live:
            self.server.put(make_lease(holder))
        self.me = self.hold("me")

    def hold(self, name: str) -> LeaseHolder:
        return LeaseHolder(self.server, "ns", "x", name, 15, lambda: self.time, lambda: 1800000000 + self.time)


def test_where_there_is_none_it_is_made() -> None:
    place = Place()
    assert (place.me.take(), place.me.is_held) == (0.0, True)
    assert (place.server.spec["holderIdentity"], place.server.spec["leaseTransitions"]) == ("me", 0)


def test_anothers_is_taken_over_once_it_stood_still_for_its_duration() -> None:
    place = Place("a")
    assert (place.me.take(), place.me.is_held, place.me.other) == (15.0, False, "a")
    place.time += 14
    place.server.set(renewTime="2027-01-15T08:00:14.000000Z")
    assert place.me.take() == 15.0
    place.time += 15
    assert place.me.take() == 0.0
    assert (place.server.spec["holderIdentity"], place.server.spec["leaseTransitions"]) == ("me", 4)


def test_one_that_was_given_back_is_taken_at_once() -> None:
    place = Place()
    other = place.hold("a")
    assert other.take() == 0.0
    assert place.me.take() > 0
    other.give_back()
    assert (other.is_held, place.me.take()) == (False, 0.0)


@pytest.mark.parametrize("there", [[], ["", ""]], ids=["none", "given back"])
def test_of_two_that_meet_one_has_it(there: list[str]) -> None:
    place = Place(*there)
    place.server.meets = [lambda server: server.set(holderIdentity="a")]
    assert (place.me.take(), place.me.is_held) == (1.0, False)
    assert (place.me.take(), place.me.other) == (15.0, "a")


def test_it_is_renewed() -> None:
    place = Place()
    place.me.take()
    before = dict(place.server.spec)
    place.time += 5
    place.me.renew()
    assert place.server.spec["renewTime"] > before["renewTime"]
    assert place.server.spec | {"renewTime": before["renewTime"]} == before


def test_a_label_that_somebody_sets_is_no_loss() -> None:
    place = Place()
    place.me.take()
    assert place.server.live
    place.server.put(place.server.live | {"metadata": {"name": "x", "namespace": "ns", "labels": {"a": "b"}}})
    place.me.renew()
    assert place.server.live["metadata"]["labels"] == {"a": "b"}
    assert place.me.is_held


def test_one_that_was_deleted_is_made_again() -> None:
    place = Place()
    place.me.take()
    place.server.live = None
    place.me.renew()
    assert place.server.spec["holderIdentity"] == "me"


def test_one_that_another_has_taken_is_lost_and_is_not_given_back() -> None:
    place = Place()
    place.me.take()
    place.server.set(holderIdentity="a")
    with pytest.raises(Lost, match=r"^a$"):
        place.me.renew()
    assert not place.me.is_held
    place.me.give_back()
    place.me.renew()
    assert place.server.spec["holderIdentity"] == "a"


def test_one_that_another_takes_before_it_is_given_back_stays() -> None:
    place = Place()
    place.me.take()
    place.server.set(holderIdentity="a")
    place.me.give_back()
    assert place.server.spec["holderIdentity"] == "a"


def test_one_that_changes_at_each_try_is_told() -> None:
    place = Place()
    place.me.take()
    place.server.meets = [lambda server: server.set(leaseTransitions=9)] * 2
    with pytest.raises(Met):
        place.me.renew()
    assert place.me.is_held, "the next try may do it"
    place.me.renew()


def test_its_way_by_the_api() -> None:
    api = FakeApi()
    way = ApiLeases(api, "cicd", "manager")  # type: ignore[arg-type]
    everything = "/apis/coordination.k8s.io/v1/namespaces/cicd/leases"
    api.on(f"GET {everything}/manager", ApiFailure(404, "no"))
    assert way.read() is None
    made, wanted = {"metadata": {"resourceVersion": "1"}}, make_lease(name="manager")
    api.on(f"POST {everything}", made)
    assert way.write(wanted) == made
    wanted["metadata"]["resourceVersion"] = "1"
    api.on(f"PUT {everything}/manager", made)
    assert way.write(wanted) == made
    assert [body for method, _, body in api.asked if method != "GET"] == [wanted, wanted]


@pytest.mark.parametrize(
    ("version", "status", "raised"),
    [({}, 409, Met), ({"resourceVersion": "1"}, 409, Met), ({"resourceVersion": "1"}, 404, Met), ({}, 404, ApiFailure)],
)
def test_what_a_refusal_means(version: Any, status: int, raised: type[Exception]) -> None:
    """A Lease that is gone was deleted meanwhile; where nothing can be made, its namespace is missing."""
    api = FakeApi()
    everything = "/apis/coordination.k8s.io/v1/namespaces/cicd/leases"
    for request in (f"POST {everything}", f"PUT {everything}/manager"):
        api.on(request, ApiFailure(status, "no"))
    with pytest.raises(raised):
        ApiLeases(api, "cicd", "manager").write({"metadata": version})  # type: ignore[arg-type]


def test_other_refusals_are_told_as_they_are() -> None:
    api = FakeApi()
    api.on("GET /apis/coordination.k8s.io/v1/namespaces/cicd/leases/manager", ApiFailure(403, "no"))
    with pytest.raises(ApiFailure):
        ApiLeases(api, "cicd", "manager").read()  # type: ignore[arg-type]
