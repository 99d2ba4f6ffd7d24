"""The manager's handlers, with a cluster that remembers and refuses; kopf itself is not run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import kopf
import pytest

from bootstrap.incluster.applications import Application, read_application
from bootstrap.incluster.kube_api import ApiFailure
from bootstrap.incluster.poll import RepositoryUnreadable
from bootstrap.incluster.run_queue import Action, Number, Phase, QueuedRun, Release, Supersede
from bootstrap.manager import operator
from bootstrap.manager.cluster import Cluster, ClusterFailure
from bootstrap.manager.operator import Desk, Settings, _merge, _note, describe, keep_order
from bootstrap.manager.repositories import Repositories

A, B = "a" * 40, "b" * 40
REGISTRY = "registry:5000"
HANDLERS: Any = operator
"""As kopf calls them: its types ask for every argument that it has."""
RUN = {
    "metadata": {"generateName": "x-", "namespace": "cicd"},
    "spec": {"params": [], "workspaces": [{"name": "target", "secret": {"secretName": "x"}}]},
}


@dataclass
class FakeCluster:
    """done: what it was told, in order. deny: what is raised, by what it was told to do, or by the name of what."""

    done: list[Any] = field(default_factory=list)
    deny: dict[str, Exception] = field(default_factory=dict)
    statuses: dict[str, Any] = field(default_factory=dict)
    conditions: list[tuple[str, str, str, str]] = field(default_factory=list)
    created: list[Any] = field(default_factory=list)
    renew_at: float = 5000.0
    namespaces: dict[str, str] = field(default_factory=lambda: {"orders": "u1", "invoices": "u2"})

    def act(self, action: Action) -> None:
        self._deny("act", action.run)
        self.done.append(action)

    def cancel(self, run: str) -> None:
        self._deny("cancel", run)
        self.done.append(f"cancel {run}")

    def settle(self, application: Application) -> float:
        self._deny("settle")
        self.done.append(f"settle {application.name}")
        return self.renew_at

    def read_namespaces(self) -> dict[str, str]:
        self._deny("read_namespaces")
        return dict(self.namespaces)

    def refuse(self, application: Application) -> None:
        self._deny("refuse")
        self.done.append(f"refuse {application.name}")

    def renew_tokens(self, application: Application) -> float:
        self._deny("renew_tokens", application.name)
        self.done.append(f"renew {application.name}")
        return self.renew_at

    def create_run(self, run: Any) -> bool:
        self._deny("create_run")
        self.created.append(run)
        return True

    def write_status(self, application: str, status: Any) -> None:
        self._deny("write_status", application)
        for each in status.get("conditions") or ():
            self.conditions.append((application, each["status"], each["reason"], each["message"]))
        self.statuses.setdefault(application, {}).update(status)

    def _deny(self, *words: str) -> None:
        for word in words:
            if word in self.deny:
                raise self.deny[word]


@dataclass
class FakeRepositories:
    """answers: what is read one after the other, or raised."""

    answers: list[Any] = field(default_factory=list)

    def read_heads(self, application: Application) -> Any:
        if not self.answers:
            raise RepositoryUnreadable("nobody answers")
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Place:
    """A manager's desk, and what its indexes hold."""

    def __init__(self, *names: str, builds: int = 2) -> None:
        self.cluster = FakeCluster()
        self.repositories = FakeRepositories()
        self.applications: dict[str, Any] = {}
        self.runs: dict[str, QueuedRun] = {}
        self.desk = Desk(
            Settings(REGISTRY, builds, 24, RUN), cast(Cluster, self.cluster), cast(Repositories, self.repositories)
        )
        self.memo = cast(kopf.Memo, SimpleNamespace(desk=self.desk))
        for name in names:
            self.declare(name)

    def declare(self, name: str, created: str = "2027-01-15T08:00:00Z", **spec: Any) -> kopf.Body:
        body = make_body(name, created, **spec)
        found = HANDLERS.applications(body, memo=self.memo)
        self.applications |= {key: [value] for key, value in found.items()}
        return body

    def arrive(self, *runs: QueuedRun) -> None:
        self.runs |= {each.name: each for each in runs}

    @property
    def indexes(self) -> tuple[Any, Any]:
        return self.applications, {name: [run] for name, run in self.runs.items()}

    def keep_order(self) -> list[Any]:
        """What was done in this pass."""
        before = len(self.cluster.done)
        asyncio.run(keep_order(self.desk, *self.indexes))
        return self.cluster.done[before:]


