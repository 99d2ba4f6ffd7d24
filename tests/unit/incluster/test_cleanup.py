"""The poller and the cleanup, against an API server that behaves badly where a real one may."""

from __future__ import annotations

import copy
import errno
import gzip
import json
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from http.client import RemoteDisconnected
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import pytest

from bootstrap.incluster import poll, poll_state, run_folders
from bootstrap.incluster.cleanup import Cleanup, CleanupOptions, read_options
from bootstrap.incluster.kube_api import Api, ApiFailure
from bootstrap.incluster.poll_state import RepositoryState
from bootstrap.incluster.run_names import make_triggered_run_name
from tests.unit.incluster.test_retention import run

Object = dict[str, Any]
A, B = "a" * 40, "b" * 40
URL = "http://git.test/you/app.git"
RUNS = "/apis/tekton.dev/v1/namespaces/cicd/pipelineruns"
STATE = "/api/v1/namespaces/cicd/configmaps/poller-state"
NOW = 1_000_000.0


class FakeApi:
    """Runs and one ConfigMap. fail: (method, beginning of a path) -> raised once each, in order."""

    def __init__(self) -> None:
        self.runs: dict[str, Object] = {}
        self.state: dict[str, str] = {}
        self.events: list[str] = []
        self.logs: dict[str, bytes] = {}
        self.fail: list[tuple[str, str, ApiFailure]] = []
        self.asked: list[str] = []
        self.page = 2
        self._lock = threading.Lock()

    def read(self, path: str) -> bytes:
        pod = urlsplit(path).path.split("/")[-2]
        if pod not in self.logs:
            raise ApiFailure(404, "not found")
        return self.logs[pod]

    def request(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> Object:
        with self._lock:
            self.asked.append(f"{method} {path}")
            for number, (wanted, begin, failure) in enumerate(self.fail):
                if method == wanted and path.startswith(begin):
                    del self.fail[number]
                    raise failure
            return self._answer(method, urlsplit(path), body)

    def _answer(self, method: str, parts: Any, body: Any) -> Object:
        path = parts.path
        if path.endswith("/events"):
            self.events.append(body["message"])
            return {}
        if path == STATE:
            if method == "PATCH":
                self.state |= body["data"]
            return {"data": dict(self.state)}
        if method == "POST":
            name = body["metadata"]["name"]
            if name in self.runs:
                raise ApiFailure(409, "already exists")
            self.runs[name] = body
            return cast(Object, body)
        if method == "DELETE":
            found = self.runs.get(path.rpartition("/")[2])
            if found is None:
                raise ApiFailure(404, "not found")
            if body["preconditions"]["resourceVersion"] != found["metadata"]["resourceVersion"]:
                raise ApiFailure(409, "it has changed")
            del self.runs[found["metadata"]["name"]]
            return {}
        if path.startswith(f"{RUNS}/"):
            return copy.deepcopy(self.runs[path.rpartition("/")[2]])
        return self._listed(parts)

    def _listed(self, parts: Any) -> Object:
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        listed = [] if parts.path.endswith("/taskruns") else [self.runs[name] for name in sorted(self.runs)]
        if query.get("labelSelector"):
            listed = [each for each in listed if each["metadata"]["labels"].get("keep") == "yes"]
        start = int(query.get("continue", 0))
        more = str(start + self.page) if start + self.page < len(listed) else ""
        return {"items": copy.deepcopy(listed[start : start + self.page]), "metadata": {"continue": more}}


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


# -- the poller ------------------------------------------------------------------------------------

TEMPLATE: Object = {
    "apiVersion": "tekton.dev/v1",
    "metadata": {"namespace": "cicd"},
    "spec": {"params": [{"name": name, "value": "x"} for name in ("REPO", "REVISION", "IMAGE")]},
}


class Refs:
    def __init__(self, **found: str | Exception) -> None:
        self.found = found

    def __call__(self, url: str, patterns: Any) -> str:
        answer = self.found[url.rpartition("/")[2].removesuffix(".git")]
        if isinstance(answer, Exception):
            raise answer
        return answer


def listing(**branches: str) -> str:
    return "".join(f"{commit}\trefs/heads/{name}\n" for name, commit in branches.items())


def polled(api: FakeApi, refs: Refs, *urls: str, first: str = "remember", now: float = NOW) -> tuple[int, list[str]]:
    said: list[str] = []
    poller = poll.Poller(cast(Api, api), "cicd", refs, lambda: now, said.append)
    return poller.poll(poll.PollOptions(urls or (URL,), ["main", "release/*"], first, TEMPLATE)), said


def kept(api: FakeApi, url: str = URL) -> RepositoryState:
    return poll_state.load_state(api.state.get(poll_state.make_key(url)))[0]


def test_a_new_commit_becomes_one_run(api: FakeApi) -> None:
    assert polled(api, Refs(app=listing(main=A)))[0] == 0
    assert api.runs == {}, "at first it only looks"
    for _ in range(2):
        assert polled(api, Refs(app=listing(main=B)))[0] == 0
    [made] = api.runs.values()
    assert made["metadata"]["name"] == make_triggered_run_name(URL, B)
    assert made["metadata"]["labels"]["tekton-bootstrap.dev/trigger"] == "poll"
    values = {each["name"]: each["value"] for each in made["spec"]["params"]}
    assert values == {"REPO": URL, "REVISION": B, "IMAGE": "x"}
    assert TEMPLATE["spec"]["params"][0]["value"] == "x"


def test_an_end_between_run_and_state_loses_and_doubles_nothing(api: FakeApi) -> None:
    polled(api, Refs(app=listing(main=A)))
    api.fail = [("PATCH", STATE, ApiFailure(0, "killed"))]
    assert polled(api, Refs(app=listing(main=B)))[0] == 1
    assert kept(api).branches == {"main": A}
    assert polled(api, Refs(app=listing(main=B)))[0] == 0
    assert list(api.runs) == [make_triggered_run_name(URL, B)]
    assert kept(api).branches == {"main": B}


def test_a_run_that_could_not_be_made_is_made_the_next_time(api: FakeApi) -> None:
    polled(api, Refs(app=listing(main=A)))
    api.fail = [("POST", RUNS, ApiFailure(500, "HTTP 500 from the API"))]
    code, said = polled(api, Refs(app=listing(main=B)))
    assert code == 1
    assert "no run for main" in said[-1]
    assert polled(api, Refs(app=listing(main=B)))[0] == 0
    assert list(api.runs) == [make_triggered_run_name(URL, B)]


def test_one_bad_repository_does_not_stop_the_others(api: FakeApi) -> None:
    good, bad = "http://git.test/good.git", "http://git.test/bad.git"
    refs = Refs(good=listing(main=A), bad=poll.RepositoryUnreadable("Authentication failed"))
    assert polled(api, refs, good, bad, first="run")[0] == 1
    assert list(api.runs) == [make_triggered_run_name(good, A)]
    assert api.events == [f"{bad}: Authentication failed"]
    assert kept(api, bad).why == "Authentication failed"


def test_a_failure_forgets_no_commit(api: FakeApi) -> None:
    polled(api, Refs(app=listing(main=A)))
    polled(api, Refs(app=poll.RepositoryUnreadable("no answer within 20 s")))
    assert kept(api) == RepositoryState({"main": A}, "no answer within 20 s", seen=True)
    code, said = polled(api, Refs(app=""))
    assert (code, said[-1]) == (1, f"{URL}: there is no branch main")
    code, said = polled(api, Refs(app=listing(**{f"b{n}": B for n in range(7)})))
    assert said[-1] == f"{URL}: there is no branch main; there are: b0, b1, b2, b3, b4 and 2 more"
    assert polled(api, Refs(app=listing(main=A)))[0] == 0
    assert kept(api).why == ""
    assert api.runs == {}


def test_an_overloaded_server_is_left_alone_as_long_as_it_wants(api: FakeApi) -> None:
    polled(api, Refs(app=poll.RepositoryUnreadable("error: 429", 120.0)))
    code, said = polled(api, Refs(), now=NOW + 60)
    assert (code, said) == (1, [f"{URL}: not asked: its server asks for a pause of 60 s"])
    assert polled(api, Refs(app=listing(main=A)), now=NOW + 121)[0] == 0


@pytest.mark.parametrize("until", ["Infinity", "1e300", "NaN"])
def test_a_pause_that_nobody_can_have_asked_for_is_none(api: FakeApi, until: str) -> None:
    api.state[poll_state.make_key(URL)] = f'{{"branches": {{"main": "{A}"}}, "seen": true, "notBefore": {until}}}'
    assert polled(api, Refs(app=listing(main=A)))[0] == 0


def test_many_branches_at_once_are_started_a_few_at_a_time(api: FakeApi) -> None:
    branches = {f"release/{number}": f"{number:012x}" + "0" * 28 for number in range(50)} | {"main": A}
    counts = []
    for _ in range(4):
        assert polled(api, Refs(app=listing(**branches)), first="run")[0] == 0
        counts.append(len(api.runs))
    assert counts == [20, 40, 51, 51]


def test_servers_that_hang_keep_nobody_else_waiting(api: FakeApi) -> None:
    urls = [f"http://git.test/{name}.git" for name in ("bad", "good")]
    api.state[poll_state.make_key(urls[0])] = poll_state.dump_state(
        urls[0], RepositoryState(why="no answer within 20 s", seen=True)
    )
    asked: list[str] = []

    def refs(url: str, _: Any) -> str:
        asked.append(url)
        return listing(main=A)

    poll.Poller(cast(Api, api), "cicd", refs, lambda: NOW, lambda _: None).poll(
        poll.PollOptions(urls, ["main"], "remember", TEMPLATE)
    )
    assert asked == urls[::-1]


def test_the_poll_ends_before_its_job_is_ended(api: FakeApi) -> None:
    times = iter([NOW, NOW + poll.BUDGET])
    said: list[str] = []
    poller = poll.Poller(cast(Api, api), "cicd", Refs(), lambda: next(times, NOW), said.append)
    assert poller.poll(poll.PollOptions([URL], ["main"], "remember", TEMPLATE)) == 1
    assert said == [f"{URL}: not asked: the others took 180 s"]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("Retry-After: 120", 120),
        ("retry-after: Tue, 24 Nov 2026 12:00:30 GMT", 30),
        ("Retry-After: Tue, 24 Nov 2026 11:00:00 GMT", 1),
        ("Retry-After: 99999999999999", 86_400),
        ("Retry-After: soon", 60),
        ("Retry-After:", 60),
        ("", 60),
    ],
)
def test_how_long_a_server_is_left_alone(header: str, seconds: float) -> None:
    trace = f"<= Recv header: Date: today\n<= Recv header: {header}\n"
    now = datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp()
    assert poll.parse_git_error("fatal: error: 429", trace, now).retry_after == seconds


