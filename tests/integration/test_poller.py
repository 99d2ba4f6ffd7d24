"""The poller with its own account on a real API server, against real git repositories."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bootstrap.core.model import Object
from bootstrap.incluster import poll, poll_state
from bootstrap.incluster.kube_api import Api, ApiFailure
from bootstrap.incluster.run_names import make_triggered_run_name
from bootstrap.steps.poller import STATE
from bootstrap.world.kube.client import Kube
from tests.git_host import Bare, GitHost, git_host
from tests.integration.agent_door import agent_door, definition
from tests.integration.control_plane import ControlPlane
from tests.integration.patience import await_kind

pytestmark = pytest.mark.integration

NOW = 1_000_000.0
RUN = {
    "apiVersion": "tekton.dev/v1",
    "kind": "PipelineRun",
    "metadata": {},
    "spec": {"params": [{"name": "REPO", "value": ""}, {"name": "REVISION", "value": ""}]},
}


class Killed:
    """The API of a poller that is killed after it made its runs, and before it has stored anything."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def request(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> Object:
        if method == "PATCH":
            raise SystemExit("killed")
        return self._api.request(method, path, body, kind)


@dataclass
class Place:
    """A namespace with the poller's account, role and state, and a git host."""

    kube: Kube
    namespace: str
    api: Api
    host: GitHost
    environ: dict[str, str]

    def reconciled(self, url: str, sleep: Callable[[float], None] = lambda _: None) -> tuple[int, str]:
        """As the CronJob reconciler: pushes are announced, and here an event was lost."""
        said: list[str] = []
        refs = poll.Git(self.environ, limit=2).list_refs
        poller = poll.Poller(
            self.api, self.namespace, refs, lambda: NOW, said.append, cron_job="reconciler", sleep=sleep
        )
        run = RUN | {"metadata": {"namespace": self.namespace}}
        branches = ["main", "release/*"]
        options = poll.PollOptions(
            [url], branches, "remember", run, quiet=[url], grace=15, optional=True, trigger="push"
        )
        code = poller.poll(options)
        return code, "\n".join(said)

    def polled(self, *urls: str, first: str = "remember", api: Any = None) -> tuple[int, str]:
        said: list[str] = []
        refs = poll.Git(self.environ, limit=2).list_refs
        poller = poll.Poller(api or self.api, self.namespace, refs, lambda: NOW, said.append)
        run = RUN | {"metadata": {"namespace": self.namespace}}
        code = poller.poll(poll.PollOptions(urls, ["main", "release/*"], first, run))
        return code, "\n".join(said)

    @property
    def runs(self) -> dict[str, str]:
        """Run -> how it arrived."""
        found = self.kube.list("tekton.dev/v1", "PipelineRun", self.namespace)
        return {each["metadata"]["name"]: each["metadata"]["labels"]["tekton-bootstrap.dev/trigger"] for each in found}

    def kept(self, url: str) -> poll_state.RepositoryState:
        live = self.kube.get("v1", "ConfigMap", STATE, self.namespace) or {}
        return poll_state.load_state((live.get("data") or {}).get(poll_state.make_key(url)))[0]


@pytest.fixture
def place(plane: ControlPlane, kube: Kube, namespace: str, tmp_path: Path) -> Iterator[Place]:
    kube.apply([definition("PipelineRun")])
    await_kind(kube, "tekton.dev/v1", "PipelineRun")
    repositories, home = (tmp_path / name for name in ("repositories", "home"))
    for folder in (repositories, home):
        folder.mkdir()
    environ = poll.make_git_environ({"PATH": os.environ["PATH"]}, {}, home)
    api = agent_door(kube, plane, "poller", namespace, tmp_path)
    with git_host(repositories) as host, closing(api):
        yield Place(kube, namespace, api, host, environ)


def test_a_push_becomes_one_run_and_its_account_may_do_no_more(place: Place) -> None:
    bare, url = Bare(place.host.folder / "app.git"), place.host.url("app")
    bare.commit("main")
    assert place.polled(url)[0] == 0
    assert place.runs == {}
    commits = [bare.commit("main", message="Another"), bare.commit("release/1")]
    assert place.polled(url)[0] == 0
    assert place.runs == dict.fromkeys((make_triggered_run_name(url, commit) for commit in commits), "poll")
    assert place.polled(url)[0] == 0
    assert len(place.runs) == 2
    for method, path in (("GET", "secrets"), ("GET", "configmaps"), ("GET", "pods"), ("DELETE", "configmaps/poller")):
        with pytest.raises(ApiFailure, match="403"):
            place.api.request(method, f"/api/v1/namespaces/{place.namespace}/{path}")