def make_body(name: str, created: str = "2027-01-15T08:00:00Z", *, status: Any = None, **spec: Any) -> kopf.Body:
    metadata = {"name": name, "namespace": "cicd", "uid": f"u-{name}", "generation": 1, "creationTimestamp": created}
    return kopf.Body(cast(Any, {"metadata": metadata, "spec": spec, "status": status or {}}))


def run(name: str, application: str = "orders", phase: Phase = Phase.WAITS, arrival: int = 0, **more: Any) -> QueuedRun:
    made = QueuedRun(name, application, "default", A, "push", "2027-01-15T08:00:00Z", ord(name[-1]), arrival, phase)
    return replace(made, **more)


def without_numbers(done: Iterable[Any]) -> list[Any]:
    return [f"number {each.run}" if isinstance(each, Number) else each for each in done]


# -- pure helpers ------------------------------------------------------------------------------------


def test_a_run_after_an_action() -> None:
    waiting = run("a")
    assert _note(waiting, Number("a", 7)) == replace(waiting, arrival=7)
    assert _note(waiting, Release("a")) == replace(waiting, phase=Phase.BUILDS)
    assert _note(waiting, Supersede("a", "b", begun=False)) == replace(waiting, superseded=True)


def test_what_the_watch_tells_late_does_not_undo_what_was_done() -> None:
    seen = run("a")
    done = run("a", arrival=7, phase=Phase.BUILDS)
    assert _merge(seen, None) is seen
    assert _merge(seen, done) == done, "released, though it is still told to wait"
    assert _merge(seen, run("a", superseded=True)).superseded


def test_what_the_watch_tells_of_later_counts() -> None:
    done = run("a", arrival=7, phase=Phase.BUILDS)
    over = run("a", arrival=7, phase=Phase.OVER, succeeded=True, why="x", ended="y")
    assert _merge(over, done) == over
    assert _merge(run("a", arrival=7, phase=Phase.DEPLOYS), done).phase is Phase.DEPLOYS
    assert _merge(run("a", arrival=9), run("a", arrival=7)).arrival == 9, "the cluster's number is the number"


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({}, "pushes to main start runs; deployed to default in orders"),
        ({"arrive": {"webhook": False}}, "runs start by hand; deployed to default in orders"),
        ({"environments": [{"name": "a", "promote": True}]}, "runs start by hand; deployed to a in orders"),
        (
            {
                "environments": [
                    {"name": "a", "namespace": "x", "branches": ["main", "release/*"]},
                    {"name": "b", "namespace": "y", "promote": True},
                ]
            },
            "pushes to main, release/* start runs; deployed to a in x, b in y",
        ),
    ],
)
def test_an_application_in_one_sentence(spec: Any, text: str) -> None:
    assert describe(read_application({"metadata": {"name": "orders"}, "spec": spec}, REGISTRY)) == text


def test_the_settings_are_those_that_up_writes(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({"registry": REGISTRY, "builds": 3, "tokenHours": 24, "run": RUN}))
    assert Settings.read(file) == Settings(REGISTRY, 3, 24, RUN)


# -- the order of runs -------------------------------------------------------------------------------


def test_what_arrives_begins_and_is_told() -> None:
    place = Place("orders")
    place.arrive(run("a"))
    assert without_numbers(place.keep_order()) == ["number a", Release("a")]
    assert place.cluster.statuses["orders"]["state"] == "building"


def test_nothing_is_done_twice_though_the_watch_is_late() -> None:
    place = Place("orders")
    place.arrive(run("a"), run("b", commit=B))
    assert len(place.keep_order()) == 4
    assert place.keep_order() == []
    place.arrive(run("a", arrival=1, phase=Phase.BUILDS))
    assert place.keep_order() == []


