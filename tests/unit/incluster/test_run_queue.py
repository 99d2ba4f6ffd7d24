"""The order of runs: single cases, and long random histories of arrivals in which it must hold at every moment."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from typing import Any

import pytest
import yaml

from bootstrap.core.paths import PROJECT
from bootstrap.incluster.run_names import APPLICATION, ARRIVAL, BRANCH, COMMIT, ENVIRONMENT, SUPERSEDED_BY, TRIGGER
from bootstrap.incluster.run_queue import (
    DEPLOY,
    Action,
    Number,
    Phase,
    QueuedRun,
    Release,
    Supersede,
    find_newest,
    list_waiting,
    plan_queue,
    read_run,
)
from bootstrap.manager.cluster import make_patch

NOW = 1_800_000_000_000
A, B, C = "a" * 40, "b" * 40, "c" * 40
SECOND = "2027-01-15T08:00:00Z"


def queued(name: str, commit: str = A, arrival: int = 0, phase: Phase = Phase.WAITS, **more: Any) -> QueuedRun:
    """A run of orders to staging, pushed. Later names were created later."""
    made = QueuedRun(
        name=name,
        application="orders",
        environment="staging",
        commit=commit,
        by="push",
        created=SECOND,
        version=ord(name[-1]),
        arrival=arrival,
        phase=phase,
    )
    return replace(made, **more)


def plan(*runs: QueuedRun, builds: int = 2, now: int = NOW) -> list[Action]:
    return plan_queue(runs, builds, now)


# -- single cases ------------------------------------------------------------------------------------


def test_nothing_is_to_be_done_with_nothing() -> None:
    assert plan() == []


def test_what_arrives_is_numbered_and_released() -> None:
    assert plan(queued("a")) == [Number("a", NOW), Release("a")]


def test_two_of_one_second_are_numbered_as_the_api_server_made_them() -> None:
    early, late = queued("z", A, version=10), queued("a", B, version=11)
    assert plan(late, early) == [
        Number("z", NOW),
        Number("a", NOW + 1),
        Supersede("z", "a", begun=False),
        Release("a"),
    ]


def test_the_second_counts_more_than_the_resource_version() -> None:
    """Which changes when a run changes."""
    early, late = queued("a", A, version=99), queued("b", B, version=11, created="2027-01-15T08:00:01Z")
    assert [each.run for each in plan(late, early) if isinstance(each, Number)] == ["a", "b"]


def test_numbers_grow_though_the_clock_goes_back() -> None:
    assert plan(queued("a", A, NOW, Phase.OVER), queued("b", B), now=NOW - 5000)[0] == Number("b", NOW + 1)


def test_numbers_are_one_sequence_of_all_applications() -> None:
    other = queued("a", A, NOW + 7, Phase.BUILDS, application="invoices")
    assert plan(other, queued("b", B))[0] == Number("b", NOW + 8)


@pytest.mark.parametrize("phase", [Phase.WAITS, Phase.BUILDS, Phase.DEPLOYS, Phase.OVER])
@pytest.mark.parametrize("by", ["push", "poll"])
def test_the_commit_of_the_newest_arrival_again_is_no_second_run(by: str, phase: Phase) -> None:
    """A delivery that comes again, or what the poller finds after the push has told of it."""
    first, again = queued("a", A, 5, phase), queued("b", A, by=by)
    assert plan(first, again, builds=0) == [Supersede("b", "a", begun=False, same=True)]


def test_push_and_poll_of_one_commit_at_once_are_one_run() -> None:
    assert plan(queued("a", A, by="poll"), queued("b", A)) == [
        Number("a", NOW),
        Supersede("b", "a", begun=False, same=True),
        Release("a"),
    ]


def test_a_branch_that_is_set_back_to_an_earlier_commit_is_an_arrival() -> None:
    back = queued("c", A)
    assert plan(queued("a", A, 1, Phase.OVER, succeeded=True), queued("b", B, 2, Phase.OVER), back) == [
        Number("c", NOW),
        Release("c"),
    ]


def test_a_run_by_hand_of_the_same_commit_is_an_arrival() -> None:
    done = queued("a", A, 1, Phase.OVER, succeeded=True)
    assert plan(done, queued("b", A, by="hand")) == [Number("b", NOW), Release("b")]


def test_a_run_that_waits_or_builds_is_superseded() -> None:
    assert plan(queued("a", A, 1, Phase.BUILDS), queued("b", B)) == [
        Number("b", NOW),
        Supersede("a", "b", begun=True),
        Release("b"),
    ]
    assert plan(queued("a", A, 1), queued("b", B), builds=0) == [Number("b", NOW), Supersede("a", "b", begun=False)]


def test_a_run_that_deploys_is_left_to_its_end() -> None:
    assert plan(queued("a", A, 1, Phase.DEPLOYS), queued("b", B)) == [Number("b", NOW), Release("b")]
    assert plan(queued("a", A, 1, Phase.DEPLOYS), queued("b", B), builds=1) == [Number("b", NOW)], "it is one of them"


def test_what_is_over_is_not_superseded() -> None:
    assert plan(queued("a", A, 1, Phase.OVER), queued("b", B, 2, Phase.OVER)) == []


def test_a_run_is_superseded_once() -> None:
    assert plan(queued("a", A, 1, Phase.BUILDS, superseded=True), queued("b", B, 2, Phase.BUILDS)) == []


@pytest.mark.parametrize("other", [{"application": "invoices"}, {"environment": "production"}])
def test_other_applications_and_environments_are_left_alone(other: dict[str, str]) -> None:
    assert plan(queued("a", A, 1, Phase.BUILDS, **other), queued("b", B)) == [Number("b", NOW), Release("b")]
    assert plan(queued("a", A, 1, Phase.BUILDS, **other), queued("b", A)) == [Number("b", NOW), Release("b")], (
        "the same commit elsewhere is another run"
    )


def test_of_those_that_wait_the_newest_begins() -> None:
    waiting = [queued(name, A, number, application=name) for number, name in enumerate("abcd", start=1)]
    assert plan(*waiting) == [Release("d"), Release("c")]
    assert plan(*waiting, queued("e", A, 9, Phase.BUILDS, application="e")) == [Release("d")]
    assert plan(*waiting, builds=0) == []


def test_a_run_that_has_no_number_and_begun_all_the_same_takes_a_place_and_no_number() -> None:
    """Somebody released it by hand."""
    assert plan(queued("a", A, 0, Phase.BUILDS), queued("b", B, 1, application="b"), builds=1) == []


def test_the_queue_is_told_newest_first() -> None:
    runs = [queued("a", A, 1), queued("b", B, 3), queued("c", C, 2, superseded=True), queued("d", C)]
    assert [each.name for each in list_waiting(runs)] == ["b", "a"]


def test_the_newest_is_of_one_place_and_has_a_number() -> None:
    runs = [queued("a", A, 1), queued("b", B, 2), queued("c", C), queued("d", C, 9, environment="production")]
    found = find_newest(runs, ("orders", "staging"))
    assert found is not None
    assert found.name == "b"
    assert find_newest(runs, ("orders", "elsewhere")) is None


def test_the_pipeline_has_the_task_from_which_on_a_run_is_not_ended() -> None:
    pipeline = yaml.safe_load((PROJECT / "manifests/pipeline/pipeline.yaml").read_text())
    assert DEPLOY in [each["name"] for each in pipeline["spec"]["tasks"]]


# -- reading -----------------------------------------------------------------------------------------


def pipeline_run(name: str = "orders-a", **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "creationTimestamp": SECOND,
            "resourceVersion": "17",
            "labels": {APPLICATION: "orders", ENVIRONMENT: "staging", TRIGGER: "push", COMMIT: A[:63]},
            "annotations": {COMMIT: A, BRANCH: "release/1"},
        },
        "spec": spec,
    }


def test_a_run_is_read() -> None:
    run = pipeline_run(status="PipelineRunPending")
    run["metadata"]["annotations"][ARRIVAL] = "42"
    assert read_run(run) == QueuedRun(
        "orders-a", "orders", "staging", A, "push", SECOND, 17, 42, Phase.WAITS, branch="release/1"
    )


def test_a_run_that_says_nothing_is_read_too() -> None:
    assert read_run({"metadata": {"name": "x"}}) == QueuedRun("x", "", "", "", "", "", 0, 0, Phase.BUILDS)


def condition(status: str, message: str = "") -> dict[str, Any]:
    return {"conditions": [{"type": "Other", "status": "True"}, {"type": "Succeeded", "status": status}]} | (
        {"conditions": [{"type": "Succeeded", "status": status, "message": message}]} if message else {}
    )


@pytest.mark.parametrize(
    ("spec", "status", "phase"),
    [
        ({"status": "PipelineRunPending"}, {}, Phase.WAITS),
        ({"status": "PipelineRunPending"}, condition("Unknown"), Phase.WAITS),
        ({"status": "Cancelled"}, condition("Unknown"), Phase.BUILDS),
        ({"status": "Cancelled"}, condition("False"), Phase.OVER),
        ({}, {}, Phase.BUILDS),
        ({}, {"childReferences": [{"pipelineTaskName": "build-image"}]}, Phase.BUILDS),
        ({}, {"childReferences": [{"pipelineTaskName": "build-image"}, {"pipelineTaskName": "deploy"}]}, Phase.DEPLOYS),
        ({}, {"childReferences": [{"pipelineTaskName": "deploy"}], **condition("True")}, Phase.OVER),
    ],
)
def test_what_a_run_is_at(spec: dict[str, Any], status: dict[str, Any], phase: Phase) -> None:
    assert read_run({**pipeline_run(**spec), "status": status}).phase is phase


def test_how_a_run_ended() -> None:
    ended = {**condition("False", "task build-image failed"), "completionTime": SECOND}
    found = read_run({**pipeline_run(), "status": ended})
    assert (found.succeeded, found.why, found.ended) == (False, "task build-image failed", SECOND)
    assert read_run({**pipeline_run(), "status": condition("True")}).succeeded


# -- histories ---------------------------------------------------------------------------------------

PLACES = [("orders", "staging"), ("orders", "production"), ("invoices", "default"), ("stock", "default")]


class History:
    """PipelineRuns as a cluster has them: they arrive, go on and end at random, and the plan is carried out.

    expected: place -> the commit of the last arrival, by the rules as people are told them. arrivals: names in the
    order in which they were made, without those that repeat another.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311  histories, not secrets
        self.builds = self.random.randint(1, 3)
        self.runs: dict[str, dict[str, Any]] = {}
        self.time = 0
        self.versions = itertools.count(1)
        self.expected: dict[tuple[str, str], str] = {}
        self.arrivals: list[str] = []
        self.names = itertools.count()

    def arrive(self) -> None:
        place = self.random.choice(PLACES)
        by = self.random.choice(["push", "push", "poll", "hand"])
        commit = self.random.choice([A, B, C])
        # names say nothing of the order
        name = f"{self.random.randrange(1000):03}-{next(self.names)}"
        run = pipeline_run(name, status="PipelineRunPending")
        metadata = run["metadata"]
        metadata["creationTimestamp"] = f"2027-01-15T08:{self.time // 60:02}:{self.time % 60:02}Z"
        metadata["resourceVersion"] = str(next(self.versions))
        metadata["labels"] = {APPLICATION: place[0], ENVIRONMENT: place[1], TRIGGER: by}
        metadata["annotations"] = {COMMIT: commit}
        self.runs[name] = run
        if by == "hand" or self.expected.get(place) != commit:
            self.expected[place] = commit
            self.arrivals.append(name)

    def go_on(self, name: str) -> None:
        """One step of Tekton's."""
        run, found = self.runs[name], read_run(self.runs[name])
        run["metadata"]["resourceVersion"] = str(next(self.versions))
        status = run.setdefault("status", {})
        if found.phase is Phase.OVER:
            return
        if run["spec"].get("status") in ("Cancelled", "CancelledRunFinally"):
            status["conditions"] = condition("False")["conditions"]
        elif found.phase is Phase.BUILDS:
            if self.random.random() < 0.3:
                status["conditions"] = condition("False")["conditions"]
            else:
                status["childReferences"] = [{"pipelineTaskName": DEPLOY}]
        elif found.phase is Phase.DEPLOYS:
            status["conditions"] = condition(self.random.choice(["True", "False"]))["conditions"]

    def happen(self) -> None:
        what = self.random.random()
        if what < 0.4:
            for _ in range(self.random.randint(1, 4)):
                self.arrive()
        elif self.runs:
            self.go_on(self.random.choice([*self.runs]))
        self.time += self.random.randint(0, 1)

    def see(self) -> list[QueuedRun]:
        found = [read_run(each) for each in self.runs.values()]
        self.random.shuffle(found)
        return found

    def act(self) -> list[Action]:
        actions = plan_queue(self.see(), self.builds, NOW + self.random.randint(-5000, 5000))
        for action in actions:
            run, before = self.runs[action.run], read_run(self.runs[action.run])
            merge(run, make_patch(action))
            if isinstance(action, Number):
                assert not before.arrival, "a number is given once"
            elif isinstance(action, Release):
                assert before.phase is Phase.WAITS
                assert before.arrival
            else:
                assert before.phase in (Phase.WAITS, Phase.BUILDS), "what deploys is never superseded"
                assert not before.superseded
                by = read_run(self.runs[action.by])
                assert by.place == before.place
                assert by.arrival > before.arrival
                assert action.same == (not before.arrival)
        return actions

    def check(self) -> None:
        seen = self.see()
        assert plan_queue(seen, self.builds, NOW) == [], "what is done is not to be done again"
        busy = [each for each in seen if each.phase in (Phase.BUILDS, Phase.DEPLOYS) and not each.superseded]
        assert len(busy) <= self.builds
        numbers = {each.name: each.arrival for each in seen if each.arrival}
        assert sorted(numbers, key=lambda name: numbers[name]) == self.arrivals, "in the order of creation"
        assert len({*numbers.values()}) == len(numbers)
        waiting = list_waiting(seen)
        assert len({each.place for each in waiting}) == len(waiting), "one of each place waits"
        for place, commit in self.expected.items():
            newest = find_newest(seen, place)
            assert newest is not None
            assert (newest.commit, newest.superseded) == (commit, False)
            builds = {each.name for each in seen if each.place == place and each in busy} - {newest.name}
            assert all(read_run(self.runs[name]).phase is Phase.DEPLOYS for name in builds)


