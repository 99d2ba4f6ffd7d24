"""What the poller's git sees of real repositories, and of servers that misbehave."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from bootstrap.incluster import poll_state
from bootstrap.incluster.poll import Git, RepositoryUnreadable, make_git_environ, parse_git_error
from bootstrap.settings import git_logins
from tests.git_host import PASSWORD, USER, Bare, GitHost, git_host


@pytest.fixture
def host(tmp_path: Path) -> Iterator[GitHost]:
    (tmp_path / "repositories").mkdir()
    with git_host(tmp_path / "repositories") as running:
        yield running


@pytest.fixture
def environ(tmp_path: Path, host: GitHost) -> dict[str, str]:
    folder, home = tmp_path / "credentials", tmp_path / "home"
    for each in (folder, home):
        each.mkdir()
    (folder / "username").write_text(USER)
    (folder / "password").write_text(PASSWORD)
    given = {"CREDENTIALS": str(folder), "PATH": os.environ["PATH"]}
    return make_git_environ(given, {"credentialsFor": host.address}, home)


def read(environ: dict[str, str], url: str, *patterns: str, limit: float = 20.0) -> dict[str, str]:
    return poll_state.parse_heads(Git(environ, limit=limit).list_refs(url, patterns or ("main",)))


def test_only_branches_count(host: GitHost, environ: dict[str, str]) -> None:
    bare = Bare(host.folder / "app.git")
    commit = bare.commit("main", "release/1", "release/1.0/x", "other")
    bare.git("tag", "--annotate", "--message=v1", "main", commit)  # a tag that is called like the branch
    bare.refs({"refs/pull/1/head": commit, "refs/heads/refs/heads/main": bare.commit(message="A look-alike")})
    found = read(environ, host.url("app"), "main", "release/*")
    assert poll_state.select_watched(found, ["main", "release/*"]) == {"main": commit, "release/1": commit}


def test_sha_256_and_an_empty_repository(host: GitHost, environ: dict[str, str]) -> None:
    commit = Bare(host.folder / "long.git", object_format="sha256").commit("main")
    assert len(commit) == 64
    assert read(environ, host.url("long")) == {"main": commit}
    Bare(host.folder / "empty.git")
    assert read(environ, host.url("empty")) == {}


def test_six_thousand_branches(host: GitHost, environ: dict[str, str]) -> None:
    bare = Bare(host.folder / "many.git")
    commit = bare.commit("main")
    bare.refs({f"refs/heads/feature/{number}": commit for number in range(6000)})
    bare.git("pack-refs", "--all")
    assert len(read(environ, host.url("many"), "feature/*")) == 6000
    assert read(environ, host.url("many")) == {"main": commit}


def test_the_password_opens_what_is_locked_and_is_told_to_no_other_host(
    host: GitHost, environ: dict[str, str], tmp_path: Path
) -> None:
    commit = Bare(host.folder / "app.git").commit("main")
    assert read(environ, host.url("locked/app")) == {"main": commit}
    other = make_git_environ({"CREDENTIALS": str(tmp_path)}, {"credentialsFor": "http://127.0.0.2"}, tmp_path)
    with pytest.raises(RepositoryUnreadable) as error:
        read(other | {"PATH": os.environ["PATH"]}, host.url("locked/app"))
    assert PASSWORD not in str(error.value)
    assert "could not read Username" in str(error.value)


def test_a_repository_elsewhere_has_a_login_of_its_own(host: GitHost, tmp_path: Path) -> None:
    for name in ("app", "other"):
        Bare(host.folder / f"{name}.git").commit("main")
    given = f"{host.address.replace('//', f'//{USER}:{quote(PASSWORD)}@')}/locked/app"
    for name, text in git_logins.render_files(git_logins.parse(given), str(tmp_path)).items():
        (tmp_path / name).write_text(text)
    known = {"PATH": os.environ["PATH"], "LOGINS": str(tmp_path / git_logins.CONFIG)}
    environ = make_git_environ(known, {"credentialsFor": "http://git.test"}, tmp_path)
    assert list(read(environ, host.url("locked/app"))) == ["main"]
    with pytest.raises(RepositoryUnreadable, match="could not read Username"):
        read(environ, host.url("locked/other"))
    with pytest.raises(RepositoryUnreadable, match="could not read Username"):
        read(make_git_environ(known | {"LOGINS": "/nowhere"}, {}, tmp_path), host.url("locked/app"))


@pytest.mark.parametrize(
    ("name", "told", "retry_after"),
    [
        ("gone", "not found", 0),
        ("busy/app", "error: 429", 120),
        ("down/app", "error: 503", 60),
    ],
)
def test_what_a_server_refuses(
    host: GitHost, environ: dict[str, str], name: str, told: str, retry_after: float
) -> None:
    with pytest.raises(RepositoryUnreadable, match=told) as error:
        read(environ, host.url(name))
    assert error.value.retry_after == retry_after
    assert len(host.asked) == 1, "and it is not asked again for how long it wants to be left alone"


@pytest.mark.timeout(20)  # a helper left behind would hold the pipe
@pytest.mark.parametrize("mode", ["hang", "drip"])
def test_a_server_that_hangs_takes_no_longer_than_the_limit(host: GitHost, environ: dict[str, str], mode: str) -> None:
    with pytest.raises(RepositoryUnreadable, match=r"no answer within 0\.7 s"):
        read(environ, host.url(f"{mode}/app"), limit=0.7)
    while any(host.address in _command_line(path) for path in Path("/proc").glob("[0-9]*/cmdline")):
        time.sleep(0.05)  # up to the limit of the test: it was told to end, and does


def _command_line(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # it has ended
        return ""


def test_a_list_that_is_too_long_is_refused(host: GitHost, environ: dict[str, str]) -> None:
    bare = Bare(host.folder / "many.git")
    commit = bare.commit("main")
    bare.refs({f"refs/heads/{number}": commit for number in range(500)})
    with pytest.raises(RepositoryUnreadable, match="is longer than"):
        Git(environ, most=10_000).list_refs(host.url("many"), ["*"])


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://no-such-host.invalid/app.git", "resolve host"),
        ("http://127.0.0.1:1/app.git", "connect"),
        ("file:///etc", "not allowed"),
        ("ext::touch /tmp/pwned", "not allowed"),
        ("--upload-pack=touch /tmp/pwned", "blocked"),
    ],
)
def test_an_address_that_leads_nowhere(environ: dict[str, str], url: str, told: str) -> None:
    with pytest.raises(RepositoryUnreadable, match=told):
        read(environ, url)


def test_without_git_every_repository_says_so() -> None:
    with pytest.raises(RepositoryUnreadable, match="git does not start"):
        read({"PATH": "/nowhere"}, "http://127.0.0.1:1/app.git")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (
            "git@git.test: Permission denied (publickey).\nfatal: Could not read from remote repository.\n\n"
            "Please make sure you have the correct access rights\nand the repository exists.\n",
            "git@git.test: Permission denied (publickey).",
        ),
        (
            "@@@@@@@@\n@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\n@@@@@@@@\nIT IS POSSIBLE THAT\n"
            "Host key for git.test has changed and you have requested strict checking.\n"
            "Host key verification failed.\nfatal: Could not read from remote repository.\n\nPlease\n",
            "Host key for git.test has changed and you have requested strict checking. Host key verification failed.",
        ),
        ("fatal: Could not read from remote repository.\n", "Could not read from remote repository."),
        ("fatal: repository 'x' not found\n", "repository 'x' not found"),
    ],
)
def test_where_ssh_does_not_connect_its_own_words_are_told(said: str, why: str) -> None:
    assert str(parse_git_error(said, "", 0.0)) == why