def test_a_status_is_written_when_it_changes() -> None:
    place = Place("orders", "invoices")
    place.arrive(run("a"))
    place.keep_order()
    assert {*place.cluster.statuses} == {"orders", "invoices"}
    place.cluster.statuses.clear()
    place.keep_order()
    assert place.cluster.statuses == {}
    place.arrive(run("a", arrival=9, phase=Phase.DEPLOYS))
    place.keep_order()
    assert {*place.cluster.statuses} == {"orders"}


def test_a_status_that_was_refused_is_written_next_time() -> None:
    place = Place("orders", "invoices")
    place.cluster.deny["orders"] = ApiFailure(500, "no")
    place.keep_order()
    assert {*place.cluster.statuses} == {"invoices"}
    del place.cluster.deny["orders"]
    place.keep_order()
    assert {*place.cluster.statuses} == {"orders", "invoices"}


def test_a_run_whose_application_is_gone_is_cancelled() -> None:
    place = Place("orders")
    place.arrive(
        run("a", "gone"),
        run("b", "gone", Phase.BUILDS, 1),
        run("c", "gone", Phase.OVER, 2),
        run("d", "gone", Phase.BUILDS, 3, superseded=True),
        run("e"),
    )
    assert without_numbers(place.keep_order()) == ["cancel a", "cancel b", "number e", Release("e")]


def test_a_run_of_nobody_that_is_not_cancelled_keeps_nobody_else_waiting() -> None:
    place = Place("orders")
    place.arrive(run("a", "gone"), run("b", "gone"), run("e"))
    place.cluster.deny["a"] = ApiFailure(500, "no")
    assert without_numbers(place.keep_order()) == ["cancel b", "number e", Release("e")]
    assert place.cluster.statuses["orders"]["state"] == "building"
    del place.cluster.deny["a"]
    assert "cancel a" in place.keep_order()


@pytest.mark.parametrize("refused", ["a", "b", "c"])
def test_a_patch_that_fails_ends_the_pass_and_the_rest_is_done_later(refused: str) -> None:
    place = Place("orders", "invoices", "stock", builds=3)
    place.arrive(run("a", "orders"), run("b", "invoices"), run("c", "stock"))
    place.cluster.deny[refused] = ApiFailure(500, "no")
    done = place.keep_order()
    assert without_numbers(done) == [f"number {each}" for each in "abc"[: "abc".index(refused)]]
    assert not any(isinstance(each, Release) for each in done)
    del place.cluster.deny[refused]
    rest = place.keep_order()
    numbered = [each for each in done + rest if isinstance(each, Number)]
    assert [each.run for each in numbered] == ["a", "b", "c"]
    assert sorted(each.arrival for each in numbered) == [each.arrival for each in numbered]
    assert {each.run for each in rest if isinstance(each, Release)} == {"a", "b", "c"}


def test_runs_that_are_gone_are_forgotten() -> None:
    place = Place("orders")
    place.arrive(run("a"))
    place.keep_order()
    assert {*place.desk.done} == {"a"}
    place.runs.clear()
    place.keep_order()
    assert place.desk.done == {}


def test_two_events_at_once_do_one_thing_after_the_other() -> None:
    place = Place("orders", builds=1)
    place.arrive(run("a"), run("b", commit=B))

    async def both() -> None:
        await asyncio.gather(*(keep_order(place.desk, *place.indexes) for _ in range(5)))

    asyncio.run(both())
    assert without_numbers(place.cluster.done) == [
        "number a",
        "number b",
        Supersede("a", "b", begun=False),
        Release("b"),
    ]


def test_a_run_of_nobody_is_cancelled_once() -> None:
    place = Place("orders")
    place.arrive(run("a", "gone"))
    assert place.keep_order() == ["cancel a"]
    assert place.keep_order() == []


# -- by the clock ------------------------------------------------------------------------------------


def tick(place: Place) -> list[Any]:
    before = len(place.cluster.done)
    asyncio.run(operator._do_what_is_due(place.desk))
    return place.cluster.done[before:]


@pytest.mark.parametrize("refused", ["a", "orders"])
def test_what_a_pass_left_is_done_at_the_next_tick(refused: str) -> None:
    """No event need come after it."""
    place = Place("orders")
    place.arrive(run("a"), run("b", "gone"))
    place.cluster.deny[refused] = ApiFailure(500, "no")
    place.keep_order()
    place.cluster.deny.clear()
    tick(place)
    assert place.cluster.statuses["orders"]["state"] == "building"
    assert without_numbers(place.cluster.done) == ["cancel b", "number a", Release("a")]
    assert tick(place) == []


