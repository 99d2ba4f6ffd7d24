"""Runs that build nothing, in the order of runs: they win over older ones, and are no arrival of a commit."""

from __future__ import annotations

from typing import Any

from bootstrap.incluster.applications import Application, Environment
from bootstrap.incluster.json_object import Object
from bootstrap.incluster.notify import compose_message
from bootstrap.incluster.run_queue import Number, Phase, QueuedRun, Release, Supersede, plan_queue, read_run
from bootstrap.manager.application_status import make_status
from bootstrap.manager.branch_heads import find_arrivals

PREFIX = "tekton-bootstrap.dev/"
NEW, OLD = "b" * 40, "a" * 40
PLACE = Environment("staging", "sales", "orders", "orders")
ORDERS = Application("orders", "https://git.test/orders.git", "r.test/orders", (PLACE,))
RUN: Object = {
    "metadata": {
        "name": "back",
        "creationTimestamp": "2026-01-01T10:02:00Z",
        "resourceVersion": "9",
        "labels": {f"{PREFIX}application": "orders", f"{PREFIX}environment": "staging", f"{PREFIX}trigger": "hand"},
        "annotations": {f"{PREFIX}commit": OLD, f"{PREFIX}branch": "main"},
    },
    "spec": {
        "status": "PipelineRunPending",
        "pipelineRef": {"name": "deploy-image"},
        "params": [
            {"name": "REPO", "value": "https://git.test/orders.git"},
            {"name": "IMAGE", "value": "r.test/orders"},
            {"name": "DIGEST", "value": "sha256:1"},
        ],
    },
}


def built(name: str, commit: str, arrival: int, phase: Phase = Phase.OVER, **more: Any) -> QueuedRun:
    values: dict[str, Any] = {"created": f"2026-01-01T10:0{arrival}:00Z", "version": arrival, "branch": "main"} | more
    return QueuedRun(name, "orders", "staging", commit, "push", arrival=arrival, phase=phase, **values)


def back(arrival: int = 0, phase: Phase = Phase.WAITS) -> QueuedRun:
    return built("back", OLD, arrival, phase, created="2026-01-01T10:02:00Z", builds=False)


def test_it_is_read_from_the_run() -> None:
    found = read_run(RUN)
    assert (found.commit, found.branch, found.by, found.phase, found.builds) == (
        OLD,
        "main",
        "hand",
        Phase.WAITS,
        False,
    )
    going = RUN | {
        "spec": RUN["spec"] | {"status": None},
        "status": {"childReferences": [{"pipelineTaskName": "deploy"}]},
    }
    assert read_run(going).phase is Phase.DEPLOYS
    plain = RUN | {"spec": RUN["spec"] | {"pipelineRef": {"name": "git-cicd"}}}
    assert read_run(plain).builds


def test_it_wins_over_an_older_run_that_builds() -> None:
    found = plan_queue([built("new", NEW, 1, Phase.BUILDS), read_run(RUN)], builds=2, now=5)
    assert found == [Number("back", 5), Supersede("new", "back", begun=True), Release("back")]


def test_it_does_not_wait_for_runs_that_build() -> None:
    busy = QueuedRun("busy", "other", "default", NEW, "push", "2026-01-01T10:00:00Z", 1, 1, Phase.BUILDS)
    waiting = QueuedRun("waiting", "third", "default", NEW, "push", "2026-01-01T10:05:00Z", 5, 5, Phase.WAITS)
    assert plan_queue([busy, waiting, back(3)], builds=1, now=9) == [Release("back")]
    assert plan_queue([busy, waiting, back(3, Phase.DEPLOYS)], builds=2, now=9) == [Release("waiting")]


def test_what_was_left_is_not_deployed_again_when_its_event_comes_again() -> None:
    again = built("again", NEW, 0, Phase.WAITS, created="2026-01-01T10:03:00Z")
    runs = [built("old", OLD, 1), built("new", NEW, 2), back(3, Phase.OVER), again]
    assert plan_queue(runs, builds=2, now=5) == [Supersede("again", "new", begun=False, same=True)]


def test_an_event_that_comes_late_gives_way_to_what_was_gone_back_to() -> None:
    late = built("late", "c" * 40, 0, Phase.WAITS, created="2026-01-01T10:03:00Z")
    found = plan_queue([built("new", NEW, 2), back(3, Phase.OVER), late], builds=2, now=5, moved={"late": NEW})
    assert found == [Supersede("late", "back", begun=False)]


def test_a_branch_that_is_set_back_to_the_same_commit_is_an_arrival_all_the_same() -> None:
    pushed = built("pushed", OLD, 0, Phase.WAITS, created="2026-01-01T10:03:00Z")
    runs = [built("old", OLD, 1), built("new", NEW, 2), back(3, Phase.OVER), pushed]
    assert plan_queue(runs, builds=2, now=5) == [Number("pushed", 5), Release("pushed")]


def test_the_head_of_the_branch_that_was_left_is_no_lost_event() -> None:
    runs = [built("old", OLD, 1), built("new", NEW, 2), back(3, Phase.OVER)]
    assert find_arrivals(ORDERS, {"main": NEW}, {"main": OLD}, {}, runs) == []


def test_the_status_tells_the_commit_that_was_gone_back_to() -> None:
    done = back(3, Phase.OVER)
    runs = [built("new", NEW, 2, succeeded=True), QueuedRun(**(done.__dict__ | {"succeeded": True}))]
    status = make_status(ORDERS, runs, [])
    assert (status["state"], status["commit"], status["branch"]) == ("ready", OLD[:7], "main")


def test_its_notification_names_commit_and_image() -> None:
    message = compose_message(RUN, [], "Succeeded", "", 0)
    told = {key: message[key] for key in ("status", "repository", "branch", "commit", "image", "digest")}
    assert told == {
        "status": "succeeded",
        "repository": "https://git.test/orders.git",
        "branch": "main",
        "commit": OLD,
        "image": "r.test/orders",
        "digest": "sha256:1",
    }
