"""Deploys of one Deployment, one after the other: each holds a Lease meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from bootstrap.incluster.deploy import (
    LEASE_SECONDS,
    Deployer,
    Failed,
    KubectlFailure,
    KubectlLeases,
    Stopped,
    Turn,
    deploy_in_turn,
)
from bootstrap.incluster.lease_holder import LeaseHolder, Met
from tests.unit.incluster.lease_server import LeaseServer, make_lease
from tests.unit.incluster.test_deploy import NEW, OLD, PLACE, Cluster, image, noted, stopped

FORBIDDEN = KubectlFailure('Error from server (Forbidden): leases.coordination.k8s.io "deploy-web" is forbidden')


class Place:
    """A Deployment, and its Lease beside it, both by kubectl."""

    def __init__(self, cluster: Cluster | None = None, live: Any = None) -> None:
        self.cluster = cluster or Cluster()
        self.server = LeaseServer(live)
        self.holders: list[str] = []
        """Who held the Lease at each patch of the Deployment."""

    def kubectl(self, *words: str, stdin: str = "") -> str:
        if words == ("get", "lease", "deploy-web", "--ignore-not-found", "--output=json"):
            found = self.server.read()
            return json.dumps(found) if found else ""
        if words[0] in ("create", "replace") and '"kind": "Lease"' in stdin:
            assert words[1:] == ("--filename=-", "--validate=false", "--output=json")
            wanted = json.loads(stdin)
            assert wanted["metadata"]["name"] == "deploy-web"
            try:
                return json.dumps(self.server.write(wanted))
            except Met:
                why = "AlreadyExists" if words[0] == "create" else "Conflict" if self.server.live else "NotFound"
                raise KubectlFailure(f"Error from server ({why}): no") from None
        if words[0] == "patch":
            self.holders.append(self.server.spec["holderIdentity"] if self.server.live else "")
        return self.cluster.kubectl(*words, stdin=stdin)

    def deploy(self, limit: float = 180, arrival: str = "") -> None:
        """By a run called me."""
        cluster = self.cluster
        way = KubectlLeases(self.kubectl, "deploy-web")
        clock: Callable[[], float] = lambda: cluster.time  # noqa: E731
        holder = LeaseHolder(way, "demo", "deploy-web", "me", LEASE_SECONDS, clock, lambda: 1800000000 + cluster.time)
        turn = Turn(holder, cluster.sleep, cluster.said.append)
        deployer = Deployer(self.kubectl, PLACE, clock, turn.sleep_on, cluster.said.append, arrival)
        deploy_in_turn(deployer, turn, NEW, limit)

    def keep_renewing(self, until: float, last: Callable[[], None]) -> None:
        """Another deploy holds it, renews it every ten seconds, and does `last` at its end."""
        for moment in range(10, int(until), 10):
            self.cluster.at[float(moment)] = lambda _, moment=moment: self.server.set(  # type: ignore[misc]
                renewTime=f"renewed at {moment}"
            )
        self.cluster.at[until] = lambda _: last()


def held(holder: str) -> Any:
    return make_lease(holder, LEASE_SECONDS, "deploy-web") | {
        "metadata": {"name": "deploy-web", "namespace": "demo", "resourceVersion": "0"}
    }


def test_the_lease_is_held_while_the_image_is_changed_and_given_back() -> None:
    place = Place()
    place.deploy()
    assert (image(place.cluster.live), place.holders) == (NEW, ["me", "me"])
    assert (place.server.spec["holderIdentity"], place.server.spec["leaseTransitions"]) == ("", 0)
    assert place.cluster.said[0] == f"web: app = {NEW}", "nothing is said of it"
    place.deploy()
    assert place.server.spec["leaseTransitions"] == 1


def test_it_is_renewed_during_a_long_rollout() -> None:
    place = Place(Cluster(slow=120, deadline=600))
    place.deploy()
    writes = place.server.log.count("write")
    assert 120 / (LEASE_SECONDS / 3) <= writes - 2 <= 120 / (LEASE_SECONDS / 3) + 1


@pytest.mark.parametrize("arrival", ["", "7"])
def test_another_deploy_is_waited_for_and_named_every_half_minute(arrival: str) -> None:
    place = Place(live=held("first"))
    place.keep_renewing(72, lambda: place.server.set(holderIdentity=""))
    place.deploy(arrival=arrival)
    waits = "waiting for first, which deploys here now (Lease deploy-web)"
    assert place.cluster.said[:4] == [waits, waits, waits, f"web: app = {NEW}"]
    assert set(place.holders) == {"me"}
    assert 72 <= place.cluster.changed <= 78


def test_one_that_is_gone_is_taken_over_once_its_lease_has_expired() -> None:
    place = Place(live=held("first"))
    place.deploy()
    assert place.cluster.changed == LEASE_SECONDS
    assert place.server.spec["leaseTransitions"] == 4


def test_one_that_goes_on_for_too_long_is_told_and_nothing_is_changed() -> None:
    place = Place(live=held("first"))
    place.keep_renewing(400, lambda: None)
    with pytest.raises(Failed, match=r"^first was still deploying after 60 s \(Lease deploy-web\)$"):
        place.deploy(60)
    assert (place.holders, image(place.cluster.live), place.cluster.time) == ([], OLD, 60.0)
    assert place.server.spec["holderIdentity"] == "first", "nobody's else is given back"


@pytest.mark.parametrize(("waited", "left"), [(20, 40), (55, 20)])
def test_waiting_and_rollout_share_the_limit(waited: float, left: float) -> None:
    """A third of it is the rollout's in any case: the task's own limit has that third more."""
    place = Place(Cluster(bad={NEW}, deadline=600), live=held("first"))
    place.keep_renewing(waited, lambda: place.server.set(holderIdentity=""))
    with pytest.raises(Failed, match="the rollout failed"):
        place.deploy(60)
    [why] = [line for line in place.cluster.said if "it was not ready within" in line]
    assert f"within {left} s" in why or f"within {left - 5} s" in why


@pytest.mark.parametrize("trouble", [FORBIDDEN, KubectlFailure("the server doesn't have a resource type")])
def test_where_it_cannot_be_used_the_deploy_goes_on_without_it(trouble: KubectlFailure) -> None:
    """An earlier version's role, or a kubeconfig of that time."""
    place = Place()
    place.server.denied = trouble
    place.deploy()
    assert (image(place.cluster.live), place.cluster.good) == (NEW, f"app={NEW}")
    hint = "; invoke up gives the right to" if trouble is FORBIDDEN else ""
    without = f"going on without the Lease deploy-web, which cannot be used: {trouble}{hint}"
    assert place.cluster.said[0] == without
    assert place.cluster.said.count(without) == 1
    assert len(place.server.log) == 1, "it is not tried again"