def test_tokens_are_renewed_when_they_are_due(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place("orders", "invoices")
    place.keep_order()
    place.desk.renew |= {"orders": 999.0, "invoices": 1001.0}
    monkeypatch.setattr(HANDLERS.time, "time", lambda: 1000.0)
    monkeypatch.setattr(operator, "find_interval", lambda application: 0)
    assert tick(place) == ["renew orders"]
    assert place.desk.renew == {"orders": 5000.0, "invoices": 1001.0}


@pytest.mark.parametrize("trouble", [ApiFailure(403, "no"), ClusterFailure("no token"), KeyError("x"), OSError("disk")])
def test_trouble_with_one_application_is_not_that_of_the_others(
    monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    place = Place("orders", "invoices")
    place.keep_order()
    place.desk.renew |= {"orders": 1.0, "invoices": 1.0}
    place.cluster.deny["orders"] = trouble
    monkeypatch.setattr(operator, "find_interval", lambda application: 0)
    assert tick(place) == ["renew invoices"]
    assert place.desk.renew["orders"] == 1.0, "it is tried again"


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> Place:
    """Two applications with all that they need, whose namespaces are looked at at every tick."""
    place = Place("orders", "invoices")
    place.keep_order()
    place.desk.renew |= {"orders": 1e12, "invoices": 1e12}
    place.cluster.renew_at = 2e12
    monkeypatch.setattr(operator, "NAMESPACES_SECONDS", 0.0)
    monkeypatch.setattr(operator, "find_interval", lambda application: 0)
    assert tick(place) == []
    return place


def test_a_namespace_that_was_deleted_comes_back_with_what_was_in_it(settled: Place) -> None:
    del settled.cluster.namespaces["orders"]
    assert tick(settled) == ["settle orders"]
    assert settled.desk.renew["orders"] == 2e12, "its tokens are new"
    settled.cluster.namespaces["orders"] = "u3"
    assert tick(settled) == []


def test_a_namespace_that_somebody_made_again_is_noticed_by_its_uid(settled: Place) -> None:
    settled.cluster.namespaces["orders"] = "u3"
    settled.cluster.deny["settle"] = ApiFailure(403, "no")
    assert tick(settled) == []
    settled.cluster.deny.clear()
    assert tick(settled) == ["settle orders"], "it is tried until it succeeds"
    assert tick(settled) == []


def test_a_look_at_namespaces_that_fails_changes_nothing(settled: Place) -> None:
    settled.cluster.deny["read_namespaces"] = ApiFailure(500, "no")
    settled.cluster.namespaces.clear()
    assert tick(settled) == []


def test_one_at_fault_or_not_settled_yet_gets_no_namespace(settled: Place) -> None:
    settled.cluster.namespaces.clear()
    settled.desk.faults["orders"] = ["x"]
    del settled.desk.renew["invoices"]
    assert tick(settled) == []


def test_nothing_is_due_of_one_at_fault() -> None:
    place = Place("orders")
    place.keep_order()
    place.desk.renew["orders"] = 1.0
    place.desk.faults["orders"] = ["x"]
    assert tick(place) == []


# -- heads of branches -------------------------------------------------------------------------------


@pytest.fixture
def polled() -> Place:
    """An application whose repository is asked at every tick, and which was looked at."""
    place = Place()
    place.declare("orders", arrive={"poll": "1m", "webhook": False})
    place.keep_order()
    place.repositories.answers = [({"main": A}, {})]
    tick(place)
    assert place.cluster.created == [], "nothing is new at the first look"
    place.desk.looked.clear()
    return place


def test_a_head_that_is_new_starts_a_run(polled: Place) -> None:
    polled.repositories.answers = [({"main": B}, {})]
    tick(polled)
    [made] = polled.cluster.created
    assert made["metadata"]["name"].startswith("orders-bbbbbbbbbbbb-")
    assert made["metadata"]["labels"]["tekton-bootstrap.dev/trigger"] == "poll"
    assert made["spec"]["status"] == "PipelineRunPending"
    assert polled.cluster.statuses["orders"]["heads"] == {"main": B}
    tick(polled)  # not asked before its time: there is no further answer


def test_a_head_whose_run_was_refused_is_seen_again(polled: Place) -> None:
    polled.cluster.deny["create_run"] = ApiFailure(500, "no")
    polled.repositories.answers = [({"main": B}, {})] * 2
    tick(polled)
    assert polled.desk.heads["orders"] == {"main": A}
    polled.desk.looked.clear()
    polled.cluster.deny.clear()
    tick(polled)
    assert len(polled.cluster.created) == 1


def test_a_branch_that_is_gone_is_forgotten(polled: Place) -> None:
    polled.repositories.answers = [({}, {})]
    tick(polled)
    assert polled.cluster.statuses["orders"]["heads"] == {"main": None}, "as a merge patch says it"


def test_a_push_whose_event_comes_late_is_waited_for() -> None:
    place = Place("orders")
    place.keep_order()
    place.desk.heads["orders"] = {"main": A}
    place.repositories.answers = [({"main": B}, {})] * 2
    tick(place)
    place.desk.runs.append(run("orders-b", commit=B, branch="main"))
    place.desk.looked["orders"] -= operator.GRACE_SECONDS
    tick(place)
    assert place.repositories.answers == []
    assert place.cluster.created == []


def test_an_old_delivery_that_comes_again_deploys_nothing() -> None:
    place = Place("orders")
    place.arrive(run("new", commit=B, branch="main"))
    place.keep_order()
    place.repositories.answers = [({"main": B}, {})]
    place.arrive(run("old", commit=A, branch="main"))
    assert Supersede("old", "new", begun=False) in place.keep_order()
    assert place.repositories.answers == []


def test_a_push_whose_event_is_lost_is_made_up_for() -> None:
    place = Place("orders")
    place.keep_order()
    place.desk.heads["orders"] = {"main": A}
    place.repositories.answers = [({"main": B}, {})] * 2
    tick(place)
    assert place.cluster.created == []
    place.desk.looked["orders"] -= operator.GRACE_SECONDS
    tick(place)
    assert len(place.cluster.created) == 1


def test_a_repository_that_cannot_be_read_is_told_until_it_can(polled: Place) -> None:
    polled.repositories.answers = [RepositoryUnreadable("no such host"), ({"main": A}, {})]
    tick(polled)
    tick(polled)
    polled.desk.looked.clear()
    tick(polled)
    assert [each[1:] for each in polled.cluster.conditions] == [
        (
            "False",
            "Unreadable",
            "http://git.git.svc.cluster.local/orders.git cannot be read: no such host",
        ),
        ("True", "Settled", "runs start by hand; deployed to default in orders"),
    ]


# -- Applications ------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The messages of Events."""
    said: list[str] = []
    monkeypatch.setattr(HANDLERS.kopf, "info", lambda body, *, reason, message: said.append(message))
    return said


def settle(place: Place, body: kopf.Body) -> None:
    applications, runs = place.indexes
    asyncio.run(HANDLERS.settle_application(body, memo=place.memo, applications=applications, runs=runs))


def test_an_application_is_settled(events: list[str]) -> None:
    place = Place()
    settle(place, place.declare("orders", status={"heads": {"main": A}}))
    text = "pushes to main start runs; deployed to default in orders"
    assert place.cluster.done == ["settle orders"]
    assert place.cluster.conditions == [("orders", "True", "Settled", text)]
    assert place.cluster.statuses["orders"]["observedGeneration"] == 1
    assert events == [text]
    assert place.desk.renew == {"orders": 5000.0}
    assert place.desk.heads == {"orders": {"main": A}}, "what a manager before this one had seen"


@pytest.mark.parametrize(
    ("trouble", "why"),
    [(ApiFailure(403, "HTTP 403"), "HTTP 403"), (ClusterFailure("git does not answer"), "git does not answer")],
)
def test_what_cannot_be_made_is_told_and_tried_again(trouble: Exception, why: str, events: list[str]) -> None:
    place = Place()
    place.cluster.deny["settle"] = trouble
    with pytest.raises(kopf.TemporaryError, match=why):
        settle(place, place.declare("orders"))
    assert place.cluster.conditions == [("orders", "False", "Unsettled", why)]
    assert events == []


def test_of_two_that_claim_one_thing_the_first_has_it() -> None:
    place = Place()
    claim = {"environments": [{"name": "a", "namespace": "sales", "deployment": "web"}]}
    younger = place.declare("invoices", "2027-01-15T08:00:01Z", **claim)
    older = place.declare("orders", "2027-01-15T08:00:00Z", **claim)
    settle(place, older)
    with pytest.raises(kopf.TemporaryError, match="Deployment sales/web is application orders's"):
        settle(place, younger)
    assert place.cluster.done == ["settle orders", "refuse invoices"]
    assert place.cluster.conditions[-1][1:3] == ("False", "Refused")
    assert place.cluster.statuses["invoices"]["state"] == "refused"
    del place.applications["orders"]
    settle(place, younger)
    assert place.cluster.done[-1] == "settle invoices"
    assert place.cluster.statuses["invoices"]["state"] == "new"


def test_of_two_of_one_second_the_name_decides() -> None:
    place = Place()
    [a, b] = [place.declare(name, build={"image": "hub.test/x"}) for name in ("a", "b")]
    settle(place, a)
    with pytest.raises(kopf.TemporaryError, match=r"image hub.test/x is application a's"):
        settle(place, b)


def test_one_that_cannot_be_understood_is_refused_for_good() -> None:
    place = Place()
    body = place.declare("orders", arrive={"poll": "soon"})
    [[(_, found)]] = place.applications.values()
    assert found is None, "it is there, though nobody can read it: its runs are not cancelled"
    with pytest.raises(kopf.PermanentError, match='"soon" is not a time'):
        settle(place, body)
    assert place.cluster.conditions[-1][:3] == ("orders", "False", "Refused")


def test_a_condition_that_is_not_written_ends_nothing() -> None:
    place = Place()
    place.cluster.deny["write_status"] = ApiFailure(500, "no")
    settle(place, place.declare("orders"))
    assert place.cluster.done == ["settle orders"]


def test_a_long_message_is_cut_before_it_is_a_condition() -> None:
    place = Place()
    place.cluster.deny["settle"] = ClusterFailure("x" * 5000)
    with pytest.raises(kopf.TemporaryError):
        settle(place, place.declare("orders"))
    assert len(place.cluster.conditions[0][3]) == 1000


@pytest.mark.parametrize(("kind", "left"), [("DELETED", set()), ("MODIFIED", {"orders"}), (None, {"orders"})])
def test_one_that_is_deleted_takes_its_runs_and_what_is_held_of_it(kind: Any, left: set[str]) -> None:
    place = Place()
    settle(place, place.declare("orders"))
    place.arrive(run("a"))
    if kind == "DELETED":
        place.applications.clear()
    applications, runs = place.indexes
    event = cast(kopf.RawEvent, {"type": kind})
    asyncio.run(
        HANDLERS.watch_applications(event, name="orders", memo=place.memo, applications=applications, runs=runs)
    )
    assert {*place.desk.told} == {*place.desk.renew} == left
    assert ("cancel a" in place.cluster.done) == (kind == "DELETED")


def test_runs_are_indexed_by_name() -> None:
    body = kopf.Body({"metadata": {"name": "r", "namespace": "cicd"}, "spec": {}})
    assert [*HANDLERS.runs(body)] == ["r"]


def test_an_event_of_a_run_keeps_the_order() -> None:
    place = Place("orders")
    place.arrive(run("a"))
    applications, runs = place.indexes
    asyncio.run(HANDLERS.order_runs(place.memo, applications=applications, runs=runs))
    assert without_numbers(place.cluster.done) == ["number a", Release("a")]


def test_the_generation_that_was_looked_at_is_told_when_all_is_there() -> None:
    place = Place()
    body = place.declare("orders")
    place.keep_order()
    assert "observedGeneration" not in place.cluster.statuses["orders"], "whoever waits for it may go on"
    settle(place, body)
    assert place.cluster.statuses["orders"]["observedGeneration"] == 1