def test_rubbish_in_the_state_is_told_and_begun_anew(api: FakeApi) -> None:
    api.state[poll_state.make_key(URL)] = "rubbish"
    code, said = polled(api, Refs(app=listing(main=A)))
    assert (code, api.runs) == (1, {})
    assert "begun anew" in said[0]
    assert api.events == [f"{URL}: its state could not be read, and is begun anew"]
    assert kept(api).branches == {"main": A}
    assert polled(api, Refs(app=listing(main=A)))[0] == 0
    assert kept(api).why == ""


def test_texts_of_others_are_values_and_nothing_more(api: FakeApi) -> None:
    branch = "release/$(params.IMAGE)`id`"
    assert polled(api, Refs(app=listing(**{branch: A})), first="run")[0] == 1  # there is no main
    [made] = api.runs.values()
    assert made["metadata"]["labels"]["tekton-bootstrap.dev/branch"] == "release-params.IMAGE-id"
    assert made["metadata"]["annotations"]["tekton-bootstrap.dev/branch"] == branch


def test_a_run_has_what_its_file_says_and_the_commit_where_it_has_a_place_for_it() -> None:
    names = ("REPO", "BRANCH", "LEVEL")
    params = [{"name": name, "value": "x"} for name in names] + [{"name": "DEFAULTED"}]
    mine = {"metadata": {"generateName": "mine-", "labels": {"team": "red"}}, "spec": {"params": params}}
    made = poll.fill_run(mine, URL, "release/$(params.LEVEL)", B)
    assert made["metadata"]["name"] == make_triggered_run_name(URL, B)
    assert made["metadata"]["labels"]["team"] == "red"
    assert [each.get("value") for each in made["spec"]["params"]] == [URL, "release/$(params.LEVEL)", "x", None]


