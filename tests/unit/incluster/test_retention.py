"""Which runs a cleanup deletes."""

from __future__ import annotations

from typing import Any

from bootstrap.incluster import retention
from bootstrap.incluster.json_object import Object
from bootstrap.incluster.run_names import SUPERSEDED_BY

LIMIT = "2026-11-20T00:00:00Z"


def run(name: str, day: int, status: str = "True", pipeline: str = "git-cicd", **more: Any) -> Object:
    when = f"2026-11-{day:02}T12:00:00Z"
    metadata = {"name": name, "uid": name, "creationTimestamp": when, "labels": {retention.PIPELINE: pipeline}}
    conditions = [{"type": "Succeeded", "status": status}]
    return {"metadata": metadata, "status": {"completionTime": when, "conditions": conditions, **more}}


def names(found: list[Object]) -> list[str]:
    return [each["metadata"]["name"] for each in found]


def test_old_runs_go_but_for_the_newest_of_their_kind() -> None:
    runs = [run("new", 22), run("old", 10), run("older", 9), run("oldest", 8)]
    assert names(retention.find_expired(runs, 0, (), LIMIT)) == ["oldest", "older", "old"]
    assert names(retention.find_expired(runs, 1, (), LIMIT)) == ["oldest", "older", "old"]
    assert names(retention.find_expired(runs, 2, (), LIMIT)) == ["oldest", "older"]
    assert names(retention.find_expired(runs, 9, (), LIMIT)) == []


def test_each_pipeline_and_result_keeps_its_own() -> None:
    runs = [run("good", 5), run("bad", 4, "False"), run("good-1", 2), run("bad-1", 1, "False")]
    runs.append(run("other", 3, pipeline="other"))
    assert names(retention.find_expired(runs, 1, (), LIMIT)) == ["bad-1", "good-1"]


def superseded(name: str, day: int, reason: str = "Cancelled") -> Object:
    made = run(name, day, "False")
    made["metadata"]["annotations"] = {SUPERSEDED_BY: "another", "theirs": "x" * 1000}
    made["status"]["conditions"][0]["reason"] = reason
    return retention.trim_run(made)


def test_those_that_were_superseded_take_no_failures_place() -> None:
    runs = [superseded("late", 5), superseded("late-1", 4), run("bad", 3, "False"), run("bad-1", 2, "False")]
    assert names(retention.find_expired(runs, 1, (), LIMIT)) == ["bad-1", "late-1"]
    assert [retention.read_outcome(each) for each in runs[1:3]] == ["superseded", "failed"]
    assert retention.read_outcome(superseded("bad", 1, "Failed")) == "failed"


def test_of_the_annotations_of_a_run_only_that_one_is_held() -> None:
    assert superseded("late", 5)["metadata"]["annotations"] == {SUPERSEDED_BY: "another"}
    assert "annotations" not in retention.trim_run(run("good", 5))["metadata"]


def test_what_is_not_over_stays_and_counts_for_nothing() -> None:
    running = [run("running", 1, "Unknown"), {"metadata": run("pending", 1)["metadata"]}]
    assert names(retention.find_expired([*running, run("old", 2)], 0, (), LIMIT)) == ["old"]
    assert names(retention.find_expired([*running, run("old", 2)], 1, (), LIMIT)) == []


def test_excluded_ones_stay_beside_the_newest() -> None:
    runs = [run("kept", 3), run("newest", 2), run("old", 1)]
    assert names(retention.find_expired(runs, 1, {"kept"}, LIMIT)) == ["old"]


def test_a_run_that_never_started_is_as_old_as_its_creation() -> None:
    never = run("never", 1, "False")
    del never["status"]["completionTime"]
    assert names(retention.find_expired([never], 0, (), LIMIT)) == ["never"]


def test_what_others_see_to_stays() -> None:
    owned, leaving = run("owned", 2), run("leaving", 1)
    owned["metadata"]["ownerReferences"] = [{"kind": "PipelineRun", "controller": True}]
    leaving["metadata"]["deletionTimestamp"] = "2026-11-22T00:00:00Z"
    assert names(retention.find_expired([owned, leaving], 0, (), LIMIT)) == []


def test_runs_that_bring_their_pipeline_along_are_one_group() -> None:
    runs = [run(name, day, pipeline=name) for name, day in (("a", 3), ("b", 2), ("c", 1))]
    assert names(retention.find_expired(runs, 1, (), LIMIT)) == ["c", "b"]


def test_a_brief_is_all_that_the_decision_needs() -> None:
    runs = [
        run("good", 3),
        run("bad", 2, "False"),
        run("running", 1, "Unknown"),
        {"metadata": run("new", 1)["metadata"]},
    ]
    briefs = [retention.trim_run(each | {"spec": {"params": []}}) for each in runs]
    assert not any("spec" in each for each in briefs)
    assert (
        names(retention.find_expired(briefs, 0, (), LIMIT))
        == names(retention.find_expired(runs, 0, (), LIMIT))
        == ["bad", "good"]
    )
