"""`invoke webhook`: what it sends, what it prints, and how it ends."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bootstrap.commands import follow_run, webhook
from bootstrap.core.errors import ApiError, NotFound, PreconditionError, RunFailed, TimedOut, UsageError
from bootstrap.core.model import Lock, Object, Secret
from bootstrap.core.paths import PROJECT
from bootstrap.incluster.applications import KIND
from bootstrap.objects import delivery_trace
from bootstrap.objects.run_status import Run, RunState
from bootstrap.settings.config import Config, GitSettings, WebhookSettings
from bootstrap.steps import listener
from bootstrap.world import webhook_sender
from tests.unit.step_world import TOOLBOX, FakeKube, StepWorld, make

COMMIT = "3f9c2e1" + "0" * 33
EVENT = "5f2c8a3e-0d2b-4b33-9a53-0c5a8a8e6a11"
RUN = "go-echo-3f9c2e100000"
PODS = {"tekton-pipelines": "interceptors-1", "cicd": "el-1", "git": "git-1"}


def stamp(ago: float = 60) -> str:
    return (datetime.now(UTC) - timedelta(seconds=ago)).isoformat()


def answer(extensions: str, ago: float = 60) -> str:
    message = f"Interceptor response is: &{{Extensions:map[{extensions}] Continue:true Status:{{Code:OK Message:}}}}"
    return json.dumps({"severity": "info", "timestamp": stamp(ago), "message": message})


def passed(id_: str, *gates: str, ago: float = 60) -> list[str]:
    heard = answer(f"heard:{id_}|push|signed|{COMMIT}|refs/heads/main|http://git/go-echo.git", ago)
    return [heard, *(answer(f"note:{id_}/github/{gate}", ago) for gate in gates)]


@dataclass
class LogKube(FakeKube):
    """logs: pod -> lines."""

    logs: dict[str, list[str]] = field(default_factory=dict)

    def list(self, api_version: str, kind: str, namespace: str = "", *, labels: str = "", fields: str = "") -> Any:
        if kind == "Pod":
            assert labels in (webhook.INTERCEPTORS, webhook.LISTENERS, webhook.GIT_SERVERS)
            return [{"metadata": {"name": PODS[namespace]}}]
        return super().list(api_version, kind, namespace)

    def read_log(self, namespace: str, pod: str, container: str = "", *, tail_lines: int) -> str:
        if pod not in self.logs:
            raise ApiError("the container has not started", status=400)
        return "\n".join(self.logs[pod])


@pytest.fixture
def kube() -> LogKube:
    found = LogKube()
    found.put(
        *(
            each
            for each in listener.render_objects(Lock({"toolbox": TOOLBOX}), PROJECT, Config())
            if each["kind"] == "EventListener"
        )
    )
    return found


@dataclass
class Host:
    """Plays the forward and the listener. fate: lines in the logs and runs that a delivery leaves, by its id."""

    kube: LogKube
    status: int = 202
    gates: tuple[str, ...] = ("signed", "buildable", "watched")
    run: bool = True
    refusal: str = ""
    ago: float = 0
    silent: bool = False
    sent: list[tuple[bytes, dict[str, str]]] = field(default_factory=list)

    def post(self, url: str, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
        assert url == "http://127.0.0.1:40000/"
        self.sent.append((body, headers))
        id_ = headers["X-GitHub-Delivery"]
        if self.status == 202 and not self.silent:
            self.kube.logs["interceptors-1"] = passed(id_, *self.gates, ago=self.ago)
            if "watched" in self.gates:
                self.kube.logs["el-1"] = [self._line(f"ResolvedParams : [{{Name:delivery Value:{id_}}}]")]
            if self.refusal:
                self.kube.logs["el-1"].append(self._line(self.refusal, "error"))
            if self.run:
                self.kube.put(a_run(id_))
        return self.status, json.dumps({"eventListener": "demo-listener", "eventID": EVENT})

    def _line(self, message: str, severity: str = "info") -> str:
        line = {"severity": severity, "timestamp": stamp(self.ago), "message": message, "/triggers-eventid": EVENT}
        return json.dumps(line)


def a_run(id_: str) -> Object:
    metadata = {"name": RUN, "namespace": "cicd", "annotations": {delivery_trace.DELIVERY: id_}}
    return {"kind": "PipelineRun", "metadata": metadata}


@pytest.fixture
def world(tmp_path: Path, kube: LogKube, monkeypatch: pytest.MonkeyPatch) -> StepWorld:
    world = make(tmp_path)
    world.kube = kube
    world.identity.ensure_password("webhook", Secret(""))
    monkeypatch.setattr(follow_run, "resolve_commit", lambda _, branch: COMMIT if branch in ("main", "next") else "")
    return world


@pytest.fixture
def host(kube: LogKube, monkeypatch: pytest.MonkeyPatch) -> Host:
    found = Host(kube)

    class Forward:
        local_port = 40000

        def __init__(self, *_: object) -> None:
            pass

        def __enter__(self) -> Forward:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(webhook, "Forward", Forward)
    monkeypatch.setattr(webhook_sender, "post_webhook", found.post)
    return found


def said(world: StepWorld, kind: str = "line") -> list[Any]:
    return [each[1] for each in world.report.printed if each[0] == kind]


# -- the secret --------------------------------------------------------------------------------------


def test_the_secret_is_all_that_is_printed(world: StepWorld) -> None:
    assert webhook.webhook(world.open(), show_secret=True) == 0
    assert world.report.printed == [("line", world.identity.ensure_password("webhook", Secret("")).reveal())]


def test_none_is_made_by_showing_it(tmp_path: Path) -> None:
    world = make(tmp_path)
    with pytest.raises(PreconditionError, match="no webhook secret yet"):
        webhook.webhook(world.open(), show_secret=True)
    assert not world.identity.folder.exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"show_secret": True, "test": True}, "exclude each other"),
        ({"test": True, "why": "x"}, "exclude each other"),
        ({"branch": "main"}, "belong to --test"),
        ({"why": "x", "follow": True}, "belong to --test"),
        ({"test": True, "commit": "3f9c2e1"}, "is not a full commit id"),
        ({"why": "a b"}, "is not the id of a delivery"),
        ({"why": "-" * 65}, "is not the id of a delivery"),
    ],
)
def test_flags_that_do_not_go_together(world: StepWorld, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        webhook.webhook(world.open(), **options)
    assert words in caught.value.message


# -- a try -------------------------------------------------------------------------------------------


def test_a_try_is_signed_and_followed_to_its_run(world: StepWorld, host: Host) -> None:
    assert webhook.webhook(world.open(), test=True) == 0
    [(body, headers)] = host.sent
    secret = world.identity.ensure_password("webhook", Secret("")).reveal()
    assert headers["X-Hub-Signature-256"] == "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    assert (headers["X-GitHub-Event"], headers["Content-Type"]) == ("push", "application/json")
    event = json.loads(body)
    assert (event["ref"], event["after"], event["deleted"]) == ("refs/heads/main", COMMIT, False)
    assert event["repository"]["clone_url"] == "http://git.git.svc.cluster.local/go-echo.git"
    id_ = headers["X-GitHub-Delivery"]
    assert said(world) == [
        f"sent      push of main at 3f9c2e1 · delivery {id_} · event {EVENT}",
        "accepted  by trigger github",
        f"run {RUN} created",
    ]
    assert secret not in str(world.report.printed)


def test_a_commit_that_has_its_run_is_good_too(world: StepWorld, host: Host) -> None:
    host.run, host.refusal = False, f'pipelineruns.tekton.dev "{RUN}" already exists'
    assert webhook.webhook(world.open(), test=True, branch="next", commit=COMMIT) == 0
    assert said(world)[-1] == f"run {RUN} exists already: the commit has its run"


@pytest.mark.parametrize(
    ("gates", "last"),
    [
        ((), "dropped at signed: its signature was made with another secret"),
        (("signed",), "dropped at arrived: it brought no commit to a branch"),
        (("signed", "arrived"), "dropped at buildable: its commit id"),
        (
            ("signed", "arrived", "buildable"),
            "dropped at watched: refs/heads/main of http://git/go-echo.git is not watched",
        ),
    ],
)
def test_a_try_that_is_dropped_ends_with_1_and_the_cause(
    world: StepWorld, host: Host, gates: tuple[str, ...], last: str
) -> None:
    host.gates, host.run, host.ago = gates, False, 60
    assert webhook.webhook(world.open(), test=True) == 1
    assert said(world)[-1].startswith(last)


def test_a_refused_creation_is_told(world: StepWorld, host: Host) -> None:
    host.run, host.refusal = False, "pipelineruns.tekton.dev is forbidden"
    assert webhook.webhook(world.open(), test=True) == 1
    assert said(world)[-1] == "no run could be made: pipelineruns.tekton.dev is forbidden"


def test_a_try_that_nobody_heard_of(world: StepWorld, host: Host) -> None:
    host.status = 503
    with pytest.raises(ApiError, match="answers 503"):
        webhook.webhook(world.open(), test=True)
    host.status, host.silent = 202, True
    with pytest.raises(TimedOut) as caught:
        webhook.webhook(world.open(), test=True)
    assert "no word of it yet" in caught.value.evidence


def test_a_branch_without_a_commit_sends_nothing(world: StepWorld, host: Host) -> None:
    with pytest.raises(PreconditionError, match="branch gone of http://git"):
        webhook.webhook(world.open(), test=True, branch="gone")
    assert host.sent == []


@pytest.mark.parametrize(
    ("state", "why", "told"),
    [
        (RunState.SUCCEEDED, "", ""),
        (RunState.FAILED, "failed in deploy: exit 1", f"run {RUN}: failed in deploy"),
        (RunState.SUPERSEDED, "superseded by another", f"run {RUN} was superseded by another"),
    ],
)
def test_a_run_may_be_followed_to_its_end(
    world: StepWorld, host: Host, monkeypatch: pytest.MonkeyPatch, state: RunState, why: str, told: str
) -> None:
    ended = Run(RUN, "cicd", state, why=why)
    monkeypatch.setattr(follow_run.Follower, "wait_until_over", lambda *_: ended)
    if told:
        with pytest.raises(RunFailed, match=told):
            webhook.webhook(world.open(), test=True, follow=True)
    else:
        assert webhook.webhook(world.open(), test=True, follow=True) == 0
        assert said(world)[-1].startswith("succeeded in")


@pytest.mark.parametrize(
    ("url", "name", "wanted"),
    [
        ("https://github.com/you/app.git", "", "you/app"),
        ("https://example.org/a/b/c", "", "a/b/c"),
        ("http://git.git.svc.cluster.local/go-echo.git", "", "go-echo/go-echo"),
        ("https://mirror.example.org/x.git", "you/app", "you/app"),
    ],
)
def test_the_repository_is_named_as_the_git_host_does(url: str, name: str, wanted: str) -> None:
    made = webhook.make_push(url, name, "main", COMMIT)["repository"]
    assert (made["full_name"], made["clone_url"]) == (wanted, url)


def test_the_settings_say_what_is_sent(world: StepWorld, host: Host) -> None:
    settings = WebhookSettings(repositories=("you/app",))
    world.config = Config(git=GitSettings(url="https://github.com/you/app", revision="next"), webhook=settings)
    assert webhook.webhook(world.open(), test=True) == 0
    event = json.loads(host.sent[0][0])
    assert (event["ref"], event["repository"]["full_name"]) == ("refs/heads/next", "you/app")


# -- what became of it -------------------------------------------------------------------------------


def test_why(world: StepWorld, kube: LogKube) -> None:
    kube.logs["interceptors-1"] = [*passed("a", "signed", "buildable"), *passed("b", "signed", "buildable", "watched")]
    kube.put(a_run("b"))
    assert webhook.webhook(world.open(), why="a") == 0
    assert webhook.webhook(world.open(), why="b") == 0
    assert said(world) == [
        "delivery a dropped at watched: refs/heads/main of http://git/go-echo.git is not watched; watched: main of "
        "http://git.git.svc.cluster.local/go-echo.git; for an application of its own: "
        "invoke app-add http://git/go-echo.git",
        f"delivery b became run {RUN}",
        f"next: invoke logs --run {RUN}",
    ]
    assert webhook.webhook(world.open(), why="a", as_json=True) == 0
    [row] = said(world, "json")
    assert (row["stage"], row["gate"], row["run"], row["commit"]) == ("watched", "buildable", "", COMMIT)
    assert json.loads(json.dumps(row)) == row


def test_why_of_one_that_changes_nothing_of_an_application(world: StepWorld, kube: LogKube) -> None:
    kube.logs["interceptors-1"] = passed("a", "signed", "buildable")
    metadata = {"name": "orders", "namespace": "cicd"}
    spec = {"repository": {"url": "http://git/go-echo"}, "paths": ["services/orders"]}
    unreadable = {"metadata": {"name": "stock", "namespace": "cicd"}, "spec": {"arrive": {"poll": "soon"}}}
    kube.put({"kind": KIND, "metadata": metadata, "spec": spec}, {"kind": KIND, **unreadable})
    assert webhook.webhook(world.open(), why="a") == 0
    assert said(world) == [
        "delivery a dropped at watched: it changes nothing below services/orders (application orders)"
    ]


def test_why_of_one_that_the_git_server_could_not_send(world: StepWorld, kube: LogKube) -> None:
    kube.logs["git-1"] = ["Serving on :8080", json.dumps({"id": "u", "error": "connection refused"})]
    assert webhook.webhook(world.open(), why="u") == 0
    assert said(world) == ["delivery u never reached the listener: the git server says: connection refused"]


def test_why_of_an_unknown_one_says_what_can_be_and_since_when(world: StepWorld, kube: LogKube) -> None:
    kube.logs["interceptors-1"] = passed("a")
    with pytest.raises(NotFound) as caught:
        webhook.webhook(world.open(), why="nobody")
    assert caught.value.message.startswith("nothing is known of delivery nobody (the log goes back to 20")
    assert "X-GitHub-Delivery" in caught.value.evidence
    kube.logs.clear()
    with pytest.raises(NotFound, match=r"nothing is known of delivery nobody$"):
        webhook.webhook(world.open(), why="nobody")


def test_what_to_enter_and_the_last_deliveries(world: StepWorld, kube: LogKube) -> None:
    assert webhook.webhook(world.open()) == 0
    text = "\n".join(said(world))
    assert "content type  application/json" in text
    assert "http://HOST:9080/" in text
    assert "push" in text
    assert "no delivery yet.  next: invoke webhook --test" in text
    kube.logs["interceptors-1"] = [line for n in range(25) for line in passed(f"d{n:02}", "signed", ago=100 - n)]
    kube.logs["el-1"] = [json.dumps({"severity": "error", "message": "Invalid event body format : x"})]
    assert webhook.webhook(world.open()) == 0
    [table] = [each for each in world.report.printed if each[0] == "table"]
    assert [row[1] for row in table[2]] == [f"d{n:02}" for n in range(24, 4, -1)]
    assert table[2][0][2] == "dropped at arrived"
    assert said(world)[-1] == "and 1 without an id, the last: Invalid event body format : x"
    kube.logs["el-1"] = [json.dumps({"severity": "error", "message": f"Error reading event body: {'a' * 200}"})]
    assert webhook.webhook(world.open()) == 0
    assert (len(said(world)[-1]), said(world)[-1][-2:]) == (100, "a…")
    assert webhook.webhook(world.open(), as_json=True) == 0
    [document] = said(world, "json")
    assert len(document["deliveries"]) == 20
    assert document["enter"]["content_type"] == "application/json"
    assert document["enter"]["events"]


@pytest.mark.parametrize("options", [{}, {"test": True}, {"why": "a"}])
def test_without_a_listener_the_next_command_is_said(
    world: StepWorld, kube: LogKube, host: Host, options: dict[str, Any]
) -> None:
    kube.objects.clear()
    with pytest.raises(PreconditionError, match="has no webhook listener") as caught:
        webhook.webhook(world.open(), **options)
    assert caught.value.hint == "invoke up · invoke status"
    assert host.sent == []