def test_the_password_is_for_one_host_and_stays_in_its_file(tmp_path: Path) -> None:
    settings = {"credentialsFor": "https://git.test"}
    made = poll.make_git_environ({"CREDENTIALS": "/etc/git-auth", "HTTPS_PROXY": "p", "TOKEN": "t"}, settings, tmp_path)
    helpers = [value for key, value in made.items() if key.startswith("GIT_CONFIG_VALUE") and "password" in value]
    assert len(helpers) == 1
    assert "/etc/git-auth/password" in helpers[0]
    assert "credential.https://git.test.helper" in made.values()
    assert (made["HTTPS_PROXY"], made.get("TOKEN")) == ("p", None)


# -- the cleanup -----------------------------------------------------------------------------------


def cleaned(api: FakeApi, slept: Callable[[float], None] = lambda _: None, **settings: Any) -> tuple[int, list[str]]:
    said: list[str] = []
    now = 1_795_000_000.0  # 2026-11-18
    cleanup = Cleanup(cast(Api, api), "cicd", said.append, lambda: now, slept)
    return cleanup.run(CleanupOptions(**({"keep": 1, "days": 0} | settings))), said


@pytest.fixture
def full(api: FakeApi) -> FakeApi:
    """Five old runs, one that is kept by its label, and one under way."""
    for number in range(1, 6):
        api.runs[f"r{number}"] = run(f"r{number}", number)
    api.runs["kept"] = run("kept", 1)
    api.runs["kept"]["metadata"]["labels"]["keep"] = "yes"
    api.runs["running"] = run("running", 1, "Unknown")
    for each in api.runs.values():
        each["metadata"]["resourceVersion"] = "1"
        each["spec"] = {"params": []}
    return api