def test_one_that_may_be_read_and_not_taken_is_done_without() -> None:
    place = Place(live=held("first"))

    def refuse(_: LeaseServer) -> None:
        raise FORBIDDEN

    place.server.meets = [refuse]
    place.deploy()
    assert place.cluster.time >= LEASE_SECONDS
    assert image(place.cluster.live) == NEW


def test_an_api_that_is_away_while_it_waits_does_not_let_it_go_before_its_turn() -> None:
    place = Place(live=held("first"))

    def deny(trouble: Exception | None) -> Callable[[Cluster], None]:
        return lambda _: setattr(place.server, "denied", trouble)

    place.cluster.at = {5.0: deny(KubectlFailure("connection refused")), 15.0: deny(None)}
    place.deploy()
    assert place.cluster.changed == LEASE_SECONDS


def test_of_two_that_begin_at_once_one_waits() -> None:
    place = Place()

    def be_first(server: LeaseServer) -> None:
        server.put(held("first"))

    place.server.meets = [be_first]
    place.cluster.at = {20.0: lambda _: place.server.set(holderIdentity="")}
    place.deploy()
    assert place.cluster.said[0] == "waiting for first, which deploys here now (Lease deploy-web)"
    assert set(place.holders) == {"me"}


def test_one_that_is_lost_is_told_once_and_not_given_back() -> None:
    """It was away for too long; whose image serves is decided without the Lease."""
    place = Place(Cluster(slow=50, deadline=600))
    place.cluster.at = {12.0: lambda _: place.server.set(holderIdentity="second")}
    place.deploy()
    lost = "second has taken the Lease deploy-web, which was not renewed in time"
    assert place.cluster.said.count(lost) == 1
    assert place.server.spec["holderIdentity"] == "second"
    assert place.cluster.good == f"app={NEW}"


def test_a_renewal_that_fails_is_tried_again() -> None:
    place = Place(Cluster(slow=50, deadline=600))
    place.cluster.at = {
        9.0: lambda _: setattr(place.server, "denied", KubectlFailure("connection refused")),
        14.0: lambda _: setattr(place.server, "denied", None),
    }
    place.deploy()
    assert place.server.spec["holderIdentity"] == ""
    assert not [line for line in place.cluster.said if "Lease" in line]


def test_one_that_is_cancelled_gives_it_back_after_it_went_back() -> None:
    place = Place(Cluster(bad={NEW}, at={3.0: stopped}))
    with pytest.raises(Stopped):
        place.deploy()
    assert (image(place.cluster.live), place.holders) == (OLD, ["me", "me"])
    assert place.server.spec["holderIdentity"] == ""


def test_one_that_is_cancelled_while_it_waits_changes_nothing() -> None:
    place = Place(Cluster(at={3.0: stopped}), live=held("first"))
    with pytest.raises(Stopped):
        place.deploy()
    assert (image(place.cluster.live), place.holders) == (OLD, [])
    assert place.server.spec["holderIdentity"] == "first"


def test_the_order_of_commits_holds_after_the_wait_as_well() -> None:
    """A later run deployed meanwhile."""
    place = Place(live=held("later"))

    def deploy_later() -> None:
        place.cluster.live = noted("8")
        place.server.set(holderIdentity="")

    place.keep_renewing(20, deploy_later)
    with pytest.raises(Failed, match="superseded: web has the image of a later run"):
        place.deploy(arrival="7")
    assert place.holders == []
    assert place.server.spec["holderIdentity"] == ""


def test_one_that_cannot_be_given_back_does_not_make_a_failure_of_a_success() -> None:
    place = Place()
    place.cluster.at = {2.0: lambda _: setattr(place.server, "denied", KubectlFailure("connection refused"))}
    place.deploy()
    assert place.cluster.good == f"app={NEW}"
    assert place.cluster.said[-1] == "the Lease deploy-web is not given back: connection refused"
