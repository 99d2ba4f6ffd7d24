"""What is told of an upgrade."""

from __future__ import annotations

from bootstrap.core.model import Failed
from bootstrap.objects import apply_plan
from bootstrap.objects.apply_plan import Change, Plan

WANTED = {"Pipelines": "v1.9.0", "Triggers": "v0.35.0"}


def test_versions_that_change() -> None:
    assert apply_plan.describe_versions({}, WANTED) == ()
    assert apply_plan.describe_versions({"Pipelines": "", "Triggers": ""}, WANTED) == (), "there is none yet"
    assert apply_plan.describe_versions(WANTED, WANTED) == ()
    found = {"Pipelines": "v1.8.0", "Triggers": "v0.35.0"}
    assert apply_plan.describe_versions(found, WANTED) == ("Pipelines v1.8.0 -> v1.9.0",)


def test_steps_with_nothing_to_tell_are_left_out() -> None:
    assert apply_plan.make_rows([Plan("git", there=True), Plan("demo")]) == []


def test_objects_with_the_same_changes_are_told_together() -> None:
    labels = ("metadata.labels.version",)
    many = [Change("change", f"ClusterRole r{number}", labels) for number in range(6)]
    plan = Plan("tekton", (*many, Change("create", "ConfigMap a")), ("Pipelines v1.8.0 -> v1.9.0",))
    assert apply_plan.make_rows([plan]) == [
        ["tekton", "version", "Pipelines v1.8.0 -> v1.9.0"],
        ["", "change", "ClusterRole r0, ClusterRole r1, ClusterRole r2 and 3 more: metadata.labels.version"],
        ["", "create", "ConfigMap a"],
    ]


def test_what_goes_or_stays_is_told_one_by_one() -> None:
    gone = [Change("delete", f"ConfigMap c{number}") for number in range(6)]
    kept = Change("keep", "PersistentVolumeClaim p", ("it may hold data",))
    [delete, keep] = apply_plan.make_rows([Plan("prune", (*gone, kept))])
    assert delete == ["prune", "delete", ", ".join(f"ConfigMap c{number}" for number in range(6))]
    assert keep == ["", "keep", "PersistentVolumeClaim p: it may hold data"]


def test_many_fields_are_cut_but_never_for_a_single_one() -> None:
    fields = tuple(f"spec.f{number}" for number in range(5))
    assert apply_plan.make_rows([Plan("x", (Change("change", "A a", fields),))])[0][2].endswith("spec.f2 and 2 more")
    assert apply_plan.make_rows([Plan("x", (Change("change", "A a", fields[:4]),))])[0][2].endswith("spec.f2, spec.f3")


def test_what_could_not_be_compared_is_told_once_for_one_cause() -> None:
    unbuilt = "the images are not built yet"
    found = apply_plan.make_rows([Plan("a", unknown=unbuilt), Plan("b", unknown="away"), Plan("c", unknown=unbuilt)])
    assert found == [["", "unknown", f"a, c: {unbuilt}"], ["", "unknown", "b: away"]]


def test_refusals_are_in_the_plan() -> None:
    assert apply_plan.make_rows([Plan("tekton", refusals=(Failed("an older one", "invoke down"),))]) == [
        ["tekton", "refused", "an older one"]
    ]


def test_only_keeping_is_nothing_to_do() -> None:
    assert not Plan("prune", (Change("keep", "Secret s"),)).does
    assert Plan("prune", (Change("delete", "ConfigMap c"),)).does
    assert Plan("tekton", versions=("x",)).does
