from __future__ import annotations

import http.client
import json
import threading
import time
import urllib.error
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bootstrap.incluster import notify
from bootstrap.incluster.chat_formats import RobotAnswer
from bootstrap.incluster.json_object import Object
from bootstrap.incluster.notify import Channel
from tests.robot_host import KINDS, SECRET, Handler, Robots

NOW = 1795464062.0
"""2026-11-23T20:01:02Z."""
URL = "https://chat.test/hook/s3cret?token=s3cret"
RUN: Object = {
    "metadata": {"name": "go-echo-x", "namespace": "cicd"},
    "spec": {
        "params": [
            {"name": "REPO", "value": "https://me:pass@git.test/app.git"},
            {"name": "REVISION", "value": "main"},
            {"name": "IMAGE", "value": "registry.test/app"},
        ]
    },
    "status": {"startTime": "2026-11-23T20:00:00Z"},
}


def task_run(name: str, succeeded: str, **status: Any) -> Object:
    return {
        "metadata": {"name": f"go-echo-x-{name}", "labels": {"tekton.dev/pipelineTask": name}},
        "status": {"conditions": [{"type": "Succeeded", "status": succeeded, "message": "it said so"}], **status},
    }


CLONED = task_run(
    "git-clone",
    "True",
    results=[
        {"name": "commit", "value": "abc"},
        {"name": "author", "value": "Me <me@test>"},
        {"name": "branch", "value": "main"},
        {"name": "message", "value": "Fix it"},
        {"name": "list", "value": ["not", "text"]},
    ],
)
BUILT = task_run("build-image", "True", results=[{"name": "image-digest", "value": "sha256:1"}])
BROKEN = task_run(
    "build-image",
    "False",
    podName="the-pod",
    steps=[
        {"container": "step-fine", "terminated": {"exitCode": 0}},
        {"container": "step-build", "terminated": {"exitCode": 2}},
        {"container": "step-after", "terminated": {"exitCode": 1}},
    ],
)


def test_success_says_all_there_is_to_say() -> None:
    assert notify.compose_message(RUN, [CLONED, BUILT], "Succeeded", "", NOW) == {
        "pipelineRun": "go-echo-x",
        "namespace": "cicd",
        "status": "succeeded",
        "reason": "",
        "repository": "https://git.test/app.git",
        "branch": "main",
        "commit": "abc",
        "author": "Me <me@test>",
        "message": "Fix it",
        "image": "registry.test/app",
        "digest": "sha256:1",
        "durationSeconds": 62,
        "failedTask": "",
        "logTail": "",
    }


LATE = task_run("deploy", "False", results=[{"name": "superseded", "value": "superseded: web has another image"}])


@pytest.mark.parametrize(
    ("run", "task_runs", "reason"),
    [
        (RUN, [CLONED, LATE], "superseded: web has another image"),
        (
            RUN
            | {
                "metadata": {"annotations": {"tekton-bootstrap.dev/superseded-by": "go-echo-y"}},
                "spec": {"status": "CancelledRunFinally"},
            },
            [CLONED, BROKEN],
            "superseded by go-echo-y",
        ),
    ],
)
def test_a_run_that_was_superseded_has_a_reason_and_nothing_that_failed(
    run: Object, task_runs: list[Object], reason: str
) -> None:
    message = notify.compose_message(run, task_runs, "Failed", "deploy: superseded", NOW)
    assert (message["status"], message["reason"]) == ("superseded", reason)
    assert (message["failedTask"], message["logTail"]) == ("", "")


def test_failure_names_task_and_last_lines() -> None:
    message = notify.compose_message(RUN, [CLONED, BROKEN], "Failed", "undefined: x", NOW)
    assert (message["status"], message["failedTask"], message["logTail"]) == ("failed", "build-image", "undefined: x")
    assert message["digest"] == ""


@pytest.mark.parametrize(
    ("metadata", "revision", "branch"),
    [
        ({"labels": {"tekton-bootstrap.dev/branch": "main"}}, "a" * 40, "main"),
        ({"annotations": {"tekton-bootstrap.dev/branch": "a/b"}, "labels": {}}, "a" * 40, "a/b"),
        ({}, "a" * 40, ""),
        ({}, "refs/heads/work", "work"),
    ],
)
def test_branch_of_a_run_that_names_its_commit_is_its_mark(metadata: Object, revision: str, branch: str) -> None:
    run = {"metadata": metadata, "spec": {"params": [{"name": "REVISION", "value": revision}]}}
    assert notify.compose_message(run, [], "Failed", "", NOW)["branch"] == branch


