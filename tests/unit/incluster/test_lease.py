"""Whether a Lease may be taken, and what is written into it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from bootstrap.incluster import lease
from bootstrap.incluster.lease import Sighting
from tests.unit.incluster.lease_server import make_lease

WALL = 1800000000.25
NOW = "2027-01-15T08:00:00.250000Z"


@pytest.mark.parametrize(
    ("spec", "now", "wait"),
    [
        ({}, 0.0, 0.0),
        ({"holderIdentity": ""}, 0.0, 0.0),
        ({"holderIdentity": None}, 0.0, 0.0),
        ({"holderIdentity": "me", "leaseDurationSeconds": 15}, 0.0, 0.0),
        ({"holderIdentity": "a", "leaseDurationSeconds": 15}, 0.0, 15.0),
        ({"holderIdentity": "a", "leaseDurationSeconds": 15}, 14.0, 1.0),
        ({"holderIdentity": "a", "leaseDurationSeconds": 15}, 15.0, 0.0),
        ({"holderIdentity": "a", "leaseDurationSeconds": 60}, 15.0, 45.0),
        ({"holderIdentity": "a"}, 0.0, 20.0),
        ({"holderIdentity": "a", "leaseDurationSeconds": 0}, 0.0, 20.0),
    ],
)
def test_how_long_it_is_anothers(spec: Any, now: float, wait: float) -> None:
    assert lease.find_wait(Sighting(spec, 0.0), "me", now, 20) == wait


def test_it_is_anothers_as_long_as_it_changes_whatever_its_clock_says() -> None:
    """The time that is written is years away: only that it changes counts."""
    found = make_lease()
    found["spec"]["renewTime"] = "1970-01-01T00:00:00.000000Z"
    first = lease.note_sighting(found, None, 100.0)
    same = lease.note_sighting(found, first, 110.0)
    assert same == first
    found["spec"] = found["spec"] | {"renewTime": "1970-01-01T00:00:02.000000Z"}
    changed = lease.note_sighting(found, same, 112.0)
    assert changed.when == 112.0
    assert lease.find_wait(changed, "me", 113.0, 15) == 14.0
    assert lease.note_sighting(None, changed, 114.0) == Sighting({}, 114.0)


def test_a_new_one_has_the_form_of_client_go() -> None:
    assert lease.take(None, "cicd", "manager", "pod-1", 15, WALL) == {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "manager", "namespace": "cicd"},
        "spec": {
            "holderIdentity": "pod-1",
            "leaseDurationSeconds": 15,
            "acquireTime": NOW,
            "renewTime": NOW,
            "leaseTransitions": 0,
        },
    }


def test_taking_over_counts_and_taking_ones_own_again_does_not() -> None:
    found = make_lease("a")
    found["metadata"] |= {"resourceVersion": "7", "labels": {"theirs": "x"}}
    taken = lease.take(found, "ns", "x", "me", 20, WALL)
    assert taken["metadata"] == found["metadata"]
    assert (taken["spec"]["leaseTransitions"], taken["spec"]["acquireTime"]) == (4, NOW)
    again = lease.take(taken, "ns", "x", "me", 20, WALL + 5)
    assert (again["spec"]["leaseTransitions"], again["spec"]["acquireTime"]) == (4, NOW)
    assert again["spec"]["renewTime"] != NOW


def test_one_that_is_given_back_is_nobodys() -> None:
    given = lease.give_back(make_lease("me"), WALL)
    assert given["spec"] == {
        "holderIdentity": "",
        "leaseDurationSeconds": 1,
        "acquireTime": NOW,
        "renewTime": NOW,
        "leaseTransitions": 3,
    }
    assert lease.find_wait(lease.note_sighting(given, None, 0.0), "b", 0.0, 15) == 0.0


@pytest.mark.parametrize("name", ["web", "a.b-c", "x" * 246, "x" * 247, "x" * 253, "x" * 239 + ".-." + "x" * 11])
def test_the_name_is_one_that_kubernetes_takes(name: str) -> None:
    made = lease.make_deploy_name(name)
    assert re.fullmatch(r"deploy-[a-z0-9]([a-z0-9.-]*[a-z0-9])?", made)
    assert len(made) <= 253
    assert ".-" not in made
    assert (made == f"deploy-{name}") == (len(name) <= 246)


def test_names_that_are_cut_stay_apart() -> None:
    assert lease.make_deploy_name("x" * 250 + "a") != lease.make_deploy_name("x" * 250 + "b")
