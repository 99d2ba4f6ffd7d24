"""Whether what differs between two commits concerns an application, asked of real repositories."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bootstrap.incluster import poll
from bootstrap.incluster.applications import Application, read_application
from bootstrap.incluster.git_login import GitLogin, LoginFault
from bootstrap.incluster.kube_api import ApiFailure
from bootstrap.manager.repositories import Repositories
from tests.git_host import PASSWORD, USER, Bare, GitHost, git_host


@pytest.fixture
def host(tmp_path: Path) -> Iterator[GitHost]:
    with git_host(tmp_path) as running:
        yield running


@pytest.fixture
def repositories() -> Repositories:
    return Repositories({"PATH": os.environ["PATH"]}, refuse)


def refuse(application: Application) -> GitLogin:
    raise AssertionError(f"{application.name} names no login")


def declare(url: str, *paths: str, login: str = "") -> Application:
    spec: dict[str, Any] = {"repository": {"url": url, "login": login}, "paths": [*paths]}
    return read_application({"metadata": {"name": "orders"}, "spec": spec}, "registry:5000")


def commit(bare: Bare, files: dict[str, str]) -> str:
    """A commit without parents that branch main is then at. files: name in the top folder, or FOLDER/NAME -> text."""
    tops: dict[str, list[str]] = {}
    for path, text in files.items():
        folder, _, name = path.rpartition("/")
        tops.setdefault(folder, []).append(
            f"100644 blob {bare.git('hash-object', '-w', '--stdin', text=text)}\t{name}\n"
        )
    entries = tops.pop("", [])
    entries += [f"040000 tree {bare.git('mktree', text=''.join(each))}\t{name}\n" for name, each in tops.items()]
    made = bare.git("commit-tree", bare.git("mktree", text="".join(entries)), "-m", "A change")
    bare.refs({"refs/heads/main": made})
    return made


@pytest.mark.parametrize("filters", ["true", "false"])
@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
def test_only_what_is_below_its_paths_concerns_it(
    host: GitHost, repositories: Repositories, filters: str, object_format: str
) -> None:
    bare = Bare(host.folder / "shop.git", object_format=object_format)
    bare.git("config", "uploadpack.allowFilter", filters)
    first = commit(bare, {"orders/a": "1", "invoices/a": "1", "readme": "1"})
    second = commit(bare, {"orders/a": "1", "invoices/a": "2", "readme": "1"})
    orders, invoices = declare(host.url("shop"), "orders/**"), declare(host.url("shop"), "invoices", "libs")
    assert not repositories.concerns(orders, first, second)
    assert repositories.concerns(invoices, first, second)
    assert not repositories.concerns(invoices, second, second)


def test_one_without_paths_is_not_asked(host: GitHost, repositories: Repositories) -> None:
    assert repositories.concerns(declare(host.url("shop")), "a" * 40, "b" * 40)
    assert repositories.concerns(declare(host.url("shop"), "orders/**"), "", "b" * 40)
    assert host.asked == []


def test_where_it_cannot_be_told_it_does(
    host: GitHost, repositories: Repositories, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = Bare(host.folder / "shop.git")
    first = commit(bare, {f"invoices/{number:04}": "1" for number in range(50)})
    second = commit(bare, {"invoices/a": "2"})
    orders = declare(host.url("shop"), "orders/**")
    assert not repositories.concerns(orders, first, second)
    assert repositories.concerns(orders, "a" * 40, second), "a commit that is gone"
    assert repositories.concerns(declare(host.url("down/shop"), "orders/**"), first, second)
    monkeypatch.setattr(poll, "CHANGED_BYTES", 100)
    assert repositories.concerns(orders, first, second)
    monkeypatch.setattr(poll, "CHANGED_BYTES", 250_000)
    monkeypatch.setattr(poll, "FETCHED_KIB", 0)
    assert repositories.concerns(orders, first, second)


# -- a login of its own ------------------------------------------------------------------------------


def test_a_password_of_its_own_opens_it_and_that_of_the_settings_does_not(host: GitHost, tmp_path: Path) -> None:
    commit_id = commit(Bare(host.folder / "shop.git"), {"a": "1"})
    logins, keys = tmp_path / "logins", tmp_path / "keys"
    keys.mkdir()
    logins.write_text(f'[credential "{host.address}"]\n\thelper =\n\thelper = "!f() {{ echo password=wrong; }}; f"\n')
    environ = {"PATH": os.environ["PATH"], "LOGINS": str(logins), "CREDENTIALS": str(tmp_path), "KEYS": str(keys)}
    asked = []

    def read(application: Application) -> GitLogin:
        asked.append(application.login)
        return GitLogin({"username": USER, "password": PASSWORD})

    repositories = Repositories(environ, read)
    found = declare(host.url("locked/shop"), login="sales-git")
    assert repositories.read_heads(found) == ({"main": commit_id}, {})
    assert asked == ["sales-git"]
    assert [*keys.iterdir()] == [], "it is there while git runs, and no longer"
    with pytest.raises(poll.RepositoryUnreadable):
        repositories.read_heads(declare(host.url("locked/shop")))


@pytest.mark.parametrize(
    ("raised", "why"),
    [
        (
            LoginFault("Secret sales-git is not there", "kubectl create"),
            "Secret sales-git is not there: kubectl create",
        ),
        (LoginFault("known_hosts is missing"), "known_hosts is missing"),
        (ApiFailure(500, "HTTP 500 from the API"), "Secret sales-git: HTTP 500 from the API"),
    ],
)
def test_a_login_that_is_none_is_why_it_cannot_be_read(raised: Exception, why: str) -> None:
    def read(_: Application) -> GitLogin:
        raise raised

    repositories = Repositories({"PATH": os.environ["PATH"]}, read)
    found = declare("ssh://git@git.test/a", "orders", login="sales-git")
    with pytest.raises(poll.RepositoryUnreadable) as caught:
        repositories.read_heads(found)
    assert str(caught.value) == why
    assert repositories.concerns(found, "a" * 40, "b" * 40), "where it cannot be told it does"
