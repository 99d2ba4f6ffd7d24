"""Which stored versions have to go before a definition is applied, and by which way."""

from __future__ import annotations

import pytest

from bootstrap.core.model import Object
from bootstrap.objects import crd_versions


def definition(*versions: str, stored: tuple[str, ...] = ()) -> Object:
    """versions: "v1*" is the one that is stored, "v1-" one that is not served."""
    return {
        "metadata": {"name": "things.example.com"},
        "spec": {
            "group": "example.com",
            "names": {"kind": "Thing"},
            "versions": [
                {"name": each.strip("*-"), "served": "-" not in each, "storage": "*" in each} for each in versions
            ],
        },
        "status": {"storedVersions": list(stored)},
    }


@pytest.mark.parametrize(
    ("live", "stored", "wanted"),
    [
        (("v1*",), ("v1",), ("v1*",)),
        (("v1beta1", "v1*"), ("v1beta1", "v1"), ("v1beta1", "v1*")),
        (("v1beta1*",), ("v1beta1",), ("v1beta1", "v1*")),
        (("v1beta1", "v1*"), ("v1",), ("v1*",)),
        (("v1*",), (), ("v2*",)),
    ],
)
def test_where_every_stored_version_stays_there_is_nothing_to_do(
    live: tuple[str, ...], stored: tuple[str, ...], wanted: tuple[str, ...]
) -> None:
    assert crd_versions.plan_migration(definition(*live, stored=stored), definition(*wanted)) is None


@pytest.mark.parametrize(
    ("live", "stored", "wanted", "gone", "lost", "through", "flip"),
    [
        (("v1beta1", "v1*"), ("v1beta1", "v1"), ("v1*",), ("v1beta1",), ("v1beta1",), "v1", False),
        (("v1beta1", "v1*"), ("v1beta1", "v1"), ("v1beta1-", "v1*"), ("v1beta1",), (), "v1", False),
        (("v1beta1*", "v1"), ("v1beta1",), ("v1*",), ("v1beta1",), ("v1beta1",), "v1", True),
        (("v1beta1*", "v1"), ("v1beta1",), ("v1", "v2*"), ("v1beta1",), ("v1beta1",), "v1", True),
        (("v1alpha1", "v1*"), ("v1alpha1", "v1"), ("v1", "v2*"), ("v1alpha1",), ("v1alpha1",), "v1", False),
        (("v1beta1*", "v1-"), ("v1beta1",), ("v1*",), ("v1beta1",), ("v1beta1",), "", True),
        (("v1beta1*",), ("v1beta1",), ("v1*",), ("v1beta1",), ("v1beta1",), "", True),
    ],
)
def test_the_way_out_of_a_version_that_goes(
    live: tuple[str, ...],
    stored: tuple[str, ...],
    wanted: tuple[str, ...],
    gone: tuple[str, ...],
    lost: tuple[str, ...],
    through: str,
    flip: bool,
) -> None:
    found = crd_versions.plan_migration(definition(*live, stored=stored), definition(*wanted))
    assert found
    assert (found.gone, found.lost, found.through, found.flip) == (gone, lost, through, flip)
    assert (found.group, found.kind, found.name) == ("example.com", "Thing", "things.example.com")


def test_a_kind_of_which_nothing_is_served_cannot_be_read() -> None:
    found = crd_versions.plan_migration(definition("v1*-", stored=("v1",)), definition("v2*"))
    assert found
    assert (found.served, found.through) == ("", "")


def test_another_version_is_stored_and_the_live_definition_stays_as_it_was() -> None:
    live = definition("v1beta1*", "v1")
    assert [(each["name"], each["storage"]) for each in crd_versions.with_stored_version(live, "v1")] == [
        ("v1beta1", False),
        ("v1", True),
    ]
    assert crd_versions.get_stored_version(live) == "v1beta1"


def test_a_bridge_holds_the_versions_of_both_and_stores_the_new_one() -> None:
    found = crd_versions.merge_versions(definition("v1alpha1*", "v1beta1"), definition("v1beta1", "v1*"))
    assert [(each["name"], each["storage"]) for each in found] == [
        ("v1alpha1", False),
        ("v1beta1", False),
        ("v1", True),
    ]


def test_content_leaves_out_version_and_bookkeeping() -> None:
    obj = {"apiVersion": "a/v1", "kind": "A", "metadata": {"name": "x"}, "spec": {"b": 1}}
    assert crd_versions.get_content(obj) == {"kind": "A", "spec": {"b": 1}}