def merge(obj: dict[str, Any], patch: dict[str, Any]) -> None:
    """RFC 7386, as the API server merges it."""
    for key, value in patch.items():
        if isinstance(value, dict):
            merge(obj.setdefault(key, {}), value)
        elif value is None:
            obj.pop(key, None)
        else:
            obj[key] = value


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_the_newest_arrival_of_each_place_comes_out(seed: int) -> None:
    history = History(seed)
    for _ in range(80):
        history.happen()
        while history.act():
            pass
        history.check()
    for _ in range(1000):  # no more arrivals: all comes to its end
        if all(each.phase is Phase.OVER for each in history.see()):
            break
        for name in [*history.runs]:
            history.go_on(name)
        history.act()
        history.check()
    seen = history.see()
    assert {each.phase for each in seen} == {Phase.OVER}, "none is forgotten"
    for place in history.expected:
        late = find_newest(seen, place)
        assert late is not None
        assert not late.superseded
        assert SUPERSEDED_BY not in history.runs[late.name]["metadata"]["annotations"]


@pytest.mark.parametrize("seed", range(4))
def test_a_manager_that_dies_between_two_actions_goes_on_where_it_was(seed: int) -> None:
    """What was done is in the runs; the plan of the next one begins with what was not."""
    history = History(seed)
    for _ in range(30):
        for _ in range(3):
            history.arrive()
        plan = plan_queue(history.see(), history.builds, NOW)
        for action in plan[: history.random.randint(0, len(plan))]:
            merge(history.runs[action.run], make_patch(action))
        while history.act():
            pass
        history.check()
        history.go_on(history.random.choice([*history.runs]))


def test_what_came_late_is_ended_for_what_came_before_it() -> None:
    planned = plan_queue([queued("a", A), queued("b", B)], 2, NOW, {"a": B})
    assert planned == [Number("b", NOW), Supersede("a", "b", begun=False), Release("b")]


def test_what_came_late_is_deployed_where_nothing_else_is() -> None:
    assert Release("a") in plan_queue([queued("a", A)], 2, NOW, {"a": B})