def test_a_poller_killed_between_run_and_state_loses_and_doubles_nothing(place: Place) -> None:
    bare, url = Bare(place.host.folder / "app.git"), place.host.url("app")
    bare.commit("main")
    place.polled(url)
    commit = bare.commit("main", message="Another")
    with pytest.raises(SystemExit, match="killed"):
        place.polled(url, api=Killed(place.api))
    assert set(place.runs) == {make_triggered_run_name(url, commit)}
    assert place.kept(url).branches != {"main": commit}
    assert place.polled(url)[0] == 0
    assert set(place.runs) == {make_triggered_run_name(url, commit)}
    assert place.kept(url).branches == {"main": commit}


def test_two_pollers_at_once_make_each_run_once_and_keep_all_they_saw(place: Place) -> None:
    names = [f"app-{number}" for number in range(6)]
    commits = {
        place.host.url(name): Bare(place.host.folder / f"{name}.git").commit("main", message=name) for name in names
    }
    codes: list[int] = []
    threads = [threading.Thread(target=lambda: codes.append(place.polled(*commits, first="run")[0])) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0, 0]
    assert set(place.runs) == {make_triggered_run_name(url, commit) for url, commit in commits.items()}
    assert {url: place.kept(url).branches["main"] for url in commits} == commits


def test_rubbish_in_the_state_is_told_and_mended(place: Place) -> None:
    bare, url = Bare(place.host.folder / "app.git"), place.host.url("app")
    commit = bare.commit("main")
    for rubbish in ("{", "[]", '{"branches": {"main": 7}, "seen": true}'):
        place.kube.patch("v1", "ConfigMap", STATE, place.namespace, patch={"data": {poll_state.make_key(url): rubbish}})
        code, said = place.polled(url)
        assert code == 1, "somebody is to know that commits may have been passed over"
        assert "its state" in said
        assert "its state" in place.kept(url).why
        assert place.kept(url).branches == {"main": commit}
        assert place.polled(url)[0] == 0


def test_bad_repositories_do_not_stop_a_good_one_and_are_told_by_an_event(place: Place) -> None:
    good = place.host.url("app")
    commit = Bare(place.host.folder / "app.git").commit("main")
    bad = [place.host.url(f"{name}/app") for name in ("hang", "drip", "busy", "down", "locked", "gone")]
    code, said = place.polled(*bad, good, first="run")
    assert code == 1
    assert set(place.runs) == {make_triggered_run_name(good, commit)}
    assert all(place.kept(url).why for url in bad)
    [event] = place.kube.list("v1", "Event", place.namespace)
    assert (event["reason"], event["involvedObject"]["name"]) == ("PollFailed", "poller")
    asked = len(place.host.asked)
    code, said = place.polled(bad[2])
    assert (code, len(place.host.asked)) == (1, asked)
    assert "its server asks for a pause of 120 s" in said


def test_a_state_that_does_not_fit_is_told(place: Place) -> None:
    bare, url = Bare(place.host.folder / "app.git"), place.host.url("app")
    commit = bare.commit("main")
    bare.refs({f"refs/heads/release/{'x' * 200}{number}": commit for number in range(5000)})
    code, said = place.polled(url)
    assert code == 1
    assert "its state could not be kept" in said


def test_a_push_whose_event_was_lost_gets_its_run_once(place: Place) -> None:
    bare, url = Bare(place.host.folder / "app.git"), place.host.url("app")
    bare.commit("main")
    assert place.reconciled(url)[0] == 0
    assert place.runs == {}, "what is there first is only noted"
    commit, waits = bare.commit("main", message="Lost"), list[float]()
    assert place.reconciled(url, waits.append)[0] == 0
    assert waits == [15], "its event may only be on its way"
    assert place.runs == {make_triggered_run_name(url, commit): "push"}
    place.kube.delete("tekton.dev/v1", "PipelineRun", make_triggered_run_name(url, commit), place.namespace)
    assert place.reconciled(url, waits.append)[0] == 0
    assert place.runs == {}, "a run that is deleted later is not made again"
    assert waits == [15]


def test_a_push_that_is_announced_meanwhile_or_is_to_start_nothing_has_no_second_run(place: Place) -> None:
    bare, url = Bare(place.host.folder / "app.git"), place.host.url("app")
    bare.commit("main")
    place.reconciled(url)
    commit = bare.commit("main", message="Announced")
    announced = RUN | {"metadata": {"name": make_triggered_run_name(url, commit), "namespace": place.namespace}}

    def announce(_: float) -> None:
        place.kube.apply([announced])

    place.reconciled(url, announce)
    [run] = place.kube.list("tekton.dev/v1", "PipelineRun", place.namespace)
    assert "labels" not in run["metadata"], "it is the one that the event has made"
    quiet = bare.commit("main", message="Quiet")
    bare.refs({f"{poll_state.QUIET}main": quiet})
    waits = list[float]()
    assert place.reconciled(url, waits.append) == (0, f"{url}: branches known: 1")
    assert (len(place.kube.list("tekton.dev/v1", "PipelineRun", place.namespace)), waits) == (1, [])
