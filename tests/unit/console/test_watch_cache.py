"""What the console knows of the cluster, from scripted watches."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from bootstrap.console.watch_cache import WatchCache
from bootstrap.core.errors import ApiError
from bootstrap.objects.run_status import RunState
from bootstrap.world.kube.watch import BACK, LOST, RESET, SYNCED, Event
from tests.unit import page_world as stage
from tests.unit.page_world import FakeKube


@pytest.fixture
def kube() -> FakeKube:
    return stage.busy_kube()


@pytest.fixture
def cache(kube: FakeKube) -> Iterator[WatchCache]:
    cache = WatchCache(lambda: cast(Any, kube), lambda: cast(Any, kube), "demo", "go-echo")
    cache.start()
    kinds = {"Application", "Deployment", "Pod", "ReplicaSet"}
    until(lambda: cache.synced and kinds <= cache.seen and "TaskRun" in kube.watches)
    yield cache
    cache.close()


def until(true: Callable[[], Any], limit: float = 60) -> None:
    end = time.monotonic() + limit
    while not true():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.005)


RUNNING, BAD = "go-echo-9ab01cd-m2x8q", "go-echo-5d1e0aa-q8w2z"


def test_runs_are_there_newest_first_and_those_over_without_tasks_until_wanted(
    cache: WatchCache, kube: FakeKube
) -> None:
    assert [run.name for run in cache.list_runs()][:2] == [RUNNING, BAD]
    bad = cache.get_run(BAD)
    assert bad is not None
    assert (bad.tasks, cache.has_tasks(BAD)) == ((), False)
    cache.request_tasks([BAD])
    until(lambda: cache.has_tasks(BAD))
    bad = cache.get_run(BAD)
    assert bad is not None
    assert bad.why == "failed in build-image: exit 1 in step run"
    asked = len(kube.asked)
    cache.request_tasks([BAD, "no-such-run"])
    time.sleep(0.05)
    assert len(kube.asked) == asked


def test_of_a_run_under_way_every_change_of_a_task_is_heard(cache: WatchCache, kube: FakeKube) -> None:
    until(lambda: cache.has_tasks(RUNNING))
    before = cache.version
    done = stage.task_run(RUNNING, "build-image", steps=("prepare", "build"))
    done["metadata"]["resourceVersion"] = "9"
    kube.watches["TaskRun"].news.put(("MODIFIED", done))
    until(lambda: cache.get_run(RUNNING).task("build-image").state is RunState.SUCCEEDED)  # type: ignore[union-attr]
    assert cache.version > before
    late = stage.task_run(RUNNING, "build-image", "Running")
    late["metadata"]["resourceVersion"] = "8"
    kube.watches["TaskRun"].news.put(("MODIFIED", late))
    kube.watches["TaskRun"].news.put(("ADDED", stage.task_run(RUNNING, "deploy", "Running")))
    until(lambda: cache.get_run(RUNNING).task("deploy").state is RunState.RUNNING)  # type: ignore[union-attr]
    assert cache.get_run(RUNNING).task("build-image").state is RunState.SUCCEEDED  # type: ignore[union-attr]
    kube.watches["PipelineRun"].news.put(("DELETED", stage.pipeline_run(BAD)))
    until(lambda: cache.get_run(BAD) is None)


def test_a_run_that_ends_is_read_once_more_as_a_whole(cache: WatchCache, kube: FakeKube) -> None:
    until(lambda: cache.has_tasks(RUNNING))
    ended = stage.pipeline_run(RUNNING, age=9)
    kube.objects["PipelineRun"] = [ended, *kube.objects["PipelineRun"][1:]]
    kube.objects["TaskRun"] += [stage.task_run(RUNNING, "deploy"), stage.task_run(RUNNING, "notify")]
    kube.watches["PipelineRun"].news.put(("MODIFIED", ended))
    until(lambda: cache.get_run(RUNNING).state is RunState.SUCCEEDED and cache.has_tasks(RUNNING))  # type: ignore[union-attr]
    assert cache.get_run(RUNNING).task("notify").state is RunState.SUCCEEDED  # type: ignore[union-attr]


def test_a_lost_server_is_told_what_was_seen_stays_and_it_recovers(cache: WatchCache, kube: FakeKube) -> None:
    news = kube.watches["PipelineRun"].news
    news.put((LOST, {"message": "connection refused"}))
    until(lambda: cache.lost == "connection refused")
    assert len(cache.list_runs()) == 6
    news.put((BACK, {}))
    until(lambda: not cache.lost)


def test_after_a_gap_what_was_deleted_meanwhile_is_gone(cache: WatchCache, kube: FakeKube) -> None:
    news = kube.watches["PipelineRun"].news
    news.put((RESET, {}))
    news.put(("ADDED", stage.pipeline_run("only-one")))
    time.sleep(0.05)
    assert len(cache.list_runs()) == 7  # nothing vanishes before all was read
    news.put((SYNCED, {}))
    until(lambda: [run.name for run in cache.list_runs()] == ["only-one"])


def test_the_rollout_is_that_of_the_target(cache: WatchCache, kube: FakeKube) -> None:
    assert cache.get_rollout().deployment == stage.deployment()
    pod = {"metadata": {"name": "p", "managedFields": ["much"]}}
    kube.watches["Pod"].news.put(("ADDED", pod))
    until(lambda: cache.get_rollout().pods)
    assert cache.get_rollout().pods == ({"metadata": {"name": "p"}},)
    kube.watches["Pod"].news.put(("DELETED", pod))
    until(lambda: not cache.get_rollout().pods)


def test_applications_come_change_and_go(cache: WatchCache, kube: FakeKube) -> None:
    before, news = cache.version, kube.watches["Application"].news
    news.put(("ADDED", stage.application("orders")))
    until(lambda: cache.list_applications() == [stage.application("orders")])
    assert cache.version > before
    changed = stage.application("orders", state="building")
    news.put(("MODIFIED", changed))
    until(lambda: cache.list_applications() == [changed])
    news.put(("DELETED", changed))
    until(lambda: not cache.list_applications())


def test_a_cluster_that_does_not_know_applications_has_none_and_that_is_no_error(kube: FakeKube) -> None:
    class Unknown(stage.FakeWatch):
        def __iter__(self) -> Iterator[Event]:
            yield LOST, {"message": "the cluster does not know the kind Application"}
            yield from iter(self.news.get, None)

    kube.watches["Application"] = Unknown([])
    cache = WatchCache(lambda: cast(Any, kube), lambda: cast(Any, kube), "demo", "go-echo")
    cache.start()
    until(lambda: {"Application", "PipelineRun"} <= cache.seen)
    assert (cache.lost, cache.list_applications()) == ("", [])
    cache.close()


def test_closing_ends_every_watch(kube: FakeKube) -> None:
    cache = WatchCache(lambda: cast(Any, kube), lambda: cast(Any, kube), "demo", "go-echo")
    cache.start()
    until(lambda: len(kube.watches) == 6)
    time.sleep(0.05)
    cache.close()
    assert all(watch.closed for watch in kube.watches.values())


def test_the_cache_is_settled_once_the_runs_are_there_and_not_before(kube: FakeKube) -> None:
    cache = WatchCache(lambda: cast(Any, kube), lambda: cast(Any, kube), "demo", "go-echo")
    assert not cache.settled.is_set()
    cache.start()
    assert cache.settled.wait(60)
    assert len(cache.list_runs()) == 6
    cache.close()


def test_a_cluster_that_cannot_be_read_keeps_nobody_waiting() -> None:
    def refuse() -> Any:
        raise ApiError("connection refused", status=0)

    cache = WatchCache(refuse, refuse, "demo", "go-echo")
    cache.start()
    assert cache.settled.wait(60)
    assert (cache.synced, cache.lost) == (False, "connection refused")
    cache.close()


def test_the_runs_are_read_before_all_else(kube: FakeKube, monkeypatch: pytest.MonkeyPatch) -> None:
    let, follow = threading.Event(), kube.follow

    def held(api_version: str, kind: str, *words: str, **options: Any) -> Any:
        if kind == "PipelineRun":
            let.wait(60)
        return follow(api_version, kind, *words, **options)

    monkeypatch.setattr(kube, "follow", held)
    cache = WatchCache(lambda: cast(Any, kube), lambda: cast(Any, kube), "demo", "go-echo")
    cache.start()
    time.sleep(0.1)
    assert not kube.watches
    let.set()
    until(lambda: len(kube.watches) == 6)
    cache.close()


def test_nobody_waits_for_a_cache_that_was_closed() -> None:
    cache = WatchCache(lambda: cast(Any, None), lambda: cast(Any, None), "demo", "go-echo")
    cache.close()
    assert cache.settled.is_set()