def test_a_run_of_which_nothing_is_known_is_failed() -> None:
    message = notify.compose_message({}, [], "None", "", NOW)
    assert message["status"] == "failed"
    assert message["durationSeconds"] == 0


def test_the_first_task_to_fail_is_the_one() -> None:
    late = task_run("late", "False", completionTime="2026-11-23T20:00:09Z")
    early = task_run("early", "False", completionTime="2026-11-23T20:00:05Z")
    assert notify.find_failed_task([CLONED, late, early]) is early
    assert notify.find_failed_task([CLONED, task_run("running", "Unknown")]) is None


def test_the_first_step_with_a_code_is_the_one() -> None:
    assert notify.find_failed_container(BROKEN) == ("the-pod", "step-build")
    assert notify.find_failed_container(task_run("never", "False")) == ("", "")


def test_log_lines_lose_their_control_characters() -> None:
    assert notify.take_last_lines("\x1b[31mred\x1b[0m\n\n ok\tfine \r\n") == "red\n ok fine"
    assert len(notify.take_last_lines("x" * 9999)) == notify.TAIL_CHARACTERS


class Api:
    """Answers the three requests that a notification takes, and no other."""

    def __init__(self, task_runs: list[Object], log: str | None = None) -> None:
        self._task_runs, self._log = task_runs, log

    def __call__(self, path: str) -> bytes:
        runs = "/apis/tekton.dev/v1/namespaces/cicd"
        if path == f"{runs}/pipelineruns/go-echo-x":
            return json.dumps(RUN).encode()
        if path == f"{runs}/taskruns?labelSelector=tekton.dev%2FpipelineRun%3Dgo-echo-x":
            return json.dumps({"items": self._task_runs}).encode()
        assert path == "/api/v1/namespaces/cicd/pods/the-pod/log?container=step-build&tailLines=10"
        if self._log is None:
            raise OSError(404, "HTTP 404 from the API")
        return self._log.encode()


class Receiver:
    """Gives the planned answers in turn and keeps what was sent."""

    def __init__(self, *answers: int | RobotAnswer | Exception) -> None:
        self._answers = list(answers)
        self.sent: list[Object] = []

    def __call__(self, url: str, body: bytes) -> RobotAnswer:
        assert url == URL
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        self.sent.append(json.loads(body))
        return answer if isinstance(answer, RobotAnswer) else RobotAnswer(answer)


ENVIRON = {"NOTIFY_URL": URL, "NAMESPACE": "cicd", "RUN": "go-echo-x", "TASKS_STATUS": "Failed"}


def tell(api: Api, receiver: Receiver, held: str = "", **environ: str) -> tuple[str, list[float]]:
    slept: list[float] = []

    def way(kind: str, url: str) -> Channel:
        return Channel(kind, url, environ.get("NOTIFY_SECRET", ""), receiver, lambda: held, slept.append, lambda: NOW)

    return notify.notify(ENVIRON | environ, api, way, NOW), slept


def no_way(kind: str, url: str) -> Channel:
    raise AssertionError(kind)


def test_failed_run_is_sent_with_the_log_of_the_failing_step() -> None:
    receiver = Receiver(204)
    assert tell(Api([CLONED, BROKEN], "main.go:14:2: undefined\n"), receiver)[0] == "sent"
    assert receiver.sent[0]["logTail"] == "main.go:14:2: undefined"


def test_without_a_log_the_tasks_own_message_is_sent() -> None:
    receiver = Receiver(200)
    assert tell(Api([BROKEN]), receiver)[0] == "sent"
    assert receiver.sent[0]["logTail"] == "it said so"


def test_a_fault_of_the_other_side_is_tried_again() -> None:
    outcome, slept = tell(Api([CLONED]), Receiver(503, urllib.error.URLError(TimeoutError()), 200))
    assert outcome == "sent"
    assert slept == [1, 2]


def test_three_times_and_no_more() -> None:
    refused = urllib.error.URLError(ConnectionRefusedError(111, "Connection refused"))
    assert tell(Api([CLONED]), Receiver(refused, refused, refused))[0] == "failed: Connection refused"


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError(104, "Connection reset by peer"),
        http.client.RemoteDisconnected("closed"),
        TimeoutError("timed out"),
        urllib.error.URLError(BrokenPipeError(32, "Broken pipe")),
        http.client.BadStatusLine("SSH-2.0"),
    ],
)
def test_what_may_have_arrived_is_not_sent_again(error: Exception) -> None:
    outcome, slept = tell(Api([CLONED]), Receiver(error))
    assert outcome == f"failed: {notify.describe_error(error)}"
    assert slept == []


@pytest.mark.parametrize("status", [302, 400, 404])
def test_a_refusal_is_final(status: int) -> None:
    assert tell(Api([CLONED]), Receiver(status))[0] == f"failed: HTTP {status}"