def test_old_runs_are_deleted_page_by_page(full: FakeApi) -> None:
    code, said = cleaned(full, exclude="keep=yes")
    assert (code, said[-1]) == (0, "7 runs, 4 deleted")
    assert set(full.runs) == {"r5", "kept", "running"}


def test_a_dry_run_deletes_nothing(full: FakeApi) -> None:
    code, said = cleaned(full, dry_run=True)
    assert (code, said[-1], len(full.runs)) == (0, "7 runs, 5 to delete", 7)
    assert all(line.startswith("would delete ") for line in said[:-1])
    assert not any(asked.startswith("DELETE") for asked in full.asked)


def test_a_run_that_changes_meanwhile_stays_which_is_no_failure(full: FakeApi) -> None:
    full.fail = [("DELETE", f"{RUNS}/r2", ApiFailure(409, "it has changed"))]
    code, said = cleaned(full)
    assert (code, said[-1]) == (0, "7 runs, 4 deleted, 1 changed meanwhile")
    assert "kept r2: it has changed meanwhile" in said
    assert "r2" in full.runs
    assert full.events == []


def test_a_run_that_is_gone_already_is_gone(full: FakeApi) -> None:
    full.fail = [("DELETE", f"{RUNS}/r2", ApiFailure(404, "not found"))]
    assert cleaned(full)[1][-1] == "7 runs, 5 deleted"


def test_what_cannot_be_deleted_is_told(full: FakeApi) -> None:
    full.fail = [("DELETE", f"{RUNS}/r2", ApiFailure(403, "forbidden"))]
    code, said = cleaned(full)
    assert (code, said[-1]) == (1, "7 runs, 4 deleted, 1 failed")
    assert full.events == ["r2: forbidden"]


def test_runs_that_cannot_be_listed_are_told(full: FakeApi) -> None:
    full.fail = [("GET", RUNS, ApiFailure(400, "unable to parse"))]
    code, said = cleaned(full, exclude="a in")
    assert (code, said) == (1, ["the runs could not be listed: unable to parse"])
    assert full.events == said
    assert len(full.runs) == 7


def test_a_busy_server_is_asked_again_when_it_says(full: FakeApi) -> None:
    slept: list[float] = []
    full.fail = [
        ("GET", RUNS, ApiFailure(429, "busy", 7.0)),
        ("GET", RUNS, ApiFailure(503, "busy")),
        ("DELETE", RUNS, ApiFailure(0, "no answer")),
    ]
    assert cleaned(full, slept.append)[0] == 0
    assert slept[0] == 7.0
    assert len(slept) == 3


def test_a_list_that_got_too_old_is_begun_anew(full: FakeApi) -> None:
    expired = ("GET", f"{RUNS}?limit=200&labelSelector=&continue=4", ApiFailure(410, "expired"))
    full.fail = [expired]
    assert cleaned(full, dry_run=True)[1][-1] == "7 runs, 5 to delete"
    full.fail = [expired] * 9
    assert cleaned(full)[0] == 1, "and not for ever"
    assert len(full.runs) == 7


# -- the folders of runs ---------------------------------------------------------------------------


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """Folders of three runs that are over, of one that is gone and of one under way; and two of the user's."""
    for name in ("r1", "r2", "r3", "gone", "running"):
        (tmp_path / name / "source/.git").mkdir(parents=True)
        (tmp_path / name / "source/main.go").write_text("package main")
        (tmp_path / name / run_folders.MARKER).write_text(f"{name}\n")
    (tmp_path / "cache/source").mkdir(parents=True)
    (tmp_path / "copied").mkdir()
    (tmp_path / "copied" / run_folders.MARKER).write_text("r1\n")
    (tmp_path / "file").write_text("of the user's")
    return tmp_path


