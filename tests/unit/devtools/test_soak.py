"""What a soak finds wrong with the runs of what it pushed."""

from __future__ import annotations

from bootstrap.core import constants
from bootstrap.core.model import Object
from bootstrap.devtools.soak import Log, find_killed, list_faults
from bootstrap.incluster.run_names import make_triggered_run_name
from bootstrap.objects.run_status import Run, RunState

FIRST, BROKEN, LAST = "a" * 40, "b" * 40, "c" * 40


def run_of(commit: str, state: RunState, why: str = "") -> Run:
    return Run(make_triggered_run_name(constants.GIT_URL, commit), constants.RUNS, state, why=why)


def named(*runs: Run) -> dict[str, Run]:
    return {each.name: each for each in runs}


def test_nothing_is_wrong_when_each_commit_has_the_run_that_it_deserves() -> None:
    log = Log(good=[FIRST, LAST], bad=[BROKEN])
    found = named(run_of(FIRST, RunState.SUCCEEDED), run_of(BROKEN, RunState.FAILED), run_of(LAST, RunState.SUCCEEDED))
    assert list_faults(log, found, LAST) == []


def test_a_run_may_be_superseded_but_not_that_of_the_newest_commit() -> None:
    log = Log(good=[FIRST, LAST], bad=[])
    found = named(run_of(FIRST, RunState.SUPERSEDED), run_of(LAST, RunState.SUCCEEDED))
    assert list_faults(log, found, LAST) == []
    found = named(run_of(FIRST, RunState.SUCCEEDED), run_of(LAST, RunState.SUPERSEDED, "another was"))
    assert list_faults(log, found, LAST) == ["go-echo-cccccccccccc is Superseded, not Succeeded: another was"]


def test_each_thing_that_is_wrong_is_told() -> None:
    log = Log(good=[FIRST, LAST], bad=[BROKEN])
    found = named(run_of(BROKEN, RunState.SUCCEEDED), run_of(LAST, RunState.FAILED, "EOF"))
    assert list_faults(log, found, FIRST) == [
        "no run: aaaaaaaaaaaa",
        "go-echo-cccccccccccc is Failed, not Succeeded: EOF",
        "go-echo-bbbbbbbbbbbb is Succeeded, not Failed: ",
        f"{FIRST} serves, and not cccccccccccc",
    ]


def test_containers_that_were_ended_for_their_memory() -> None:
    def pod(name: str, reason: str) -> Object:
        statuses = [{"name": "main", "lastState": {"terminated": {"reason": reason}} if reason else {}}]
        return {"metadata": {"name": name}, "status": {"containerStatuses": statuses}}

    assert find_killed([pod("a", "OOMKilled"), pod("b", "Error"), pod("c", ""), {"metadata": {"name": "d"}}]) == [
        "a/main"
    ]