@pytest.mark.parametrize(
    "environ", [{"NOTIFY_KIND": "none"}, {"NOTIFY_URL": ""}, {"NOTIFY_URL": "", "NOTIFY_KIND": " "}]
)
def test_off_reads_nothing_and_sends_nothing(environ: dict[str, str]) -> None:
    def never(path: str) -> bytes:
        raise AssertionError(path)

    assert notify.notify(ENVIRON | environ, never, no_way, NOW) == "off"


def test_a_secret_of_an_application_that_is_missing_is_told() -> None:
    missing = ENVIRON | {"NOTIFY_URL": "", "NOTIFY_KIND": "", "NOTIFY_FROM": "notify-sales"}
    outcome = tell(Api([CLONED]), Receiver(), **missing)[0]
    assert outcome == "failed: the Secret notify-sales is missing, or has neither kind nor url"
    for quiet in ({"NOTIFY_FROM": "notify"}, {"NOTIFY_KIND": "none"}):
        assert tell(Api([CLONED]), Receiver(), **missing | quiet)[0] == "off"


@pytest.mark.parametrize(
    "environ",
    [{"NOTIFY_KIND": "pigeon"}, {"NOTIFY_URL": "file:///etc/passwd"}, {"NOTIFY_URL": "http://["}, {"NOTIFY_URL": "x"}],
)
def test_what_cannot_be_sent_says_so_and_never_raises(environ: dict[str, str]) -> None:
    assert tell(Api([CLONED]), Receiver(), **environ)[0].startswith("failed: ")


def test_unreadable_run_says_so() -> None:
    def refusing(path: str) -> bytes:
        raise OSError(403, "HTTP 403 from the API")

    outcome = notify.notify(ENVIRON, refusing, no_way, NOW)
    assert outcome == "failed: the run could not be read (HTTP 403 from the API)"


@pytest.mark.parametrize("outcome", ["sent", "failed: HTTP 404", "off"])
def test_the_log_line_holds_no_secret(outcome: str) -> None:
    assert "s3cret" not in notify.format_line(outcome, URL)
    assert notify.format_line("sent", URL) == "notification to chat.test: sent"
    assert notify.format_line("off", "") == "notifications are off"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError(URL), "ValueError"),
        (urllib.error.URLError(URL), "URLError"),
        (urllib.error.URLError(TimeoutError(110, "Connection timed out")), "Connection timed out"),
        (OSError(5, "broken\npipe"), "broken pipe"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_reasons_are_the_systems_words_and_never_the_address(error: Exception, told: str) -> None:
    assert notify.describe_error(error) == told


def test_only_the_runs_own_directory_is_removed(tmp_path: Path) -> None:
    for name in ("go-echo-x", "other"):
        (tmp_path / name / "source").mkdir(parents=True)
    for wrong in ("", ".", "..", "../other", "other/source", "/"):
        notify.remove_run(str(tmp_path), wrong)
    notify.remove_run("", "other")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["go-echo-x", "other"]
    notify.remove_run(str(tmp_path), "go-echo-x")
    notify.remove_run(str(tmp_path), "go-echo-x")
    assert [each.name for each in tmp_path.iterdir()] == ["other"]


def test_main_ends_well_writes_its_result_and_cleans_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "volume/go-echo-x").mkdir(parents=True)
    environ = ENVIRON | {"RESULT": str(tmp_path / "result"), "WORKSPACE": str(tmp_path / "volume")}
    assert notify.main(environ) == 0
    assert (tmp_path / "result").read_text().startswith("failed: ")
    assert capsys.readouterr().out.startswith("notification to chat.test: failed: ")
    assert not (tmp_path / "volume/go-echo-x").exists()


# -- robots ----------------------------------------------------------------------------------------


def wecom(code: int) -> RobotAnswer:
    return RobotAnswer(200, json.dumps({"errcode": code, "errmsg": "said"}).encode())


def test_a_robot_that_refuses_with_200_is_a_failure() -> None:
    outcome, slept = tell(Api([CLONED]), Receiver(wecom(93000)), NOTIFY_KIND="wecom")
    assert (outcome, slept) == ("failed: errcode 93000 said", [])


def test_a_busy_robot_is_told_again() -> None:
    receiver = Receiver(wecom(45009), RobotAnswer(429, retry_after=7.0), wecom(0))
    outcome, slept = tell(Api([CLONED]), receiver, NOTIFY_KIND="wecom")
    assert (outcome, slept) == ("sent", [60.0, 7.0])
    assert receiver.sent[0]["msgtype"] == "markdown"


