"""What the console knows of the cluster, from scripted watches."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from bootstrap.console.watch_cache import Feed
from bootstrap.core.errors import ApiError
from bootstrap.objects.run_status import State
from bootstrap.world.kube.watch import BACK, LOST, RESET, SYNCED
from tests.unit import page_world as stage
from tests.unit.page_world import FakeKube


@pytest.fixture
def kube() -> FakeKube:
    return stage.busy_kube()


@pytest.fixture
def feed(kube: FakeKube) -> Iterator[Feed]:
    feed = Feed(lambda: cast(Any, kube), lambda: cast(Any, kube), "demo", "go-echo")
    feed.start()
    until(lambda: feed.synced and {"Deployment", "Pod", "ReplicaSet"} <= feed.seen and "TaskRun" in kube.watches)
    yield feed
    feed.close()


def until(true: Callable[[], Any], limit: float = 5) -> None:
    end = time.monotonic() + limit
    while not true():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.005)


RUNNING, BAD = "go-echo-9ab01cd-m2x8q", "go-echo-5d1e0aa-q8w2z"


def test_runs_are_there_newest_first_and_those_over_without_tasks_until_wanted(feed: Feed, kube: FakeKube) -> None:
    assert [run.name for run in feed.runs()][:2] == [RUNNING, BAD]
    bad = feed.run(BAD)
    assert bad is not None
    assert (bad.tasks, feed.whole(BAD)) == ((), False)
    feed.want([BAD])
    until(lambda: feed.whole(BAD))
    bad = feed.run(BAD)
    assert bad is not None
    assert bad.why == "failed in build-image: exit 1 in step run"
    asked = len(kube.asked)
    feed.want([BAD, "no-such-run"])
    time.sleep(0.05)
    assert len(kube.asked) == asked


def test_of_a_run_under_way_every_change_of_a_task_is_heard(feed: Feed, kube: FakeKube) -> None:
    until(lambda: feed.whole(RUNNING))
    before = feed.version
    done = stage.task_run(RUNNING, "build-image", steps=("prepare", "build"))
    done["metadata"]["resourceVersion"] = "9"
    kube.watches["TaskRun"].news.put(("MODIFIED", done))
    until(lambda: feed.run(RUNNING).task("build-image").state is State.SUCCEEDED)  # type: ignore[union-attr]
    assert feed.version > before
    late = stage.task_run(RUNNING, "build-image", "Running")
    late["metadata"]["resourceVersion"] = "8"
    kube.watches["TaskRun"].news.put(("MODIFIED", late))
    kube.watches["TaskRun"].news.put(("ADDED", stage.task_run(RUNNING, "deploy", "Running")))
    until(lambda: feed.run(RUNNING).task("deploy").state is State.RUNNING)  # type: ignore[union-attr]
    assert feed.run(RUNNING).task("build-image").state is State.SUCCEEDED  # type: ignore[union-attr]
    kube.watches["PipelineRun"].news.put(("DELETED", stage.pipeline_run(BAD)))
    until(lambda: feed.run(BAD) is None)


def test_a_run_that_ends_is_read_once_more_as_a_whole(feed: Feed, kube: FakeKube) -> None:
    until(lambda: feed.whole(RUNNING))
    ended = stage.pipeline_run(RUNNING, age=9)
    kube.objects["PipelineRun"] = [ended, *kube.objects["PipelineRun"][1:]]
    kube.objects["TaskRun"] += [stage.task_run(RUNNING, "deploy"), stage.task_run(RUNNING, "notify")]
    kube.watches["PipelineRun"].news.put(("MODIFIED", ended))
    until(lambda: feed.run(RUNNING).state is State.SUCCEEDED and feed.whole(RUNNING))  # type: ignore[union-attr]
    assert feed.run(RUNNING).task("notify").state is State.SUCCEEDED  # type: ignore[union-attr]


def test_a_lost_server_is_told_what_was_seen_stays_and_it_recovers(feed: Feed, kube: FakeKube) -> None:
    news = kube.watches["PipelineRun"].news
    news.put((LOST, {"message": "connection refused"}))
    until(lambda: feed.lost == "connection refused")
    assert len(feed.runs()) == 6
    news.put((BACK, {}))
    until(lambda: not feed.lost)


def test_after_a_gap_what_was_deleted_meanwhile_is_gone(feed: Feed, kube: FakeKube) -> None:
    news = kube.watches["PipelineRun"].news
    news.put((RESET, {}))
    news.put(("ADDED", stage.pipeline_run("only-one")))
    time.sleep(0.05)
    assert len(feed.runs()) == 7  # nothing vanishes before all was read
    news.put((SYNCED, {}))
    until(lambda: [run.name for run in feed.runs()] == ["only-one"])


def test_the_rollout_is_that_of_the_target(feed: Feed, kube: FakeKube) -> None:
    assert feed.rollout().deployment == stage.deployment()
    pod = {"metadata": {"name": "p", "managedFields": ["much"]}}
    kube.watches["Pod"].news.put(("ADDED", pod))
    until(lambda: feed.rollout().pods)
    assert feed.rollout().pods == ({"metadata": {"name": "p"}},)
    kube.watches["Pod"].news.put(("DELETED", pod))
    until(lambda: not feed.rollout().pods)


def test_closing_ends_every_watch(kube: FakeKube) -> None:
    feed = Feed(lambda: cast(Any, kube), lambda: cast(Any, kube), "demo", "go-echo")
    feed.start()
    until(lambda: len(kube.watches) == 5)
    time.sleep(0.05)
    feed.close()
    assert all(watch.closed for watch in kube.watches.values())


def test_a_feed_is_settled_once_the_runs_are_there_and_not_before(kube: FakeKube) -> None:
    feed = Feed(lambda: cast(Any, kube), lambda: cast(Any, kube), "demo", "go-echo")
    assert not feed.settled.is_set()
    feed.start()
    assert feed.settled.wait(5)
    assert len(feed.runs()) == 6
    feed.close()


def test_a_feed_that_cannot_be_read_keeps_nobody_waiting() -> None:
    def refuse() -> Any:
        raise ApiError("connection refused", status=0)

    feed = Feed(refuse, refuse, "demo", "go-echo")
    feed.start()
    assert feed.settled.wait(5)
    assert (feed.synced, feed.lost) == (False, "connection refused")
    feed.close()


def test_the_runs_are_read_before_all_else(kube: FakeKube, monkeypatch: pytest.MonkeyPatch) -> None:
    let, follow = threading.Event(), kube.follow

    def held(api_version: str, kind: str, *words: str, **options: Any) -> Any:
        if kind == "PipelineRun":
            let.wait(5)
        return follow(api_version, kind, *words, **options)

    monkeypatch.setattr(kube, "follow", held)
    feed = Feed(lambda: cast(Any, kube), lambda: cast(Any, kube), "demo", "go-echo")
    feed.start()
    time.sleep(0.1)
    assert not kube.watches
    let.set()
    until(lambda: len(kube.watches) == 5)
    feed.close()


def test_nobody_waits_for_a_feed_that_was_closed() -> None:
    feed = Feed(lambda: cast(Any, None), lambda: cast(Any, None), "demo", "go-echo")
    feed.close()
    assert feed.settled.is_set()
