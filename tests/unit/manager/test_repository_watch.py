"""The central repository: a commit is applied as a whole or not at all, and no look that failed deletes anything."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from bootstrap.incluster.application_source import APPLIED, REFUSED, UNFINISHED, Source, SourceState
from bootstrap.incluster.json_object import Object
from bootstrap.incluster.kube_api import ApiFailure
from bootstrap.incluster.poll import RepositoryUnreadable
from bootstrap.manager import repository_watch
from bootstrap.manager.cluster import ClusterFailure
from bootstrap.manager.repositories import Folder
from bootstrap.manager.repository_watch import AGAIN_SECONDS, RepositoryWatch, watch_repository
from tests.central_repository import declare
from tests.unit.manager.manager_scene import REGISTRY, A, B, C, Place

SOURCE = Source("https://git.example.com/platform.git", "main", "apps", 30)
OWN = replace(SOURCE, url="http://git.git.svc.cluster.local/platform.git")
INVALID = ApiFailure(422, 'HTTP 422 from the API: Application "b" is invalid: spec.port: Invalid value: 0')
UNKNOWN = ApiFailure(
    500, "HTTP 500 from the API: failed to create typed patch object (cicd/b; x, Kind=Application): .spec.foo: unknown"
)


@dataclass
class FakeCluster:
    """applications: as they are. done: what was changed, in order. deny: by "dry NAME", "declare NAME" or a method."""

    applications: dict[str, Object] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    dry: list[str] = field(default_factory=list)
    deny: dict[str, Exception] = field(default_factory=dict)
    state: SourceState = field(default_factory=SourceState)
    events: list[tuple[str, str, bool]] = field(default_factory=list)
    created: list[str] = field(default_factory=list)

    def create_repository(self, url: str) -> None:
        self._deny("create")
        self.created.append(url)

    def list_applications(self) -> list[Object]:
        self._deny("list")
        return [*self.applications.values()]

    def declare(self, obj: Object, *, dry_run: bool = False) -> None:
        name = obj["metadata"]["name"]
        self._deny(f"dry {name}" if dry_run else f"declare {name}")
        if dry_run:
            self.dry.append(name)
            return
        self.applications[name] = obj
        self.done.append(f"declare {name}")

    def delete_application(self, name: str) -> None:
        self._deny("delete")
        del self.applications[name]
        self.done.append(f"delete {name}")

    def read_source_state(self) -> SourceState:
        self._deny("read")
        return self.state

    def write_source_state(self, state: SourceState) -> None:
        self._deny("write")
        self.state = state

    def write_source_event(self, reason: str, message: str, *, warns: bool) -> None:
        self._deny("event")
        self.events.append((reason, message, warns))

    def _deny(self, what: str) -> None:
        if what in self.deny:
            raise self.deny[what]


@dataclass
class FakeReader:
    """head: of the branch, or what is raised. folders: commit -> what is there, or what is raised."""

    head: str | Exception = ""
    folders: dict[str, Any] = field(default_factory=dict)
    read: list[str] = field(default_factory=list)

    def read_head(self, source: Source) -> str:
        if isinstance(self.head, Exception):
            raise self.head
        return self.head

    def read_folder(self, source: Source, commit: str) -> Folder:
        self.read.append(commit)
        found = self.folders[commit]
        if isinstance(found, Exception):
            raise found
        return cast(Folder, found)


class Scene:
    """A watch over fakes, in which time goes on with every look."""

    def __init__(self, source: Source | None = SOURCE) -> None:
        self.cluster, self.reader, self.now = FakeCluster(), FakeReader(), 1_800_000_000.0
        self.start(source)

    def start(self, source: Source | None = SOURCE) -> None:
        """A new manager, which knows what is in the cluster."""
        self.watch = RepositoryWatch(self.cluster, self.reader, source, "cicd", REGISTRY, lambda: self.now)

    def push(self, commit: str, files: dict[str, str], *, others: dict[str, str] | None = None) -> None:
        self.reader.head = commit
        contents = {f"apps/{name}.yaml": text.encode() for name, text in files.items()}
        self.reader.folders[commit] = Folder(contents, others or {}, is_there=True)

    def look(self, seconds: float = 31.0) -> list[str]:
        """What was changed by a look after so many seconds."""
        before = len(self.cluster.done)
        self.now += seconds
        self.watch.look()
        return self.cluster.done[before:]

    @property
    def state(self) -> SourceState:
        return self.cluster.state


@pytest.fixture
def scene() -> Scene:
    """A repository of which commit A, with orders and web, is applied."""
    made = Scene()
    made.push(A, {"orders": declare("orders"), "web": declare("web")})
    assert made.look() == ["declare orders", "declare web"]
    return made


def test_what_is_pushed_is_applied_and_told(scene: Scene) -> None:
    assert scene.state == SourceState(SOURCE.mark, APPLIED, A, A, "2027-01-15T08:00:31Z", 2)
    assert scene.cluster.events == [(APPLIED, f"{SOURCE.mark}: aaaaaaa is applied: 2 applications", False)]
    assert scene.cluster.dry == ["orders", "web"], "all are tried before the first is applied"
    scene.push(B, {"orders": declare("orders", "  port: 9000")})
    assert scene.look() == ["declare orders", "delete web"]
    assert (scene.state.applied, scene.state.count) == (B, 1)


def test_it_is_asked_at_the_interval_only(scene: Scene) -> None:
    scene.push(B, {"orders": declare("orders")})
    assert scene.look(29) == []
    assert scene.look(2) == ["declare orders", "delete web"]


def test_a_head_that_stands_still_is_not_read_again_until_it_is_time(scene: Scene) -> None:
    assert scene.look() == []
    assert scene.reader.read == [A]
    del scene.cluster.applications["web"]
    assert scene.look(AGAIN_SECONDS) == ["declare orders", "declare web"], "what was changed by hand is made good"
    assert scene.state.at == "2027-01-15T08:00:31Z", "it is applied since then"
    assert len(scene.cluster.events) == 1


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        ({"web": "a: ["}, "apps/web.yaml:1: it is not YAML"),
        ({"web": "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\n"}, "apps/web.yaml:2: Secret of v1; expected"),
        ({"web": declare("orders")}, "apps/web.yaml:4: orders is declared in apps/orders.yaml already"),
        ({"web": declare("b", "  environments: [{name: a, rollout: 7}]")}, 'apps/web.yaml:4: "7" is not a time'),
        (
            {"web": declare("b", "  environments: [{name: a, namespace: orders, deployment: orders}]")},
            "apps/web.yaml:4: Deployment orders/orders is application orders's",
        ),
    ],
)
def test_a_bad_file_changes_nothing_of_its_commit(scene: Scene, files: dict[str, str], fault: str) -> None:
    scene.push(B, {"orders": declare("orders", "  port: 9000"), **files})
    assert scene.look() == []
    assert (scene.state.state, scene.state.commit, scene.state.applied) == (REFUSED, B, A)
    assert scene.state.faults[0].startswith(fault)
    reason, message, warns = scene.cluster.events[-1]
    assert (reason, warns) == (REFUSED, True)
    assert fault in message
    scene.push(C, {"orders": declare("orders", "  port: 9000"), "web": declare("web")})
    assert scene.look() == ["declare orders", "declare web"]
    assert scene.state.is_well


@pytest.mark.parametrize(
    ("refusal", "fault"),
    [
        (INVALID, 'apps/b.yaml:6: Application "b" is invalid: spec.port: Invalid value: 0'),
        (UNKNOWN, "apps/b.yaml:7: .spec.foo: unknown"),
        (ApiFailure(400, "HTTP 400 from the API"), "apps/b.yaml:4: HTTP 400 from the API"),
    ],
)
def test_what_the_api_refuses_in_a_dry_run_changes_nothing(scene: Scene, refusal: ApiFailure, fault: str) -> None:
    scene.cluster.deny["dry b"] = refusal
    scene.push(B, {"a": declare("a"), "b": declare("b", "  port: 0\n  foo: 1"), "c": declare("c")})
    assert scene.look() == []
    assert (scene.state.state, scene.state.faults) == (REFUSED, (fault,))
    assert scene.cluster.dry[-2:] == ["a", "c"], "the faults of all are told"


@pytest.mark.parametrize("status", [0, 403, 404, 429, 500, 503])
def test_an_api_that_does_not_tell_is_no_fault_of_the_file(scene: Scene, status: int) -> None:
    scene.cluster.deny["dry b"] = ApiFailure(status, "no answer")
    scene.push(B, {"b": declare("b")})
    assert scene.look() == []
    assert (scene.state.state, scene.state.why, scene.state.applied) == (UNFINISHED, "no answer", A)
    scene.cluster.deny.clear()
    assert scene.look() == ["declare b", "delete orders", "delete web"], "it is tried at the next look"


def test_a_link_a_submodule_and_a_file_too_large_are_told(scene: Scene) -> None:
    scene.push(B, {"orders": declare("orders")}, others={"apps/web.yaml": "it is a symbolic link; expected a file"})
    assert scene.look() == []
    assert scene.state.faults == ("apps/web.yaml: it is a symbolic link; expected a file",)


def test_a_folder_that_is_missing_deletes_nothing(scene: Scene) -> None:
    scene.reader.head, scene.reader.folders[B] = B, Folder({}, {}, is_there=False)
    assert scene.look() == []
    assert scene.state.state == REFUSED
    assert scene.state.faults[0].startswith("there is no folder apps in this commit")
    assert set(scene.cluster.applications) == {"orders", "web"}


def test_a_folder_with_other_files_alone_deletes_all(scene: Scene) -> None:
    scene.push(B, {})
    assert scene.look() == ["delete orders", "delete web"]
    assert scene.state.describe() == "bbbbbbb is applied: 0 applications"


@pytest.mark.parametrize(
    "trouble",
    [
        {"head": RepositoryUnreadable("no answer within 20 s")},
        {"head": ""},
        {"folder": RepositoryUnreadable("its files have more than 512 KiB together")},
        {"list": ApiFailure(500, "no")},
        {"declare orders": ApiFailure(500, "no")},
    ],
)
def test_a_look_that_fails_deletes_nothing_and_is_told(scene: Scene, trouble: dict[str, Any]) -> None:
    scene.push(B, {"orders": declare("orders")})
    scene.reader.head = trouble.get("head", B)
    scene.reader.folders[B] = trouble.get("folder", scene.reader.folders[B])
    scene.cluster.deny = trouble
    assert scene.look() == []
    assert set(scene.cluster.applications) == {"orders", "web"}
    assert (scene.state.state, scene.state.applied, bool(scene.state.why)) == (UNFINISHED, A, True)
    scene.look()
    assert [each[0] for each in scene.cluster.events] == [APPLIED, UNFINISHED], "the same is told once"
    scene.cluster.deny = {}
    scene.push(B, {"orders": declare("orders")})
    assert scene.look() == ["declare orders", "delete web"]


def test_what_was_applied_in_part_is_tried_again(scene: Scene) -> None:
    scene.push(B, {"a": declare("a"), "b": declare("b")})
    scene.cluster.deny["declare b"] = ApiFailure(500, "no")
    assert scene.look() == ["declare a"]
    assert scene.state.why == "bbbbbbb is applied in part, and tried again: no"
    scene.cluster.deny.clear()
    assert scene.look() == ["declare a", "declare b", "delete orders", "delete web"]


def test_a_server_that_asks_for_a_pause_gets_it(scene: Scene) -> None:
    scene.reader.head = RepositoryUnreadable("error: 429", 600)
    scene.look()
    scene.push(B, {"orders": declare("orders")})
    assert scene.look(500) == []
    assert scene.look(101) == ["declare orders", "delete web"]


def test_one_that_somebody_else_made_is_refused_and_never_deleted(scene: Scene) -> None:
    scene.cluster.applications["mine"] = {"metadata": {"name": "mine"}}
    scene.push(B, {"orders": declare("orders"), "web": declare("web"), "mine": declare("mine")})
    assert scene.look() == []
    assert scene.state.faults[0].startswith("apps/mine.yaml:4: application mine is there already")
    scene.push(C, {"x": declare("x")})
    assert scene.look() == ["declare x", "delete orders", "delete web"]
    assert "mine" in scene.cluster.applications


def test_one_that_is_handed_over_is_taken(scene: Scene) -> None:
    scene.cluster.applications["mine"] = {"metadata": {"name": "mine", "labels": {"tekton-bootstrap.dev/source": "x"}}}
    scene.push(B, {"mine": declare("mine")})
    assert scene.look() == []
    scene.cluster.applications["mine"]["metadata"]["labels"]["tekton-bootstrap.dev/source"] = "repository"
    assert scene.look(AGAIN_SECONDS) == ["declare mine", "delete orders", "delete web"]


def test_what_another_repository_declared_stays(scene: Scene) -> None:
    other = replace(SOURCE, url="https://git.example.com/other.git")
    scene.start(other)
    scene.push(B, {"orders": declare("orders")})
    assert scene.look() == ["declare orders"]
    assert scene.state == SourceState(other.mark, APPLIED, B, B, scene.state.at, 1)
    assert set(scene.cluster.applications) == {"orders", "web"}


def test_a_new_manager_goes_on_where_the_other_was(scene: Scene) -> None:
    scene.start()
    assert scene.look() == ["declare orders", "declare web"]
    assert len(scene.cluster.events) == 1
    scene.start()
    scene.reader.head = RepositoryUnreadable("no answer")
    assert scene.look() == []
    assert scene.state.applied == A


def test_without_a_repository_nothing_is_asked_and_the_state_is_cleared(scene: Scene) -> None:
    scene.start(None)
    scene.reader.head = AssertionError("it is not asked")
    assert scene.look() == []
    assert (scene.state, len(scene.cluster.events)) == (SourceState(), 1)
    assert set(scene.cluster.applications) == {"orders", "web"}


def test_a_repository_of_the_own_server_is_made_once() -> None:
    scene = Scene(OWN)
    scene.cluster.deny["create"] = ClusterFailure("git does not answer")
    scene.look()
    assert (scene.state.state, scene.state.why) == (UNFINISHED, "git does not answer")
    scene.cluster.deny.clear()
    scene.look()
    scene.look()
    assert scene.cluster.created == [OWN.url]
    assert scene.state.why == "there is no branch main"


@pytest.mark.parametrize("denied", ["read", "write"])
def test_a_state_that_cannot_be_kept_is_written_by_a_later_look(denied: str) -> None:
    scene = Scene()
    scene.push(A, {"orders": declare("orders")})
    scene.cluster.deny[denied] = ApiFailure(500, "no")
    scene.look()
    assert scene.state == SourceState()
    scene.cluster.deny.clear()
    scene.look(AGAIN_SECONDS)
    assert scene.state.applied == A


def test_a_pass_that_breaks_is_not_the_last_one(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repository_watch, "TICK_SECONDS", 0.001)
    looks: list[bool | Exception] = [KeyError("x"), False, True, True]

    class Broken:
        def look(self) -> bool:
            if len(looks) == 1:
                raise asyncio.CancelledError
            found = looks.pop(0)
            if isinstance(found, Exception):
                raise found
            return found

    place = Place()
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(asyncio.wait_for(watch_repository(cast(RepositoryWatch, Broken()), place.state), 5))
    assert place.state.failures == 2