def tidied(api: FakeApi, volume: Path, *, dry_run: bool = False, at: float = 1_795_000_000.0) -> tuple[int, list[str]]:
    said: list[str] = []
    cleanup = Cleanup(cast(Api, api), "cicd", said.append, lambda: at, lambda _: None, "workspace-cleanup")
    return cleanup.run_folders(volume, dry_run=dry_run), said


def names(volume: Path) -> set[str]:
    return {each.name for each in volume.iterdir()}


def test_folders_of_runs_that_are_over_or_gone_go_and_no_others(full: FakeApi, volume: Path) -> None:
    code, said = tidied(full, volume)
    assert (code, said[-1]) == (0, "folders of runs: 5, in use: 1")
    assert names(volume) == {"running", "cache", "copied", "file"}
    assert (volume / "running/source/main.go").exists()


def test_the_folder_of_a_run_that_has_just_ended_stays(full: FakeApi, volume: Path) -> None:
    ended = datetime.fromisoformat(full.runs["r3"]["status"]["completionTime"]).timestamp()
    tidied(full, volume, at=ended + 60)
    assert "r3" in names(volume)
    assert "r1" not in names(volume)


def test_a_dry_run_removes_no_folder(full: FakeApi, volume: Path) -> None:
    before = names(volume)
    code, said = tidied(full, volume, dry_run=True)
    assert (code, names(volume)) == (0, before)
    assert "would remove the folder of gone" in said


def test_nothing_is_removed_if_the_runs_cannot_be_listed(full: FakeApi, volume: Path) -> None:
    before = names(volume)
    full.fail = [("GET", RUNS, ApiFailure(403, "forbidden"))]
    code, said = tidied(full, volume)
    assert (code, names(volume)) == (1, before)
    assert "could not be compared with the runs: forbidden" in said[0]
    assert full.events == [said[0]]


