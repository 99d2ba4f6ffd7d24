from __future__ import annotations

import copy

import pytest

from bootstrap.core.errors import BootstrapError
from bootstrap.core.model import Object
from bootstrap.objects.patches import Patch, Select, apply_patches, get_at, put, set_at


def deployment(name: str, namespace: str = "demo") -> Object:
    containers = [{"name": "app", "image": "old", "args": ["-a"]}, {"name": "side", "image": "old"}]
    return {
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"containers": containers},
    }


def test_patch_changes_a_copy_of_what_it_selects() -> None:
    given = [deployment("one"), deployment("two")]
    before = copy.deepcopy(given)
    change = put("spec", "containers", "side", "image", value="new")
    one, two = apply_patches(given, [Patch(Select("Deployment", "one"), change)])
    assert [each["image"] for each in one["spec"]["containers"]] == ["old", "new"]
    assert two == before[1]
    assert given == before


def test_patches_see_what_earlier_ones_made() -> None:
    first = Patch(Select(name="one"), put("spec", "replicas", value=1))

    def twice(obj: Object) -> None:
        obj["spec"]["replicas"] *= 2

    [found] = apply_patches([deployment("one")], [first, Patch(Select("Deployment"), twice)])
    assert found["spec"]["replicas"] == 2


def test_patch_that_matches_nothing_names_the_candidates() -> None:
    objects = [deployment("one"), deployment("two"), {"kind": "Service", "metadata": {"name": "web"}}]
    with pytest.raises(BootstrapError, match="a patch matches nothing: Deployment demo/three") as caught:
        apply_patches(objects, [Patch(Select("Deployment", "three", "demo"), put("x", value=1))])
    assert caught.value.evidence == "there are: Deployment demo/one, Deployment demo/two"
    with pytest.raises(BootstrapError) as caught:
        apply_patches(objects, [Patch(Select("Secret"), put("x", value=1))])
    assert "Service web" in caught.value.evidence


@pytest.mark.parametrize(
    ("path", "told"),
    [
        (("spec", "containers", "none", "image"), "the list has no entry none; it has app, side"),
        (("spec", "containers", 2, "image"), "the list has no entry 2"),
        (("metadata", "name", "deeper", "x"), "there is a value, and nothing below it"),
    ],
)
def test_patch_that_does_not_fit_names_object_and_cause(path: tuple[str | int, ...], told: str) -> None:
    with pytest.raises(BootstrapError, match="a patch does not fit Deployment demo/one") as caught:
        apply_patches([deployment("one")], [Patch(Select("Deployment"), put(*path, value=1))])
    assert told in caught.value.message


def test_set_makes_the_mappings_on_its_way() -> None:
    obj: Object = {"metadata": {"name": "x", "annotations": None}}
    set_at(obj, ("metadata", "annotations", "a/b"), "c")
    set_at(obj, ("spec", "template", "x"), 1)
    assert obj == {"metadata": {"name": "x", "annotations": {"a/b": "c"}}, "spec": {"template": {"x": 1}}}


def test_get_follows_names_and_indexes() -> None:
    obj = deployment("one")
    assert get_at(obj, ("spec", "containers", "app", "args", 0)) == "-a"
    with pytest.raises(LookupError, match="it has no status"):
        get_at(obj, ("status", "replicas"))