def test_a_robot_that_wants_to_be_left_alone_for_long_is() -> None:
    outcome, slept = tell(Api([CLONED]), Receiver(RobotAnswer(429, retry_after=90.0)), NOTIFY_KIND="slack")
    assert (outcome, slept) == ("failed: HTTP 429, and it asks for a pause of 90 s", [])


@pytest.mark.timeout(10)
def test_what_hangs_is_left_behind() -> None:
    """Tekton would fail the run."""
    for_ever = threading.Event()
    try:
        assert notify.run_within(0.2, lambda: str(for_ever.wait())) == "failed: not sent within 0.2 s"
    finally:
        for_ever.set()


def test_what_breaks_is_told() -> None:
    def breaks() -> str:
        raise RuntimeError(URL)

    assert notify.run_within(5, breaks) == "failed: RuntimeError"
    assert notify.run_within(5, lambda: "sent") == "sent"


# -- robots over the wire --------------------------------------------------------------------------


@pytest.fixture
def robots() -> Iterator[tuple[str, Robots]]:
    told = Robots()
    handler = type("Told", (Handler,), {"robots": told})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", told
        server.shutdown()


def to(url: str, kind: str, secret: str = "") -> tuple[str, list[float]]:
    slept: list[float] = []

    def way(kind: str, url: str) -> Channel:
        return Channel(
            kind, url, secret, notify.make_poster(""), lambda: "", slept.append, lambda: time.time() + sum(slept)
        )

    environ = ENVIRON | {"NOTIFY_KIND": kind, "NOTIFY_URL": url}
    return notify.notify(environ, Api([CLONED, BROKEN], "错\n" * 9000), way, NOW), slept


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_each_robot_takes_what_it_is_sent_also_when_it_was_busy(robots: tuple[str, Robots], kind: str) -> None:
    address, told = robots
    secret = SECRET if kind in ("dingtalk", "feishu") else ""
    assert to(f"{address}/{kind}/robot?token=a", kind, secret) == ("sent", [])
    pauses = [1.0, 2.0]
    busy = len(pauses)
    assert to(f"{address}/{kind}/robot?token=b&busy={busy}", kind, secret) == ("sent", pauses)
    assert "go-echo-x failed in 62 s" in str(told.told[-1])
    assert to(f"{address}/{kind}/robot?token=c&busy=9", kind, secret)[0].startswith("failed: ")
    assert len(told.told) == 1 + 2 * (1 + busy)


@pytest.mark.parametrize(
    ("kind", "secret", "said"),
    [
        ("dingtalk", "", "errcode 310000 invalid timestamp"),
        ("dingtalk", "another", "errcode 310000 sign not match"),
        ("feishu", "", "code 19021 sign match fail"),
        ("feishu", "another", "code 19021 sign match fail"),
        ("wecom", "", "errcode 93000 invalid webhook url"),
        ("slack", "", "HTTP 404"),
    ],
)
def test_a_robot_that_refuses_is_told_once(robots: tuple[str, Robots], kind: str, secret: str, said: str) -> None:
    address, told = robots
    token = "" if kind in ("wecom", "slack") else "?token=a"
    outcome, slept = to(f"{address}/{kind}/robot{token}", kind, secret)
    assert outcome.startswith(f"failed: {said}")
    assert (len(told.told), slept) == (1, [])


def test_beyond_what_a_robot_takes_nothing_is_sent() -> None:
    outcome, _ = tell(Api([CLONED]), Receiver(), held="20 messages in the last minute", NOTIFY_KIND="wecom")
    assert outcome == "held back: 20 messages in the last minute"


@pytest.mark.parametrize(
    ("run", "task_runs", "status", "told"),
    [
        ({"spec": {"status": "CancelledRunFinally"}}, [], "Failed", "cancelled"),
        (
            {},
            [task_run("x", "False") | {"spec": {"statusMessage": "... belongs to has timed out."}}],
            "Failed",
            "timed out",
        ),
        ({}, [task_run("x", "False")], "Failed", "failed"),
        ({}, [task_run("x", "True")], "Completed", "succeeded"),
        ({}, [LATE], "Failed", "superseded"),
        ({}, [task_run("x", "False", completionTime="1"), LATE], "Failed", "failed"),
        ({}, [task_run("x", "False", results=[{"name": "superseded", "value": "no"}])], "Failed", "failed"),
        ({"metadata": {"annotations": {"tekton-bootstrap.dev/superseded-by": "y"}}}, [BROKEN], "Failed", "failed"),
    ],
)
def test_how_it_ended(run: Object, task_runs: list[Object], status: str, told: str) -> None:
    assert notify.read_outcome(run, task_runs, status) == told