def test_a_folder_that_cannot_be_removed_is_told_and_found_again(
    full: FakeApi, volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("shutil.rmtree", refuse)
    code, said = tidied(full, volume)
    assert code == 1
    assert "kept the folder of gone: Permission denied" in said
    monkeypatch.undo()
    assert tidied(full, volume)[0] == 0
    assert names(volume) == {"running", "cache", "copied", "file"}


def test_what_a_folder_links_to_stays(full: FakeApi, volume: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "data").write_text("of somebody else")
    (volume / "gone/link").symlink_to(outside)
    (volume / "gone/source/link").symlink_to(outside)
    (volume / "linked").symlink_to(volume / "r1")
    assert tidied(full, volume)[0] == 0
    assert (outside / "data").exists()
    assert names(volume) >= {"linked"}


def test_tasks_of_the_listener_go_too_and_no_others(full: FakeApi) -> None:
    cleaned(full, exclude="keep=yes")
    selectors = [parse_qs(urlsplit(asked).query)["labelSelector"] for asked in full.asked if "/taskruns?" in asked]
    own = "!tekton.dev/pipelineRun,triggers.tekton.dev/eventlistener"
    assert selectors == [[own], [f"{own},keep=yes"]]


def test_a_run_is_archived_before_it_goes(full: FakeApi, tmp_path: Path) -> None:
    whole = copy.deepcopy(full.runs["r1"])
    assert cleaned(full, archive=tmp_path)[0] == 0
    with gzip.open(tmp_path / "r1-r1.json.gz", "rt") as file:
        assert json.load(file)["run"] == whole
    assert not list(tmp_path.glob(".*"))


def test_what_cannot_be_archived_stays(full: FakeApi, tmp_path: Path) -> None:
    code, said = cleaned(full, archive=tmp_path / "gone")
    assert (code, len(full.runs)) == (1, 7)
    assert said[-1] == "7 runs, 0 deleted, 5 failed"


def test_a_file_that_cannot_be_finished_leaves_no_part_of_it(
    full: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("bootstrap.incluster.cleanup.os.fsync", full_disk)
    code, said = cleaned(full, archive=tmp_path)
    assert (code, len(full.runs)) == (1, 7)
    assert "kept r1: No space left on device" in said
    assert list(tmp_path.iterdir()) == []


def test_two_at_once_do_not_write_into_one_file(full: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One by hand while that of the hour runs: before the first has renamed its file, the second writes the same."""
    before, other = copy.deepcopy(full.runs), FakeApi()
    other.runs = before
    really, first = os.fsync, [True]

    def meddled(number: int) -> None:
        if first.pop() if first else False:
            assert cleaned(other, archive=tmp_path)[0] == 0
        really(number)

    monkeypatch.setattr("bootstrap.incluster.cleanup.os.fsync", meddled)
    assert cleaned(full, archive=tmp_path)[0] == 0
    for file in tmp_path.iterdir():
        with gzip.open(file, "rt") as text:
            assert json.load(text)["run"]["metadata"]["name"] == file.name.partition("-")[0]
    assert len(list(tmp_path.iterdir())) == 5


def test_a_server_that_stays_busy_is_given_up(full: FakeApi) -> None:
    slept: list[float] = []
    full.fail = [("DELETE", f"{RUNS}/r2", ApiFailure(429, "HTTP 429 from the API", 3600.0))] * 9
    code, said = cleaned(full, slept.append)
    assert (code, said[-1]) == (1, "7 runs, 4 deleted, 1 failed")
    assert slept == [30.0] * 4, "and no wait is endless"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"KEEP": "many"}, "KEEP is 'many', and not a whole number of 0 or more"),
        ({"KEEP": "-1"}, "KEEP is '-1', and not a whole number of 0 or more"),
        ({"KEEP": None}, "KEEP is '', and not a whole number of 0 or more"),
        ({"DAYS": "-3"}, "DAYS is '-3', and not a number of 0 or more"),
        ({"DAYS": "nan"}, "DAYS is 'nan', and not a number of 0 or more"),
        ({"DAYS": "inf"}, "DAYS is 'inf', and not a number of 0 or more"),
        ({"DRY_RUN": "true"}, "DRY_RUN is 'true', and not on or off"),
    ],
)
def test_a_variable_that_is_wrong_deletes_nothing(full: FakeApi, wrong: dict[str, str | None], said: str) -> None:
    right = {"KEEP": "0", "DAYS": "0"} | wrong
    lines: list[str] = []
    environ = {key: value for key, value in right.items() if value is not None}
    assert Cleanup(cast(Api, full), "cicd", lines.append).start(environ) == 1
    assert (lines, full.events, len(full.runs)) == ([said], [said], 7)


def test_settings_come_from_the_environment() -> None:
    environ = {"KEEP": "5", "DAYS": "3", "EXCLUDE": "a=b", "ARCHIVE": "/archive", "DRY_RUN": "on"}
    assert read_options(environ) == CleanupOptions(5, 3.0, "a=b", Path("/archive"), dry_run=True)
    assert read_options({"KEEP": "0", "DAYS": "0"}) == CleanupOptions(0, 0.0)


# -- the door of both ------------------------------------------------------------------------------


class Line:
    """A connection. breaks: raised in place of answers, None for an answer."""

    def __init__(self, *breaks: Exception | None) -> None:
        self.breaks = list(breaks)
        self.closed = False

    def request(self, *_: object) -> None:
        failure = self.breaks.pop(0)
        if failure:
            raise failure

    def getresponse(self) -> Line:
        return self

    status = 200

    def read(self) -> bytes:
        return b"{}"

    def close(self) -> None:
        self.closed = True


def door(folder: Path, *lines: Line) -> Api:
    (folder / "token").write_text("t\n")
    left = list(lines)

    class Opened(Api):
        def _connect(self) -> Any:
            return left.pop(0)

    return Opened("h", 443, folder)


def test_a_connection_is_used_again_and_replaced_when_the_server_has_closed_it(tmp_path: Path) -> None:
    first, second = Line(None, None, RemoteDisconnected("gone")), Line(None)
    api = door(tmp_path, first, second)
    for _ in range(3):
        assert api.request("GET", "/") == {}
    assert first.closed
    api.close()
    assert second.closed


def test_a_new_connection_that_breaks_is_told(tmp_path: Path) -> None:
    with pytest.raises(ApiFailure, match=r"does not answer \(ConnectionRefusedError\)") as caught:
        door(tmp_path, Line(ConnectionRefusedError())).request("GET", "/")
    assert caught.value.status == 0


def test_no_second_try_after_a_wait(tmp_path: Path) -> None:
    api = door(tmp_path, Line(None, TimeoutError()), Line(None))
    api.request("GET", "/")
    with pytest.raises(ApiFailure, match="TimeoutError"):
        api.request("GET", "/")
